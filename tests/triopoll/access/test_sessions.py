"""Sessions: the newest wait replaces the previous one."""

from collections.abc import Callable

from triopoll.access.sessions import Sessions


class ParkedWaits:
    """Waits that record which of them was ended."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.ended: list[str] = []

    def end(self, name: str) -> Callable[[], None]:
        return lambda: self.ended.append(name)


def test_the_newest_ends_the_one_before() -> None:
    """Only the previous wait is ended, and only once."""
    waits = ParkedWaits()
    first, other, second = (waits.end(name) for name in ("first", "other", "second"))
    waits.sessions.enter(("ann", "tab"), first)
    waits.sessions.enter(("ann", "other"), other)
    waits.sessions.enter(("ann", "tab"), second)
    assert waits.ended == ["first"]
    assert len(waits.sessions) == 2
    waits.sessions.leave(("ann", "tab"), second)
    waits.sessions.leave(("ann", "other"), other)
    assert waits.ended == ["first"]
    assert len(waits.sessions) == 0


def test_a_session_belongs_to_its_owner() -> None:
    """A session of the same name of another owner is not affected."""
    waits = ParkedWaits()
    waits.sessions.enter(("ann", "tab"), waits.end("ann"))
    waits.sessions.enter(("bob", "tab"), waits.end("bob"))
    assert waits.ended == []
    assert repr(waits.sessions) == "<Sessions: 2>"


def test_an_old_wait_that_leaves_takes_nothing_with_it() -> None:
    """After the old wait has left, the new one can still be replaced."""
    waits = ParkedWaits()
    old, new = waits.end("old"), waits.end("new")
    waits.sessions.enter(("ann", "tab"), old)
    waits.sessions.enter(("ann", "tab"), new)
    waits.sessions.leave(("ann", "tab"), old)
    waits.sessions.replace(("ann", "tab"))
    waits.sessions.replace(("ann", "tab"))
    assert waits.ended == ["old", "new"]
