"""One websocket session over a real log and engine, its wire a channel."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from tests.triopoll.logrig import LogRig, messages, open_log_rig
from trio.testing import MockClock

from triopoll.api.websocket.codecs import Codec, PollCodec, V1Codec
from triopoll.api.websocket.frames import FrameLimits, Subscribe
from triopoll.api.websocket.session import Closing, WebSocketSession, WebSocketSettings
from triopoll.core.wait_items import LogItem
from triopoll.store import StoreFailed, StoreUnreachable

SETTINGS = WebSocketSettings(limits=FrameLimits(max_items=5))


class Peer:
    """The client's side of the wire. It takes a frame only when it hears it."""

    def __init__(self) -> None:
        self.to_server, self._from_client = trio.open_memory_channel[Any](0)
        self._to_client, self.from_server = trio.open_memory_channel[str](0)
        self.ending: Closing | None = None
        self.answers_pings = True
        self.session: WebSocketSession | None = None

    async def receive(self) -> str | bytes | None:
        try:
            return await self._from_client.receive()
        except trio.EndOfChannel:
            return None

    async def send(self, text: str) -> None:
        try:
            await self._to_client.send(text)
        except trio.BrokenResourceError:
            raise OSError("the client has left") from None

    async def say(self, **shape: Any) -> None:
        await self.to_server.send(json.dumps(shape))

    async def hear(self) -> dict[str, Any]:
        while True:
            shape = json.loads(await self.from_server.receive())
            if shape != {"type": "ping"}:
                return shape
            if self.answers_pings:
                await self.say(type="pong")

    async def follow(self, key: str, cursor: str = "new", **more: Any) -> str:
        item = {"key": key, "cursor": cursor, **more}
        await self.say(type="subscribe", messages=[item])
        answer = await self.hear()
        assert (answer["type"], answer["key"]) == ("subscribed", key)
        return str(answer["cursor"])

    async def take(self) -> list[str]:
        """Hear a page and acknowledge it."""
        page = await self.hear()
        assert page["type"] == "messages", page
        await self.say(type="ack", key=page["key"], cursor=page["cursor"])
        return [message["data"] for message in page["messages"]]

    async def silent(self, seconds: float = 1.0) -> bool:
        """Return whether nothing but pings is heard for so long."""
        with trio.move_on_after(seconds):
            await self.hear()
            return False
        return True

    def hang_up(self) -> None:
        """Close the server's side."""
        self._to_client.close()

    def leave(self) -> None:
        self.to_server.close()
        self.from_server.close()


@asynccontextmanager
async def session(
    rig: LogRig,
    *first: Any,
    codec: Codec | None = None,
    settings: WebSocketSettings = SETTINGS,
    allows: Callable[[str], bool] = lambda key: True,
    count: Callable[[Collection[str]], None] | None = None,
) -> AsyncIterator[Peer]:
    peer = Peer()
    peer.session = WebSocketSession(
        *(rig.reader, codec or V1Codec(settings.limits), peer.send, settings, allows),
        count=count,
    )

    async def run() -> None:
        assert peer.session is not None
        peer.ending = await peer.session.run(peer.receive, *first)
        peer.hang_up()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        if codec is None:
            assert await peer.hear() == {"type": "hello", "ping": settings.ping}
        yield peer
        peer.leave()
        with trio.fail_after(60):
            while peer.ending is None:
                await trio.sleep(0.1)


async def publish(rig: LogRig, key: str, *data: bytes) -> None:
    await rig.log.put(key, *data)
    await rig.wake(key)


async def test_pages_come_one_at_a_time_and_each_is_acknowledged(
    autojump_clock: MockClock,
) -> None:
    """Nothing more is read from the log for a client that has not said it has this."""
    async with open_log_rig() as rig, session(rig) as peer:
        cursor = await peer.follow("k", max=2)
        await publish(rig, "k", b"1", b"2", b"3")
        page = await peer.hear()
        assert page["after"] == cursor
        assert [message["data"] for message in page["messages"]] == ["1", "2"]
        assert page["cursor"] == page["messages"][-1]["id"]
        reads = rig.log.reads
        await publish(rig, "k", b"4")
        assert await peer.silent(100)
        assert rig.log.reads == reads
        await peer.say(type="ack", key="k", cursor=page["cursor"])
        assert await peer.take() == ["3", "4"]
        assert await peer.silent(100)
        await publish(rig, "k", b"5")
        assert await peer.take() == ["5"]


