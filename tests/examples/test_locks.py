"""The tutorial of locks, step by step as a reader does it, in as many terminals."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from tests.examples.terminals import Desk, Line, lines_of
from tests.services import find_free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "a-lock-across-machines.md"
PROGRAMS = ROOT / "examples" / "locks"
LINES = lines_of(PAGE)


def test_every_program_is_in_the_tutorial() -> None:
    """It is shown, and it is run."""
    names = {path.name for path in PROGRAMS.glob("*.py")}
    assert names
    run = {line.text.split("/")[-1].split()[0] for line in LINES if ".py" in line.text}
    assert run == names
    text = PAGE.read_text()
    assert [name for name in names if f"../../examples/locks/{name}" not in text] == []


def test_the_tutorial(tmp_path: Path) -> None:
    """All is printed that the page shows, in its order, and nothing else."""
    port = str(find_free_port())
    variables = {"TRIOSLOCK_URL": f"slock://127.0.0.1:{port}", "TMPDIR": str(tmp_path)}
    replace = {"trioslock serve": f"trioslock serve --port {port}", "5658": port}
    with Desk(variables, replace) as desk:
        for line in LINES:
            desk.do(line)
        desk.end()


@pytest.mark.live
def test_the_tutorial_on_a_real_slock(
    tmp_path: Path, slock_address: tuple[str, int]
) -> None:
    """The same; but a real server has kept its tokens, and may publish nothing."""
    host, port = slock_address
    url = f"slock://{host}:{port}/{secrets.randbelow(254) + 1}"
    variables = {"TRIOSLOCK_URL": url, "TMPDIR": str(tmp_path)}
    with Desk(variables, {}, any_token=True) as desk:
        for line in LINES:
            if line.terminal != "Server" and line not in OF_SUBSCRIPTIONS:
                desk.do(line)
        desk.end()


OF_SUBSCRIPTIONS = [
    Line("Terminal 1", "$ .venv/bin/python examples/locks/subscribe.py"),
    Line("Terminal 1", "refused; held by 1"),
]
