"""Calls to backends: their limit, their failures, and how these are counted."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from triopoll.core.backend_calls import call_slock, call_store, count_failure
from triopoll.core.outcomes import Failure, OperationFailed
from triopoll.ops.metrics import Metrics
from triopoll.store import StoreError, StoreFailed, StoreUnreachable
from trioslock import ConnectionLost, LockError, NoLeader, SlockError


async def answer(*args: object) -> tuple[object, ...]:
    await trio.lowlevel.checkpoint()
    return args


async def fail(error: Exception) -> None:
    await trio.lowlevel.checkpoint()
    raise error


async def test_results_and_other_errors_pass_through() -> None:
    """The arguments reach the operation, its result the caller."""
    assert await call_slock(5, answer, 1, "x") == (1, "x")
    assert await call_store(5, answer, 1, "x") == (1, "x")
    with pytest.raises(ZeroDivisionError):
        await call_slock(5, fail, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await call_store(5, fail, ZeroDivisionError())


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (ConnectionLost("gone"), Failure.SLOCK_UNREACHABLE),
        (NoLeader("none"), Failure.SLOCK_UNREACHABLE),
        (trio.ClosedResourceError(), Failure.SLOCK_UNREACHABLE),
        (LockError("held", key=bytes(16)), Failure.SLOCK_REFUSED),
        (SlockError("other"), Failure.SLOCK_REFUSED),
    ],
)
async def test_an_error_of_slock(error: Exception, failure: Failure) -> None:
    """Whether slock could not be reached, or refused."""
    with pytest.raises(OperationFailed) as caught:
        await call_slock(5, fail, error)
    assert caught.value.failure is failure


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (StoreUnreachable("gone"), Failure.STORE_UNREACHABLE),
        (StoreFailed("full"), Failure.STORE_FAILED),
        (StoreError("other"), Failure.STORE_FAILED),
    ],
)
async def test_an_error_of_the_store(error: Exception, failure: Failure) -> None:
    """Whether the store could not be reached, or refused."""
    with pytest.raises(OperationFailed) as caught:
        await call_store(5, fail, error)
    assert caught.value.failure is failure


async def test_a_backend_that_does_not_answer(autojump_clock: MockClock) -> None:
    """It counts as unreachable after the limit."""
    with pytest.raises(OperationFailed) as caught:
        await call_slock(5, trio.sleep_forever)
    assert caught.value.failure is Failure.SLOCK_UNREACHABLE
    assert trio.current_time() == pytest.approx(5)
    with pytest.raises(OperationFailed) as caught:
        await call_store(2, trio.sleep_forever)
    assert caught.value.failure is Failure.STORE_UNREACHABLE
    assert trio.current_time() == pytest.approx(7)


def test_backend_failures_are_counted() -> None:
    """By backend and kind; a failure of this process is no backend's."""
    metrics = Metrics()
    for failure in (*Failure, Failure.STORE_FAILED):
        assert count_failure(metrics, failure) is failure
    assert metrics.backend_errors == {
        ("slock", "unreachable"): 1,
        ("slock", "failed"): 1,
        ("store", "unreachable"): 1,
        ("store", "failed"): 2,
    }
