"""Let connections close: what Quart-Trio 0.12 does on Hypercorn 0.18 and should not.

Hypercorn reports ``http.disconnect`` from inside the ``send()`` of the last body
message, once the response is complete. Quart-Trio takes any disconnect for a client
that has left and cancels the handler, which is still inside that very ``send()``:
the code there that closes the connection, or starts its idle timer, never runs.
"Connection: close", HTTP/1.0 and idle keep-alive connections then stay open for ever.

Use it as ``app.asgi_http_class = PollConnection``. It changes nothing else, so it is
harmless under servers that do not have the problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart.asgi import ASGIHTTPConnection
from quart_trio.asgi import TrioASGIHTTPConnection

if TYPE_CHECKING:
    import trio
    from hypercorn.typing import (
        ASGIReceiveCallable,
        ASGISendCallable,
        ASGISendEvent,
    )
    from quart import Request

__all__ = ["PollConnection"]


class PollConnection(TrioASGIHTTPConnection):
    """One HTTP request, which a disconnect cancels only while it is unanswered."""

    _answered = False

    async def handle_messages(  # type: ignore[override]  # as Quart-Trio declares it
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        """Feed the request body, and cancel the handler if its client leaves.

        Cancellation:
            Cancelled by `handle_request` when the response has been sent.
        """
        await ASGIHTTPConnection.handle_messages(self, request, receive)
        if not self._answered:
            nursery.cancel_scope.cancel()

    async def handle_request(  # type: ignore[override]  # as Quart-Trio declares it
        self, nursery: trio.Nursery, request: Request, send: ASGISendCallable
    ) -> None:
        """Run the handler and send its response.

        Cancellation:
            Comes from a client that left; the response is then not sent.
        """

        async def noting_send(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.body" and not event.get("more_body"):
                self._answered = True
            await send(event)

        await super().handle_request(nursery, request, noting_send)
