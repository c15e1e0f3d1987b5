"""The one error of a nursery, instead of a group that holds nothing else."""

from __future__ import annotations

from typing import cast

__all__ = ["only_error"]


def only_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error in a group, or the group if there are more."""
    if len(group.exceptions) != 1:
        return group
    only = group.exceptions[0]
    if not isinstance(only, BaseExceptionGroup):
        return only
    return only_error(cast("BaseExceptionGroup[BaseException]", only))
