"""A message in hand until its client has been sent it.

A message that has been popped belongs to the request that popped it. The response then
passes through code that is not ours and may be cancelled at any await, because the
client has left. So the message is tied to the request from the outside: when the
request is over and the body was never handed to the connection, it is given back.

What this cannot see is a client that vanished without a word, or that left while the
bytes were under way: the kernel took them. Only an acknowledgement tells that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ._connection import PollConnection
from .asgi.messages import Response

if TYPE_CHECKING:
    from hypercorn.typing import (
        ASGIReceiveCallable,
        ASGISendCallable,
        ASGISendEvent,
    )

__all__ = ["DeliveringConnection", "Parcel", "parcel_of"]

_SCOPE_KEY = "triopoll.parcel"


class Parcel:
    """What one request has in hand, and whether it has been handed over."""

    __slots__ = ("_answer", "_sent")

    def __init__(self) -> None:
        self._answer: Response | None = None
        self._sent: Callable[[Response], None] = _tell_nobody

    def take(self, answer: Response, sent: Callable[[Response], None]) -> None:
        """Note what is to be sent, and whom to tell that it was."""
        self._answer = answer
        self._sent = sent

    def handed_over(self) -> None:
        """Note that the body is with the connection."""
        if self._answer is not None:
            self._answer.settle(handed_over=True)
            self._sent(self._answer)
            self._answer = None

    def settle(self) -> None:
        """Give back what has not been handed over. The request is over."""
        if self._answer is not None:
            self._answer.settle(handed_over=False)


def _tell_nobody(answer: Response) -> None:
    pass


def parcel_of(scope: Any) -> Parcel:
    """Return the parcel of the request with this ASGI scope."""
    return cast("Parcel", scope[_SCOPE_KEY])


class DeliveringConnection(PollConnection):
    """One HTTP request, with a parcel that is settled when it is over."""

    async def __call__(
        self, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve the request.

        Cancellation:
            What was in hand and has not been sent is given back.
        """
        parcel = Parcel()
        cast("dict[str, Any]", self.scope)[_SCOPE_KEY] = parcel

        async def noting_send(event: ASGISendEvent) -> None:
            await send(event)
            if event["type"] == "http.response.body" and event.get("body"):
                parcel.handed_over()

        try:
            await super().__call__(receive, noting_send)
        finally:
            parcel.settle()
