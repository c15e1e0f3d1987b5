"""Packages of npm for the tests: installed once for each lock file."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.services import find_tool

__all__ = ["installed_packages"]

# Seconds; far above what it takes, for machines that do much else.
_LIMIT = 400


def installed_packages(cache: pytest.Cache, source: Path) -> Path:
    """Return the ``node_modules`` of a folder's lock file, kept in pytest's cache."""
    npm = find_tool("npm")
    lock = source / "package-lock.json"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    directory = cache.mkdir(f"npm-{digest}")
    with (directory / "lock").open("w") as turn:
        # Other processes run tests too.
        fcntl.flock(turn, fcntl.LOCK_EX)
        done = directory / "done"
        if not done.exists():
            for name in ("package.json", lock.name):
                shutil.copy(source / name, directory)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            subprocess.run(command, cwd=directory, check=True, timeout=_LIMIT)
            done.touch()
    return directory / "node_modules"
