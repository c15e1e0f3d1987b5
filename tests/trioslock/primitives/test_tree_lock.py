from __future__ import annotations

from typing import Any

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend, MemoryBackend
from tests.trioslock.primitives.answering import KEY, answered
from trio.testing import MockClock

from trioslock import SESSION, Client, LockError, NoLeader, ServerError, TreeLock
from trioslock.primitives._tree_lock import LeafGrant, TreeLinks
from trioslock.protocol import ResultCode


def make_tree(backend: Backend, client: Client) -> tuple[TreeLock, TreeLock, TreeLock]:
    root = client.tree(backend.key("root"))
    child = root.child(backend.key("child"))
    return root, child, child.child(backend.key("grandchild"))


async def assert_free(backend: Backend, *nodes: TreeLock) -> None:
    for node in nodes:
        assert await backend.claims(node.key) == NOTHING


async def test_a_leaf_below_keeps_the_nodes_above(
    backend: Backend, client: Client
) -> None:
    tree = root, child, grandchild = make_tree(backend, client)
    async with grandchild.leaf():
        for node in (root, child, grandchild):
            with pytest.raises(trio.WouldBlock):
                await node.try_acquire()
    await assert_free(backend, *tree)
    async with root:
        pass
    await assert_free(backend, *tree)


async def test_the_last_leaf_frees_the_nodes_above(
    backend: Backend, client: Client, other: Client
) -> None:
    tree = root, child, _ = make_tree(backend, client)
    theirs = other.tree(root.key).child(child.key)
    ours = await child.leaf().acquire()
    second = await theirs.leaf().acquire()
    await ours.release()
    with pytest.raises(trio.WouldBlock):
        await root.try_acquire()
    await second.release()
    await assert_free(backend, *tree)


async def test_wait_free_waits_for_everything_below(
    backend: Backend, client: Client, other: Client
) -> None:
    root, child, grandchild = make_tree(backend, client)
    free = trio.Event()

    async def wait() -> None:
        await other.tree(root.key).wait_free()
        free.set()

    async with trio.open_nursery() as nursery:
        async with child.leaf(), grandchild.leaf():
            nursery.start_soon(wait)
            await trio.sleep(0.02)
            assert not free.is_set()
        with trio.fail_after(5):
            await free.wait()
    await assert_free(backend, root, child, grandchild)


async def test_leaves_do_not_queue_behind_who_waits_for_the_node(
    backend: Backend, client: Client, other: Client
) -> None:
    """Else a task with one leaf could wait for itself with the next."""
    root, child, _ = make_tree(backend, client)
    async with trio.open_nursery() as nursery:
        async with child.leaf():
            nursery.start_soon(other.tree(root.key).wait_free)
            await backend.until(root.key, 1, 1)
            with trio.fail_after(5):
                async with root.child(backend.key("second")).leaf():
                    pass
    await assert_free(backend, root, child)


async def test_a_leaf_without_its_links_is_no_leaf(
    backend: Backend, client: Client, other: Client
) -> None:
    """A parent key that a plain lock holds: the leaf is released again."""
    root, child, _ = make_tree(backend, client)
    async with other.lock(root.key):
        with pytest.raises(LockError):
            await child.leaf().acquire()
        await assert_free(backend, child)
    await assert_free(backend, root)


async def test_a_cancelled_wait_for_a_leaf_leaves_no_link(
    backend: Backend, client: Client, other: Client
) -> None:
    root, child, _ = make_tree(backend, client)
    async with other.lock(child.key):
        with trio.move_on_after(0.02) as scope:
            await child.leaf().acquire()
        assert scope.cancelled_caught
        await backend.until(child.key, 1, 0)
    await client.ping()
    await assert_free(backend, root, child)


async def test_repr_shows_the_parent(client: Client) -> None:
    root = client.tree(b"0123456789abcdef")
    assert "below b'0123" in repr(root.child("child"))


@pytest.mark.parametrize("lease", [SESSION, 5])
async def test_the_links_of_a_leaf_last_as_long_as_it(
    autojump_clock: MockClock, memory: MemoryBackend, lease: float
) -> None:
    async with memory.open_client() as client, memory.open_client() as other:
        root = client.tree("root", lease=lease)
        child = root.child("child")
        async with child.leaf():
            for _ in range(20):
                await trio.sleep(7)
                with pytest.raises(trio.WouldBlock):
                    await other.tree("root").try_acquire()
        assert await memory.claims("root") == NOTHING
        assert await memory.claims("child") == NOTHING


async def test_the_links_of_a_leaf_outlive_a_short_cut(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        root = client.tree("root")
        async with root.child("child").leaf():
            memory.cut()
            await trio.sleep(2)
            memory.restore()
            await trio.sleep(60)
            assert await memory.claims("root") == (1, 0)
            assert await memory.claims("child") == (2, 0)
        assert await memory.claims("root") == NOTHING


@pytest.mark.parametrize(("lease", "extended"), [(5, SESSION), (5, 60), (SESSION, 60)])
async def test_extending_a_leaf_extends_its_links(
    autojump_clock: MockClock, memory: MemoryBackend, lease: Any, extended: Any
) -> None:
    """Those of a session leaf stay leases of seconds: they belong to all leaves."""
    async with memory.open_client() as client, memory.open_client() as other:
        child = client.tree("root", lease=lease, renew=False).child("child")
        leaf = await child.leaf().acquire()
        await leaf.extend(extended)
        (entry,) = await client.holders("root")
        assert entry.until is not None
        assert entry.since is not None
        seconds = entry.until - entry.since
        assert 59 <= seconds <= 61 if extended == 60 else seconds <= 13
        with pytest.raises(trio.WouldBlock):
            await other.tree("root").try_acquire()
        await leaf.release()
        assert await memory.claims("root") == NOTHING


async def test_a_lost_leaf_stops_renewing_its_links(
    autojump_clock: MockClock, memory: MemoryBackend
) -> None:
    async with memory.open_client() as client:
        leaf = await client.tree("root").child("child").leaf().acquire()
        leaf.lost("expired")
        await trio.sleep(40)
        assert await memory.claims("root") == NOTHING
        assert (await memory.claims("child")).holders <= 1
        client._session.forget(leaf.lock_id)


async def test_links_that_cannot_be_renewed_are_tried_again(
    autojump_clock: MockClock,
) -> None:
    """Until the leaf is released, or the client is closed."""
    answers = [NoLeader("none"), 0, 0, NoLeader("none"), trio.ClosedResourceError("x")]
    options = answered(*answers)
    requester: Any = options.requester
    node = TreeLock(options).child("child")
    links = TreeLinks(node.leaf(), SESSION)
    await links._renew()
    assert [command.key for command in requester.sent] == [
        *(node.key, node.key, KEY),
        *(node.key, node.key),
    ]


async def test_a_node_above_that_is_refused_is_an_error() -> None:
    tree = TreeLock(answered(12))
    with pytest.raises(ServerError):
        await tree.wait_free()
    with pytest.raises(ServerError):
        await TreeLinks(tree.child("child").leaf(), 5).create()


async def test_a_leaf_without_links_is_a_grant_like_others() -> None:
    """Until its links are made, which comes after its grant."""
    options = answered(ResultCode.LOCKED_ERROR, 0)
    leaf: Any = TreeLock(options).leaf()
    requester: Any = options.requester
    grant = LeafGrant(requester, leaf._prepare(1, 0), requester.new_id())
    await grant.extend(5)
    await grant.release()
    assert not grant.held
