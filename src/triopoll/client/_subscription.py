"""The messages of one key, in order, whatever happens on the way.

Nothing is fetched before the user asks for it: a poll goes out from `__anext__`, with
the cursor of the last message that the user took, and so says that the user has it.
That is all there is to acknowledgement, to bounded memory and to cancellation: an
`__anext__` that is cancelled has moved nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar, cast
from urllib.parse import urlencode

import trio

from ._choice import Choice, Transport
from ._credentials import Credential
from ._errors import Busy, Cut, Interrupted, MessagesLost, NotOurs, Refused
from ._http import HttpConnection, Site
from ._pause import Pause
from ._websocket import WebSocketLink
from ._wire import Gap, Message, Page, page_from, read_answer

__all__ = ["Subscription", "SubscriptionPlan"]

_T = TypeVar("_T", bound=Message | Gap)

_log = logging.getLogger("triopoll.client")

_NEW = "new"
# Seconds that an answer may take beyond the wait that was asked for.
_GRACE = 10.0
# An empty answer that came in less than this part of the wait is none of the server's
# making, unless it says when to ask again.
_EARLY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionPlan:
    """What to follow, and how.

    Attributes:
        key: The log.
        cursor: From where: "new", "all", or one from a message.
        wait: Seconds that a poll asks for.
        limit: Messages that a page may hold.
        gaps: Whether a gap is raised, or is an item like a message.
        transports: Those that may be used.
    """

    key: str
    cursor: str
    wait: float
    limit: int
    gaps: Literal["raise", "items"]
    transports: frozenset[Transport]


class Subscription(Generic[_T]):
    """An asynchronous iterator over the messages of one key.

    Enter it to use it: messages published from then on are seen, if the cursor is
    "new". One task at a time may iterate.
    """

    def __init__(
        self, site: Site, credential: Credential, plan: SubscriptionPlan
    ) -> None:
        """Prepare; `PollClient.subscribe` does this."""
        self._site = site
        self._credential = credential
        self._plan = plan
        self._cursor = plan.cursor
        self._choice = Choice(plan.wait, plan.transports)
        self._pause = Pause()
        self._not_before = 0.0
        self._may_renew = True
        # What to hand out, and the cursor that the user has then.
        self._ready: deque[tuple[Message | Gap, str]] = deque()
        self._http = HttpConnection(site)
        self._link: WebSocketLink | None = None
        self._links = trio.open_nursery()
        self._nursery: trio.Nursery | None = None
        self._iterating = False

    def __repr__(self) -> str:
        return (
            f"<triopoll.client.Subscription {self._plan.key!r}: {self.transport}, "
            f"{len(self._ready)} ready, {self._pause.failures} failures, "
            f"cursor {self._cursor}>"
        )

    @property
    def cursor(self) -> str:
        """Return the place behind the last message that was handed out.

        Keep it with what the messages changed, and a later subscription goes on from
        there.
        """
        return self._cursor

    @property
    def transport(self) -> str:
        """Return ``"websocket"`` while one is open, else ``"poll"``."""
        used = Transport.POLL if self._link is None else Transport.WEBSOCKET
        return str(used.value)

    async def __aenter__(self) -> Self:
        """Find out where "new" begins, for as long as it takes.

        Raises:
            Refused: The server will not serve this.

        Cancellation:
            Everything is closed.
        """
        self._nursery = await self._links.__aenter__()
        try:
            while self._cursor == _NEW:
                await self._look(established=False)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection, whichever it is."""
        await self._close()

    def __aiter__(self) -> Self:
        """Return itself; a new loop goes on where the last one ended."""
        return self

    async def __anext__(self) -> _T:
        """Return the next message, as soon as there is one.

        Lost connections, restarts and slow servers are not told of: it goes on trying.

        Raises:
            MessagesLost: There is a gap; the next call goes on behind it.
            Refused: The server will not serve this.
            trio.BusyResourceError: Another task is in here.
            trio.ClosedResourceError: The subscription has been left.

        Cancellation:
            Nothing has been taken: the next call returns what this one would have.
        """
        if self._nursery is None:
            raise trio.ClosedResourceError("enter the subscription to use it")
        if self._iterating:
            raise trio.BusyResourceError("another task waits for the next message")
        self._iterating = True
        try:
            await trio.lowlevel.checkpoint()
            while not self._ready:
                await self._look(established=True)
        finally:
            self._iterating = False
        item, self._cursor = self._ready.popleft()
        if isinstance(item, Gap) and self._plan.gaps == "raise":
            raise MessagesLost(self._plan.key, item.lost)
        return cast("_T", item)

    async def _close(self) -> None:
        nursery, self._nursery = self._nursery, None
        assert nursery is not None
        # The body's error, or its cancellation, leaves as it is: it is not led through
        # the nursery, which would put it into a group.
        nursery.cancel_scope.shield = True
        nursery.cancel_scope.cancel()
        try:
            await self._links.__aexit__(None, None, None)
        finally:
            await self._http.aclose()

    async def _look(self, *, established: bool) -> None:
        """Ask once; what went wrong is noted, and decides when and how to ask next."""
        await trio.sleep_until(self._not_before)
        now = trio.current_time()
        transport = self._choice.transport(now)
        try:
            if transport is Transport.WEBSOCKET:
                await self._ask_websocket()
            else:
                await self._ask_poll(self._choice.wait(now) if established else 0.0)
        except Interrupted as trouble:
            self._recover(transport, now, trouble)
        except Refused as refused:
            await self._renew(refused)

    async def _ask_poll(self, wait: float) -> None:
        plan = self._plan
        query = urlencode(
            {
                "key": plan.key,
                "cursor": self._cursor,
                "timeout": f"{wait:g}",
                "max": plan.limit,
            }
        )
        started = trio.current_time()
        response = await self._http.request(
            "GET",
            f"/v1/messages?{query}",
            await self._credential.headers(),
            patience=wait + _GRACE,
        )
        page = page_from(read_answer(response))
        lasted = trio.current_time() - started
        if _is_early(page, wait, lasted):
            raise Cut("an empty answer, far too early")
        self._choice.poll_served()
        if page.draining:
            raise Busy("the server restarts", page.retry)
        self._take(page)

    async def _ask_websocket(self) -> None:
        link = self._link or await self._open_link()
        if self._cursor == _NEW:
            self._cursor = link.cursor
            return
        self._take(await link.page_after(self._cursor))

    async def _open_link(self) -> WebSocketLink:
        assert self._nursery is not None
        plan = self._plan
        headers = await self._credential.headers()
        link = WebSocketLink(self._site, headers, plan.key, self._cursor, plan.limit)
        await self._nursery.start(link.run)
        if link.failure is not None:
            raise Cut(link.failure)
        self._link = link
        await self._http.aclose()
        return link

    def _take(self, page: Page) -> None:
        if page.why is not None:
            raise Refused(200, page.why, "the server ended the wait")
        self._pause.reset()
        self._may_renew = True
        self._not_before = trio.current_time() + page.retry
        items: list[Message | Gap] = [*page.messages]
        if page.gap is not None:
            items.insert(0, page.gap)
        if not items:
            self._cursor = page.cursor
            return
        # Behind a gap the old cursor still holds: who keeps it is told again.
        cursors = [
            each.id if isinstance(each, Message) else self._cursor for each in items
        ]
        cursors[-1] = page.cursor
        self._ready.extend(zip(items, cursors, strict=True))

    def _recover(
        self, transport: Transport, since: float, trouble: Interrupted
    ) -> None:
        now = trio.current_time()
        if transport is Transport.WEBSOCKET:
            link, self._link = self._link, None
            worked_at = None if link is None else link.worked_at
            self._choice.websocket_ended(
                now, None if worked_at is None else now - worked_at
            )
        elif isinstance(trouble, Cut | NotOurs):
            self._choice.poll_cut(now, now - since)
        pause = self._pause.next(trouble.retry if isinstance(trouble, Busy) else 0.0)
        self._not_before = now + pause
        _log.info(
            "%s of %r: %s; again in %.1f s",
            transport.value,
            self._plan.key,
            trouble,
            pause,
        )

    async def _renew(self, refused: Refused) -> None:
        """Fetch another ticket, once, if the one that was shown is no longer good."""
        stale = refused.status == 401 or refused.code == "ticket_expired"
        if not (stale and self._credential.renewable and self._may_renew):
            raise refused
        self._may_renew = False
        self._credential.forget()
        self._not_before = trio.current_time() + self._pause.next()


def _is_early(page: Page, asked: float, lasted: float) -> bool:
    if page.messages or page.gap or page.why or page.retry or page.draining:
        return False
    granted = asked if page.wait is None else min(asked, page.wait)
    return lasted < granted * _EARLY
