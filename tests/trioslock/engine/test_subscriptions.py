"""Subscriptions: recipients of events, and events kept for absent subscribers."""

from __future__ import annotations

from typing import Any

import pytest
from tests.trioslock.engine.commands import KEY, OTHER_KEY, Talk, lock, unlock
from tests.trioslock.engine.model import frame

from trioslock.engine import ClosePeer, EngineLimits, Reply
from trioslock.protocol import LockResult, SubscribeCommand, SubscribeResult

ALL = b"\xff" * 16


def subscribe(**fields: Any) -> SubscribeCommand:
    values = {
        "request_id": b"r" * 16,
        "flag": 0,
        "client_id": 7,
        "subscribe_id": 0,
        "subscribe_type": 0,
        "mask": ALL,
        "expiry": 0,
        "max_size": 0,
    }
    return SubscribeCommand(**(values | fields))


@pytest.fixture
def talk() -> Talk:
    return Talk(subscribe_enabled=True)


def answer(replies: list[Reply]) -> SubscribeResult:
    result = replies[0].result
    assert isinstance(result, SubscribeResult)
    return result


def published(replies: list[Reply]) -> list[LockResult]:
    results = [each.result for each in replies]
    return [r for r in results if isinstance(r, LockResult) and r.type == 12]


def probe(**fields: Any) -> Any:
    """A LOCK that is granted, released and published at once."""
    return lock("p", **{"expiry": 0, "expiry_flag": 0x20, **fields})


def test_is_refused_unless_enabled() -> None:
    """With result 11 and the id that was asked for."""
    replies = Talk().send(subscribe(subscribe_id=3))
    assert answer(replies) == (b"r" * 16, 11, 0, 7, 3)


def test_tells_each_event_with_its_own_request_id(talk: Talk) -> None:
    """Publish id, replica set version 0, subscribe id; lrcount and value."""
    subscribe_id = answer(talk.send(subscribe())).subscribe_id
    first, second = [published(talk.send(probe())) for _ in range(2)]
    assert first[0].result == second[0].result == 9
    assert int.from_bytes(first[0].request_id[:8], "little") == 1
    assert int.from_bytes(second[0].request_id[:8], "little") == 2
    assert first[0].request_id[8:] == bytes(4) + subscribe_id.to_bytes(4, "little")


def test_tells_of_refusals_time_outs_and_ends_of_leases(talk: Talk) -> None:
    """But not of grants and unlocks."""
    talk.send(subscribe())
    data = frame(0, 0, None, b"value")
    granted = talk.send(lock("a", expiry=5, expiry_flag=0x20, data=data, rcount=1))
    assert not published(granted)
    talk.send(lock("a", expiry=5, expiry_flag=0x20, rcount=1))
    (refused,) = published(talk.send(lock("b", timeout_flag=0x20)))
    assert (refused.result, refused.lcount, refused.data) == (8, 2, data)
    talk.send(lock("b", timeout=1, timeout_flag=0x20))
    (timed_out,) = published(talk.wait(2))
    assert (timed_out.result, timed_out.lrcount) == (8, 0)
    (ended,) = published(talk.wait(8))
    assert (ended.result, ended.lrcount, ended.lcount) == (9, 2, 0)


def test_tells_of_a_zero_lease_that_waited(talk: Talk) -> None:
    """And of a lock that cannot go back to the queue."""
    talk.send(subscribe())
    talk.send(lock("a", timeout=5))
    talk.send(probe(timeout=9))
    assert len(published(talk.send(unlock("a")))) == 1
    talk.send(lock("a", timeout=5))
    (event,) = published(talk.send(unlock("a", flag=0x08, timeout_flag=0x20)))
    assert event.result == 8


def test_masks_select_keys(talk: Talk) -> None:
    """A shared bit is enough, in any mask of the subscription."""
    mask = bytes([0, 1]) + bytes(14)
    subscribe_id = answer(talk.send(subscribe(mask=mask))).subscribe_id
    other = bytes(15) + b"\x80"
    talk.send(subscribe(subscribe_id=subscribe_id, mask=other))
    assert not published(talk.send(probe(key=b"\xff\xfe" + b"\0" * 14)))
    assert published(talk.send(probe(key=b"\0\3" + bytes(14))))
    assert published(talk.send(probe(key=other)))
    assert not published(talk.send(probe(key=bytes(16))))


