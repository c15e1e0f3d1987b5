"""Other people's clients work against the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis
from tests.services import find_tool
from tests.trioslock.server.programs import serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with serving() as (_, address):
        yield address


def test_redis_cli(address: tuple[str, int]) -> None:
    """Interactive use: values, locks, errors, INFO."""
    host, port = address
    lines = [
        "SET cli:a hello",
        "GET cli:a",
        "INCR cli:n",
        "TTL cli:a",
        "KEYS cli:*",
        "NOSUCH",
        "LOCK cli:lock LOCK_ID x TIMEOUT 0 EXPRIED 5",
        "UNLOCK cli:lock",
        "DEL cli:a",
        "DEL cli:n",
        "INFO replication",
    ]
    command = [find_tool("redis-cli"), "-h", host, "-p", str(port)]
    done = subprocess.run(
        command,
        check=True,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=20,
    )
    output = done.stdout.splitlines()
    assert output[:2] == ["OK", "hello"]
    assert output[2:4] == ["1", "-1"]
    assert sorted(output[4:6]) == ["cli:a", "cli:n"]
    assert output[6].startswith("ERR Unknown Command")
    assert [line for line in output if line == "OK"] == ["OK"] * 3
    assert "role:leader" in output


def test_redis_py(address: tuple[str, int]) -> None:
    """With its connection pool, pipelines and scanning."""
    client = redis.Redis(*address, decode_responses=True, protocol=2)
    assert client.ping()
    assert client.set("py:a", "1", ex=100)
    assert client.get("py:a") == "1"
    assert 99 <= client.ttl("py:a") <= 101
    assert client.set("py:a", "2", px=5000)
    assert client.pttl("py:a") <= 6000
    assert client.getset("py:a", "3") == "2"
    assert client.append("py:a", "4") == 2
    assert client.strlen("py:a") == 2
    assert client.exists("py:a") == 1
    assert client.incr("py:n", 5) == 5
    assert client.decr("py:n") == 4
    with client.pipeline(transaction=False) as pipe:
        for number in range(200):
            pipe.set(f"py:{number:03}", number)
        assert all(pipe.execute())
    assert len(set(client.scan_iter("py:[0-9]*", count=50))) == 200
    assert client.delete("py:a") == 1
    with pytest.raises(redis.ResponseError, match="Unknown Command"):
        client.dbsize()
    assert client.execute_command("FLUSHDB", 0)
    assert client.get("py:n") is None
    client.close()


# PyPI's pyslock 0.0.1 wants asyncio.coroutine, which is gone, and has no way to close
# its connections and threads, so it plays in a process of its own.
PYSLOCK = """
import asyncio, os, socket, sys, threading, time, types
asyncio.coroutine = types.coroutine
import pyslock

address = sys.argv[1], int(sys.argv[2])
inside = most = 0

def enter():
    global inside, most
    inside += 1
    most = max(most, inside)

def leave():
    global inside
    inside -= 1

# Its own Event.wait is broken on initially clear events, so a text LOCK waits:
# until unlocked state no more (flag 0x0200), at most 5 s, for the 16 bytes of a name.
EVENT = "py-event-16bytes"
WAIT = b"*10\\r\\n$4\\r\\nLOCK\\r\\n$16\\r\\npy-event-16bytes\\r\\n" + b"".join(
    b"$%d\\r\\n%b\\r\\n" % (len(word), word)
    for word in (
        b"TIMEOUT", b"33554437", b"EXPRIED", b"0", b"COUNT", b"2", b"RCOUNT", b"0"
    )
)

def open_waiter():
    waiter = socket.create_connection(address)
    waiter.sendall(WAIT)
    time.sleep(0.1)
    waiter.setblocking(False)
    try:
        raise AssertionError(waiter.recv(100))
    except BlockingIOError:
        waiter.settimeout(5)
    return waiter
"""

THREADS = """
client = pyslock.Client(*address)

def work():
    for _ in range(5):
        with client.Lock("py-lock", 5, 10):
            enter()
            time.sleep(0.001)
            leave()

threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert (inside, most) == (0, 1), (inside, most)

waiter = open_waiter()
event = client.Event(EVENT, 5, 60, False)
event.set()
assert waiter.recv(1000).startswith(b"*12\\r\\n$1\\r\\n0\\r\\n")
event.clear()
print("well played", flush=True)
os._exit(0)
"""

ASYNCIO = """
async def play():
    client = pyslock.AsyncClient(*address)

    async def work():
        # A handle cannot be shared by tasks: it keeps one future.
        async with client.Lock("py-async", 10, 10):
            enter()
            await asyncio.sleep(0)
            leave()

    await asyncio.gather(*(work() for _ in range(50)))
    assert (inside, most) == (0, 1), (inside, most)

    waiter = open_waiter()
    await client.Event(EVENT, 5, 60, False).set()
    assert waiter.recv(1000).startswith(b"*12\\r\\n$1\\r\\n0\\r\\n")
    await client.Event(EVENT, 5, 60, False).clear()

asyncio.run(play())
print("well played", flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("script", [THREADS, ASYNCIO], ids=["threads", "asyncio"])
def test_pyslock(address: tuple[str, int], script: str) -> None:
    """Locks exclude each other, and Event.set wakes the waiters."""
    pytest.importorskip("pyslock")
    host, port = address
    command = [sys.executable, "-W", "ignore", "-c", PYSLOCK + script, host, str(port)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == "well played\n", done.stderr
