"""The tests of ``js/``: each file of ``js/test`` runs under ``node --test``.

They start ``triopoll serve`` and headless Chromium themselves.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.npm import installed_packages
from tests.services import find_tool

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "js"
TESTS = sorted(path.name for path in (SOURCE / "test").glob("*.test.js"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# Far above what a file takes, for machines that do much else.
LIMIT = 400

pytestmark = [pytest.mark.browser, pytest.mark.timeout(LIMIT + 60)]


@pytest.fixture(scope="session")
def modules(request: pytest.FixtureRequest) -> Path:
    """The packages of the lock file, installed once for all runs."""
    return installed_packages(request.config.cache, SOURCE)


@pytest.fixture
def checkout(modules: Path, tmp_path: Path) -> Path:
    """A copy of ``js/`` with its packages."""
    copy = tmp_path / "js"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("node_modules"))
    (copy / "node_modules").symlink_to(modules)
    return copy


def browser() -> str:
    found = filter(None, map(shutil.which, BROWSERS))
    return next(found, "") or find_tool(BROWSERS[0])


@pytest.mark.parametrize("name", TESTS)
def test_file(name: str, checkout: Path) -> None:
    """All tests of the file pass."""
    env = {**os.environ, "TRIOSLOCK_TEST_PYTHON": sys.executable}
    if "chromium" in (checkout / "test" / name).read_text():
        env["TRIOSLOCK_TEST_CHROMIUM"] = browser()
    run = subprocess.run(
        [find_tool("node"), "--test", f"test/{name}"],
        cwd=checkout,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", ["docs/how-to/use-triopoll-js.md", "js/README.md"])
def test_blocks_of_the_documentation_are_modules(name: str, tmp_path: Path) -> None:
    """Each of them parses, with what stands in its script element."""
    blocks = re.findall(
        r"```(?:js|html)\n(.*?)```", (ROOT / name).read_text(), re.DOTALL
    )
    assert blocks
    for number, block in enumerate(blocks):
        module = tmp_path / f"{number}.mjs"
        module.write_text(re.sub(r"^</?script.*>$", "", block, flags=re.MULTILINE))
        subprocess.run([find_tool("node"), "--check", module], check=True)


def test_there_are_tests() -> None:
    """Renamed files would otherwise be run no more."""
    assert {"browser.test.js", "faults.test.js", "messages.test.js"} <= set(TESTS)
