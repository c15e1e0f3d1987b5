"""What a store of messages does, and the errors that all stores raise."""

from __future__ import annotations

from typing import Protocol

__all__ = ["MessageStore", "StoreError", "StoreFailed", "StoreUnreachable"]


class StoreError(Exception):
    """Base of the errors of a store."""


class StoreUnreachable(StoreError):
    """The store cannot be reached, or was lost before it answered."""


class StoreFailed(StoreError):
    """The store answered that it will not do this; for example no list is there."""


class MessageStore(Protocol):
    """Lists of messages by key, each taken from the left by one poll."""

    async def pop(self, key: str) -> bytes | None:
        """Take the message at the head of a list.

        Returns:
            The message, or None where the list is empty or absent.

        Raises:
            StoreUnreachable: Nothing is known of the message.
            StoreFailed: No message was taken.

        Cancellation:
            No message is lost: it stays, or goes back to the head. When this
            returns, the message is the caller's, who owes it a `give_back` if it
            cannot be delivered.
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

    def give_back(self, key: str, message: bytes) -> None:
        """Put a message that was popped back to the head of its list.

        It returns at once and does not fail: the store keeps trying for as long as
        it is open. It is not async so that no cancellation can come between.
        """
        ...

    async def ping(self) -> None:
        """Check that the store answers.

        Raises:
            StoreError: It does not.

        Cancellation:
            Nothing is left behind.
        """
        ...