async def test_the_same_messages_as_by_poll(autojump_clock: MockClock) -> None:
    """Ids, cursors and data, whichever transport asks; bytes that are no text too."""
    async with open_log_rig() as rig, session(rig) as peer:
        await rig.log.put("k", b"a", b"\xff", b"")
        assert await peer.follow("k", "all") == "all"
        page = await peer.hear()
        look: Any = await messages(rig, "k", "all", 100, 0)
        assert page["cursor"] == look.page.cursor
        assert page["after"] == "all"
        assert page["messages"] == [
            {
                "id": look.page.messages[0].id,
                "data": "a",
                "ts": page["messages"][0]["ts"],
            },
            {
                "id": look.page.messages[1].id,
                "data_base64": "/w==",
                "ts": page["messages"][1]["ts"],
            },
            {
                "id": look.page.messages[2].id,
                "data": "",
                "ts": page["messages"][2]["ts"],
            },
        ]
        await peer.say(type="ack", key="k", cursor=page["messages"][0]["id"])
        again = await peer.hear()
        assert again["messages"] == page["messages"][1:]


async def test_a_gap_is_told(autojump_clock: MockClock) -> None:
    """With the number lost where it is known."""
    async with open_log_rig() as rig, session(rig) as peer:
        foreign = "0badcafe.1700000000000000.00ff"
        await rig.log.put("k", b"kept")
        await peer.follow("k", foreign)
        page = await peer.hear()
        assert (page["code"], page["lost"], page["after"]) == ("gap", None, foreign)
        assert [message["data"] for message in page["messages"]] == ["kept"]


async def test_several_keys_and_unsubscribing(autojump_clock: MockClock) -> None:
    """Each has its own place; one that is dropped is not heard of again."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.follow("a")
        await peer.follow("b")
        await publish(rig, "b", b"1")
        assert await peer.take() == ["1"]
        await peer.say(type="unsubscribe", messages=["b", "unknown"])
        assert await peer.hear() == {"type": "unsubscribed"}
        await publish(rig, "b", b"2")
        await publish(rig, "a", b"3")
        assert await peer.take() == ["3"]
        await peer.say(type="ack", key="b", cursor="all")
        assert await peer.silent()


async def test_events_are_told_once_for_each_time_they_are_asked(
    autojump_clock: MockClock,
) -> None:
    """An event stays set; the websocket does not turn hot on it."""
    async with open_log_rig() as rig, session(rig) as peer:
        for _ in range(2):
            await peer.say(type="subscribe", events=[{"key": "e"}])
            assert await peer.hear() == {"type": "subscribed", "event": "e"}
            if _ == 0:
                assert await peer.silent()
                await rig.publisher.event("e", ttl=5000).set()
            assert await peer.hear() == {"type": "event", "event": "e"}
            assert await peer.silent(100)


async def test_groups_are_followed_by_version(autojump_clock: MockClock) -> None:
    """Every wake-up is told, and the next one is waited for after the ack."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.say(type="subscribe", groups=[{"key": "g"}])
        assert await peer.hear() == {"type": "subscribed", "group": "g"}
        assert await peer.silent()
        for _ in range(3):
            await rig.publisher.group_event("g", ttl=60).wakeup()
            news = await peer.hear()
            assert (news["type"], news["group"]) == ("group", "g")
            assert await peer.silent()
            await peer.say(type="ack", group="g", version=news["version"])
            assert await peer.silent()


async def test_no_wake_of_a_group_is_missed_while_something_else_is_sent(
    autojump_clock: MockClock,
) -> None:
    """It counts from the subscription, not from the wait that happens to be on."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.follow("k")
        await peer.say(type="subscribe", groups=[{"key": "g"}])
        assert await peer.hear() == {"type": "subscribed", "group": "g"}
        assert await peer.silent()
        # A page that the client does not read yet: meanwhile nothing is waited for.
        await publish(rig, "k", b"1")
        await trio.sleep(1)
        await rig.publisher.group_event("g", ttl=60).clear()
        await rig.publisher.group_event("g", ttl=60).wakeup()
        assert await peer.take() == ["1"]
        with trio.fail_after(5):
            news = await peer.hear()
        assert (news["type"], news["group"]) == ("group", "g")


async def test_what_is_wrong_is_answered_and_the_websocket_goes_on(
    autojump_clock: MockClock,
) -> None:
    """Bad frames, keys that are not granted, and more than is allowed."""
    async with (
        open_log_rig() as rig,
        session(rig, allows=lambda key: key < "x") as peer,
    ):
        await peer.to_server.send("{")
        assert await peer.hear() == {
            "type": "error",
            "code": "bad_frame",
            "message": "the frame is not JSON",
        }
        await peer.say(type="subscribe", messages=[{"key": "a"}, {"key": "x"}])
        assert (await peer.hear())["code"] == "forbidden"
        for key in "abcde":
            await peer.follow(key)
        await peer.say(type="subscribe", events=[{"key": "a"}])
        assert (await peer.hear())["code"] == "limit"
        await peer.follow("e", "all")
        await peer.say(type="ping")
        assert await peer.hear() == {"type": "pong"}


@pytest.mark.parametrize(
    ("frame", "code"), [(b"{}", 1003), ("x" * 70_000, 1009), ("ü" * 40_000, 1009)]
)
async def test_frames_that_end_it(
    autojump_clock: MockClock, frame: str | bytes, code: int
) -> None:
    """Binary ones, and those that are too long in bytes."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.to_server.send(frame)
        with pytest.raises(trio.EndOfChannel):
            await peer.hear()
        assert peer.ending is not None
        assert peer.ending.code == code


