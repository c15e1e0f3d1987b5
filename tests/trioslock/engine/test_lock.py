"""LOCK: decisions that the recorded conversations do not show."""

from __future__ import annotations

import pytest
from tests.trioslock.engine.commands import OTHER_KEY, Talk, lock, unlock
from tests.trioslock.engine.model import frame

from trioslock.protocol import LockResult, encode_command

OLD = frame(0, 0, None, b"old")
NEW = frame(0, 0, None, b"new")


@pytest.fixture
def talk() -> Talk:
    return Talk()


def version(number: int) -> bytes:
    return number.to_bytes(8, "little") + bytes(8)


def test_an_older_version_catches_up_and_applies_its_data(talk: Talk) -> None:
    """It learns the holder's id and the value from before its own operation."""
    talk.send(lock(lock_id=version(5), timeout_flag=0x4000, data=OLD))
    later = frame(5 | 1 << 6, 0, None, encode_command(lock("x", key=OTHER_KEY)))
    older = lock(lock_id=version(3), timeout_flag=0x4000, data=NEW)
    result = talk.result(older)
    assert (result.result, result.lock_id, result.data) == (0, version(5), OLD)
    assert (result.lcount, result.lrcount) == (1, 0)
    assert talk.value() == NEW
    # An entry for a later stage has no holder to stay with.
    assert talk.codes(older._replace(data=later)) == [0]
    assert talk.engine.statistics().data_bytes == len(NEW)


def test_an_acknowledged_update_shows_the_new_value(talk: Talk) -> None:
    """An ordinary one shows the old."""
    talk.send(lock("a", data=OLD))
    assert talk.result(lock("a", flag=0x02, data=NEW)).data == OLD
    acked = lock("a", flag=0x02, data=OLD, timeout_flag=0x1000)
    assert talk.result(acked).data == OLD
    from_log = lock("a", flag=0x06, data=NEW, timeout_flag=0x1000)
    assert talk.result(from_log).data == OLD


@pytest.mark.parametrize(
    ("flag", "expiry_flag", "wakes"),
    [(0, 0, False), (0x04, 0, True), (0, 0x0200, True), (0, 0x0300, False)],
)
def test_an_acknowledged_grant_does_not_wake(
    talk: Talk, flag: int, expiry_flag: int, wakes: bool
) -> None:
    """Unless it is from the log, or never logged: then it is an ordinary one."""
    talk.send(lock("w", timeout=9, timeout_flag=0x0200, max_count=1))
    grant = lock(
        "a", flag=flag, timeout_flag=0x1000, expiry_flag=expiry_flag, max_count=1
    )
    assert talk.codes(grant) == ([0, 0] if wakes else [0])


@pytest.mark.parametrize(
    ("expiry", "flag", "update", "update_flag", "restarts"),
    [
        (600, 0, 600, 0, False),  # a second went by, so the end differs by one
        (600, 0, 601, 0, True),
        (600, 0, 598, 0, False),
        (600, 0, 597, 0, True),
        (10, 0x0040, 10, 0x0040, False),
        (10, 0x0040, 11, 0x0040, True),
        (1, 0x4000, 2, 0x4000, False),
        (600, 0, 1, 0x4000, True),
        (600, 0, 0xFFFF, 0x4000, False),
        (600, 0, 50, 0x0400, False),
    ],
)
def test_an_update_that_changes_nothing_is_dropped(
    talk: Talk, expiry: int, flag: int, update: int, update_flag: int, restarts: bool
) -> None:
    """What is dropped leaves the request id of notices as it was."""
    first = lock("a", expiry=expiry, expiry_flag=flag)
    talk.send(first)
    talk.now = 1.0
    second = lock("a", flag=0x02, expiry=update, expiry_flag=update_flag)
    assert talk.codes(second) == [5]
    (notice,) = talk.engine.flush(0, talk.now)
    assert isinstance(notice.result, LockResult)
    expected = second if restarts else first
    assert notice.result.request_id == expected.request_id


def test_levels_stop_at_255(talk: Talk) -> None:
    """With rcount 255 as well; nothing changes then."""
    for _ in range(255):
        assert talk.codes(lock("a", rcount=255)) == [0]
    result = talk.result(lock("a", rcount=255))
    assert (result.result, result.lcount, result.lrcount) == (5, 255, 255)


def test_counts_beyond_16_bit_are_cut(talk: Talk) -> None:
    """65537 shared holders show as one; all of them are there."""
    for number in range(65_536):
        talk.send(lock(number, max_count=0xFFFF))
    result = talk.result(lock("last", max_count=0xFFFF))
    assert (result.result, result.lcount) == (0, 1)
    assert talk.engine.statistics().holders == 65_537
    assert talk.codes(lock("x", max_count=0xFFFE)) == [8]
    assert talk.codes(unlock("last")) == [0]
