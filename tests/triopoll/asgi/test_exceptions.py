from __future__ import annotations

from triopoll.asgi.exceptions import only_error


def test_the_only_error_of_a_group_is_found_at_any_depth() -> None:
    error = OSError("broken")
    group: BaseExceptionGroup[OSError] = BaseExceptionGroup("a", [error])
    assert only_error(group) is error
    assert only_error(BaseExceptionGroup("b", [group])) is error


def test_a_group_of_several_is_returned_as_it_is() -> None:
    """No error is dropped, also if the group stands in another one."""
    several = BaseExceptionGroup("a", [OSError(), KeyError()])
    assert only_error(several) is several
    assert only_error(BaseExceptionGroup("b", [several])) is several