async def test_a_client_that_does_not_answer_pings_is_closed(
    autojump_clock: MockClock,
) -> None:
    """Whatever keeps the connection open; while it answers, it stays for ever."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.follow("k")
        assert await peer.silent(1000)
        asked = trio.current_time()
        peer.answers_pings = False
        with pytest.raises(trio.EndOfChannel):
            await peer.hear()
        assert trio.current_time() - asked <= SETTINGS.ping + SETTINGS.pong
        assert peer.ending == Closing(1008, "no answer to a ping")


async def test_a_client_that_does_not_read_is_cut(autojump_clock: MockClock) -> None:
    """Within the deadline for sending; no close frame goes behind half a frame."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.follow("k")
        reads = rig.log.reads
        await publish(rig, "k", b"1")
        started = trio.current_time()
        while peer.ending is None:
            await publish(rig, "k", b"2")
            await trio.sleep(0.1)
        assert peer.ending == Closing(None)
        assert 15 <= trio.current_time() - started < 16
        assert rig.log.reads <= reads + 2


async def test_the_drain_closes_it_with_1012(autojump_clock: MockClock) -> None:
    """Idle ones as well as parked ones, and one whose client does not read."""
    async with open_log_rig() as rig, session(rig) as idle, session(rig) as parked:
        async with session(rig) as stuck:
            await parked.follow("k")
            await stuck.follow("k")
            await publish(rig, "k", b"1")
            assert (await parked.hear())["type"] == "messages"
            for peer in (idle, parked, stuck):
                assert peer.session is not None
                peer.session.end(1012, "the server restarts")
            await trio.sleep(1.5)
            assert idle.ending == parked.ending == Closing(1012, "the server restarts")
            assert stuck.ending == Closing(None)


async def test_a_wait_that_the_drain_ends_is_a_restart(
    autojump_clock: MockClock,
) -> None:
    """Whoever of the two hears of it first."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.follow("k")
        await rig.drain.release(0)
        with pytest.raises(trio.EndOfChannel):
            await peer.hear()
        assert peer.ending == Closing(1012, "the server restarts")


@pytest.mark.parametrize(
    ("fault", "code", "word"),
    [
        (StoreUnreachable("x"), 1011, "store_unreachable"),
        (StoreFailed("x"), 1011, "store_failed"),
    ],
)
async def test_a_backend_that_fails_is_never_silence(
    autojump_clock: MockClock, fault: Exception, code: int, word: str
) -> None:
    """The client is told why, and comes back by itself."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.follow("k", "all")
        await publish(rig, "k", b"1")
        page = await peer.hear()
        rig.log.fault = fault
        await peer.say(type="ack", key="k", cursor=page["cursor"])
        assert (await peer.hear())["code"] == word
        with pytest.raises(trio.EndOfChannel):
            await peer.hear()
        assert peer.ending is not None
        assert peer.ending.code == code
        rig.log.fault = None


async def test_too_many_waits_close_it_with_1013(autojump_clock: MockClock) -> None:
    """An idle websocket parks nothing, so it is the wait that is refused."""
    async with open_log_rig() as rig:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                for n in range(64):
                    nursery.start_soon(messages, rig, f"{n}", "new", 1, 1e6)
                await trio.testing.wait_all_tasks_blocked()
                async with session(rig) as peer:
                    item = {"key": "k", "cursor": "all"}
                    await peer.say(type="subscribe", messages=[item])
                    assert (await peer.hear())["type"] == "subscribed"
                    assert (await peer.hear())["code"] == "too_many_waits"
                    with pytest.raises(trio.EndOfChannel):
                        await peer.hear()
                    assert peer.ending is not None
                    assert peer.ending.code == 1013
                    scope.cancel()


