"""The client's front door."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Literal, overload

from ._choice import Transport
from ._credentials import Credential, Secret
from ._http import Site
from ._publishing import Draft, Published, Publisher
from ._subscription import Subscription, SubscriptionPlan
from ._wire import Gap, Message

__all__ = ["PollClient", "open_poll_client"]

_EVERY: tuple[Literal["poll", "websocket"], ...] = ("poll", "websocket")


class PollClient:
    """Subscriptions to the keys of one server, and publishing to them."""

    def __init__(self, site: Site, ticket: Credential, api_key: Credential) -> None:
        """Use what `open_poll_client` has read."""
        self._site = site
        self._ticket = ticket
        self._publisher = Publisher(site, api_key)

    def __repr__(self) -> str:
        return f"<triopoll.client.PollClient: {self._site.authority}>"

    @overload
    def subscribe(
        self,
        key: str,
        *,
        cursor: str = ...,
        gaps: Literal["raise"] = ...,
        wait: float = ...,
        limit: int = ...,
        transports: Iterable[Literal["poll", "websocket"]] = ...,
    ) -> Subscription[Message]: ...

    @overload
    def subscribe(
        self,
        key: str,
        *,
        cursor: str = ...,
        gaps: Literal["items"],
        wait: float = ...,
        limit: int = ...,
        transports: Iterable[Literal["poll", "websocket"]] = ...,
    ) -> Subscription[Message | Gap]: ...

    def subscribe(
        self,
        key: str,
        *,
        cursor: str = "new",
        gaps: Literal["raise", "items"] = "raise",
        wait: float = 25.0,
        limit: int = 100,
        transports: Iterable[Literal["poll", "websocket"]] = _EVERY,
    ) -> Subscription[Message] | Subscription[Message | Gap]:
        """Follow the messages of a key; each subscription has its own connection.

        Args:
            key: The log.
            cursor: "new": what is published once the subscription has been entered;
                "all": also what the server still keeps; or the cursor of an earlier
                subscription, to go on from there.
            gaps: What becomes of a gap: "raise" `MessagesLost`, after which iterating
                again goes on behind it; or "items": it is an item, a `Gap`.
            wait: Seconds that a poll waits for a message, if nothing cuts it.
            limit: Messages that are fetched at once, at most.
            transports: What may be used. Polls are tried first.

        Returns:
            An asynchronous context manager, and the iterator that it opens.

        Raises:
            ValueError: An argument is out of its range.
        """
        if not (wait > 0 and limit > 0):
            raise ValueError("wait and limit must be above 0")
        allowed = frozenset(map(Transport, transports))
        if not allowed:
            raise ValueError("at least one transport must be allowed")
        plan = SubscriptionPlan(
            key=key,
            cursor=cursor,
            wait=wait,
            limit=limit,
            gaps=gaps,
            transports=allowed,
        )
        return Subscription(self._site, self._ticket, plan)

    async def publish(
        self,
        key: str,
        data: str | bytes,
        *,
        id: str | None = None,  # noqa: A002  # the word of the endpoint
        ttl: float | None = None,
    ) -> Published:
        """Publish one message; see `publish_many`."""
        (published,) = await self.publish_many([Draft(key, data, id, ttl)])
        return published

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Published]:
        """Publish messages; those of one key are stored in the order given.

        It is tried again while the server cannot be reached, and stored once.

        Raises:
            Refused: The server does not take them, or not all of them.
            Unreachable: It has been tried for 300 s.

        Cancellation:
            Any of them may be stored. Publishing the same drafts again is harmless if
            they have ids.
        """
        return await self._publisher.publish(drafts)

    async def aclose(self) -> None:
        """Close the connection for publishing; subscriptions have their own."""
        await self._publisher.aclose()


@asynccontextmanager
async def open_poll_client(
    url: str,
    *,
    ticket: Secret = None,
    api_key: Secret = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[PollClient]:
    """Open a client of the server at this URL; nothing is sent yet.

    Args:
        url: ``http://HOST:PORT`` or ``https://...``, with a path where the service is
            below one.
        ticket: Shown to read: the ticket, or an async function that fetches one; it
            is called again when the server no longer takes the ticket.
        api_key: Shown to publish, in the same two forms.
        tls: For https, instead of the system's certificates.

    Raises:
        ValueError: The URL is not of this form.

    Cancellation:
        Connections are closed.
    """
    client = PollClient(Site.parse(url, tls), Credential(ticket), Credential(api_key))
    try:
        yield client
    finally:
        await client.aclose()
