"""An operation takes no more calls than its bound, as ``bench/calls.py`` counts."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bench.calls import count_event, count_lock, count_poll, count_server, typical

ROOT = Path(__file__).parent.parent
BENCH = ROOT / "bench" / "calls.py"
PAGE = ROOT / "docs" / "explanation" / "how-a-lock-travels.md"
MOST_FOR_A_LOCK = 64
MOST_FOR_AN_EVENT = 110
# The kernel decides how many reads and looks it takes.
MOST_FOR_A_POLL = 135
MOST_FOR_THE_SERVER = 35


@pytest.mark.slow
def test_a_lock_takes_no_more_calls_than_its_bound() -> None:
    """One uncontended ``async with client.lock(key)`` over TCP, its reader included."""
    calls = count_lock()
    assert calls.total() <= MOST_FOR_A_LOCK, calls.most_common()
    # Both ends of the way are counted: the caller's, and that of the reader's task.
    assert calls["trioslock.client._database.Database.lock"] == 1
    assert calls["trioslock.transport.SocketTransport.receive"] > 1
    assert f"the whole way is {calls.total()} calls" in PAGE.read_text()


@pytest.mark.slow
def test_a_poll_takes_no_more_calls_than_its_bound() -> None:
    """From the first byte read to the last written, over HTTP and a slock over TCP."""
    calls = count_poll()
    # How often the kernel is asked for an acknowledgement depends on the kernel.
    extra = calls["triopoll.server.stream.ClientStream._count_unacknowledged"] - 1
    assert calls.total() - extra <= MOST_FOR_A_POLL, calls.most_common()
    # Both ends of the way are counted, and the wake between them.
    assert calls["triopoll.server.request_parser.RequestReader.next_request"] >= 1
    assert calls["trioslock.link._link.Link.succeed"] == 1
    assert calls["triopoll.server.stream.ClientStream.send"] == 1


@pytest.mark.slow
def test_a_poll_of_an_event_takes_no_more_calls_than_its_bound() -> None:
    """Its task need not run when it is woken."""
    calls = count_event()
    assert calls.total() <= MOST_FOR_AN_EVENT, calls.most_common()
    assert calls["triopoll.server.connection.ServerConnection.respond_now"] == 1
    assert not calls["triopoll.server.connection.ServerConnection.call_back"]


@pytest.mark.slow
def test_the_server_takes_no_more_calls_than_its_bound() -> None:
    """A GET that an application of no functions answers."""
    calls = count_server()
    assert 10 < calls.total() <= MOST_FOR_THE_SERVER, calls.most_common()


def test_the_typical_run_is_one_that_was_counted() -> None:
    assert typical([Counter(f=number) for number in (9, 1, 5)])["f"] == 5


@pytest.mark.long
def test_the_command_prints_the_number_and_the_names() -> None:
    output = subprocess.run(
        [sys.executable, str(BENCH), "lock", "--names"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    *names, last = output.splitlines()
    assert last == f"lock: {sum(int(line.split()[0]) for line in names)} calls"