async def test_a_client_that_floods_is_read_slowly(autojump_clock: MockClock) -> None:
    """Each acknowledgement may cost a look at the log."""
    async with open_log_rig() as rig, session(rig) as peer:
        await peer.follow("k", "all")
        started = trio.current_time()
        for _ in range(1000):
            await peer.say(type="pong")
        assert trio.current_time() - started > 2


async def test_who_follows_much_is_read_more_slowly(autojump_clock: MockClock) -> None:
    """Each frame may cost a look at all of it."""
    settings = WebSocketSettings(limits=FrameLimits(max_items=50))
    async with open_log_rig() as rig, session(rig, settings=settings) as peer:
        keys = [{"key": f"k{n}", "cursor": "all"} for n in range(50)]
        await peer.say(type="subscribe", messages=keys)
        for _ in keys:
            assert (await peer.hear())["type"] == "subscribed"
        started = trio.current_time()
        for n in range(500):
            cursor = f"00000001.{n + 1}.0001"
            await peer.say(type="ack", key="k0", cursor=cursor)
        # What comes at once is paid for, the rest at two thousand looks a second.
        assert trio.current_time() - started > 50 * (500 - 80) / 2000 - 1


async def test_a_client_that_leaves_leaves_nothing(autojump_clock: MockClock) -> None:
    """At any moment; the rig checks that nobody waits."""
    for step in range(4):
        async with open_log_rig() as rig, session(rig) as peer:
            if step:
                await peer.follow("k", "all")
            if step > 1:
                await publish(rig, "k", b"1")
            if step > 2:
                await peer.take()
        assert peer.ending == Closing(None)


async def test_the_style_of_the_polls(autojump_clock: MockClock) -> None:
    """One message a frame; its id, sent back, brings the next."""
    async with open_log_rig() as rig:
        await rig.log.put("k", b"1", b"2")
        first = Subscribe((LogItem("k", "all", 1),))
        async with session(rig, first, codec=PollCodec("k")) as peer:
            assert await peer.hear() == {"err_code": 0, "err_message": "", "id": "all"}
            for data in ("1", "2"):
                frame = await peer.hear()
                assert (frame["err_code"], frame["data"]) == (0, data)
                assert frame["err_message"] == "succed"
                await peer.to_server.send(frame["id"])
            beat = await peer.hear()
            assert beat == {"err_code": 504, "err_message": "wait timeout"}
            await peer.to_server.send("")
            await peer.to_server.send("nonsense")
            assert (await peer.hear())["err_code"] == 400
            await publish(rig, "k", b"3")
            assert (await peer.hear())["data"] == "3"


async def test_gaps_in_the_style_of_the_polls(autojump_clock: MockClock) -> None:
    """With what is left, or with nothing."""
    foreign = "0badcafe.1700000000000000.00ff"
    first = Subscribe((LogItem("k", foreign, 1),))
    async with open_log_rig() as rig:
        async with session(rig, first, codec=PollCodec("k")) as peer:
            await peer.hear()
            frame = await peer.hear()
            assert (frame["err_code"], frame["gap"], frame["lost"]) == (410, True, None)
        await rig.log.put("k", b"1")
        async with session(rig, first, codec=PollCodec("k")) as peer:
            await peer.hear()
            frame = await peer.hear()
            assert (frame["err_code"], frame["gap"], frame["data"]) == (0, True, "1")


async def test_what_is_followed_is_counted(autojump_clock: MockClock) -> None:
    """All keys, whatever is waited for on them; an acknowledgement changes none."""
    counted: list[list[str]] = []

    def count(keys: Collection[str]) -> None:
        if counted[-1:] != [sorted(keys)]:
            counted.append(sorted(keys))

    async with open_log_rig() as rig, session(rig, count=count) as peer:
        await peer.follow("a")
        await peer.say(type="subscribe", events=[{"key": "a"}, {"key": "b"}])
        for _ in range(2):
            assert (await peer.hear())["type"] == "subscribed"
        await publish(rig, "a", b"1")
        page = await peer.hear()
        await peer.say(type="ack", key="a", cursor=page["cursor"])
        await peer.say(type="unsubscribe", messages=["a"])
        assert (await peer.hear())["type"] == "unsubscribed"
        await peer.say(type="unsubscribe", events=["a"])
        assert (await peer.hear())["type"] == "unsubscribed"
    assert counted == [["a"], ["a", "b"], ["b"]]
