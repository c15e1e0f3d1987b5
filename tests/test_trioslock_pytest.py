"""The fixtures of trioslock, here and in projects of users."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from trioslock import Client
from trioslock.testing import Claims, Network, SlockServer

ROOT = Path(__file__).parent.parent
PROJECT = """
[pytest]
filterwarnings = error
asyncio_default_fixture_loop_scope = function
"""
ENDINGS = """
import asyncio, threading
import pytest, trio

keys = []

@pytest.fixture(autouse=True)
def nothing_is_left():
    before = set(threading.enumerate())
    yield
    assert [each for each in threading.enumerate() if each not in before
            and each.name.startswith("trioslock")] == []

@pytest.mark.trio
async def test_fails_in_the_middle(slock_client):
    async with slock_client.lock("k"):
        assert False, "in the middle"

@pytest.mark.trio
async def test_holds_at_its_end(slock_client):
    await slock_client.lock("k").acquire()

@pytest.mark.trio
async def test_leaves_the_server_frozen(slock_server, slock_client):
    await slock_client.lock("k").acquire()
    slock_server.freeze()

def test_blocking_leaves_the_server_frozen(slock_server, slock_sync_client):
    slock_sync_client.lock("k").acquire()
    slock_server.freeze()

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_anyio(slock_client, slock_network, anyio_backend):
    async with slock_client.lock("k"), slock_network.open_client() as other:
        async with other.lock("k"):
            pass

@pytest.mark.asyncio
async def test_asyncio(slock_server):
    reader, writer = await asyncio.open_connection("127.0.0.1", slock_server.port)
    writer.write(b"*1\\r\\n$4\\r\\nPING\\r\\n")
    assert (await reader.readline()).startswith(b"+PONG")
    slock_server.cut()
    assert await reader.read() == b""
    writer.close()

@pytest.mark.asyncio
async def test_asyncio_leaves_the_server_frozen(slock_server, slock_aio_client):
    await slock_aio_client.lock("k").acquire()
    slock_server.freeze()

@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_anyio_on(slock_aio_client, anyio_backend):
    async with slock_aio_client.lock("k"):
        pass

@pytest.mark.trio
async def test_mock_clock(autojump_clock, slock_client):
    pass

@pytest.mark.parametrize("number", [1, 2])
def test_of_a_session(slock_session_server, number):
    keys.append(slock_session_server.url)
    assert len(set(keys)) == 1
"""


def run_pytest(folder: Path, *options: str, code: int) -> str:
    """Run pytest in a project of a user; return what it printed."""
    # Plugins whose import takes seconds, and which these projects do not use.
    without = ("cacheprovider", "schemathesis", "hypothesispytest", "pytest_cov")
    command = [sys.executable, "-m", "pytest", "-ra", *options]
    done = subprocess.run(
        [*command, *(f"-pno:{name}" for name in without)],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


async def test_a_client_and_its_server(
    slock_client: Client, slock_server: SlockServer
) -> None:
    """The client is connected to the server."""
    async with slock_client.lock("k"):
        assert slock_server.claims("k") == Claims(1, 0)


async def test_a_network(slock_network: Network) -> None:
    """It is in the test's own run."""
    async with slock_network.open_client() as client, client.lock("k"):
        assert slock_network.claims("k") == Claims(1, 0)
        await trio.lowlevel.checkpoint()


def test_the_plugins_import_nothing_until_they_are_used() -> None:
    """They are loaded in each run of pytest, whatever it tests."""
    program = """
import sys, pytest
before = set(sys.modules)
import _trioslock_pytest, _triopoll_pytest
new = {name for name in set(sys.modules) - before}
assert new == {"_trioslock_pytest", "_triopoll_pytest"}, new
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.long
def test_the_examples_pass_in_two_processes() -> None:
    """Those of the page about tests, with warnings as errors."""
    folder = ROOT / "examples" / "testing"
    out = run_pytest(folder, "-n", "2", code=0)
    assert re.search(r"\b15 passed", out), out


@pytest.mark.slow
def test_nothing_is_left_however_a_test_ends(tmp_path: Path) -> None:
    """No thread and no warning, and the next test is not disturbed."""
    (tmp_path / "pytest.ini").write_text(PROJECT)
    (tmp_path / "test_endings.py").write_text(ENDINGS)
    out = run_pytest(tmp_path, "--durations=3", code=1)
    assert re.search(r"\b2 failed, 9 passed, 1 error", out), out
    assert "AssertionError: in the middle" in out
    assert "slock_client is connected over TCP" in out
    # Anyio's plugin on trio.
    assert "trioslock.aio is for asyncio programs" in out


@pytest.mark.slow
def test_the_plugins_can_be_left_out(tmp_path: Path) -> None:
    """By the names of their entry points."""
    (tmp_path / "pytest.ini").write_text(PROJECT)
    (tmp_path / "test_none.py").write_text("def test_it(slock_server): pass\n")
    out = run_pytest(tmp_path, "-p", "no:trioslock", "-p", "no:triopoll", code=1)
    assert "fixture 'slock_server' not found" in out


@pytest.mark.slow
def test_an_asyncio_client_needs_a_plugin(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]")
    (tmp_path / "test_none.py").write_text("def test_it(slock_aio_client): pass\n")
    out = run_pytest(tmp_path, "-p", "no:asyncio", code=1)
    assert "slock_aio_client needs pytest-asyncio" in out
