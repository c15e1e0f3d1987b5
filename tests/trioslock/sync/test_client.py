"""The client of blocking code, and that it has all that trio's has."""

from __future__ import annotations

import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import trioslock
from trioslock import ConnectionLost, recipes, sync
from trioslock.sync import recipes as sync_recipes
from trioslock.testing import SlockServer

LEFT_OUT = {
    "Event.begin_wait": "spares a task for each wait; here a thread waits",
    "Grant.enter": "a part of `async with`",
    "Grant.with_outer": "used by the handles of trio",
    "Grant.unlock_of": "used by the handles of trio",
    "Grant.granted": "used by the handles of trio",
    "Grant.renew_from": "used by the handles of trio",
    "Grant.count_from": "used by the handles of trio",
    "Grant.share_used": "used by the handles of trio",
    "Grant.give_up": "used by the handles of trio",
    "Grant.confirm": "used by the handles of trio",
    "Grant.renewed": "used by the handles of trio",
    "Grant.loss_reason": "`lost`, and `check` which raises it",
    "Grant.outer": "used by the handles of trio",
    "Grant.frame": "used by the handles of trio",
    **dict.fromkeys(
        (
            *("Grant.begin_body", "Grant.begin_leave", "Grant.finish_release"),
            *("Grant.end_body", "Grant.end_body_in_trio", "Client.write_by"),
            *(
                f"{name}.{method}"
                for name in (
                    *("Lock", "RLock", "Semaphore", "ConcurrencyLimiter"),
                    *("ReadSide", "WriteSide", "TreeLock", "TreeLeaf"),
                )
                for method in ("begins", "begin_attempt")
            ),
        ),
        "used by trioslock.aio",
    ),
    "TreeLeaf.take": "used by TreeLock",
    "TreeLeaf.link": "used by TreeLock",
    "Subscription.subscribe": "done by entering",
    "Subscription.unsubscribe": "done by leaving",
}
"""What only the API of trio has, each with its reason."""

NO_LONGER_ASYNC = {"open_client", "leader", "worker_pool", "Election.lead"}
# As async context managers these wait on entering, so they have a timeout too.
NO_LONGER_ASYNC |= {"Database.subscribe", "Client.subscribe"}
BLOCKS_SHORTLY = {"RLock.levels"}
# Not async in trio, but asks the thread.

PAIRS: list[tuple[str, Any, Any]] = [
    (name, getattr(trioslock, name, None) or getattr(trioslock.primitives, name), ours)
    for name in sync.__all__
    if isinstance(ours := getattr(sync, name), type)
    and ours.__module__.startswith("trioslock.sync")
]
RECIPES: list[tuple[str, Any, Any]] = [
    (name, getattr(recipes, name), getattr(sync_recipes, name))
    for name in recipes.__all__
    if name != "Leader"
]
METHODS = [
    (f"{name}.{method}", method, theirs, ours)
    for name, theirs, ours in (*PAIRS, *RECIPES)
    if inspect.isclass(theirs)
    for method in dir(theirs)
    if not method.startswith("_") and f"{name}.{method}" not in LEFT_OUT
]


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(function)
    return [(one.name, one.kind, one.default) for one in signature.parameters.values()]


@pytest.mark.parametrize(
    ("name", "method", "theirs", "ours"), METHODS, ids=[one[0] for one in METHODS]
)
def test_a_method_of_trio_is_here(
    name: str, method: str, theirs: Any, ours: Any
) -> None:
    """With the same parameters, and ``timeout`` where it waits."""
    original, blocking = getattr(theirs, method), getattr(ours, method)
    if not callable(original) or not inspect.isfunction(original):
        return
    assert not inspect.iscoroutinefunction(blocking)
    wanted = parameters(original)
    waits = inspect.iscoroutinefunction(original) or name in NO_LONGER_ASYNC
    if waits or name in BLOCKS_SHORTLY:
        wanted += [("timeout", inspect.Parameter.KEYWORD_ONLY, None)]
    if method != "lost":
        assert parameters(blocking) == wanted
        assert blocking.__doc__


