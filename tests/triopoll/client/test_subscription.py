"""Every message arrives once and in order, with every kind of failed poll."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from tests.triopoll.client.site import Asked, Log, cursor_of, scripted
from trio.testing import MockClock

from triopoll.client import Gap, Message, MessagesLost, PollClientError, Refused


async def take(messages: Any, count: int) -> list[str]:
    taken: list[str] = []
    while len(taken) < count:
        taken.append((await anext(messages)).text)
    return taken


def empty(cursor: str = cursor_of(1), **more: Any) -> dict[str, Any]:
    return {"messages": [], "cursor": cursor, "code": "timeout", **more}


def page(*numbers: int, **more: Any) -> dict[str, Any]:
    messages = [{"id": cursor_of(n), "data": str(n), "ts": n} for n in numbers]
    return {"messages": messages, "cursor": cursor_of(numbers[-1]), **more}


async def test_messages_come_in_order_and_are_acknowledged_once_taken(
    autojump_clock: MockClock,
) -> None:
    """The next poll's cursor is that of the last message that the user took."""
    log = Log(5)
    async with scripted(log) as (client, site):
        async with client.subscribe("k", cursor="all", limit=2) as messages:
            first = await anext(messages)
            assert first == Message(cursor_of(1), b"1", 1.5)
            assert messages.cursor == first.id
            assert await take(messages, 4) == ["2", "3", "4", "5"]
            assert messages.cursor == cursor_of(5)
    assert [each.query["cursor"] for each in site.asked] == [
        "all",
        cursor_of(2),
        cursor_of(4),
    ]
    assert site.state["connections"] == 1


async def test_new_begins_where_the_subscription_is_entered(
    autojump_clock: MockClock,
) -> None:
    """Messages published after that are seen, even before the first poll."""
    log = Log(3)
    async with scripted(log) as (client, _):
        async with client.subscribe("k") as messages:
            assert messages.cursor == cursor_of(3)
            log.append()
            assert await take(messages, 1) == ["4"]


async def test_a_wait_without_messages_is_followed_by_the_next(
    autojump_clock: MockClock,
) -> None:
    """After an empty answer at the timeout the next poll follows without a pause."""
    log = Log()
    async with scripted(log) as (client, site):
        async with client.subscribe("k", wait=10) as messages:
            with trio.move_on_after(95):
                await anext(messages)
            times = [each.time for each in site.asked[1:]]
            assert [b - a for a, b in itertools.pairwise(times)] == [10.0] * 9
            log.append()
            assert await take(messages, 1) == ["1"]


@pytest.mark.parametrize("moment", [0.0, 0.5, 1.5, 2.5, 3.5])
async def test_a_cancelled_next_has_taken_nothing(
    autojump_clock: MockClock, moment: float
) -> None:
    """Cancelled at any await: the next call returns what this one would have."""
    log = Log(2)

    async def slowly(asked: Asked) -> None:
        await trio.sleep(1)
        await log(asked)

    async with scripted(slowly) as (client, _):
        async with client.subscribe("k", cursor="all", limit=1) as messages:
            with trio.move_on_after(moment):
                await anext(messages)
                await anext(messages)
            taken = messages.cursor
            rest = ["1", "2"] if taken == "all" else ["2"]
            if taken != cursor_of(2):
                assert await take(messages, len(rest)) == rest


async def test_a_message_that_is_there_survives_a_cancellation(
    autojump_clock: MockClock,
) -> None:
    """Also if no request is needed."""
    async with scripted(Log(2)) as (client, _):
        async with client.subscribe("k", cursor="all") as messages:
            assert await take(messages, 1) == ["1"]
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(messages)
            assert scope.cancelled_caught
            assert messages.cursor == cursor_of(1)
            assert await take(messages, 1) == ["2"]


async def hang_up(asked: Asked) -> None:
    asked.hang_up()


async def hang_up_late(asked: Asked) -> None:
    await trio.sleep(7)
    asked.hang_up()


async def bad_gateway(asked: Asked) -> None:
    await asked.answer(status=502, raw=b"<h1>Bad Gateway</h1>")


async def portal(asked: Asked) -> None:
    await asked.answer(raw=b"<h1>Accept our terms</h1>")


async def empty_at_once(asked: Asked) -> None:
    await asked.answer(empty(asked.query["cursor"]))


async def not_a_page(asked: Asked) -> None:
    await asked.answer({"messages": [{"id": 1}], "cursor": None})


async def unavailable(asked: Asked) -> None:
    await asked.answer({"code": "store", "message": "away"}, 503)


async def half_an_answer(asked: Asked) -> None:
    await asked.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
    asked.hang_up()


