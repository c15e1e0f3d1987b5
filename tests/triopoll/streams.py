"""A client of `/v1/stream/` for tests, which calls the application by hand."""

from __future__ import annotations

from tests.triopoll.asgi_calls import Call

from triopoll.app import Triopoll

__all__ = ["StreamsApi", "header"]


class StreamsApi:
    """Requests to `/v1/stream/`, as a program on this machine sends them.

    Attributes:
        headers: Sent with each of them.
    """

    def __init__(self, app: Triopoll) -> None:
        self.app = app
        self.headers: dict[str, str] = {}

    async def call(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        *,
        root_path: str = "",
        **headers: str,
    ) -> Call:
        """Send a request; names of headers have `_` for `-`."""
        given = {**self.headers, **headers}
        pairs = [
            (name.replace("_", "-").encode(), value.encode("latin-1"))
            for name, value in given.items()
        ]
        request = Call(
            f"{root_path}/v1/stream/{target}",
            method=method,
            body=body,
            headers=pairs,
            root_path=root_path,
        )
        await request.run(self.app)
        return request

    async def put(self, path: str, body: bytes = b"", **headers: str) -> Call:
        given = {"content_type": "text/plain", **headers}
        return await self.call("PUT", path, body, **given)

    async def post(self, path: str, body: bytes = b"", **headers: str) -> Call:
        given = {"content_type": "text/plain", **headers}
        return await self.call("POST", path, body, **given)

    async def get(self, target: str, **headers: str) -> Call:
        return await self.call("GET", target, **headers)


def header(call: Call, name: str) -> str | None:
    """Return a header that may be there once."""
    found = [value for given, value in call.headers if given == name.encode()]
    assert len(found) <= 1, found
    return found[0].decode() if found else None
