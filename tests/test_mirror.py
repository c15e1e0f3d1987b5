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
    "triopoll/asgi/types.py": "types without behaviour",
}
"""Modules that need no test file, each with its reason."""

# To be emptied for issue 10; then the set goes, and with it every use of it.
NOT_YET = {
    "triopoll/access/refusals.py",
    "triopoll/core/poll_query.py",
    "triopoll/server/config.py",
    "triopoll/server/errors.py",
    "triopoll/server/http_cycle.py",
    "triopoll/server/supervisor.py",
    "triopoll/store/_base.py",
    "triopoll/store/_budget.py",
    "triopoll/store/_claim.py",
    "triopoll/store/_executors.py",
    "triopoll/store/_gather.py",
    "triopoll/store/_held_scripts.py",
    "triopoll/store/_log_base.py",
    "triopoll/store/_log_scripts.py",
    "triopoll/store/_names.py",
    "triopoll/store/_open.py",
    "triopoll/store/_scripts.py",
}
"""Modules whose test file is still to be written."""


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
    excepted = module in EXCEPTIONS or module in NOT_YET
    assert mirrored(module).is_file() != excepted, mirrored(module)


def test_exceptions_are_modules_with_a_reason() -> None:
    assert set(EXCEPTIONS) | NOT_YET <= set(MODULES)
    assert all(EXCEPTIONS.values())
