"""open_service_nursery: services outlive the body by exactly its way out."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trioslock.server._services import open_service_nursery


async def test_services_end_after_the_body() -> None:
    """Cancelled from outside, a body can still talk to its service on the way out."""
    answers: list[str] = []
    send, receive = trio.open_memory_channel[str](0)

    async def serve() -> None:
        while True:
            answers.append(await receive.receive())

    with trio.CancelScope() as scope:
        async with open_service_nursery() as nursery:
            nursery.start_soon(serve)
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await send.send("released")
                    await trio.testing.wait_all_tasks_blocked()
    assert answers == ["released"]
    assert scope.cancelled_caught


async def test_the_bodys_error_comes_alone() -> None:
    """With its own cause, and no group around it."""
    with pytest.raises(KeyError, match="body") as caught:
        async with open_service_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError("body") from ValueError("cause")
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_services_error_ends_the_body() -> None:
    """It cancels the body and comes out, inside the group of its nursery."""

    async def fail() -> None:
        raise ValueError("service")

    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with open_service_nursery() as nursery:
            nursery.start_soon(fail)
            await trio.sleep_forever()


async def test_two_errors_stay_a_group() -> None:
    """None of them hides the other."""

    async def fail() -> None:
        raise ValueError("service")

    with pytest.RaisesGroup(ValueError, KeyError, flatten_subgroups=True):
        async with open_service_nursery() as nursery:
            nursery.start_soon(fail)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("body")
