"""What real servers say of themselves, and what cannot be asked."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import redis
from tests.redis_rigs import ClusterRig, Pair, SentinelRig
from tests.services import RedisServer, find_free_port
from tests.triopoll.store.test_acl import documented_rules

from triopoll.store import (
    Host,
    RedisReport,
    StoreError,
    StoreFailed,
    StoreUnreachable,
    inspect_cluster,
    inspect_redis,
    inspect_sentinel,
    numbers_of,
    parse_redis_url,
)
from triopoll.store._rights import Missing


def inspect(url: str) -> RedisReport:
    return inspect_redis(parse_redis_url(url, 5), None, "triopoll:", "poll:")


def test_a_server_as_it_should_be(admin: redis.Redis, server: RedisServer) -> None:
    """Nothing is changed by asking, and nothing is denied."""
    report = inspect(server.url)
    assert numbers_of(report.version) >= (6, 2)
    assert not report.is_replica
    assert report.info["maxmemory_policy"] == "noeviction"
    assert report.info["aof_enabled"] == "0"
    assert report.config == {"save": "", "appendfsync": "always"}
    assert report.refusal == ""
    assert report.seconds_ahead is not None
    assert report.missing == Missing()
    assert admin.dbsize() == 0
    assert admin.acl_log() == []


def test_the_documented_user(admin: redis.Redis, server: RedisServer) -> None:
    """All is known but what CONFIG tells."""
    admin.execute_command("ACL", "SETUSER", "app", *documented_rules())
    report = inspect(server.url.replace("://", "://app:SECRET@"))
    assert report.missing == Missing()
    assert report.config == {}
    assert report.info["maxmemory_policy"] == "noeviction"


def test_a_user_with_few_rights(admin: redis.Redis, server: RedisServer) -> None:
    """What could not be asked is left out; without EVAL only that is known."""
    admin.execute_command("ACL", "SETUSER", "app", "on", ">x", "~*", "-@all", "+get")
    report = inspect(server.url.replace("://", "://app:x@"))
    assert report.missing == Missing(("EVAL",))
    assert (report.info, report.config, report.seconds_ahead) == ({}, {}, None)
    assert report.refusal == "does not permit what is asked"


@pytest.mark.parametrize(
    ("address", "reason"),
    [("nobody:x@127.0.0.1", "WRONGPASS"), ("127.0.0.1", "NOAUTH")],
)
def test_who_is_not_let_in(
    admin: redis.Redis, server: RedisServer, address: str, reason: str
) -> None:
    """The reason is that of Redis, and has no password in it."""
    admin.execute_command("ACL", "SETUSER", "default", "resetpass", ">secret")
    with pytest.raises(StoreUnreachable, match=reason) as caught:
        inspect(f"redis://{address}:{server.port}")
    assert "secret" not in str(caught.value)
    admin.execute_command("ACL", "SETUSER", "default", "nopass")


def test_nothing_listens() -> None:
    with pytest.raises(StoreUnreachable, match="refused"):
        inspect(f"redis://127.0.0.1:{find_free_port()}")


def test_a_full_server(admin: redis.Redis, server: RedisServer) -> None:
    """It refuses the write that is tried, in the words of the log."""
    admin.config_set("maxmemory", 1)
    assert inspect(server.url).refusal == "is full and refuses to store"


def lines_of(stream: IO[bytes]) -> Iterator[list[str]]:
    """Yield the commands that a client sends."""
    while head := stream.readline():
        words = int(head[1:])
        sizes = (int(stream.readline()[1:]) for _ in range(words))
        yield [stream.read(size + 2)[:-2].decode() for size in sizes]


@contextmanager
def fake(answers: Mapping[str, bytes]) -> Iterator[Host]:
    """Serve an answer for each command, by its first word; OK for the others."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for command in lines_of(self.rfile):
                self.wfile.write(answers.get(command[0].upper(), b"+OK\r\n"))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield "127.0.0.1", server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


HELLO = b"*4\r\n$7\r\nversion\r\n$6\r\n6.2.14\r\n$4\r\nrole\r\n$6\r\nmaster\r\n"


@pytest.mark.parametrize(
    ("answers", "refusal"),
    [
        ({"SET": b"-MOVED 1 127.0.0.1:1\r\n"}, ""),
        ({"SET": b"-ERR not today\r\n"}, "not today"),
        (
            {"SET": b"-MISCONF no disk\r\n"},
            "refuses writes since it cannot save to disk",
        ),
    ],
)
def test_what_a_write_is_refused_with(
    answers: Mapping[str, bytes], refusal: str
) -> None:
    """By an old Redis, which cannot be asked for rights."""
    with fake({"HELLO": HELLO, **answers}) as (host, port):
        report = inspect(f"redis://{host}:{port}")
    assert report.refusal == refusal
    assert report.missing is None
    assert report.seconds_ahead is None


def test_a_script_that_fails_for_another_reason() -> None:
    """The rights are not known then."""
    answers = {"HELLO": HELLO.replace(b"6.2.14", b"7.2.14"), "EVAL": b"-BUSY x\r\n"}
    with fake(answers) as (host, port):
        assert inspect(f"redis://{host}:{port}").missing is None


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (b"-ERR unknown command 'HELLO'\r\n", "unknown command"),
        (b"*1\r\n$4\r\nrole\r\n", "not those of a Redis"),
        (b":1\r\n", "not those of a Redis"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "."),
    ],
)
def test_servers_that_are_none(hello: bytes, reason: str) -> None:
    """An error, whatever they answer."""
    with fake({"HELLO": hello}) as (host, port):
        with pytest.raises(StoreError, match=reason):
            inspect(f"redis://{host}:{port}")


def test_a_sentinel_that_lists_no_replicas() -> None:
    """What it answers in their place is not taken for one."""
    primary = b"*2\r\n$7\r\n1.2.3.4\r\n$2\r\n10\r\n"
    with fake({"SENTINEL": primary}) as (host, port):
        address = parse_redis_url(f"redis+sentinel://{host}:{port}/a", 5)
        with pytest.raises(StoreFailed, match="not those of a Redis"):
            inspect_sentinel(address, (host, port))


@pytest.mark.slow
def test_a_replica(tmp_path: Path) -> None:
    with Pair(tmp_path) as pair:
        report = inspect(pair.replica.url)
    assert report.is_replica
    assert report.refusal == "is a replica and refuses writes"


@pytest.mark.slow
def test_a_cluster(redis_cluster: ClusterRig) -> None:
    """All nodes are named, and each takes a write to one of its own slots."""
    address = parse_redis_url(redis_cluster.url, 5)
    owners = inspect_cluster(address, address.hosts[0])
    assert len(owners.primaries) == 3
    assert owners.unowned == 0
    for host in owners.primaries:
        report = inspect_redis(address, host, "triopoll:", "poll:")
        assert report.refusal == ""
        assert report.missing == Missing()


@pytest.mark.long
def test_sentinels(tmp_path: Path) -> None:
    """They name the primary and its replica."""
    with SentinelRig(tmp_path) as rig:
        address = parse_redis_url(rig.url, 5)
        primary, replicas = inspect_sentinel(address, address.hosts[0])
        assert primary == ("127.0.0.1", rig.primary.port)
        assert replicas == [("127.0.0.1", rig.replica.port)]
        other = parse_redis_url(rig.url.replace("mymaster", "other"), 5)
        with pytest.raises(StoreFailed, match="primary named 'other'"):
            inspect_sentinel(other, other.hosts[0])
