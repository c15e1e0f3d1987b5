"""A Ctrl-C while the command ``trioslock`` starts ends it as any other program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Stands in for the first thing that the package imports from outside.
SLOW = """
import os, time
print("imports", flush=True)
os.kill(os.getpid(), 2)
print("goes on", flush=True)
"""
SCRIPT = "import sys; from _trioslock_script import main; sys.exit(main())"


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
def test_a_ctrl_c_during_the_imports(tmp_path: Path, ignored: bool) -> None:
    """It ends by the signal with nothing printed; where SIGINT is ignored, not."""
    (tmp_path / "trio.py").write_text(SLOW)
    handler = signal.SIG_IGN if ignored else signal.SIG_DFL
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--version"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ("imports\ngoes on\n" if ignored else "imports\n")
    assert (done.returncode == -signal.SIGINT) != ignored
    assert "KeyboardInterrupt" not in done.stderr
