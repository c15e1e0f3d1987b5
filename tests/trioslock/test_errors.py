"""The tree in the head of ``_errors.py`` is the tree of the classes."""

from __future__ import annotations

import inspect
import re

import pytest

from trioslock import LockError, LockLost, NotHeld, ServerError, SlockError, _errors


def drawn() -> list[tuple[str, int]]:
    """Names in the drawing, each with its depth."""
    lines = re.findall(r"^ {4}([│├└─ ]*)(\w+)", _errors.__doc__ or "", re.MULTILINE)
    return [(name, len(lines_before) // 4) for lines_before, name in lines]


def test_the_tree_is_drawn_as_it_is() -> None:
    parents: list[str] = []
    for name, depth in drawn():
        error = getattr(_errors, name)
        assert len(error.__mro__) - len(SlockError.__mro__) == depth, name
        del parents[depth:]
        if parents:
            assert error.__bases__[0].__name__ == parents[-1]
        parents.append(name)


def test_every_error_is_in_the_drawing() -> None:
    classes = inspect.getmembers(_errors, inspect.isclass)
    errors = {name for name, it in classes if issubclass(it, Exception)}
    assert {name for name, _ in drawn()} == errors


def test_errors_about_a_key_carry_it() -> None:
    assert NotHeld("gone", key=b"k").key == b"k"
    lost = LockLost("gone", key=b"k", reason="taken")
    assert (lost.key, lost.reason) == (b"k", "taken")
    with pytest.raises(LockError):
        raise lost


def test_an_error_of_the_server_carries_its_code() -> None:
    assert ServerError("no", result=4).result == 4
