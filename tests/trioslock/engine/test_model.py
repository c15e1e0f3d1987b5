"""The engine does what a naive model does: results, order, counts, deadlines."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.trioslock.engine.pair import EngineAndModel
from tests.trioslock.engine.sequences import (
    EVERYTHING,
    TIMELESS,
    Pass,
    make_sequence,
    make_step,
    with_operations,
)

T = TypeVar("T")

SEQUENCES = 20_000
CHUNKS = 10
# Of the default run; the others are of `long`.
FIRST_CHUNKS = 3


def play_seed(seed: int) -> None:
    dice = random.Random(seed)
    profile = dice.choice((EVERYTHING, EVERYTHING, EVERYTHING, TIMELESS))
    pair = EngineAndModel()
    for step in make_sequence(dice, profile, dice.choice((6, 12, 24))):
        pair.play(step)
    left = pair.end()
    assert left == (0, 0, left.databases, 0, 0, 0, 0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(chunk, marks=[pytest.mark.long] if chunk >= FIRST_CHUNKS else [])
        for chunk in range(CHUNKS)
    ],
)
def test_agrees_with_the_model(chunk: int) -> None:
    """Over 20,000 sequences, and nothing is left at the end of any of them."""
    for seed in range(chunk, SEQUENCES, CHUNKS):
        try:
            play_seed(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error


class HypothesisDice:
    """Dice that hypothesis rolls, so that it can shrink what they made."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def choice(self, options: Sequence[T], /) -> T:
        return options[self._data.draw(st.integers(0, len(options) - 1))]

    def random(self) -> float:
        return self._data.draw(st.integers(0, 999)) / 1000


class EngineMachine(RuleBasedStateMachine):
    """The same steps, chosen and shrunk by hypothesis."""

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.profile = with_operations(HypothesisDice(data), EVERYTHING)
        self.pair = EngineAndModel()
        self.number = 0

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        self.number += 1
        self.pair.play(make_step(HypothesisDice(data), self.profile, self.number))

    @rule(ms=st.sampled_from(EVERYTHING.passes))
    def pass_time(self, ms: int) -> None:
        self.pair.play(Pass(ms))

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            assert self.pair.end().timers == 0


EngineMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestEngineMachine = pytest.mark.slow(EngineMachine.TestCase)
