"""Each module has a test file of its own, at the mirrored path.

``src/package/room/_module.py`` is tested by ``tests/package/room/test_module.py``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"

# An __init__ has names only; a __main__ is run as a program by the tests.
WITHOUT_CODE = ("__init__.py", "__main__.py")

EXCEPTIONS = {
    **dict.fromkeys(
        [
            "trioslock/aio/_database.py",
            "trioslock/aio/_handles.py",
            "trioslock/aio/_plain.py",
        ],
        "generated, and compared with the trio API by tests/trioslock/test_facades.py",
    ),
    "triopoll/access/attendance.py": "types without behaviour",
    "triopoll/access/refusals.py": "types without behaviour",
    "triopoll/api/v1/state_schemas.py": "types without behaviour",
    "triopoll/asgi/types.py": "types without behaviour",
    "triopoll/core/poll_query.py": "types without behaviour",
    "triopoll/store/_base.py": "types without behaviour",
    "triopoll/store/_delayed_scripts.py": "Lua, tested through the store that runs it",
    "triopoll/store/_held_scripts.py": "Lua, tested through the store that runs it",
    "triopoll/store/_log_scripts.py": "Lua, tested through the store that runs it",
    "triopoll/store/_presence_scripts.py": "Lua, tested through the store that runs it",
    "triopoll/store/_state_scripts.py": "Lua, tested through the store that runs it",
    "triopoll/store/_stream_scripts.py": "Lua, tested through the store that runs it",
}
"""Modules that need no test file, each with its reason."""


def mirrored(module: str) -> Path:
    """Return where the test file of a module belongs."""
    path = Path(module)
    return ROOT / "tests" / path.with_name(f"test_{path.name.lstrip('_')}")


MODULES = [
    str(path.relative_to(SOURCE))
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name not in WITHOUT_CODE
]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_its_test_file(module: str) -> None:
    """And no module stands in a list of exceptions that has one."""
    assert mirrored(module).is_file() != (module in EXCEPTIONS), mirrored(module)


def test_exceptions_are_modules_with_a_reason() -> None:
    assert set(EXCEPTIONS) <= set(MODULES)
    assert all(EXCEPTIONS.values())
