from __future__ import annotations

from trioslock import Data, Holder
from trioslock.protocol import LockResult, ResultCode


def shown(data: Data | None = None) -> LockResult:
    frame = None if data is None else data.encode()
    code = ResultCode.UNOWN_ERROR
    return LockResult(
        *(1, b"request", code, 0, 0, b"holder", b"key"), *(5, 9, 2, 3), frame
    )


def test_a_holder_is_what_show_answers() -> None:
    holder = Holder.of(shown())
    assert holder.lock_id == b"holder"
    assert holder.data is None
    # SHOW has no times; the lists have.
    assert (holder.since, holder.until) == (None, None)


def test_levels_are_the_holders_own_and_total_those_of_all() -> None:
    result = shown()
    holder = Holder.of(result)
    assert (holder.levels, holder.total) == (result.lrcount, result.lcount)
    assert holder.levels != holder.total


def test_the_value_of_the_key_is_decoded() -> None:
    data = Holder.of(shown(Data.set("value"))).data
    assert data is not None
    assert data.text == "value"
