"""File descriptors: each connection needs one, and the system limits them."""

from __future__ import annotations

import logging
import resource

__all__ = ["allow_descriptors", "allowed_descriptors"]

logger = logging.getLogger(__name__)

# Listeners, Redis, slock, clients of the embedded engine, files and pipes.
_OTHER_FILES = 200


def allowed_descriptors(connections: int) -> int:
    """Return how many files this process may open after `allow_descriptors`."""
    needed = connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return max(soft, needed)
    return needed if hard == resource.RLIM_INFINITY else min(needed, hard)


def allow_descriptors(connections: int) -> None:
    """Raise the limit of this process so far that so many connections fit.

    The soft limit is often 1,024 where the hard limit, up to which a process may raise
    it, is a million. A warning is logged where that is not enough.

    Args:
        connections: How many clients may be connected at once.
    """
    allowed = allowed_descriptors(connections)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < connections:
        logger.warning(
            "this process may open %d files, too few for %d connections: raise "
            "the limit (LimitNOFILE, ulimit -n), or lower --max-connections",
            *(allowed, connections),
        )
