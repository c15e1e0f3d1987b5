"""UNLOCK: decisions that the recorded conversations do not show."""

from __future__ import annotations

import pytest
from tests.trioslock.engine.commands import KEY, OTHER_KEY, Talk, lock, unlock

from trioslock.protocol import LockResult


@pytest.fixture
def talk() -> Talk:
    return Talk()


@pytest.mark.parametrize(
    ("others", "flag"), [(1, 0), (2, 0x10)], ids=["no link", "two left"]
)
def test_a_node_still_in_use_is_not_left(talk: Talk, others: int, flag: int) -> None:
    """The answer is an ordinary one, and nothing else follows."""
    for number in range(others):
        talk.send(lock(number, flag=flag, max_count=0xFFFF))
    talk.send(lock("leaf", max_count=0xFFFF))
    result = talk.result(unlock("leaf", flag=0x10))
    assert (result.result, result.key, result.lcount) == (0, KEY, others)


def test_a_tree_is_climbed_to_its_root(talk: Talk) -> None:
    """From a leaf three nodes deep; each step is answered under an own id."""
    root, middle, child = (name * 16 for name in (b"r", b"m", b"c"))
    for node, parent in ((child, middle), (middle, root)):
        talk.send(lock(key=node, lock_id=parent, flag=0x10, max_count=0xFFFF))
        talk.send(lock(key=parent, lock_id=node, max_count=0xFFFF))
    talk.send(lock("leaf", key=child, max_count=0xFFFF))
    replies = talk.send(unlock("leaf", key=child, flag=0x10))
    results = [each.result for each in replies]
    assert all(isinstance(each, LockResult) for each in results)
    assert len({each.request_id for each in results}) == len(results)
    assert talk.engine.statistics().keys == 0


def test_a_ring_of_links_is_left_only_once(talk: Talk) -> None:
    """Two nodes that are each other's child do not climb for ever."""
    talk.send(lock(key=KEY, lock_id=OTHER_KEY, flag=0x10))
    talk.send(lock(key=OTHER_KEY, lock_id=KEY, flag=0x10))
    assert talk.codes(unlock(key=KEY, lock_id=OTHER_KEY, flag=0x10)) == [0, 0, 6]


def test_back_to_the_queue_belongs_to_the_unlocker(talk: Talk) -> None:
    """Its grant goes there, under the request id of the LOCK."""
    other = talk.engine.add_peer(talk.now)
    first = lock("a", max_count=0)
    talk.send(first)
    talk.send(lock("b", timeout=9, expiry=3))
    requeue = unlock("a", flag=0x08, timeout=60, expiry=9)
    replies = talk.send(requeue, other)
    assert [each.peer for each in replies] == [other, talk.peer]
    notice, granted = talk.wait(4)
    assert notice.peer == talk.peer
    assert granted.peer == other
    assert isinstance(granted.result, LockResult)
    assert granted.result.request_id == first.request_id
