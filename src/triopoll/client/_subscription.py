"""The messages of one key, in order, across lost connections.

Nothing is fetched in advance: `__anext__` sends a poll with the cursor of the last
message that the user took, which tells the server that the user has it. This one rule
acknowledges, bounds the memory and makes cancellation safe: an `__anext__` that is
cancelled has not moved the cursor.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, Literal, Self, TypeVar, cast
from urllib.parse import urlencode

import trio

from ._credentials import Credential
from ._errors import (
    ConnectionBroken,
    MessagesLost,
    Refused,
    ServerBusy,
    TransientError,
    UnexpectedResponse,
)
from ._http import HttpConnection, Site
from ._responses import Gap, Message, MessagePage, page_from, read_response
from ._retry_delay import RetryDelay
from ._retry_log import RetryLog
from ._transport_choice import TransportChoice, TransportKind
from ._websocket import WebSocketLink

__all__ = ["Subscription", "SubscriptionOptions"]

_T = TypeVar("_T", bound=Message | Gap)

_SILENT = "the server has not answered"
_NEW = "new"
# Seconds that a response may take beyond the wait that was asked for.
_GRACE = 10.0
# An empty response within less than this part of the wait was not sent by the server,
# unless it says when to ask again.
_EARLY = 0.5


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """What a subscription follows, and how; see `PollClient.subscribe`."""

    key: str
    cursor: str
    wait: float
    limit: int
    gaps: Literal["raise", "items"]
    transports: frozenset[TransportKind]


class Subscription(Generic[_T]):
    """An asynchronous iterator over the messages of one key.

    Enter it to use it: messages published from then on are seen, if the cursor is
    "new". One task at a time may iterate.
    """

    def __init__(
        self, site: Site, credential: Credential, options: SubscriptionOptions
    ) -> None:
        """Prepare; `PollClient.subscribe` does this."""
        self._site = site
        self._credential = credential
        self._options = options
        self._cursor = options.cursor
        self._transport_choice = TransportChoice(options.wait, options.transports)
        self._retry_delay = RetryDelay()
        self._retry_log = RetryLog(f"reading {options.key!r} from {site.authority}")
        self._not_before = 0.0
        # Which cursor "new" is, is answered at once; another question may be parked.
        self._error = _SILENT if options.cursor == _NEW else None
        self._may_renew = True
        # Items to return, each with the cursor that the user has after it.
        self._ready: deque[tuple[Message | Gap, str]] = deque()
        self._http = HttpConnection(site)
        self._link: WebSocketLink | None = None
        self._is_open = self._is_left = False
        self._iterating = False
        # A task that waits for the next message; another one may close meanwhile.
        self._fetching: trio.CancelScope | None = None

    def __repr__(self) -> str:
        return (
            f"<triopoll.client.Subscription {self._options.key!r}: {self.transport}, "
            f"{len(self._ready)} ready, {self._retry_delay.failures} failures, "
            f"cursor {self._cursor}>"
        )

    @property
    def cursor(self) -> str:
        """Return the cursor after the last message that was returned.

        A later subscription continues from it; store it together with the effects of
        the messages.
        """
        return self._cursor

    @property
    def error(self) -> str | None:
        """Return why the last attempt has failed; None if it has not.

        Failed attempts are repeated; this is for a caller whose time is over.
        """
        return self._error

    @property
    def transport(self) -> str:
        """Return ``"websocket"`` while one is open, else ``"poll"``."""
        return "poll" if self._link is None else "websocket"

    async def __aenter__(self) -> Self:
        """Ask the server which cursor "new" is now, until it answers.

        Raises:
            Refused: The server refuses the subscription.

        Cancellation:
            Everything is closed.
        """
        self._is_open = True
        try:
            while self._cursor == _NEW:
                await self._fetch(established=False)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._close()

    def __aiter__(self) -> Self:
        """Return itself; another loop continues where the last one ended."""
        return self

    async def __anext__(self) -> _T:
        """Return the next message, as soon as there is one.

        Lost connections, restarts and slow servers raise nothing; the attempt is
        repeated.

        Raises:
            MessagesLost: There is a gap; the next call continues behind it.
            Refused: The server refuses the subscription.
            trio.BusyResourceError: Another task waits in `__anext__`.
            trio.ClosedResourceError: The subscription has been left.

        Cancellation:
            Nothing has been taken: the next call returns what this one would have.
        """
        if not self._is_open:
            raise trio.ClosedResourceError("enter the subscription to use it")
        if self._iterating:
            raise trio.BusyResourceError("another task waits for the next message")
        self._iterating = True
        try:
            await trio.lowlevel.checkpoint()
            if not self._ready:
                with trio.CancelScope() as self._fetching:
                    while not self._ready:
                        await self._fetch(established=True)
        finally:
            self._iterating = False
            if self._is_left:
                # It may have been opened in the moment of the closing.
                await self._close_link()
        if self._is_left:
            raise trio.ClosedResourceError("the subscription has been left")
        item, self._cursor = self._ready.popleft()
        if isinstance(item, Gap) and self._options.gaps == "raise":
            raise MessagesLost(self._options.key, item.lost)
        return cast("_T", item)

    async def _close(self) -> None:
        self._is_open, self._is_left = False, True
        if self._fetching is not None:
            self._fetching.cancel()
        try:
            await self._close_link()
        finally:
            await self._http.aclose()

    async def _close_link(self) -> WebSocketLink | None:
        link, self._link = self._link, None
        if link is not None:
            await link.aclose()
        return link

    async def _fetch(self, *, established: bool) -> None:
        """Ask the server once. An error decides when and how to ask next."""
        await trio.sleep_until(self._not_before)
        now = trio.current_time()
        transport = self._transport_choice.transport(now)
        try:
            if transport is TransportKind.WEBSOCKET:
                await self._read_websocket()
            else:
                await self._poll(
                    self._transport_choice.wait(now) if established else 0.0
                )
        except TransientError as error:
            await self._recover(transport, now, error)
        except Refused as refused:
            if transport is TransportKind.WEBSOCKET:
                await self._drop_link(trio.current_time())
            await self._renew(refused)

    async def _poll(self, wait: float) -> None:
        options = self._options
        parameters = {"key": options.key, "cursor": self._cursor}
        query = urlencode({**parameters, "timeout": f"{wait:g}", "max": options.limit})
        started = trio.current_time()
        response = await self._http.request(
            "GET",
            f"/v1/messages?{query}",
            await self._credential.headers(),
            seconds=wait + _GRACE,
        )
        page = page_from(read_response(response))
        lasted = trio.current_time() - started
        if _is_early(page, wait, lasted):
            raise ConnectionBroken("an empty response, far too early")
        self._transport_choice.poll_served()
        if page.draining:
            raise ServerBusy("the server restarts", page.retry)
        self._accept(page)

    async def _read_websocket(self) -> None:
        link = self._link or await self._open_link()
        if self._cursor == _NEW:
            self._cursor = link.cursor
            return
        self._accept(await link.page_after(self._cursor))

    async def _open_link(self) -> WebSocketLink:
        options = self._options
        headers = await self._credential.headers()
        link = WebSocketLink(
            self._site, headers, options.key, self._cursor, options.limit
        )
        await link.open()
        if (
            isinstance(link.failure, Refused)
            and TransportKind.POLL in options.transports
        ):
            # A poll asks for the same, and its response decides.
            raise ConnectionBroken(f"the websocket is refused: {link.failure}")
        if link.failure is not None:
            raise link.failure
        self._link = link
        self._error = None
        self._may_renew = True
        self._retry_log.worked()
        await self._http.aclose()
        return link

    def _accept(self, page: MessagePage) -> None:
        if page.end_code is not None:
            raise Refused(200, page.end_code, "the server ended the wait")
        self._retry_delay.reset()
        self._retry_log.worked()
        self._error = None
        self._may_renew = True
        self._not_before = trio.current_time() + page.retry
        # A gap does not move the cursor: it is reported again to a user who stores it.
        items: list[tuple[Message | Gap, str]] = (
            [] if page.gap is None else [(page.gap, self._cursor)]
        )
        items += [(message, message.id) for message in page.messages]
        if items:
            items[-1] = items[-1][0], page.cursor
            self._ready.extend(items)
        else:
            self._cursor = page.cursor

    async def _recover(
        self, transport: TransportKind, since: float, error: TransientError
    ) -> None:
        now = trio.current_time()
        self._error = str(error)
        if transport is TransportKind.WEBSOCKET:
            await self._drop_link(now)
        elif isinstance(error, ConnectionBroken | UnexpectedResponse):
            self._transport_choice.poll_cut(now, now - since)
        delay = self._retry_delay.next(error.retry)
        self._not_before = now + delay
        self._retry_log.failed(error, delay)

    async def _drop_link(self, now: float) -> None:
        link = await self._close_link()
        worked_at = None if link is None else link.worked_at
        self._transport_choice.websocket_ended(
            now, None if worked_at is None else now - worked_at
        )

    async def _renew(self, refused: Refused) -> None:
        """Let another ticket be fetched, once, if the server rejects this one."""
        stale = refused.status == 401 or refused.code == "ticket_expired"
        if not (stale and self._credential.renewable and self._may_renew):
            raise refused
        self._may_renew = False
        self._credential.forget()
        self._not_before = trio.current_time() + self._retry_delay.next()


def _is_early(page: MessagePage, asked: float, lasted: float) -> bool:
    if page.messages or page.gap or page.end_code or page.retry or page.draining:
        return False
    granted = asked if page.wait is None else min(asked, page.wait)
    return lasted < granted * _EARLY
