"""The exceptions form the tree that their module draws."""

from __future__ import annotations

import re

import pytest

import trioslock
from trioslock import _errors


def drawn() -> dict[str, str]:
    """Return each exception in the drawing with its parent."""
    assert _errors.__doc__ is not None
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in _errors.__doc__.splitlines():
        found = re.match(r"^ {4}([│ ├└─]*)([A-Z]\w+)", line)
        if found is None:
            continue
        depth = len(found[1]) // 4
        path[depth:] = [found[2]]
        parents[found[2]] = path[depth - 1] if depth else "Exception"
    return parents


def test_the_drawing_is_true_and_complete() -> None:
    """Each class stands below its base, and none is missing."""
    classes = {
        name: each
        for name, each in vars(_errors).items()
        if isinstance(each, type) and issubclass(each, Exception)
    }
    assert drawn() == {name: each.__base__.__name__ for name, each in classes.items()}


@pytest.mark.parametrize("name", sorted(drawn()))
def test_each_is_public(name: str) -> None:
    """Users catch them by the name in the package."""
    assert getattr(trioslock, name) is getattr(_errors, name)
    assert name in trioslock.__all__


def test_errors_carry_what_they_are_about() -> None:
    """The result code, the key, the reason of a loss."""
    assert trioslock.ServerError("refused", result=11).result == 11
    key = b"k" * 16
    for kind in (trioslock.NotHeld, trioslock.AlreadyHeld):
        error = kind("message", key=key)
        assert (str(error), error.key) == ("message", key)
    lost = trioslock.LockLost("message", key=key, reason="taken")
    assert (lost.key, lost.reason) == (key, "taken")
    with pytest.raises(trioslock.LockError):
        raise lost
