"""Each way in which Redis refuses to serve, on a real Redis, and how it is over."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from tests.redis_rigs import admin_of, until
from tests.services import RedisServer

from triopoll.store import (
    ALL,
    NewMessage,
    StoreError,
    StoreFailed,
    StoreFull,
    Stores,
    StoreUnreachable,
    open_stores,
)
from triopoll.store._refusals import AWAY, REFUSALS, code_of, refusal_of, translate

pytestmark = pytest.mark.slow


@dataclass
class Trouble:
    """How a Redis comes to refuse, and how that ends.

    Attributes:
        begin: Makes it refuse.
        end: Makes it serve.
        error: What a push meets meanwhile.
        healed: What the log says in the end.
        options: Of the server's command line.
        reads: Whether it can be read meanwhile.
    """

    begin: Callable[[RedisServer, redis.Redis, ExitStack], object]
    end: Callable[[RedisServer, redis.Redis], object]
    error: type[StoreError] = StoreUnreachable
    healed: str = "takes writes again"
    options: tuple[tuple[str, str], ...] = ()
    reads: bool = False
    url: str = "redis://{host}:{port}"


def configured(name: str, value: str) -> Callable[..., object]:
    return lambda server, admin, *_: admin.config_set(name, value)


def follow_another(server: RedisServer, admin: redis.Redis, _: ExitStack) -> None:
    admin.replicaof("127.0.0.1", 1)


def lead(server: RedisServer, admin: redis.Redis) -> None:
    admin.replicaof("NO", "ONE")


def load_slowly(server: RedisServer, admin: redis.Redis, _: ExitStack) -> None:
    """Restart it with something to load that takes a second."""
    admin.mset({f"filler-{n}": n for n in range(1500)})
    slowly = {"key-load-delay": "1000", "loading-process-events-interval-bytes": "1024"}
    server.options = {**server.options, **slowly}
    admin.save()
    server.kill()
    server.start(wait_until_loaded=False)


def fail_to_save(server: RedisServer, admin: redis.Redis, _: ExitStack) -> None:
    """Have a directory where the file should go."""
    (server.directory / "dump.rdb" / "x").mkdir(parents=True)
    admin.bgsave()
    until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")


def save(server: RedisServer, admin: redis.Redis) -> None:
    shutil.rmtree(server.directory / "dump.rdb")
    admin.bgsave()
    until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "ok")


def forbid(server: RedisServer, admin: redis.Redis, _: ExitStack) -> None:
    admin.execute_command("ACL", "SETUSER", "app", "-set", "-rpush")


def permit(server: RedisServer, admin: redis.Redis) -> None:
    admin.execute_command("ACL", "SETUSER", "app", "+@all")


def change_password(server: RedisServer, admin: redis.Redis, _: ExitStack) -> None:
    admin.execute_command("ACL", "SETUSER", "app", "resetpass", ">other")
    admin.client_kill_filter(_type="normal", skipme=True)


def restore_password(server: RedisServer, admin: redis.Redis) -> None:
    admin.execute_command("ACL", "SETUSER", "app", "resetpass", ">word")


def keep_busy(server: RedisServer, admin: redis.Redis, stack: ExitStack) -> None:
    """Run a script that does not end, beside the test."""
    runner = admin_of(server, socket_timeout=None)
    stack.callback(runner.close)

    def run() -> None:
        with contextlib.suppress(redis.RedisError):
            runner.eval("while true do end", 0)

    thread = threading.Thread(target=run)
    thread.start()
    stack.callback(thread.join)
    until(lambda: is_busy(admin))


def is_busy(admin: redis.Redis) -> bool:
    try:
        admin.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


def end_script(server: RedisServer, admin: redis.Redis) -> None:
    if is_busy(admin):
        admin.script_kill()
    until(lambda: not is_busy(admin))


def take_all_connections(
    server: RedisServer, admin: redis.Redis, stack: ExitStack
) -> None:
    admin.ping()
    admin.client_kill_filter(_type="normal", skipme=True)
    admin.config_set("maxclients", 1)


def ask_for_a_password(server: RedisServer, admin: redis.Redis, _: ExitStack) -> None:
    admin.config_set("requirepass", "word")
    admin.auth("word")
    admin.client_kill_filter(_type="normal", skipme=True)


ANSWERS = "answers again"
AS_APP = "redis://app:word@{host}:{port}"
TROUBLES = {
    "READONLY": Trouble(follow_another, lead),
    "LOADING": Trouble(load_slowly, lambda *_: None, healed=ANSWERS),
    "NOREPLICAS": Trouble(
        configured("min-replicas-to-write", "1"),
        configured("min-replicas-to-write", "0"),
        reads=True,
    ),
    "MISCONF": Trouble(
        fail_to_save, save, reads=True, options=(("save", "3600 1000000"),)
    ),
    "OOM": Trouble(
        configured("maxmemory", "1"),
        configured("maxmemory", "0"),
        error=StoreFull,
        reads=True,
    ),
    "NOPERM": Trouble(forbid, permit, error=StoreFailed, reads=True, url=AS_APP),
    "WRONGPASS": Trouble(change_password, restore_password, healed=ANSWERS, url=AS_APP),
    "NOAUTH": Trouble(
        ask_for_a_password, configured("requirepass", ""), healed=ANSWERS
    ),
    "BUSY": Trouble(
        keep_busy, end_script, healed=ANSWERS, options=(("lua-time-limit", "50"),)
    ),
    "MAXCLIENTS": Trouble(
        take_all_connections, configured("maxclients", "100"), healed=ANSWERS
    ),
}


@asynccontextmanager
async def serving(
    trouble: Trouble, directory: Path
) -> AsyncIterator[tuple[RedisServer, redis.Redis, Stores]]:
    server = RedisServer(directory, options=dict(trouble.options))
    server.start()
    async with AsyncExitStack() as stack:
        stack.callback(server.kill)
        admin = stack.enter_context(admin_of(server))
        admin.execute_command(
            "ACL", "SETUSER", "app", "on", ">word", "allkeys", "+@all"
        )
        url = trouble.url.format(host=server.host, port=server.port)
        yield server, admin, await stack.enter_async_context(open_stores(url, limit=3))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def is_ready(stores: Stores) -> bool:
    try:
        await stores.lists.ping()
    except StoreError:
        return False
    return True


async def until_ready(
    stores: Stores, caplog: pytest.LogCaptureFixture, text: str, *, ready: bool
) -> None:
    """Ask as a readiness probe does, until the answer and the log are as given."""
    with trio.fail_after(10):
        while await is_ready(stores) != ready or text not in caplog.text:
            await trio.sleep(0.02)


@pytest.mark.parametrize("code", TROUBLES)
async def test_a_refusal_is_told_apart_and_ends(
    tmp_path: Path,
    key: str,
    stack: ExitStack,
    caplog: pytest.LogCaptureFixture,
    code: str,
) -> None:
    """Callers get its error, the log one line for its begin and one for its end."""
    trouble = TROUBLES[code]
    directory = tmp_path / "redis"
    directory.mkdir()
    async with serving(trouble, directory) as (server, admin, stores):
        await stores.log.append([NewMessage(key, b"1")])
        await trio.to_thread.run_sync(trouble.begin, server, admin, stack)
        with pytest.raises(trouble.error) as caught:
            await stores.lists.push(key + "-list", b"1")
        assert type(caught.value) is trouble.error
        fault = REFUSALS[code].meaning
        await until_ready(stores, caplog, f" {fault}: {code}", ready=False)
        if trouble.reads:
            page = await stores.log.read(key, ALL, 10)
            assert [message.data for message in page.messages] == [b"1"]
        await trio.to_thread.run_sync(trouble.end, server, admin)
        await until_ready(stores, caplog, trouble.healed, ready=True)
        await stores.lists.push(key + "-list", b"1")
    address = f"Redis at 127.0.0.1:{server.port} "
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.levelno == logging.WARNING
    ]
    assert all(line.startswith(address) for line in lines)
    assert sum(f" {fault}: " in line for line in lines) == 1
    assert lines[-1].startswith(f"{address}{trouble.healed} after ")


async def test_a_replica_without_its_primary(tmp_path: Path, key: str) -> None:
    """Where it does not serve old data it refuses to be read as well (MASTERDOWN)."""
    options = {"replica-serve-stale-data": "no"}
    server = RedisServer(tmp_path, options=options)
    server.start()
    try:
        with admin_of(server) as admin:
            async with open_stores(server.url, limit=3) as stores:
                await stores.log.append([NewMessage(key, b"1")])
                admin.replicaof("127.0.0.1", 1)
                with pytest.raises(StoreUnreachable, match="MASTERDOWN"):
                    await stores.values.get(key)
    finally:
        server.kill()


IN_SCRIPT = "ERR Error running script (call to f_0): @user_script:17: @user_script: 17:"


def error_of(text: str) -> Exception:
    """Return the exception that redis-py makes of an error reply."""
    parser: Any = redis.connection.DefaultParser
    error: Exception = parser.parse_error(text)
    return error


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("READONLY You can't write against a read only replica.", "READONLY"),
        ("LOADING Redis is loading the dataset in memory", "LOADING"),
        ("MASTERDOWN Link with MASTER is down", "MASTERDOWN"),
        ("CLUSTERDOWN The cluster is down", "CLUSTERDOWN"),
        ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
        ("MISCONF Redis is configured to save RDB snapshots", "MISCONF"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("NOPERM this user has no permissions", "NOPERM"),
        ("WRONGPASS invalid username-password pair", "WRONGPASS"),
        ("NOAUTH Authentication required.", "NOAUTH"),
        ("BUSY Redis is busy running a script.", "BUSY"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN"),
        ("MOVED 1 127.0.0.1:7000", "MOVED"),
        ("ASK 1 127.0.0.1:7000", "ASK"),
        ("ERR max number of clients reached", "MAXCLIENTS"),
        # As Redis 6.2 wraps the error of a command that a script calls.
        (
            f"{IN_SCRIPT} -OOM command not allowed when used memory > 'maxmemory'.",
            "OOM",
        ),
        (f"{IN_SCRIPT} -READONLY You can't write against a replica.", "READONLY"),
    ],
)
def test_the_code_of_a_reply(text: str, code: str) -> None:
    """It is found whatever redis-py has made of the reply, and has a row."""
    error = error_of(text)
    assert code_of(error) == code
    assert refusal_of(error) is REFUSALS[code]
    assert code in str(translate(error)) or code == "MAXCLIENTS"


@pytest.mark.parametrize(
    "text",
    [
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR unknown command 'NOSUCH'",
        "ERR Error running script (call to f_0): no code in here",
        "OOPS",
        "",
    ],
)
def test_an_error_of_a_command_alone(text: str) -> None:
    """It says nothing of Redis, and no later try would end otherwise."""
    error = error_of(text)
    assert refusal_of(error) is None
    assert type(translate(error)) is StoreFailed


def test_no_reply_at_all() -> None:
    """A broken connection, or silence, is an outage."""
    for error in (redis.ConnectionError("lost"), redis.TimeoutError(), OSError("no")):
        assert refusal_of(error) is AWAY
        translated = translate(error)
        assert type(translated) is StoreUnreachable
        assert str(translated)
        assert translated.__cause__ is error
