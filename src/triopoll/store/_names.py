"""What our keys in Redis are called."""

from __future__ import annotations

__all__ = ["Names"]


class Names:
    """The names of all keys that are ours, below one prefix.

    A name has at most one part that comes from a user, at its end, or says how long
    the first one is; so no two users' parts can make the same name.
    """

    def __init__(self, prefix: str) -> None:
        """Use a prefix that nobody else uses in this database."""
        self.prefix = prefix
        self.epoch = f"{prefix}epoch"
        self.workers = f"{prefix}workers"
        self.places = f"{prefix}places"

    def alive(self, worker: str) -> str:
        """Return the string that is there while a worker is alive."""
        return f"{self.prefix}worker:{worker}"

    def held(self, worker: str) -> str:
        """Return the hash with what a worker holds."""
        return f"{self.prefix}held:{worker}"

    def log(self, key: str) -> str:
        """Return the stream with the messages of a log."""
        return f"{self.prefix}log:{key}"

    def meta(self, key: str) -> str:
        """Return the hash with the numbers of a log."""
        return f"{self.prefix}meta:{key}"

    def seen(self, key: str, name: str | None) -> str:
        """Return the string with the id of a publisher's message; "" without one."""
        return "" if name is None else f"{self.prefix}seen:{len(key)}:{key}:{name}"
