"""Recipes: what programs build of locks, events and semaphores, ready to use.

Each takes a `Client` or a `Database` as its first argument and uses nothing but its
primitives, so a recipe works on every server that they work on.
"""

from __future__ import annotations

from ._leader import Election, Leader, LeaderChanges, Term, leader

__all__ = [
    "Election",
    "Leader",
    "LeaderChanges",
    "Term",
    "leader",
]
