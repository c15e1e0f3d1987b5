"""An engine and the naive model, driven in step and compared at each."""

from __future__ import annotations

from tests.trioslock.engine.model import Model
from tests.trioslock.engine.sequences import (
    CONNECTIONS,
    Pass,
    Reconnect,
    Step,
    Submit,
)

from trioslock.engine import Engine, EngineStatistics, Reply

START_MS = 1_700_000_000_500


class EngineAndModel:
    """Both, with the same peers and the same virtual clock."""

    def __init__(self) -> None:
        self.engine = Engine(wall_offset=START_MS / 1000)
        self.model = Model(START_MS)
        self._ms = 0
        self._peers: list[int] = []
        for _ in range(CONNECTIONS):
            self._peers.append(self._add_peer())

    @property
    def now(self) -> float:
        return self._ms / 1000

    def play(self, step: Step) -> None:
        """Take a step with both and compare what they say and keep."""
        if isinstance(step, Submit):
            peer = self._peers[step.connection]
            replies = self.engine.submit(peer, step.command, self.now)
            self._compare(replies, self.model.submit(peer, step.command))
        elif isinstance(step, Pass):
            self._pass_time(self._ms + step.ms)
        else:
            assert isinstance(step, Reconnect)
            peer = self._peers[step.connection]
            replies = self.engine.drop_peer(peer, self.now)
            self._compare(replies, self.model.drop_peer(peer))
            self._peers[step.connection] = self._add_peer()
        self._compare_state()

    def end(self) -> EngineStatistics:
        """Close all peers, end everything, and return what is left."""
        for peer in self._peers:
            self._compare(
                self.engine.drop_peer(peer, self.now), self.model.drop_peer(peer)
            )
        # Ending a wait may lock the reversed key, and ending that lock the key again.
        for db in (0, 1) * 3:
            self.engine.flush(db, self.now)
        return self.engine.statistics()

    def _add_peer(self) -> int:
        peer = self.engine.add_peer(self.now)
        assert self.model.add_peer() == peer
        return peer

    def _pass_time(self, until: int) -> None:
        """Let time pass from deadline to deadline, as a host does."""
        while True:
            deadline = self.engine.next_deadline()
            ends = [each.end for each in self.model.requests()]
            due = None if deadline is None else START_MS + round(deadline * 1000)
            first = min(ends, default=None)
            assert due == (None if first == 10**18 else first)
            self._ms = (
                until if due is None else min(until, max(self._ms, due - START_MS))
            )
            self._compare(
                self.engine.advance(self.now), self.model.advance(START_MS + self._ms)
            )
            if self._ms == until:
                return

    @staticmethod
    def _compare(ours: list[Reply], models: list[tuple[int, object]]) -> None:
        assert [tuple(each) for each in ours] == models

    def _compare_state(self) -> None:
        statistics = self.engine.statistics()
        holders = [len(each) for each in self.model.holders.values()]
        waiters = [len(each) for each in self.model.waiters.values()]
        assert statistics.holders == sum(holders)
        assert statistics.waiters == sum(waiters)
        assert statistics.keys == len(
            {place for place, each in self.model.holders.items() if each}
            | {place for place, each in self.model.waiters.items() if each}
        )
        in_use = self.model.values.keys() - self.model.ends.keys()
        for place in in_use:
            value = self.model.values[place]
            view = self.engine.inspect(*place)
            assert view is not None
            assert view.data == value
