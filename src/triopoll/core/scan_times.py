"""How long people take between scanning a login and confirming it.

Only what this process has changed is known: a state that was scanned through one worker
and confirmed through another one has no time. Memory is bounded.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence

import trio

from .state_rules import CONFIRMED, SCANNED

__all__ = ["ScanTimes"]

# Scans whose confirmation is waited for, and times that are kept.
_OPEN, _TIMES = 4096, 200


class ScanTimes:
    """The latest times from scan to confirmation, in seconds."""

    def __init__(self) -> None:
        """Start without any."""
        self._scanned: OrderedDict[str, float] = OrderedDict()
        self._times: deque[float] = deque(maxlen=_TIMES)

    def __repr__(self) -> str:
        return f"<ScanTimes: {len(self._times)} times, {len(self._scanned)} scans>"

    def note(self, key: str, state: str) -> None:
        """Note that a state was changed through this process.

        Args:
            key: Of the state.
            state: Its new name.
        """
        if state == SCANNED:
            self._scanned[key] = trio.current_time()
            if len(self._scanned) > _OPEN:
                self._scanned.popitem(last=False)
            return
        since = self._scanned.pop(key, None)
        if state == CONFIRMED and since is not None:
            self._times.append(trio.current_time() - since)

    def seconds(self) -> Sequence[float]:
        """Return the latest times, the oldest first."""
        return [round(each, 3) for each in self._times]
