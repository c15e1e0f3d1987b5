"""Sessions and the server answer as the real server did: every transcript.

Sessions on virtual time; the server over TCP, in real time.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests.trioslock.server.programs import serving
from tests.trioslock.server.world import SessionWorld
from tests.trioslock.transcripts import TcpWorld, Transcript, by_tags, replay

from trioslock.engine import Engine

# Upper bounds of time are stretched: the machine may have other work to do.
SLACK = 0.5
AT_ONCE = 64

DIFFERS_ON_PURPOSE = frozenset(
    {
        # A first frame that arrives in pieces is waited for.
        "conn.first_frame_fragmented",
        # Milliseconds stay milliseconds above 3000.
        "text.px_is_seconds",
        # The result of a PUSH is dropped; a will is executed.
        "text.push_shifts_replies",
        "text.will_is_ignored",
    }
)


def recorded(*tags: str) -> list[Transcript]:
    return [
        transcript
        for transcript in by_tags(have={"fresh", "quirk", *tags})
        if transcript.name not in DIFFERS_ON_PURPOSE
    ]


def only_with(tag: str) -> list[Transcript]:
    return [transcript for transcript in recorded(tag) if tag in transcript.needs]


def name_of(transcript: Transcript) -> str:
    return transcript.name


@pytest.mark.parametrize("transcript", recorded("nosubscribe"), ids=name_of)
def test_answers_as_recorded(transcript: Transcript) -> None:
    """Every conversation that was recorded from a standalone server."""
    replay(SessionWorld(), transcript)


@pytest.mark.parametrize("transcript", only_with("subscribe"), ids=name_of)
def test_answers_subscribers_as_recorded(transcript: Transcript) -> None:
    """Those with a server that takes subscriptions."""
    engine = Engine(wall_offset=1_700_000_000.0, subscribe_enabled=True)
    replay(SessionWorld(engine), transcript)


def test_nothing_is_left_out_unnoticed() -> None:
    """148 standalone and 3 subscribe transcripts but for the five named above."""
    assert len(recorded("nosubscribe")) == 148 - len(DIFFERS_ON_PURPOSE)
    assert len(only_with("subscribe")) == 3


@pytest.fixture(scope="module")
def replays() -> Iterator[dict[str, Future[None]]]:
    """All standalone transcripts, many at a time, on one server."""
    with serving() as (_, address), ThreadPoolExecutor(AT_ONCE) as pool:
        yield {
            transcript.name: pool.submit(
                replay, TcpWorld(address), transcript, slack=SLACK
            )
            for transcript in recorded("nosubscribe")
        }


@pytest.mark.slow
@pytest.mark.parametrize("transcript", recorded("nosubscribe"), ids=name_of)
def test_server_answers_as_recorded(
    transcript: Transcript, replays: dict[str, Future[None]]
) -> None:
    """Each conversation of a standalone server, beside all the others."""
    replays[transcript.name].result()


@pytest.fixture(scope="module")
def subscribing() -> Iterator[tuple[str, int]]:
    with serving("--subscribe-enabled") as (_, address):
        yield address


@pytest.mark.slow
@pytest.mark.parametrize("transcript", only_with("subscribe"), ids=name_of)
def test_server_answers_subscribers_as_recorded(
    transcript: Transcript, subscribing: tuple[str, int]
) -> None:
    """One after the other: each subscribes to everything."""
    replay(TcpWorld(subscribing), transcript, slack=SLACK)