async def silence(asked: Asked) -> None:
    await trio.sleep_forever()


async def garbage(asked: Asked) -> None:
    await asked.send(b"\0\1\2\r\n\r\n" * 100)
    await trio.sleep_forever()


async def endless(asked: Asked) -> None:
    await asked.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        await asked.send(b"100000\r\n" + b" " * 2**20 + b"\r\n")


async def draining(asked: Asked) -> None:
    await asked.answer(empty(asked.query["cursor"], retry_ms=0) | {"code": "draining"})


FAULTS = [
    draining,
    hang_up,
    hang_up_late,
    bad_gateway,
    portal,
    empty_at_once,
    not_a_page,
    unavailable,
    half_an_answer,
    silence,
    garbage,
    pytest.param(endless, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("fault", FAULTS)
async def test_it_goes_on_after_every_fault_and_never_hotly(
    autojump_clock: MockClock, fault: Any
) -> None:
    """Ten minutes of faults cause few attempts; then all messages arrive."""
    log = Log(2)
    async with scripted(log) as (client, site):
        async with client.subscribe("k", transports=["poll"], wait=10) as messages:
            site.state["script"] = fault
            log.append()
            with trio.move_on_after(600):
                await anext(messages)
            assert 10 < len(site.asked) < 130
            assert site.state["connections"] <= len(site.asked)
            site.state["script"] = log
            log.append()
            with trio.fail_after(45):
                assert await take(messages, 2) == ["3", "4"]


async def test_entering_waits_while_connections_are_refused(
    autojump_clock: MockClock,
) -> None:
    """Entering waits as long as needed, and no message is lost."""
    log = Log(2)
    async with scripted(log) as (client, site):
        site.state["down"] = True
        subscription = client.subscribe("k")
        with trio.move_on_after(600):
            await subscription.__aenter__()
        assert 10 < site.state["connections"] < 130
        site.state["down"] = False
        async with client.subscribe("k") as messages:
            log.append()
            assert await take(messages, 1) == ["3"]


async def test_why_there_is_no_message(autojump_clock: MockClock) -> None:
    """The last attempt has failed, or it has not, and there is none yet."""
    log = Log()
    async with scripted(log) as (client, site):
        subscription = client.subscribe("k")
        assert subscription.error == "the server has not answered"
        assert client.subscribe("k", cursor="all").error is None
        site.state["down"] = True
        with trio.move_on_after(600):
            await subscription.__aenter__()
        assert "refused" in str(subscription.error)
        site.state["down"] = False
        async with client.subscribe("k") as messages:
            assert messages.error is None
            with trio.move_on_after(1):
                await anext(messages)
            assert messages.error is None


async def test_the_first_retry_is_spread(autojump_clock: MockClock) -> None:
    """Clients that were cut at the same instant retry at different times."""
    log, delays = Log(), []
    for _ in range(40):
        async with scripted(log) as (client, site):
            async with client.subscribe("k") as messages:
                site.state["script"] = hang_up_late
                with trio.move_on_after(9):
                    await anext(messages)
                cut = site.asked[1].time + 7
                delays.append(site.asked[2].time - cut)
    assert max(delays) <= 0.5
    assert max(delays) - min(delays) > 0.2


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(autojump_clock: MockClock, status: int) -> None:
    """After a refusal with Retry-After no request follows for that time."""
    log = Log(1)

    async def busy(asked: Asked) -> None:
        site.state["script"] = log
        shape = {"code": "limit", "message": "too many"}
        await asked.answer(shape, status, retry_after="17")

    async with scripted(log) as (client, site):
        async with client.subscribe("k", cursor="all") as messages:
            site.state["script"] = busy
            assert await take(messages, 1) == ["1"]
    first, second = site.asked
    assert 17 <= second.time - first.time <= 17.5


async def test_retry_ms_is_honoured(autojump_clock: MockClock) -> None:
    """The client retries after retry_ms; messages are not delayed by it."""

    async def draining(asked: Asked) -> None:
        site.state["script"] = Log(2)
        await asked.answer(page(1, retry_ms=3000))

    async with scripted(draining) as (client, site):
        async with client.subscribe("k", cursor="all") as messages:
            assert await take(messages, 1) == ["1"]
            assert trio.current_time() - site.asked[0].time < 0.1
            assert await take(messages, 1) == ["2"]
    assert site.asked[1].time - site.asked[0].time == pytest.approx(3)


async def test_a_kept_connection_that_was_closed_is_replaced_at_once(
    autojump_clock: MockClock,
) -> None:
    """A server may close an idle connection; this is no failure."""
    log = Log(2)

    async def once(asked: Asked) -> None:
        await log(asked)
        asked.hang_up()

    async with scripted(once) as (client, site):
        async with client.subscribe("k", cursor="all", limit=1) as messages:
            started = trio.current_time()
            assert await take(messages, 2) == ["1", "2"]
            assert trio.current_time() == started
    assert site.state["connections"] == 2


async def test_a_gap_is_raised_and_the_subscription_goes_on_behind_it(
    autojump_clock: MockClock,
) -> None:
    """The messages that are still stored follow the error."""

    async def gap(asked: Asked) -> None:
        site.state["script"] = Log(8)
        await asked.answer(page(7, code="gap", lost=4))

    async with scripted(gap) as (client, site):
        async with client.subscribe("k", cursor=cursor_of(2)) as messages:
            with pytest.raises(MessagesLost, match="4 messages of 'k'") as caught:
                await anext(messages)
            assert caught.value.lost == 4
            assert messages.cursor == cursor_of(2)
            assert await take(messages, 2) == ["7", "8"]


async def test_a_gap_can_be_an_item(autojump_clock: MockClock) -> None:
    """With gaps="items", of known and unknown size, with and without messages."""

    async def gap(asked: Asked) -> None:
        await asked.answer({**empty(cursor_of(9)), "code": "gap", "lost": None})

    async with scripted(gap) as (client, _):
        async with client.subscribe("k", cursor="old", gaps="items") as messages:
            assert await anext(messages) == Gap(None)
            assert messages.cursor == cursor_of(9)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413])
