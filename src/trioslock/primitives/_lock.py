"""A lock that one holder at a time has, among all clients of the server."""

from __future__ import annotations

from ._acquirable import ExclusiveHandle


class Lock(ExclusiveHandle):
    """A handle on a key that one holder at a time has.

    It keeps no state and may be shared: each acquisition has a grant of its own.
    """
