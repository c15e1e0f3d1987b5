"""What is noted as changed is what has changed, and what is saved can be put back."""

from __future__ import annotations

import random

import pytest
from tests.trioslock.engine.commands import OTHER_KEY, Talk, lock, unlock
from tests.trioslock.engine.model import frame
from tests.trioslock.engine.sequences import (
    CONNECTIONS,
    EVERYTHING,
    KEYS,
    Pass,
    Submit,
    make_sequence,
)

from trioslock.engine import Engine, SavedKey

SEQUENCES = 3_000
DATABASES = range(4)
Kept = dict[tuple[int, bytes], SavedKey]


def all_saved(engine: Engine) -> Kept:
    """What is there to be kept, found without asking what has changed."""
    found = [engine.save(db, key) for db in DATABASES for key in KEYS]
    return {(each.db, each.name): each for each in found if each is not None}


class Follower:
    """Keeps an engine's keys as a storage does: by the changes that it reports."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.kept: Kept = {}
        engine.watch_changes()

    def follow(self) -> None:
        for change in self.engine.take_changes():
            saved = self.engine.save(*change)
            if saved is None:
                self.kept.pop(change, None)
            else:
                self.kept[change] = saved


def play_seed(seed: int) -> Engine:
    dice = random.Random(seed)
    engine = Engine(wall_offset=1_700_000_000.5)
    follower = Follower(engine)
    now = 0.0
    peers = [engine.add_peer(now) for _ in range(CONNECTIONS)]
    for step in make_sequence(dice, EVERYTHING, dice.choice((6, 12, 24))):
        if isinstance(step, Submit):
            engine.submit(peers[step.connection], step.command, now)
        elif isinstance(step, Pass):
            now += step.ms / 1000
            engine.advance(now)
        else:
            engine.drop_peer(peers[step.connection], now)
            peers[step.connection] = engine.add_peer(now)
        follower.follow()
        assert follower.kept == all_saved(engine)
    restored = Engine(wall_offset=1_700_000_000.5)
    restored.restore(follower.kept.values(), now)
    # A lease whose timer is past due is not over before its tick.
    assert all_saved(restored) == follower.kept
    engine.flush(0, now)
    follower.follow()
    assert follower.kept == all_saved(engine)
    return restored


@pytest.mark.slow
def test_no_change_is_missed() -> None:
    """After each step of 3,000 conversations the followed copy is what is held."""
    restored = 0
    for seed in range(SEQUENCES):
        try:
            restored += play_seed(seed).statistics().keys
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
    assert restored > SEQUENCES / 10


def test_what_changes_nothing_is_not_written() -> None:
    """Reads, refusals and waits leave a row, and a large value in it, alone."""
    talk = Talk()
    talk.engine.watch_changes()
    talk.send(lock("a", data=frame(0, 0, None, b"large" * 1000)))
    assert len(talk.engine.take_changes()) == 1
    talk.send(lock("b", flag=1, expiry=0))
    talk.send(lock("b"))
    talk.send(lock("b", timeout=5))
    talk.send(lock("a"))
    talk.send(unlock("c"))
    talk.send(unlock("c", key=OTHER_KEY))
    talk.engine.inspect(0, OTHER_KEY)
    assert not talk.engine.take_changes()


def test_nothing_is_noted_until_somebody_watches() -> None:
    """An engine without a storage keeps no list that would grow."""
    talk = Talk()
    talk.send(lock("a"))
    assert not talk.engine.take_changes()