async def test_a_refusal_is_raised(autojump_clock: MockClock, status: int) -> None:
    """A permanent refusal ends the subscription with an error."""

    async def refuse(asked: Asked) -> None:
        await asked.answer({"code": "no", "message": "not you"}, status)

    async with scripted(refuse) as (client, _):
        with pytest.raises(Refused, match=r"not you \(no, HTTP") as caught:
            async with client.subscribe("k"):
                pass
        assert isinstance(caught.value, PollClientError)
        assert (caught.value.status, caught.value.code) == (status, "no")


@pytest.mark.parametrize("in_a_page", [False, True])
async def test_a_ticket_that_ended_is_fetched_again(
    autojump_clock: MockClock, *, in_a_page: bool
) -> None:
    """Once; a freshly fetched ticket that is refused is an error."""
    log, tickets = Log(1), iter("abc")

    async def check(asked: Asked) -> None:
        if asked.headers["authorization"] == "Bearer b":
            await log(asked)
        elif in_a_page:
            await asked.answer({**empty(), "code": "ticket_expired"})
        else:
            await asked.answer({"code": "ticket", "message": "ended"}, 401)

    async def fetch() -> str:
        await trio.lowlevel.checkpoint()
        return next(tickets)

    async with scripted(check, ticket=fetch) as (client, site):
        async with client.subscribe("k", cursor="all") as messages:
            assert await take(messages, 1) == ["1"]
            site.state["script"] = Log(0)
    assert len(site.asked) == 2


async def test_a_fresh_ticket_that_is_refused_is_an_error(
    autojump_clock: MockClock,
) -> None:
    """A fixed ticket that is refused is an error at once."""

    async def refuse(asked: Asked) -> None:
        await asked.answer({"code": "ticket", "message": "bad"}, 401)

    async def fetch() -> str:
        await trio.lowlevel.checkpoint()
        return "x"

    for ticket, count in (("x", 1), (fetch, 2)):
        async with scripted(refuse, ticket=ticket) as (client, site):
            with pytest.raises(Refused):
                async with client.subscribe("k"):
                    pass
        assert len(site.asked) == count


async def test_the_body_s_error_leaves_as_it_is(autojump_clock: MockClock) -> None:
    """It is not wrapped in a group, cancellations included."""
    async with scripted(Log()) as (client, _):
        with pytest.raises(KeyError, match="mine"):
            async with client.subscribe("k"):
                raise KeyError("mine")
        with trio.move_on_after(1) as scope:
            async with client.subscribe("k") as messages:
                await anext(messages)
        assert scope.cancelled_caught


async def test_misuse_is_a_sentence(autojump_clock: MockClock) -> None:
    """Two tasks in one iterator, a closed iterator, and invalid arguments."""
    async with scripted(Log()) as (client, _):
        async with client.subscribe("k") as messages:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(anext, messages)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    await anext(messages)
                nursery.cancel_scope.cancel()
            assert "'k': poll, 0 ready" in repr(messages)
        with pytest.raises(trio.ClosedResourceError):
            await anext(messages)
        with pytest.raises(ValueError, match="above 0"):
            client.subscribe("k", wait=0)
        with pytest.raises(ValueError, match="at least one"):
            client.subscribe("k", transports=[])
