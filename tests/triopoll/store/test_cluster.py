"""A Redis Cluster of three primaries and a replica: slots that move, nodes that fail.

The suites of stores run over a cluster as well; here is what only a cluster does.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from threading import Event

import pytest
import redis
import trio
from tests.redis_rigs import ClusterRig, admin_of
from tests.services import RedisServer, find_free_port
from tests.triopoll.store.traffic import (
    ListTraffic,
    LogTraffic,
    push_all,
    until_served,
)
from tests.triopoll.support import eventually

from triopoll.store import (
    ALL,
    Appended,
    LogLimits,
    NewMessage,
    RedisStore,
    StoreError,
    Stores,
    StoreUnreachable,
    open_stores,
)
from triopoll.store._executors import executor_for
from triopoll.store._names import ClusterLayout
from triopoll.store._slots import slot_of
from triopoll.store._url import parse_redis_url

pytestmark = pytest.mark.slow

LAYOUT = ClusterLayout("triopoll:", "")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[ClusterRig]:
    """A cluster of the test's own, to be broken."""
    with ClusterRig(tmp_path) as rig:
        yield rig


@asynccontextmanager
async def opened(rig: ClusterRig, limit: float = 1) -> AsyncIterator[Stores]:
    limits = LogLimits(max_messages=10**6)
    async with open_stores(rig.url, limit=limit, log_limits=limits) as stores:
        yield stores


def key_at(node: range, *, of_log: bool = False) -> str:
    """Return a key whose list, or log, lies in one of these slots."""
    while True:
        key = f"key-{uuid.uuid4().hex}"
        name = LAYOUT.of_log(key).meta(key) if of_log else key
        if slot_of(name) in node:
            return key


def lists_of(stores: Stores) -> RedisStore:
    assert isinstance(stores.lists, RedisStore)
    return stores.lists


async def move(rig: ClusterRig, how: str) -> None:
    """Have the replica take over: by a death, by a hang, or by agreement."""
    if how == "agreement":
        await trio.to_thread.run_sync(rig.fail_over)
        return
    getattr(rig.nodes[0], how)()
    await trio.to_thread.run_sync(rig.wait_until_moved)


@pytest.mark.parametrize("how", ["kill", "freeze", "agreement"])
async def test_a_failover_in_the_middle_of_traffic(rig: ClusterRig, how: str) -> None:
    """What the new primary has is read once; what it lacks is reported as a gap."""
    async with opened(rig) as stores, trio.open_nursery() as nursery:
        keys = [key_at(rig.slots_of(n), of_log=True) for n in (0, 1)]
        moved, other = (LogTraffic(stores.log, key) for key in keys)
        for traffic in (moved, other):
            nursery.start_soon(traffic.publish)
            nursery.start_soon(traffic.follow)
        await trio.sleep(0.5)
        await move(rig, how)
        await until_served(stores)
        before = len(moved.accepted)
        await eventually(lambda: len(moved.accepted) > before + 20, limit=20)
        for traffic in (moved, other):
            await traffic.finish()
            await traffic.check()
        assert other.gaps == 0
        nursery.cancel_scope.cancel()


async def test_lists_over_a_failover(rig: ClusterRig) -> None:
    """Each message is taken once, by pollers that do not notice more than errors."""
    key = key_at(rig.slots_of(0))
    async with opened(rig) as stores, trio.open_nursery() as nursery:
        messages = await push_all(stores, key, 100)
        traffic = ListTraffic(stores.lists, key)
        nursery.start_soon(traffic.poll)
        await eventually(lambda: len(traffic.taken) > 20)
        await trio.to_thread.run_sync(rig.fail_over)
        await eventually(lambda: len(traffic.taken) >= len(messages), limit=20)
        await trio.sleep(0.2)
        nursery.cancel_scope.cancel()
    assert sorted(traffic.taken) == sorted(messages)


async def test_other_nodes_serve_meanwhile(rig: ClusterRig) -> None:
    """While one is being replaced, commands for the others do not wait for it."""
    gone, here = (key_at(rig.slots_of(n)) for n in (0, 2))
    for node in rig.nodes:
        with admin_of(node) as admin:
            admin.config_set("cluster-require-full-coverage", "no")
    async with opened(rig, limit=2) as stores:
        for key in (gone, here):
            await stores.lists.push(key, b"1")
        rig.nodes[3].kill()
        rig.nodes[0].kill()
        with pytest.raises(StoreUnreachable):
            await stores.lists.push(gone, b"2")
        for _ in range(20):
            began = trio.current_time()
            with pytest.raises(StoreError):
                await stores.lists.push(gone, b"2")
            await stores.lists.push(here, b"2")
            assert trio.current_time() - began < 1.5


