"""``/livez``, ``/readyz`` and ``/metrics`` under each server, on real backends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path

import pytest
import redis
import trio
from tests.services import RedisServer, find_free_port
from tests.triopoll.ops.exposition import values
from tests.triopoll.service import (
    Process,
    Service,
    ask,
    poll_process,
    requesting,
    slock_process,
    until_waiting,
)

import trioslock


async def counted(port: int, name: str, **labels: str) -> float:
    """Return the value of a metric, 0 if it is absent."""
    answer = await ask(port, "/metrics")
    assert answer.status == 200
    # Of Hypercorn's child too, which is not worker 0.
    return sum(
        number
        for (found, its_labels), number in values(answer.body).items()
        if found == name and labels.items() <= dict(its_labels).items()
    )


async def test_live_and_ready(service: Process) -> None:
    """Both answer, and are not cached."""
    answer = await ask(service.port, "/livez")
    assert (answer.status, answer.json) == (200, {"live": True})
    answer = await ask(service.port, "/readyz")
    assert (answer.status, answer.json) == (200, {"ready": True, "reasons": []})
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_probes_may_ask_for_the_head(service: Process, path: str) -> None:
    """Both accept HEAD, which load balancers send."""
    answer = await ask(service.port, path, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


async def test_a_wait_is_counted_from_its_begin_to_its_end(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """A wait is counted as parked, then woken, then sent."""
    port = service.port
    before = [
        await counted(port, "triopoll_wakes_total", kind="event"),
        await counted(port, "triopoll_waits_ended_total", reason="fired"),
        await counted(port, "triopoll_wake_to_sent_seconds_count"),
        await counted(port, "triopoll_answers_total", path="/poll/event"),
    ]
    async with requesting(port, "/poll/event", event=key) as request:
        await until_waiting(slock, 1)
        assert await counted(port, "triopoll_waits_parked", kind="event") == 1
        await slock.event(key, ttl=5).set()
        await request.answer()
    assert await counted(port, "triopoll_waits_parked", kind="event") == 0
    after = [
        await counted(port, "triopoll_wakes_total", kind="event"),
        await counted(port, "triopoll_waits_ended_total", reason="fired"),
        await counted(port, "triopoll_wake_to_sent_seconds_count"),
        await counted(port, "triopoll_answers_total", path="/poll/event"),
    ]
    assert after == [number + 1 for number in before]


async def test_the_end_of_a_wait_has_a_reason(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """A disconnect, a timeout, and an event without a message have their reasons."""
    port, ended = service.port, "triopoll_waits_ended_total"
    left = await counted(port, ended, kind="message", reason="disconnect")
    over = await counted(port, ended, kind="message", reason="timeout")
    empty = await counted(port, "triopoll_empty_wakes_total", kind="message")
    async with requesting(port, "/poll/message", event=key) as request:
        await until_waiting(slock, 1)
        await request.reset()
    await until_waiting(slock, 0)
    await ask(port, "/poll/message", event=key, timeout="0.05")
    await slock.event(key, ttl=5).set()
    await ask(port, "/poll/message", event=key)
    assert await counted(port, ended, kind="message", reason="disconnect") == left + 1
    assert await counted(port, ended, kind="message", reason="timeout") == over + 1
    assert (
        await counted(port, "triopoll_empty_wakes_total", kind="message") == empty + 1
    )


async def test_a_wait_that_is_replaced(
    service: Process, slock: trioslock.Client, key: str
) -> None:
    """Its reason is replaced, not disconnect."""
    port, ended = service.port, "triopoll_waits_ended_total"
    before = await counted(port, ended, reason="replaced")
    refused = await counted(port, "triopoll_refusals_total", code="replaced")
    args = {"event": key, "session": key}
    async with requesting(port, "/poll/event", **args) as old:
        await until_waiting(slock, 1)
        async with requesting(port, "/poll/event", **args) as new:
            assert (await old.answer()).json["err_code"] == 409
            await until_waiting(slock, 1)
            await new.reset()
    await until_waiting(slock, 0)
    assert await counted(port, ended, reason="replaced") == before + 1
    assert await counted(port, "triopoll_refusals_total", code="replaced") == (
        refused + 1
    )


async def test_an_error_of_the_store_is_counted(
    service: Process, redis_client: redis.Redis, key: str
) -> None:
    """An error of Redis is counted by backend and kind."""
    labels = {"backend": "store", "error": "failed"}
    before = await counted(service.port, "triopoll_backend_errors_total", **labels)
    redis_client.set(key, "no list")
    await ask(service.port, "/poll/message", event=key)
    after = await counted(service.port, "triopoll_backend_errors_total", **labels)
    assert after == before + 1


@pytest.mark.parametrize(
    "header", [b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=1", b"Via: 1.1 x"]
)
async def test_metrics_are_refused_through_a_proxy(
    service: Process, header: bytes
) -> None:
    """Through a local proxy a remote client has a local address, so it gets 403."""
    async with await trio.open_tcp_stream("127.0.0.1", service.port) as stream:
        await stream.send_all(
            b"GET /metrics HTTP/1.1\r\nHost: h\r\n%b\r\n\r\n" % header
        )
        with trio.fail_after(5):
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 403")


@pytest.mark.slow
@pytest.mark.parametrize("server", ["hypercorn", "triopoll"])
async def test_a_backend_that_is_down(server: str, tmp_path: Path) -> None:
    """The reason is reported within a probe's timeout; then all is well again."""
    store = RedisServer(tmp_path)
    store.start()
    with contextlib.ExitStack() as stack, slock_process() as slock:
        stack.callback(store.kill)
        url = f"slock://127.0.0.1:{slock.port}"
        with poll_process(
            slock=url, redis=store.url, server=server, backend_limit=1
        ) as service:
            port = service.port

            async def reasons() -> list[str]:
                with trio.fail_after(1):
                    answer = await ask(port, "/readyz")
                codes = [reason["code"] for reason in answer.json["reasons"]]
                assert answer.status == (503 if codes else 200)
                return codes

            async def until(codes: list[str]) -> None:
                with trio.fail_after(10):
                    while await reasons() != codes:
                        await trio.sleep(0.05)

            await until([])
            slock.kill()
            await until(["slock"])
            assert await counted(port, "triopoll_slock_up") == 0
            store.stop()
            await until(["slock", "store"])
            store.start()
            slock.start()
            await until([])


