from __future__ import annotations

import pytest
import trio
import trio.testing

from trioslock.client import Service


async def run_with(
    body_error: BaseException | None = None, service_error: Exception | None = None
) -> list[str]:
    order: list[str] = []

    async def serve() -> None:
        try:
            if service_error is not None:
                raise service_error
            await trio.sleep_forever()
        finally:
            order.append("service ended")

    async def settle() -> None:
        await trio.lowlevel.checkpoint()
        order.append("settled")

    async def get_ready() -> str:
        await trio.lowlevel.checkpoint()
        return "ready"

    service = Service(serve, settle, grace=1)
    assert await service.start(get_ready) == "ready"
    error: BaseException | None = body_error
    try:
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
    except BaseException as caught:  # noqa: BLE001 - as `async with` hands it over
        error = caught
    order.append("body ended")
    handled = await service.stop(None if error is None else type(error), error, None)
    assert handled is (service_error is not None)
    return order


async def test_the_service_ends_after_the_body() -> None:
    assert await run_with() == ["body ended", "settled", "service ended"]
    assert await run_with(ValueError()) == ["body ended", "settled", "service ended"]


async def test_a_crash_of_the_service_cancels_the_body_and_is_raised() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="crash")):
        await run_with(service_error=ValueError("crash"))


async def test_a_service_that_does_not_get_ready_is_stopped() -> None:
    order: list[str] = []

    async def serve() -> None:
        try:
            await trio.sleep_forever()
        finally:
            order.append("service ended")

    async def fail() -> None:
        await trio.testing.wait_all_tasks_blocked()
        raise ValueError("not ready")

    service = Service(serve, trio.lowlevel.checkpoint, grace=1)
    with pytest.raises(ValueError, match="not ready"):
        await service.start(fail)
    assert order == ["service ended"]
