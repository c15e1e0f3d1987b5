"""What the tests of triopoll share."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream


async def eventually(condition: Callable[[], object], limit: float = 5) -> None:
    """Return once the condition holds; fail if it does not within the limit.

    For states of other processes, which cannot wake us.
    """
    with trio.fail_after(limit):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


@asynccontextmanager
async def open_websocket(
    port: int, path: str, headers: Mapping[str, str]
) -> AsyncIterator[WebSocketConnection]:
    """Connect with trio-websocket, whose own way leaves a denied socket open."""
    extra = [(name.encode(), value.encode()) for name, value in headers.items()]
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        try:
            async with trio.open_nursery() as nursery:
                websocket = await wrap_client_stream(
                    nursery, stream, "h", path, extra_headers=extra
                )
                yield websocket
                await websocket.aclose()
        except ExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None
