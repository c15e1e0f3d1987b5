"""A Ctrl-C while the command starts ends it as any other program, SIGHUP does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.services import find_free_port

SLOW = """
import os, pathlib, time
pathlib.Path(os.environ["TOUCH"]).touch()
time.sleep(60)
"""
SCRIPT = "import sys; from triopoll.script import main; sys.exit(main())"
COMMANDS = {"script": ["-c", SCRIPT], "module": ["-m", "triopoll"]}


def start(folder: Path, command: str, workers: int) -> subprocess.Popen[str]:
    """Start to serve; return when a module in the folder is being imported."""
    touched = folder / "touched"
    process = subprocess.Popen(
        [
            *(sys.executable, *COMMANDS[command], "serve", "slow:app"),
            *("--bind", f"127.0.0.1:{find_free_port()}", "--workers", str(workers)),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "TOUCH": str(touched)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not touched.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("command", list(COMMANDS))
@pytest.mark.parametrize("phase", ["the imports", "the application's import"])
def test_a_ctrl_c_at_the_start(
    tmp_path: Path, command: str, phase: str, workers: int
) -> None:
    """It ends by the signal, with nothing printed; with workers, they are drained."""
    # A module that the command itself imports, or the application.
    name = "trio" if phase == "the imports" else "slow"
    (tmp_path / f"{name}.py").write_text(SLOW)
    process = start(tmp_path, command, workers)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    is_supervised = workers > 1 and phase != "the imports"
    assert process.returncode == (0 if is_supervised else -signal.SIGINT), errors
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors


@pytest.mark.slow
@pytest.mark.parametrize(("command", "workers"), [("script", 1), ("module", 2)])
def test_a_reload_at_the_start(tmp_path: Path, command: str, workers: int) -> None:
    """It neither ends the process nor a worker that imports the application."""
    (tmp_path / "slow.py").write_text(SLOW)
    process = start(tmp_path, command, workers)
    process.send_signal(signal.SIGHUP)
    # Signals of one process are handled in their order.
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == (0 if workers > 1 else -signal.SIGINT), errors
    assert "died" not in errors
