"""Options and fixtures that all tests share.

Helper modules beside the tests are imported from the root of the repository, as in
``from tests.services import find_tool``. The folder ``tests`` itself must not be on
``sys.path``: its ``trioslock`` and ``triopoll`` would hide the packages.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import types
from collections.abc import Iterator

import pytest
from tests.services import RedisServer, find_free_port

LIVE_ADDRESS = "TRIOSLOCK_TEST_SERVER"
SLOCK_BINARY = "TRIOSLOCK_SLOCK_BINARY"

# Without its caches, each process that runs tests compiles all of them anew, and each
# program that they start compiles the packages: a third of the time of the whole run.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# PyPI's pyslock 0.0.1 decorates with asyncio.coroutine, which Python 3.11 lacks.
# Set here, before any test module imports it.
asyncio.coroutine = types.coroutine  # type: ignore[attr-defined]

# A shell starts a background job with SIGINT ignored, and its children inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slock",
        metavar="HOST:PORT",
        default=os.environ.get(LIVE_ADDRESS),
        help=f"a real slock server for tests marked live (or set {LIVE_ADDRESS})",
    )
    parser.addoption(
        "--slock-binary",
        metavar="PATH",
        default=os.environ.get(SLOCK_BINARY),
        help=(
            "a real slock server program, for tests that start a replica set "
            f"(or set {SLOCK_BINARY})"
        ),
    )


def parse_address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal()):
        raise pytest.UsageError(f"--slock wants HOST:PORT, not {text!r}")
    return host, int(port)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    address = config.getoption("--slock")
    if address:
        parse_address(address)
        return
    skip = pytest.mark.skip(reason="no real slock: give --slock HOST:PORT")
    for item in items:
        if item.get_closest_marker("live"):
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Keep all tests out of later garbage collections: they are a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def slock_address(pytestconfig: pytest.Config) -> tuple[str, int]:
    """Host and port of the real slock; only tests marked ``live`` may ask for it."""
    address = pytestconfig.getoption("--slock")
    if not address:
        pytest.skip("no real slock: give --slock HOST:PORT")
    return parse_address(address)


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody listens on."""
    return find_free_port()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running redis-server, shared by all tests: use keys of your own.

    A test that stops or floods its Redis makes its own ``RedisServer``.
    """
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