@pytest.mark.parametrize(
    ("name", "theirs", "ours"),
    [
        ("open_client", trioslock.open_client, sync.open_client),
        *(one for one in RECIPES if not inspect.isclass(one[1])),
    ],
)
def test_a_function_of_trio_is_here(name: str, theirs: Any, ours: Any) -> None:
    wanted = parameters(theirs)
    if inspect.iscoroutinefunction(theirs) or name in NO_LONGER_ASYNC:
        wanted += [("timeout", inspect.Parameter.KEYWORD_ONLY, None)]
    assert [(n, k) for n, k, _ in parameters(ours)] == [(n, k) for n, k, _ in wanted]
    if name != "open_client":  # its backoff is made twice
        assert parameters(ours) == wanted


def test_connect_has_the_parameters_of_open_client() -> None:
    assert parameters(sync.connect) == parameters(sync.open_client)


def test_every_name_of_trio_is_here() -> None:
    """But for plain values, errors and records, which are the same."""
    same = {
        name
        for name in trioslock.__all__
        if not hasattr(sync, name)
        and any(
            hasattr(getattr(trioslock, name), part)
            for part in ("__aenter__", "__anext__", "acquire", "wait")
        )
    }
    assert same == set()
    assert LEFT_OUT.keys() <= {
        f"{name}.{method}" for name, theirs, _ in PAIRS for method in dir(theirs)
    }


def test_a_client_asks_and_lists(client: sync.Client, key: str) -> None:
    assert client.ping() > 0
    client.wait_connected()
    assert client.closed is False
    assert len(client.client_id) == 16
    assert "blocking" in repr(client)
    with client.lock(key) as grant:
        assert [holder.lock_id for holder in client.holders(key)] == [grant.lock_id]
        assert client.waiters(key) == []
        assert grant.key in [held.key for held in client.keys()]  # noqa: SIM118 - no dictionary
        assert client.statistics().connected
        assert "DatabaseState" in repr(client.state())
    assert client.db(3).number == 3
    assert client.db(3).lock(key).db == 3
    assert client.flags == trioslock.Flags()


def test_a_connected_client_is_closed_once(server: SlockServer) -> None:
    client = sync.connect(server.url)
    client.lock("key").acquire()
    assert server.claims("key").holders == 1
    client.close()
    client.close()
    assert client.closed
    assert server.claims("key") == (0, 0)
    with pytest.raises(sync.ClosedResourceError):
        client.lock("key").acquire()
    with pytest.raises(sync.ClosedResourceError):
        client.ping()


def test_a_call_of_a_closed_client_fails_while_another_is_open(
    server: SlockServer,
) -> None:
    other = sync.connect(server.url)
    with sync.open_client(server.url) as client, ThreadPoolExecutor(1) as pool:
        with client.lock("key"):
            waiting = pool.submit(other.lock("key").acquire)
            server.wait_claims("key", waiters=1)
            other.close()
            with pytest.raises(sync.ClosedResourceError):
                waiting.result(5)
        client.ping()


def test_a_server_that_is_not_there_is_reported() -> None:
    with pytest.raises(ConnectionLost):
        sync.connect("slock://127.0.0.1:1")


def test_a_wrong_argument_is_reported() -> None:
    with pytest.raises(ValueError, match="slock"):
        sync.connect("http://127.0.0.1")


LEFT_OPEN = """
import sys
from trioslock import sync
client = sync.connect(sys.argv[1])
client.lock("key").acquire()
client.lock("body").__enter__()
print("held", flush=True)
"""


@pytest.mark.slow
def test_the_end_of_the_interpreter_closes_clients(server: SlockServer) -> None:
    """All keys are free at once, and the program does not hang."""
    run = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN, server.url],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (run.stdout, run.stderr, run.returncode) == ("held\n", "", 0)
    assert server.claims("key") == (0, 0)
    assert server.claims("body") == (0, 0)


@pytest.mark.slow
def test_the_key_of_a_killed_holder_is_free(server: SlockServer) -> None:
    program = LEFT_OPEN + "sys.stdin.readline()\n"
    with subprocess.Popen(
        [sys.executable, "-c", program, server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait()
        server.advance(60)
    with sync.open_client(server.url) as client, client.lock("key") as grant:
        assert grant.held
