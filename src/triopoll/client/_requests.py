"""Requests of publishers: repeated until they are answered, over one connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import trio

from ._credentials import Credential
from ._errors import Refused, TransientError, Unreachable
from ._http import HttpConnection, Site
from ._responses import read_response
from ._retry_delay import RetryDelay
from ._retry_log import RetryLog

__all__ = ["RepeatingConnection"]

_T = TypeVar("_T")

# The server recognises the id of a message for 600 s; a later repetition would be
# stored again.
_TRY_SECONDS = 300.0
_RESPONSE_SECONDS = 30.0
_NO_CONTENT = 204


class RepeatingConnection:
    """One connection, for one request at a time."""

    def __init__(self, site: Site, credential: Credential, what: str) -> None:
        """Prepare; `what` the requests do is said in the log."""
        self._http = HttpConnection(site)
        self._credential = credential
        self._retry_log = RetryLog(what)
        self._lock = trio.StrictFIFOLock()

    def __repr__(self) -> str:
        return f"<RepeatingConnection: {self._http!r}>"

    async def request(
        self,
        method: str,
        path: str,
        body: bytes,
        parse: Callable[[Mapping[str, Any]], _T],
        headers: Mapping[str, str] | None = None,
        *,
        may_be_empty: bool = False,
    ) -> _T:
        """Send a request until it is answered; return what `parse` makes of that.

        Args:
            method: In capitals.
            path: Below the site's.
            body: JSON; empty for none.
            parse: Takes the JSON object of a response. If it raises a
                `TransientError`, the request is repeated.
            headers: Sent instead of the credential.
            may_be_empty: Whether 204 without a body is a response, too.

        Raises:
            Refused: The server does not accept it.
            Unreachable: It was repeated for 300 s.

        Cancellation:
            The server may have served it.
        """
        async with self._lock:
            send = partial(self._send, method, path, body, headers, may_be_empty)
            return await self._repeat(send, parse)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def _repeat(
        self,
        send: Callable[[], Awaitable[Mapping[str, Any]]],
        parse: Callable[[Mapping[str, Any]], _T],
    ) -> _T:
        retry_delay = RetryDelay()
        give_up = trio.current_time() + _TRY_SECONDS
        renewed = False
        while True:
            try:
                result = parse(await send())
                self._retry_log.worked()
                return result
            except TransientError as error:
                delay = retry_delay.next(error.retry)
                if trio.current_time() + delay > give_up:
                    raise Unreachable(str(error)) from error
                self._retry_log.failed(error, delay)
                await trio.sleep(delay)
            except Refused as refused:
                if renewed or refused.status != 401 or not self._credential.renewable:
                    raise
                renewed = True
                self._credential.forget()

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None,
        may_be_empty: bool,
    ) -> Mapping[str, Any]:
        sent = await self._credential.headers() if headers is None else {**headers}
        if body:
            sent["Content-Type"] = "application/json"
        response = await self._http.request(
            method, path, sent, body, seconds=_RESPONSE_SECONDS
        )
        if may_be_empty and response.status == _NO_CONTENT:
            return {}
        return read_response(response)
