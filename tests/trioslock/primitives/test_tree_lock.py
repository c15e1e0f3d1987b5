from __future__ import annotations

import pytest
import trio
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client, LockError, TreeLock


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


async def test_the_last_leaf_lets_go(
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
    """A parent key that a plain lock holds: the leaf is given back again."""
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


async def test_repr_tells_the_parent(client: Client) -> None:
    root = client.tree(b"0123456789abcdef")
    assert "below 30313233" in repr(root.child("child"))