async def test_a_cluster_that_is_down(
    rig: ClusterRig, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is stored, and the log says which node says so."""
    key = key_at(rig.slots_of(0))
    async with opened(rig, limit=2) as stores:
        await stores.lists.push(key, b"1")
        rig.nodes[2].kill()
        with trio.fail_after(20):
            while "a cluster that is down: CLUSTERDOWN" not in caplog.text:
                await trio.sleep(0.02)
                try:
                    await stores.lists.push(key, b"2")
                except StoreUnreachable:
                    pass
        with pytest.raises(StoreUnreachable, match="CLUSTERDOWN"):
            await stores.lists.push(key, b"3")
        with pytest.raises(StoreUnreachable):
            await stores.lists.ping()


async def test_slots_move_while_they_are_used(rig: ClusterRig) -> None:
    """Nothing is refused but scripts for a key that is on its way; nothing is lost."""
    key = key_at(rig.slots_of(0))
    slot = slot_of(key)
    async with opened(rig) as stores, trio.open_nursery() as nursery:
        messages = await push_all(stores, key, 50)
        traffic = ListTraffic(stores.lists, key)
        nursery.start_soon(traffic.poll)
        for source, target in ((0, 1), (1, 2), (2, 0)):
            with rig.moving_slot(slot, source, target):
                await trio.sleep(0.1)
        await eventually(lambda: len(traffic.taken) >= len(messages), limit=20)
        nursery.cancel_scope.cancel()
    assert sorted(traffic.taken) == sorted(messages)


async def test_a_log_that_moves(rig: ClusterRig) -> None:
    """Its readers go on where they were; a node that the log came to is not proven.

    A page ends where the node changed, since Redis does not tell a move from a loss.
    """
    key = key_at(rig.slots_of(0), of_log=True)
    slot = slot_of(LAYOUT.of_log(key).meta(key))
    async with opened(rig) as stores:
        for n in range(3):
            (result,) = await stores.log.append([NewMessage(key, b"%d" % n)])
            assert isinstance(result, Appended)
            rig.move_slot(slot, n % 3, (n + 1) % 3)
            found, cursor = [], ALL
            while page := (await stores.log.read(key, cursor, 10)):
                if not page.messages:
                    break
                found += [each.data for each in page.messages]
                cursor = page.cursor
            assert found == [b"%d" % each for each in range(n + 1)]
            assert not (await stores.log.read(key, result.id, 10)).gap
            assert await stores.log.heads([key]) == [result.id.partition(".")[2]]


def test_redirections(rig: ClusterRig) -> None:
    """A command for a key that is not there yet is asked for where it will be."""
    key = key_at(rig.slots_of(0))
    address = parse_redis_url(rig.url, 2)
    with closing(executor_for(address, LAYOUT.probes, Event())) as executor:
        assert executor.execute([("SET", key, "1"), ("GET", key)]) == [b"OK", b"1"]
        tagged = "{" + key + "}"
        with rig.moving_slot(slot_of(key), 0, 2):
            commands = [
                ("SET", tagged, "2"),
                ("GET", key),
                ("GET", tagged),
                ("MGET", key, tagged),
            ]
            *found, both = executor.execute(commands)
            assert found == [b"OK", b"1", b"2"]
            assert "TRYAGAIN" in type(both).__name__.upper()
        assert executor.execute([("MGET", key, tagged)]) == [[b"1", b"2"]]


async def test_keys_of_any_name(redis_cluster: ClusterRig) -> None:
    """Braces in a name are its own; what is ours lies beside it all the same."""
    async with open_stores(redis_cluster.url, limit=5) as stores:
        for name in ("a{b}c", "{", "}{", "{}", "{}x", "a}b", "{a}{b}", "é{ü}", "}"):
            key = uuid.uuid4().hex + name
            await stores.lists.push(key, b"1")
            delivery = await stores.lists.pop(key)
            assert delivery is not None
            stores.lists.nack(delivery)
            (result,) = await stores.log.append([NewMessage(key, b"1", id=name)])
            assert isinstance(result, Appended)
            assert len((await stores.log.read(key, ALL, 1)).messages) == 1
            await stores.values.put(key + "value", b"1", 9)
            assert await stores.values.get(key + "value") == b"1"
        await eventually(lambda: not lists_of(stores)._settling)


async def test_many_logs_at_once(redis_cluster: ClusterRig, key: str) -> None:
    """In one call, whichever nodes they lie on."""
    async with open_stores(redis_cluster.url, limit=5) as stores:
        messages = [NewMessage(f"{key}{n}", b"1") for n in range(300)]
        results = await stores.log.append(messages)
        assert all(isinstance(result, Appended) for result in results)
        marks = await stores.log.heads([message.key for message in messages])
        assert marks == [
            result.id.partition(".")[2]
            for result in results
            if isinstance(result, Appended)
        ]


@asynccontextmanager
async def worker(rig: ClusterRig) -> AsyncIterator[RedisStore]:
    async with open_stores(rig.url, limit=5) as stores:
        yield lists_of(stores)


async def contents(
    client: redis.RedisCluster, keys: Sequence[str]
) -> list[list[bytes]]:
    return [client.lrange(key, 0, -1) for key in keys]


async def test_what_a_dead_worker_held(redis_cluster: ClusterRig) -> None:
    """On each node it goes back in front, in its order, when another worker looks."""
    keys = [key_at(redis_cluster.slots_of(n)) for n in (0, 1, 2)]
    client = redis_cluster.client()
    with closing(client):
        async with worker(redis_cluster) as victim, worker(redis_cluster) as other:
            for key in keys:
                client.rpush(key, "1", "2", "3")
            for key in [*keys, *keys]:
                assert await victim.pop(key) is not None
            await other._live()
            await other._recover()
            assert await contents(client, keys) == [[b"3"]] * 3
            for names in (LAYOUT.control, *map(LAYOUT.of_list, keys)):
                client.execute_command("DEL", names.alive(victim._worker))
            await other._recover()
            assert await contents(client, keys) == [[b"1", b"2", b"3"]] * 3
            # It is forgotten, and what it does now does nothing.
            assert not client.smembers(LAYOUT.control.tags(victim._worker))
            members = client.smembers(LAYOUT.control.workers)
            assert victim._worker.encode() not in members
            victim._held.clear()
        assert await contents(client, keys) == [[b"1", b"2", b"3"]] * 3


async def test_a_worker_that_takes_is_alive_there(
    redis_cluster: ClusterRig, key: str
) -> None:
    """What it took a moment ago is not returned though its other sign is missing."""
    client = redis_cluster.client()
    with closing(client):
        client.rpush(key, "1", "2")
        async with worker(redis_cluster) as frozen, worker(redis_cluster) as other:
            await frozen.pop(key)
            client.execute_command("DEL", LAYOUT.control.alive(frozen._worker))
            await other._recover()
            assert client.lrange(key, 0, -1) == [b"2"]


async def test_a_worker_that_ends(redis_cluster: ClusterRig) -> None:
    """It returns all that it holds, and leaves nothing of its own."""
    keys = [key_at(redis_cluster.slots_of(n)) for n in (0, 1, 2)]
    client = redis_cluster.client()
    with closing(client):
        async with worker(redis_cluster) as store:
            for key in keys:
                client.rpush(key, "1", "2")
                delivery = await store.pop(key)
                assert delivery is not None
                await store.pop(key)
                store.ack(delivery)
        assert await contents(client, keys) == [[b"2"]] * 3
        left = client.keys(f"*{store._worker}*")
        assert left == []


async def test_what_only_redis_knows_of(redis_cluster: ClusterRig, key: str) -> None:
    """A message whose pop seemed to fail goes back with the next sign of life."""
    client = redis_cluster.client()
    with closing(client):
        client.rpush(key, "1")
        async with worker(redis_cluster) as store:
            await store.pop(key)
            store._held.clear()
            await store._live()
            await eventually(lambda: client.llen(key) == 1)


async def test_places_that_are_not_used_any_more(
    redis_cluster: ClusterRig, key: str
) -> None:
    """Are not looked at for ever, and are known again once they are used."""
    client = redis_cluster.client()
    with closing(client):
        async with open_stores(redis_cluster.url, limit=5, lease=0.05) as stores:
            store = lists_of(stores)
            for _ in range(2):
                client.rpush(key, "1")
                delivery = await store.pop(key)
                assert delivery is not None
                store.ack(delivery)
                assert len(store._places) == 1
                await trio.sleep(0.4)
                await store._live()
                assert not store._places


@pytest.mark.parametrize("prefixes", [("x{", ""), ("x:", "{y}")])
async def test_a_prefix_with_braces(prefixes: tuple[str, str]) -> None:
    """It would decide where keys lie."""
    redis_prefix, list_prefix = prefixes
    with pytest.raises(ValueError, match="cannot have braces"):
        async with open_stores(
            "redis+cluster://127.0.0.1:1",
            limit=1,
            redis_prefix=redis_prefix,
            list_prefix=list_prefix,
        ):
            pass


async def test_no_node_answers(key: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is an outage, as that of a Redis."""
    hosts = [f"127.0.0.1:{find_free_port()}" for _ in range(2)]
    async with open_stores(f"redis+cluster://{','.join(hosts)}", limit=1) as stores:
        for _ in range(3):
            with pytest.raises(StoreUnreachable):
                await stores.lists.push(key, b"1")
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert record.getMessage().startswith(
        f"Redis Cluster at {','.join(hosts)} does not answer: "
    )


async def test_a_server_that_is_no_cluster(redis_server: RedisServer, key: str) -> None:
    """Its own words say what is wrong."""
    url = f"redis+cluster://127.0.0.1:{redis_server.port}"
    async with open_stores(url, limit=1) as stores:
        with pytest.raises(StoreUnreachable, match="cluster support disabled"):
            await stores.lists.push(key, b"1")
