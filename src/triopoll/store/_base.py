"""What a store of messages does, and the errors that all stores raise."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = [
    "Delivery",
    "MessageStore",
    "StoreError",
    "StoreFailed",
    "StoreFull",
    "StoreUnreachable",
]


class StoreError(Exception):
    """Base of the errors of a store."""


class StoreUnreachable(StoreError):
    """The store cannot be reached or cannot serve now, or was lost before it answered.

    The same may succeed later.
    """


class StoreFailed(StoreError):
    """The store answered that it will not do this; for example no list is there."""


class StoreFull(StoreFailed):
    """The store has no room for what should be stored; nothing was changed."""


class Delivery(NamedTuple):
    """A message that was taken from its list, and is held until it is acknowledged.

    Attributes:
        key: Of the list.
        data: The message.
        tag: Names this delivery among those of this process.
    """

    key: str
    data: bytes
    tag: int


class MessageStore(Protocol):
    """Lists of messages by key, each taken from the left by one poll.

    A message that was taken is held for the process until it is acknowledged, or
    returned by `nack`. If the process ends before that, others return it: its place is
    again the head of its list, before all that is there by then, and in the order in
    which messages were taken. A client that had been sent a message which was not yet
    acknowledged gets it twice; there are at most as many of them as answers that were
    under way.
    """

    async def pop(self, key: str) -> Delivery | None:
        """Take the message at the head of a list.

        Returns:
            The message, or None where the list is empty or absent.

        Raises:
            StoreUnreachable: If a message was taken, it goes back to the head.
            StoreFailed: No message was taken.

        Cancellation:
            No message is lost: it stays, or goes back to the head. When this
            returns, the caller has the message and must call `ack` or `nack`.
        """
        ...

    async def push(self, key: str, message: bytes) -> int:
        """Append a message at the tail of a list.

        Returns:
            The new length of the list.

        Raises:
            StoreUnreachable: The message may have been appended.
            StoreFailed: It was not appended.

        Cancellation:
            The message may have been appended.
        """
        ...

    def ack(self, delivery: Delivery) -> None:
        """Let go of a message that was handed to its client.

        It returns at once and does not fail, as `nack`.
        """
        ...

    def nack(self, delivery: Delivery) -> None:
        """Put a message back to the head of its list, unless it is not held any more.

        It returns at once and does not fail: the store keeps trying for as long as
        it is open. It is not async so that no cancellation can come between.
        """
        ...

    async def run(self) -> None:
        """Show that this process is alive, and return what dead ones held.

        Run it for as long as messages are taken.

        Cancellation:
            The only end. What is held stays so until the store is closed.
        """
        ...

    async def ping(self) -> None:
        """Check that the store would take a message.

        Raises:
            StoreError: It would not; the class says why, as for `push`.

        Cancellation:
            Nothing is left behind.
        """
        ...
