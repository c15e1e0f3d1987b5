"""Only type-checked, never run: publishing now and later, as users write it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from triopoll.client import Draft, PollClient, Presence, Published


async def publish(client: PollClient) -> None:
    assert_type(await client.publish("key", {"n": 1}), Published)
    reminder = await client.publish("key", "text", id="a", not_before=90)
    assert_type(reminder.pending, bool)
    assert_type(reminder.due, float | None)
    assert_type(reminder.replaced, bool)
    when = datetime(2027, 1, 1, 9, tzinfo=UTC)
    drafts = [Draft("key", b"bytes", not_before=when), Draft("key", "text", "a", 60)]
    assert_type(await client.publish_many(drafts), list[Published])
    assert_type(await client.cancel(reminder.id), bool)


async def see_who_waits(client: PollClient) -> None:
    presence = await client.presence("key")
    assert_type(presence, Presence)
    assert_type(presence.subjects, tuple[str, ...])