def test_removing_the_last_mask_closes_the_peer(talk: Talk) -> None:
    """Removing another one does not."""
    subscribe_id = answer(talk.send(subscribe())).subscribe_id
    talk.send(subscribe(subscribe_id=subscribe_id, mask=KEY))
    first = talk.send(subscribe(subscribe_id=subscribe_id, subscribe_type=1, mask=KEY))
    assert len(first) == 1
    last = talk.send(subscribe(subscribe_id=subscribe_id, subscribe_type=1))
    assert isinstance(last[1].result, ClosePeer)
    assert talk.engine.statistics().subscriptions == 0
    assert not published(talk.send(probe()))


def test_another_client_id_is_refused(talk: Talk) -> None:
    """A subscription is its client's."""
    subscribe_id = answer(talk.send(subscribe())).subscribe_id
    again = answer(talk.send(subscribe(subscribe_id=subscribe_id, client_id=8)))
    assert (again.result, again.subscribe_id) == (11, subscribe_id)


def test_one_without_expiry_ends_with_its_peer(talk: Talk) -> None:
    """Those of other peers stay."""
    talk.send(subscribe())
    other = talk.engine.add_peer(talk.now)
    talk.send(subscribe(), other)
    talk.engine.drop_peer(other, talk.now)
    assert talk.engine.statistics().subscriptions == 1
    assert len(published(talk.send(probe()))) == 1


def test_one_with_expiry_waits_and_delivers(talk: Talk) -> None:
    """The result of SUBSCRIBE comes first, then what was kept, in order."""
    away = talk.engine.add_peer(talk.now)
    subscribe_id = answer(talk.send(subscribe(expiry=5), away)).subscribe_id
    talk.engine.drop_peer(away, talk.now)
    assert talk.engine.statistics().timers == 1
    assert not published(talk.send(probe()))
    talk.send(probe(key=OTHER_KEY))
    talk.wait(4)
    replies = talk.send(subscribe(subscribe_id=subscribe_id, expiry=5))
    assert answer(replies).result == 0
    assert [each.key for each in published(replies)] == [KEY, OTHER_KEY]
    assert talk.engine.statistics().timers == 0
    talk.wait(60)
    assert len(published(talk.send(probe()))) == 1


def test_one_ends_when_its_time_away_is_over(talk: Talk) -> None:
    """Its deadline is among the engine's."""
    away = talk.engine.add_peer(talk.now)
    subscribe_id = answer(talk.send(subscribe(expiry=5), away)).subscribe_id
    talk.engine.drop_peer(away, talk.now)
    assert talk.engine.next_deadline() == pytest.approx(5.0)
    talk.wait(5)
    assert talk.engine.statistics().subscriptions == 0
    again = answer(talk.send(subscribe(subscribe_id=subscribe_id)))
    assert again.subscribe_id != subscribe_id


@pytest.mark.parametrize(("max_size", "limit"), [(130, 1000), (0, 130), (1000, 130)])
def test_a_full_buffer_ends_it(max_size: int, limit: int) -> None:
    """The smaller of the subscriber's limit and the engine's counts."""
    limits = EngineLimits(subscription_buffer=limit)
    talk = Talk(subscribe_enabled=True, limits=limits)
    away = talk.engine.add_peer(talk.now)
    talk.send(subscribe(expiry=5, max_size=max_size), away)
    talk.engine.drop_peer(away, talk.now)
    for left in (1, 1, 0):
        talk.send(probe())
        assert talk.engine.statistics().subscriptions == left
    assert talk.engine.next_deadline() is None


def test_limits_on_subscriptions_and_masks() -> None:
    """Result 11; removing a mask and repeating one are never refused."""
    limits = EngineLimits(subscriptions=1, masks=1)
    talk = Talk(subscribe_enabled=True, limits=limits)
    subscribe_id = answer(talk.send(subscribe())).subscribe_id
    assert answer(talk.send(subscribe())).result == 11
    known = {"subscribe_id": subscribe_id}
    assert answer(talk.send(subscribe(**known))).result == 0
    assert answer(talk.send(subscribe(**known, mask=KEY))).result == 11
    assert answer(talk.send(subscribe(**known, subscribe_type=1))).result == 0
