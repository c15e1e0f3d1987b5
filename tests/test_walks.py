"""The pages that follow a request name functions that are there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

PAGES = Path(__file__).parent.parent / "docs" / "explanation"
NAME = re.compile(r"`((?:trioslock|triopoll)(?:\.\w+)+)`")
"""A dotted name in backticks, such as ``trioslock.link._link.Link.post``."""

WALKS = ("how-a-lock-travels.md", "how-a-poll-travels.md")


def find(name: str) -> Any:
    """Return what a dotted name stands for: a module, or something in one.

    Raises:
        ImportError: There is no such module.
        AttributeError: The module has nothing of that name.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            # A module that is there, and cannot import another one, is a failure.
            if not name.startswith(str(error.name)):
                raise
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return found
    raise ImportError(name)


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md")))
def test_every_name_on_a_page_is_there(page: str) -> None:
    missing = []
    for name in NAME.findall((PAGES / page).read_text()):
        try:
            find(name)
        except (ImportError, AttributeError):
            missing.append(name)
    assert not missing


@pytest.mark.parametrize("page", WALKS)
def test_a_walk_names_functions(page: str) -> None:
    names = set(NAME.findall((PAGES / page).read_text()))
    assert len([name for name in names if callable(find(name))]) >= 15


def test_a_name_that_is_not_there_is_found_out() -> None:
    with pytest.raises(AttributeError):
        find("trioslock.primitives._lock.Lock.acquire_slowly")
    with pytest.raises(AttributeError):
        find("trioslock.primitives._slow_lock")
    assert find("trioslock.primitives._lock").__name__ == "trioslock.primitives._lock"
