"""`open_poll_client` and `PollClient`: what users of the client call."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias, overload

from ._credentials import Credential, Secret
from ._http import Site
from ._publishing import Draft, Json, Published, Publisher
from ._responses import Gap, Message
from ._subscription import Subscription, SubscriptionOptions
from ._transport_choice import TransportKind

__all__ = ["PollClient", "open_poll_client"]

_Transports: TypeAlias = Iterable[Literal["poll", "websocket"]]


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
        transports: _Transports = ...,
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
        transports: _Transports = ...,
    ) -> Subscription[Message | Gap]: ...

    def subscribe(
        self,
        key: str,
        *,
        cursor: str = "new",
        gaps: Literal["raise", "items"] = "raise",
        wait: float = 25.0,
        limit: int = 100,
        transports: _Transports = ("poll", "websocket"),
    ) -> Subscription[Message] | Subscription[Message | Gap]:
        """Follow the messages of a key; each subscription has a connection of its own.

        Args:
            key: The log.
            cursor: "new": messages published after the subscription was entered;
                "all": also those that the server still keeps; or the cursor of an
                earlier subscription, to continue from there.
            gaps: "raise": a gap raises `MessagesLost`, and iterating again continues
                behind it. "items": a gap is an item, a `Gap`.
            wait: Seconds that a poll waits for a message, if nothing cuts it.
            limit: The largest number of messages in a response.
            transports: Those that may be used. Polls are tried first.

        Returns:
            An asynchronous context manager, and the iterator that it opens.

        Raises:
            ValueError: An argument is out of its range.
        """
        if not (wait > 0 and limit > 0):
            raise ValueError("wait and limit must be above 0")
        allowed = frozenset(map(TransportKind, transports))
        if not allowed:
            raise ValueError("at least one transport must be allowed")
        options = SubscriptionOptions(key, cursor, wait, limit, gaps, allowed)
        return Subscription(self._site, self._ticket, options)

    async def publish(
        self,
        key: str,
        data: Json | bytes,
        *,
        id: str | None = None,  # noqa: A002  # the word of the endpoint
        ttl: float | None = None,
    ) -> Published:
        """Publish one message; see `publish_many`.

        Args:
            key: The log.
            data: Text; bytes; or any other value that the `json` module can write.
                Readers get it as `Message.value`.
            id: A name under which the server stores it only once; default: random.
            ttl: Seconds for which it is kept; default: as the server is configured.
        """
        (published,) = await self.publish_many([Draft(key, data, id, ttl)])
        return published

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Published]:
        """Publish messages; those of one key are stored in the order given.

        It is repeated while the server cannot be reached. Each message is stored once.

        Raises:
            Refused: The server does not accept them, or not all of them.
            Unreachable: It was repeated for 300 s.
            TypeError: Some data is neither bytes nor JSON.
            ValueError: Some data has NaN, an infinity or half a surrogate pair.

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
        ticket: Sent to read: the ticket, or an async function that fetches one; it
            is called again when the server no longer accepts the ticket.
        api_key: Sent to publish, in the same two forms.
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
