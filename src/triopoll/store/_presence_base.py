"""Who waits on a key: each worker reports its own waits, and all reports are merged.

A report has all waits of one key in one worker, and counts for a limited time. So a
worker that dies is forgotten, and what the store has lost comes back with the next
report.

While the changes of a key are recorded, each report that changes the merged result
appends a message to a log (`changes_key`), in the same step: a JSON object with
`joined` and `left`, lists of subjects, and with `count` and `anonymous`, as they are
now. Where the recording begins, the message is `{"reset":true}`: changes before it
were not recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from triopoll.settings import PRESENCE_NAME

__all__ = ["LEASE", "RECORD", "FoundWaiting", "PresenceStore", "Waiting", "changes_key"]

# Seconds for which a report counts: workers repeat it before half of them are over, so
# one that is lost does no harm. And for which changes are recorded after a look.
LEASE = 20.0
RECORD = 600.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits on a key.

    Attributes:
        subjects: Of their tickets, each once, in order.
        anonymous: Waits without a subject.
    """

    subjects: tuple[str, ...] = ()
    anonymous: int = 0

    @property
    def count(self) -> int:
        """Return how many wait: each subject counts once."""
        return len(self.subjects) + self.anonymous


class FoundWaiting(NamedTuple):
    """What a look has found.

    Attributes:
        waiting: Who waits on the key, in all workers.
        is_recorded: The look has appended a message to the log of changes.
    """

    waiting: Waiting
    is_recorded: bool


class PresenceStore(Protocol):
    """Merges what workers report of their waits."""

    async def report(self, waiting: Mapping[str, Waiting]) -> Sequence[str]:
        """Replace what this worker has reported of some keys.

        Args:
            waiting: All that wait on each key in this worker; nobody: it is removed.

        Returns:
            The keys whose logs of changes have a new message.

        Raises:
            StoreError: Any of the keys may have been reported.

        Cancellation:
            Any of the keys may have been reported.
        """
        ...

    async def look(
        self, keys: Sequence[str], *, record: bool = False
    ) -> list[FoundWaiting]:
        """Return who waits on each key, in order.

        Reports whose time is over are removed, and that is recorded, if changes are.

        Args:
            keys: Any keys.
            record: Whether changes are recorded for `RECORD` seconds from now on.

        Raises:
            StoreError: They could not be read.

        Cancellation:
            Changes may be recorded.
        """
        ...


def changes_key(key: str) -> str:
    """Return the key of the log that has the changes of another one."""
    return PRESENCE_NAME + key
