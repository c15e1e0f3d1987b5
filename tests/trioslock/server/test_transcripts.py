"""The server answers as the real one did: every transcript, over TCP, in real time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from tests.trioslock.server.programs import serving
from tests.trioslock.session.test_transcripts import name_of, only_with, recorded
from tests.trioslock.transcripts import TcpWorld, Transcript, replay

# Upper bounds of time are stretched: the machine may have other work to do.
SLACK = 0.5
AT_ONCE = 64

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("transcript", recorded("nosubscribe"), ids=name_of)
def test_answers_as_recorded(
    transcript: Transcript, replays: dict[str, Future[None]]
) -> None:
    """Each conversation of a standalone server, beside all the others."""
    replays[transcript.name].result()


@pytest.fixture(scope="module")
def subscribing() -> Iterator[tuple[str, int]]:
    with serving("--subscribe-enabled") as (_, address):
        yield address


@pytest.mark.parametrize("transcript", only_with("subscribe"), ids=name_of)
def test_answers_subscribers_as_recorded(
    transcript: Transcript, subscribing: tuple[str, int]
) -> None:
    """One after the other: each subscribes to everything."""
    replay(TcpWorld(subscribing), transcript, slack=SLACK)
