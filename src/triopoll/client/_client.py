"""`open_poll_client` and `PollClient`: what users of the client call."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Literal, TypeAlias, overload

from ._credentials import Credential, Secret
from ._http import Site
from ._presence import Presence, PresenceReader
from ._publishing import Draft, Json, Published, Publisher
from ._responses import Gap, Message
from ._states import ChangedState, CreatedState, StateClient, StateOrigin, StateWatch
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
        self._presence = PresenceReader(site, api_key)
        self._states = StateClient(site, api_key)

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
        not_before: float | datetime | None = None,
    ) -> Published:
        """Publish one message; see `publish_many`.

        Args:
            key: The log.
            data: Text; bytes; or any other value that the `json` module can write.
                Readers get it as `Message.value`.
            id: A name under which the server stores it only once; default: random. A
                message with the name of a pending one replaces that.
            ttl: Seconds for which it is kept; default: as the server is configured.
            not_before: When readers get it: seconds after the server has received it,
                or a time with a zone; default: at once.
        """
        draft = Draft(key, data, id, ttl, not_before)
        (published,) = await self.publish_many([draft])
        return published

    async def publish_many(self, drafts: Sequence[Draft]) -> list[Published]:
        """Publish messages; those of one key are stored in the order given.

        It is repeated while the server cannot be reached. Each message is stored once.

        Raises:
            Refused: The server does not accept them, or not all of them.
            Unreachable: It was repeated for 300 s.
            TypeError: Some data is neither bytes nor JSON.
            ValueError: Some data has NaN, an infinity or half a surrogate pair, or a
                time has no zone.

        Cancellation:
            Any of them may be stored. Publishing the same drafts again is harmless if
            they have ids.
        """
        return await self._publisher.publish(drafts)

    async def cancel(self, id: str) -> bool:  # noqa: A002  # the word of the endpoint
        """Cancel a pending message. It is repeated while the server is away.

        Args:
            id: From `Published.id`.

        Returns:
            Whether it was pending. False also if it was cancelled before, by an attempt
            whose response was lost.

        Raises:
            Refused: 409: readers have it already; or the server does not accept it.
            Unreachable: It was repeated for 300 s.

        Cancellation:
            It may have been cancelled.
        """
        return await self._publisher.cancel(id)

    async def presence(self, key: str) -> Presence:
        """Return who waits on a key now; a client that polls in a loop is one of them.

        Args:
            key: The key, which the API key must grant.

        Raises:
            Refused: 404: the server does not keep who waits on it; or it does not
                accept the request.
            Unreachable: It was repeated for 300 s.

        Cancellation:
            Nothing is left behind.
        """
        return await self._presence.read(key)

    async def create_state(
        self,
        *,
        ttl: float | None = None,
        data: Json = None,
        state: str | None = None,
        moves: Mapping[str, Sequence[str]] | None = None,
        match: bool = False,
        confirm_within: float | None = None,
    ) -> CreatedState:
        """Create a state.

        Args:
            ttl: Seconds until it expires, 1 to 600; default: 300.
            data: What its page reads with it.
            state: Its first name; default: "pending".
            moves: The moves that are allowed, by state; default: all.
            match: Whether the move to "confirmed" needs a number.
            confirm_within: Seconds from the move to "scanned" until it expires;
                default: 60.

        Raises:
            Refused: The server does not accept it.
            Unreachable: It was repeated for 300 s.

        Cancellation:
            It may have been created; nothing knows its key then.
        """
        fields = {
            "ttl": ttl,
            "data": data,
            "state": state,
            "moves": moves,
            "match": match,
            "confirm_within": confirm_within,
        }
        return await self._states.create(fields)

    async def set_state(
        self,
        key: str,
        state: str,
        *,
        data: Json = None,
        if_version: int | None = None,
        final: bool = False,
        ttl: float | None = None,
        choice: int | None = None,
    ) -> ChangedState:
        """Change a state, and wake its page.

        A request whose response was lost is sent again. Give `if_version`, so that it
        is not made twice: if the first one was made, the second is refused.

        Args:
            key: From its creation.
            state: Its new name.
            data: What its page reads with it.
            if_version: Change only this version.
            final: Whether nothing may change it afterwards.
            ttl: Seconds from now until it expires; default: as before.
            choice: With `match`, for the move to "confirmed": the number that was
                chosen.

        Raises:
            Refused: 404: the key is unknown; 409: the state is another one, or the
                choice was wrong.
            Unreachable: It was repeated for 300 s.

        Cancellation:
            It may have been changed.
        """
        fields = {
            "state": state,
            "data": data,
            "if_version": if_version,
            "final": final,
            "ttl": ttl,
            "choice": choice,
        }
        return await self._states.change(key, fields)

    def watch_state(
        self, key: str, poll_secret: str, *, version: int = 0, wait: float = 25.0
    ) -> StateWatch:
        """Follow a state until it is final, over a connection of its own.

        Args:
            key: From its creation.
            poll_secret: As well. It is the only credential that is sent.
            version: The version that is known; 0 returns the present one at once.
            wait: Seconds that a poll waits for another version.

        Returns:
            An asynchronous context manager, and the iterator that it opens.

        Raises:
            ValueError: An argument is out of its range.
        """
        if not (wait > 0 and version >= 0):
            raise ValueError("wait must be above 0, and version not below it")
        return StateWatch(self._site, key, poll_secret, version=version, wait=wait)

    async def ack_state(self, key: str, poll_secret: str, version: int) -> None:
        """Acknowledge a final state: its data is deleted. A second time is harmless.

        Raises:
            Refused: 404: the key is unknown, or the secret is another one; 409: the
                state is not final, or has another version.
            Unreachable: It was repeated for 300 s.

        Cancellation:
            It may have been acknowledged.
        """
        await self._states.acknowledge(key, poll_secret, version)

    async def state_origin(self, key: str) -> StateOrigin:
        """Return where a state was created, to be shown before it is confirmed.

        Raises:
            Refused: 404: the key is unknown.
            Unreachable: It was repeated for 300 s.

        Cancellation:
            Nothing is left behind.
        """
        return await self._states.origin(key)

    async def aclose(self) -> None:
        """Close the connections of publishers; subscriptions have their own."""
        await self._publisher.aclose()
        await self._presence.aclose()
        await self._states.aclose()


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
