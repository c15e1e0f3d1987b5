"""Sessions: the newest wait is the one."""

from triopoll.access.sessions import Sessions


def test_the_newest_ends_the_one_before() -> None:
    """And only that one, and only once."""
    ended: list[str] = []
    sessions = Sessions()
    with sessions.newest(("ann", "tab"), lambda: ended.append("first")):
        with sessions.newest(("ann", "other"), lambda: ended.append("other")):
            with sessions.newest(("ann", "tab"), lambda: ended.append("second")):
                assert ended == ["first"]
                assert len(sessions) == 2
            assert len(sessions) == 1
    assert ended == ["first"]
    assert len(sessions) == 0


def test_a_session_belongs_to_its_owner() -> None:
    """A guessed name ends nobody else's wait."""
    ended: list[str] = []
    sessions = Sessions()
    with sessions.newest(("ann", "tab"), lambda: ended.append("ann")):
        with sessions.newest(("bob", "tab"), lambda: ended.append("bob")):
            assert ended == []
            assert repr(sessions) == "<Sessions: 2>"


def test_an_old_wait_that_leaves_takes_nothing_with_it() -> None:
    """The new one can still be replaced after the old one has gone."""
    ended: list[str] = []
    sessions = Sessions()
    old = sessions.newest(("ann", "tab"), lambda: ended.append("old"))
    old.__enter__()
    with sessions.newest(("ann", "tab"), lambda: ended.append("new")):
        old.__exit__(None, None, None)
        sessions.replace(("ann", "tab"))
    assert ended == ["old", "new"]


def test_a_wait_without_a_session_is_not_noted() -> None:
    """Most have none."""
    sessions = Sessions()
    with sessions.newest(None, lambda: None):
        assert len(sessions) == 0
