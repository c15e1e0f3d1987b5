"""Messages that are stored now and appear in their logs later.

Such a message is pending until it is due. A pending message is named by its log and by
its publisher's id, in which it is replaced and cancelled; a message that is in its log
already is not replaced. The move into the log is one step that a crash cannot divide:
a message is pending or in its log, and never both.

Anyone may move what is due: two who do so at the same time move each message once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ._base import StoreError, StoreFull
from ._log_base import Appended, NewMessage

__all__ = [
    "DelayedMessage",
    "DelayedStore",
    "Delivered",
    "DueMessages",
    "PendingLimits",
    "Scheduled",
    "TooManyPending",
]


class TooManyPending(StoreFull):
    """As many messages are pending as may be; nothing was changed."""


@dataclass(frozen=True, slots=True)
class DelayedMessage:
    """A message that appears later.

    Attributes:
        message: With an id: the publisher's, or a random one. Its time to live begins
            when it appears.
        not_before: When it is due: seconds from now, or Unix seconds.
        is_relative: Whether these are seconds from now.
    """

    message: NewMessage
    not_before: float
    is_relative: bool = True

    @property
    def key(self) -> str:
        """The log."""
        return self.message.key

    @property
    def name(self) -> str:
        """The publisher's id of the message."""
        assert self.message.id is not None
        return self.message.id


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A message is pending.

    Attributes:
        due: When it is due, in Unix seconds of the store's clock.
        replaced: It has replaced one that was pending under the same id.
        is_first: It may be due before all others that were pending.
    """

    due: float
    replaced: bool
    is_first: bool


@dataclass(frozen=True, slots=True)
class DueMessages:
    """What is to be moved now, and when to look again.

    Attributes:
        storage: Names the place where the messages are, the same for all who use it;
            "" where none was ever delayed.
        pending: How many messages are pending.
        due: Those that are due, by key, in the order of their times; not all, if there
            are many. `DelayedStore.deliver` takes them.
        pause: Seconds until the next one is due; infinite without any.
    """

    storage: str
    pending: int
    due: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    pause: float = float("inf")


@dataclass(frozen=True, slots=True)
class Delivered:
    """A message was moved into its log.

    Attributes:
        late: Seconds after its time.
    """

    late: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingLimits:
    """How many messages may be pending.

    Attributes:
        per_key: Of one log.
        in_total: Of all logs. In a Redis Cluster it may be exceeded by those that
            several workers store at the same moment.
    """

    per_key: int = 1000
    in_total: int = 100_000


class DelayedStore(Protocol):
    """Pending messages, next to the logs that they will be in."""

    async def schedule(
        self, messages: Sequence[DelayedMessage]
    ) -> list[Scheduled | Appended | StoreError]:
        """Store messages, or replace those that are pending under the same ids.

        Returns:
            For each message, in the order given: when it is due; or the message of
            this id that is in the log already; or the error that it met, which says
            nothing of the others. `TooManyPending` if there is no room,
            `StoreUnreachable` if it may have been stored.

        Cancellation:
            Any of the messages may have been stored.
        """
        ...

    async def cancel(self, key: str, name: str) -> bool | str:
        """Remove a pending message.

        Returns:
            Whether it was pending; or the id of the message in the log, if it was
            stored there within `LogLimits.seen`.

        Raises:
            StoreUnreachable: It may have been removed.
            StoreFailed: It was not removed.

        Cancellation:
            It may have been removed.
        """
        ...

    async def look(self) -> DueMessages:
        """Return what is due.

        Raises:
            StoreError: It cannot be looked at.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def deliver(self, key: str, due: Sequence[str]) -> list[Delivered]:
        """Move messages into their log, in the order given.

        Args:
            key: The log.
            due: From `look`. One that is not pending any more, or due later by now, is
                left out.

        Returns:
            Something for each message that was moved.

        Raises:
            StoreUnreachable: Any of them may have been moved.
            StoreFailed: One of them was not moved, and will be due again in some
                seconds, so that it does not stand before others.

        Cancellation:
            Any of them may have been moved.
        """
        ...
