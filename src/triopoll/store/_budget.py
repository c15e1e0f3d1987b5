"""How many bytes may be kept in memory, by all that keep some there."""

from __future__ import annotations

from ._base import StoreFull

__all__ = ["Budget"]


class Budget:
    """Count bytes, and refuse those beyond the limit."""

    def __init__(self, limit: int = 64 * 2**20) -> None:
        """Start with nothing taken."""
        self.limit = limit
        self.taken = 0

    def has(self, size: int) -> bool:
        """Return whether so many bytes more may be taken."""
        return self.taken + size <= self.limit

    def take(self, size: int) -> None:
        """Take bytes.

        Raises:
            StoreFull: There are not as many left.
        """
        if not self.has(size):
            raise StoreFull(f"the memory store is full ({self.limit} bytes)")
        self.taken += size

    def free(self, size: int) -> None:
        """Leave bytes to others."""
        self.taken -= size
