"""A pending response on a connection that waits for it without a task.

Of the request there is left what its response needs: an answer to a wait knows neither
the request's headers nor its body.
"""

from __future__ import annotations

from ..asgi.http_adapter import send_response
from ..asgi.messages import Headers, Parking, Response
from ..asgi.types import Scope, Send
from ..ops.metrics import Metrics
from ..pending import Pending
from .finishing import add_headers, internal_error

__all__ = ["ParkedResponse"]


class ParkedResponse:
    """The `ParkedRequest` of a server, and the `Waiter` for its response.

    Attributes:
        deadline: When the time is over; see `ParkedRequest.deadline`.
    """

    __slots__ = (
        "_headers",
        "_metrics",
        "_parking",
        "_pending",
        "_ready",
        "_route",
        "deadline",
    )

    def __init__(
        self,
        pending: Pending[Response],
        parking: Parking,
        metrics: Metrics,
        route: str,
        headers: Headers,
    ) -> None:
        """Prepare it.

        Args:
            pending: The wait for the response.
            parking: The connection.
            metrics: Where the response is counted.
            route: The template of the endpoint.
            headers: What the pipeline adds to the response.
        """
        self.deadline = pending.deadline
        self._pending = pending
        self._parking = parking
        self._metrics = metrics
        self._route = route
        self._headers = headers
        # A response that only the connection's task can send.
        self._ready: Response | None = None

    def start(self) -> None:
        """Wait; see `ParkedRequest.start`."""
        self._pending.start(self)

    def settle(self, response: Response) -> None:
        """Write the response; see `Waiter.settle`."""
        if response.ack is None:
            try:
                self._finish(response)
                headers = response.framed_headers
                self._parking.respond_now(response.status, headers, response.body)
            except Exception:  # noqa: BLE001  # what has woken it serves others, too
                response = internal_error("GET", self._route)
            else:
                if response.woken is not None:
                    self._metrics.sent(response.woken)
                return
        # Kept until the client has acknowledged it, or an error of ours.
        self._ready = response
        self._parking.call_back()

    def call_back(self) -> None:
        """Go on in the connection's task; see `Waiter.call_back`."""
        self._parking.call_back()

    def expire(self) -> None:
        """Answer that the time is over; see `ParkedRequest.expire`."""
        self.settle(self._pending.expire())

    async def proceed(self, scope: Scope, send: Send) -> bool:
        """Send the response as soon as it exists; see `ParkedRequest.proceed`."""
        response, self._ready = self._ready, None
        if response is None:
            try:
                response = await self._pending.proceed()
            except Exception:  # noqa: BLE001  # one request fails
                self._pending.withdraw()
                response = internal_error("GET", self._route)
            if response is None:
                return False
        self._finish(response)
        await send_response(scope, send, response, self._metrics.sent)
        return True

    def withdraw(self) -> None:
        """End the wait; see `ParkedRequest.withdraw`."""
        self._pending.withdraw()
        if self._ready is not None and self._ready.nack is not None:
            self._ready.nack()

    def _finish(self, response: Response) -> None:
        self._metrics.answers[self._route, response.status] += 1
        response.headers = add_headers(response.headers, self._headers)
