"""The engine answers as the real server did, on virtual time.

Only what is the engine's own is here: well-formed binary frames. The conversations
about framing, CALL and the text dialect are replayed through a session.
"""

from __future__ import annotations

import pytest
from tests.trioslock.transcripts import EngineWorld, Transcript, by_tags, replay

from trioslock.engine import Engine

NOT_THE_ENGINES = frozenset(
    {
        "conn.bad_magic_first",
        "conn.bad_magic_later",
        "conn.bad_version_first",
        "conn.bad_version_later",
        "conn.first_frame_fragmented",
        "conn.admin_to_text",
        "conn.call_unknown_method",
        "conn.call_list_errors",
        "conn.call_list_lock",
        "conn.call_oversize",
        "conn.data_oversize",
    }
)


def binary(*tags: str) -> list[Transcript]:
    return [
        transcript
        for transcript in by_tags(have={"fresh", "quirk", *tags})
        if transcript.name not in NOT_THE_ENGINES
        and not transcript.name.startswith("text.")
    ]


def name_of(transcript: Transcript) -> str:
    return transcript.name


@pytest.mark.parametrize("fraction", [0.0, 0.4, 0.95])
@pytest.mark.parametrize("transcript", binary("nosubscribe"), ids=name_of)
def test_answers_as_recorded(transcript: Transcript, fraction: float) -> None:
    """Wherever in a wall second the conversation begins."""
    engine = Engine(wall_offset=1_700_000_000 + fraction)
    replay(EngineWorld(engine), transcript)


@pytest.mark.parametrize(
    "transcript",
    [each for each in binary("subscribe") if "subscribe" in each.needs],
    ids=name_of,
)
def test_publishes_as_recorded(transcript: Transcript) -> None:
    """With subscriptions switched on."""
    engine = Engine(wall_offset=1_700_000_000.5, subscribe_enabled=True)
    replay(EngineWorld(engine), transcript)
