"""What a child of ``os.fork`` must not share with its parent.

A child inherits every descriptor. As long as it has a copy of a client's socket, the
server sees an open connection and renews the session leases of a parent that is dead.
So a child closes its copies at once, and the clients in it refuse to be used: what they
would send goes over the connection of the parent.

Programs that are started (``subprocess``) inherit nothing: Python's sockets are closed
by ``exec``, whatever ``close_fds`` says (PEP 446).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Protocol
from weakref import WeakSet


class Inherited(Protocol):
    """Something that a child of ``os.fork`` gets a copy of."""

    def forked(self) -> None:
        """Give up the copy. Called in the child, before any code of its own."""


_inherited: WeakSet[Inherited] = WeakSet()


def give_up_in_children(thing: Inherited) -> None:
    """Call ``thing.forked`` in each child that is forked while ``thing`` lives."""
    _inherited.add(thing)


def _in_child() -> None:
    for thing in tuple(_inherited):
        # One that fails must not keep the others open and usable.
        with suppress(Exception):
            thing.forked()
    _inherited.clear()


# Not on Windows, which has no fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
