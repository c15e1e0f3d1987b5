"""Queues of claims, against plain lists."""

from __future__ import annotations

import random

import pytest
from tests.trioslock.engine.commands import KEY, lock, make_id

from trioslock.engine._keyspace import Claim, EngineDatabase, Key
from trioslock.engine._peers import Peer
from trioslock.engine._queues import FifoQueue, PriorityQueue, priority_of

KEY_STATE = Key(EngineDatabase(0), KEY)
PEER = Peer(1)


def make_claim(name: str | int, priority: int | None = None) -> Claim:
    if priority is None:
        command = lock(name)
    else:
        command = lock(name, timeout_flag=0x10, rcount=priority)
    return Claim(PEER, command, KEY_STATE, 0)


@pytest.mark.parametrize("size", [0, 1, 8, 9, 30])
def test_finds_the_oldest_and_the_newest_of_an_id(size: int) -> None:
    """With few claims, and with enough to have an index."""
    queue = FifoQueue()
    claims = [make_claim(number % 3) for number in range(size)]
    for claim in claims:
        queue.append(claim)
    assert [*queue] == claims
    for name in range(4):
        same = [claim for claim in claims if claim.command.lock_id == make_id(name)]
        assert queue.oldest(make_id(name)) is (same[0] if same else None)
        assert queue.newest(make_id(name)) is (same[-1] if same else None)


def test_agrees_with_a_list() -> None:
    """Over random arrivals and departures, of few and of many ids."""
    dice = random.Random(2)
    for _ in range(300):
        queue, plain = FifoQueue(), list[Claim]()
        names = dice.choice((1, 2, 5, 100))
        for _ in range(120):
            if plain and dice.random() < 0.45:
                claim = dice.choice((plain[0], plain[-1], dice.choice(plain)))
                plain.remove(claim)
                queue.remove(claim)
                assert claim.prev is claim.next is None
                assert claim.elder is claim.younger is None
            else:
                claim = make_claim(dice.randrange(names))
                plain.append(claim)
                queue.append(claim)
            assert queue.size == len(plain)
            lock_id = make_id(dice.randrange(names))
            same = [each for each in plain if each.command.lock_id == lock_id]
            assert queue.oldest(lock_id) is (same[0] if same else None)
            assert queue.newest(lock_id) is (same[-1] if same else None)
        assert [*queue] == plain
        assert queue.head is (plain[0] if plain else None)
        assert queue.tail is (plain[-1] if plain else None)


def test_the_queue_puts_priority_first_and_is_fair_inside() -> None:
    """A request without the flag has priority 0, whatever its rcount."""
    dice = random.Random(3)
    queue, plain = PriorityQueue(), list[Claim]()
    for number in range(400):
        if plain and dice.random() < 0.4:
            claim = dice.choice(plain)
            plain.remove(claim)
            queue.remove(claim)
        else:
            claim = make_claim(number, dice.choice((None, 0, 1, 7, 255)))
            plain.append(claim)
            queue.append(claim)
        ordered = sorted(plain, key=lambda each: -priority_of(each.command))
        assert [*queue] == ordered
        assert queue.head is (ordered[0] if ordered else None)
        assert queue.priority == (priority_of(ordered[0].command) if ordered else 0)


def test_the_newest_is_furthest_behind() -> None:
    """Of several waits under one id, with different priorities."""
    queue = PriorityQueue()
    low, high, other = make_claim("a", 1), make_claim("a", 5), make_claim("b", 0)
    for claim in (low, high, other):
        queue.append(claim)
    assert queue.newest(make_id("a")) is low
    queue.remove(low)
    assert queue.newest(make_id("a")) is high
    assert queue.newest(make_id("c")) is None


def test_removing_an_unknown_item_is_an_error() -> None:
    """A bug of the engine is noticed."""
    with pytest.raises(AssertionError):
        PriorityQueue().remove(make_claim("a"))
