"""One suite for every store of who waits."""

from __future__ import annotations

import json
from typing import Any

import pytest

from triopoll.settings import is_internal
from triopoll.store import (
    ALL,
    NEW,
    MessageLog,
    Stores,
    Waiting,
    changes_key,
    open_stores,
)

RESET = {"reset": True}


def test_the_names_of_logs_are_internal() -> None:
    """So no client can read or write one by its name."""
    assert is_internal(changes_key("k"))


def test_each_subject_counts_once_and_each_wait_without_one() -> None:
    assert Waiting(("ann", "bob"), 3).count == 5


async def waiting(stores: Stores, key: str) -> Waiting:
    (found,) = await stores.presence.look([key])
    return found.waiting


async def changes(log: MessageLog, key: str, cursor: str = ALL) -> list[dict[str, Any]]:
    page = await log.read(changes_key(key), cursor, 100)
    assert all(message.is_json for message in page.messages)
    return [json.loads(message.data) for message in page.messages]


async def test_a_report_replaces_the_last_one(store_url: str, key: str) -> None:
    async with open_stores(store_url, limit=5) as stores:
        assert await waiting(stores, key) == Waiting((), 0)
        await stores.presence.report({key: Waiting(("ann", "bob"), 2)})
        assert await waiting(stores, key) == Waiting(("ann", "bob"), 2)
        other = key + "2"
        await stores.presence.report({key: Waiting(("ann",), 0), other: Waiting((), 1)})
        first, second = await stores.presence.look([key, other])
        assert first.waiting == Waiting(("ann",))
        assert second.waiting.count == 1
        await stores.presence.report({key: Waiting(), other: Waiting()})
        assert (await waiting(stores, key)).count == 0


async def test_nothing_is_recorded_without_a_reader(store_url: str, key: str) -> None:
    async with open_stores(store_url, limit=5) as stores:
        assert [*await stores.presence.report({key: Waiting(("ann",))})] == []
        (found,) = await stores.presence.look([key])
        assert not found.is_recorded
        assert await changes(stores.log, key) == []


async def test_changes_are_recorded(store_url: str, key: str) -> None:
    """From the note that the recording begins; a report without a change is none."""
    async with open_stores(store_url, limit=5) as stores:
        report = stores.presence.report
        await report({key: Waiting(("ann",), 1)})
        (found,) = await stores.presence.look([key], record=True)
        assert found == (Waiting(("ann",), 1), True)
        (found,) = await stores.presence.look([key], record=True)
        assert not found.is_recorded
        for after, is_change in (
            (Waiting(("ann",), 1), False),
            (Waiting(("ann", 'b"ö/b', "cy"), 1), True),
            (Waiting(("cy",), 1), True),
            (Waiting(("cy",), 0), True),
            (Waiting(), True),
            (Waiting(), False),
        ):
            assert [*await report({key: after})] == ([key] if is_change else [])
        assert await changes(stores.log, key) == [
            RESET,
            {"joined": ['b"ö/b', "cy"], "left": [], "count": 4, "anonymous": 1},
            {"joined": [], "left": ["ann", 'b"ö/b'], "count": 2, "anonymous": 1},
            {"joined": [], "left": [], "count": 1, "anonymous": 0},
            {"joined": [], "left": ["cy"], "count": 0, "anonymous": 0},
        ]


async def test_a_reader_continues_by_cursor(store_url: str, key: str) -> None:
    async with open_stores(store_url, limit=5) as stores:
        await stores.presence.look([key], record=True)
        page = await stores.log.read(changes_key(key), NEW, 10)
        await stores.presence.report({key: Waiting(("ann",))})
        found = await changes(stores.log, key, page.cursor)
        assert [each["joined"] for each in found] == [["ann"]]


@pytest.mark.parametrize("record", [True, False])
async def test_no_key_at_all(store_url: str, record: bool) -> None:
    async with open_stores(store_url, limit=5) as stores:
        assert [*await stores.presence.report({})] == []
        assert await stores.presence.look([], record=record) == []