def served(*options: str, **env: str) -> Service:
    """Run ``triopoll serve`` with options."""
    command = ["triopoll", "serve", "--bind", "127.0.0.1:PORT", *options]
    return Service(command, env)


def children_of(pid: int) -> list[int]:
    """Return the processes that any thread of a process has started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(n) for task in tasks for n in (task / "children").read_text().split()]


@pytest.mark.slow
async def test_not_ready_while_draining() -> None:
    """While draining, /readyz answers 503 and /livez 200."""
    slock = f"embedded://127.0.0.1:{find_free_port()}"
    with served("--drain-delay", "1", TRIOPOLL_SLOCK_URL=slock) as service:
        os.kill(service.pid, signal.SIGTERM)
        with trio.fail_after(5):
            while (answer := await ask(service.port, "/readyz")).status == 200:
                await trio.sleep(0.01)
        assert [reason["code"] for reason in answer.json["reasons"]] == ["draining"]
        assert (await ask(service.port, "/livez")).status == 200
        assert await counted(service.port, "triopoll_draining") == 1


@pytest.mark.slow
async def test_one_answer_covers_all_workers(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """Any worker reports all; a killed one is reported, and its successor appears."""
    with slock_process() as slock:
        env = {
            "TRIOPOLL_SLOCK_URL": f"slock://127.0.0.1:{slock.port}",
            "TRIOPOLL_REDIS_URL": redis_server.url,
            "TMPDIR": str(tmp_path),
        }
        with served("--workers", "2", "--drain-delay", "0", **env) as service:
            port = service.port

            async def answered() -> list[float]:
                answer = await ask(port, "/metrics")
                samples = values(answer.body)
                name = "triopoll_worker_answered"
                return [samples[name, frozenset({("worker", n)})] for n in "01"]

            with trio.fail_after(10):
                while await answered() != [1, 1]:
                    await trio.sleep(0.05)
            name, path = "triopoll_answers_total", "/livez"
            for _ in range(20):
                await ask(port, path)
            for _ in range(5):
                assert await counted(port, name, path=path) == 20
            workers = children_of(service.pid)
            assert len(workers) == 2
            os.kill(workers[0], signal.SIGKILL)
            with trio.fail_after(10):
                while sum(await answered()) != 1:
                    await trio.sleep(0.02)
                while await answered() != [1, 1]:
                    await trio.sleep(0.3)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
async def test_messages_by_cursor_are_counted(key: str) -> None:
    """From the publish to the answer; and the messages that readers missed."""
    settings = {"log_max_messages": 2}
    with poll_process(server="triopoll", **settings) as service:
        port = service.port

        async def publish(*items: dict[str, str]) -> None:
            body = json.dumps({"items": items}).encode()
            answer = await ask(port, "/v1/publish", method="POST", body=body)
            assert answer.status == 200

        async with requesting(port, "/v1/messages", key=key) as request:
            with trio.fail_after(5):
                while not await counted(port, "triopoll_waits_parked", kind="log"):
                    await trio.sleep(0.01)
            await publish({"key": key, "data": "1"}, {"key": key, "type": "event"})
            cursor = (await request.answer()).json["cursor"]
        await publish(*[{"key": key, "data": "x"}] * 5)
        answer = await ask(port, "/v1/messages", key=key, cursor=cursor)
        assert (answer.json["code"], answer.json["lost"]) == ("gap", 3)
        assert await counted(port, "triopoll_waits_parked", kind="log") == 0
        # A wait looks once more as soon as slock knows of it.
        wakes = await counted(port, "triopoll_wakes_total", kind="log")
        empty = await counted(port, "triopoll_empty_wakes_total", kind="log")
        assert (wakes - empty, empty <= 1) == (1, True)
        assert await counted(port, "triopoll_publish_to_wake_seconds_count") == 1
        assert await counted(port, "triopoll_wake_to_sent_seconds_count") == 1
        assert await counted(port, "triopoll_published_total", type="message") == 6
        assert await counted(port, "triopoll_published_total", type="event") == 1
        assert await counted(port, "triopoll_gaps_total") == 1
        assert await counted(port, "triopoll_lost_messages_total") == 3
