from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from tests.trioslock.backends import NOTHING, Backend

from trioslock import Client, Data, Database, RemoteProtocolError, ServerError
from trioslock.primitives import HandleOptions
from trioslock.primitives._handle import (
    NO_ID,
    CountedHandle,
    Handle,
    check_count,
    decoded,
)
from trioslock.protocol import CommandType, LockResult, WireDuration

KEY = b"0123456789abcdef"


def handle_on(database: Database, key: bytes = KEY) -> Handle:
    return Handle(HandleOptions(database._session, key, database.number))


async def test_repr_shows_kind_key_and_database(client: Client) -> None:
    shown = repr(handle_on(client.db(7)))
    assert shown == f"<Handle on key {KEY.hex()} of database 7>"


async def test_a_lock_asks_for_nothing_by_default(client: Client) -> None:
    """No wait, no lease, no levels; and a lock id that is its request id."""
    lock = handle_on(client)._lock()
    assert (lock.type, lock.key, lock.db) == (CommandType.LOCK, KEY, client.number)
    assert lock.lock_id == lock.request_id != NO_ID
    assert (lock.timeout, lock.timeout_flag, lock.expiry, lock.expiry_flag) == (0,) * 4
    assert (lock.flag, lock.max_count, lock.rcount, lock.data) == (0, 0, 0, None)


async def test_a_lock_carries_what_it_is_given(client: Client) -> None:
    lock = handle_on(client)._lock(
        lock_id=NO_ID,
        flag=1,
        wait=WireDuration(2, 3),
        lease=WireDuration(4, 5),
        max_count=6,
        rcount=7,
        data=Data.set("x"),
    )
    assert lock.lock_id == NO_ID
    assert (lock.flag, lock.max_count, lock.rcount) == (1, 6, 7)
    assert (lock.timeout, lock.timeout_flag, lock.expiry, lock.expiry_flag) == (
        *(2, 3),
        *(4, 5),
    )
    assert lock.data == Data.set("x").encode()


async def test_an_unlock_is_of_all_levels(client: Client) -> None:
    unlock = handle_on(client)._unlock(lock_id=KEY, flag=1, max_count=2)
    assert (unlock.type, unlock.lock_id) == (CommandType.UNLOCK, KEY)
    assert (unlock.flag, unlock.max_count, unlock.rcount) == (1, 2, 0)
    assert unlock.data is None
    assert handle_on(client)._unlock(data=Data.unset()).data == Data.unset().encode()


async def test_show_returns_the_first_holder_or_none(
    backend: Backend, client: Client, other: Client
) -> None:
    """And leaves nothing behind on a free key."""
    lock = other.lock(backend.key("handle"))
    handle = handle_on(client, lock.key)
    assert await handle._show() is None
    assert await backend.claims(lock.key) == NOTHING
    async with lock as grant:
        shown = await handle._show()
        assert shown is not None
        assert shown.lock_id == grant.lock_id


async def test_show_reports_any_other_answer(client: Client) -> None:
    class Refusing:
        """A requester whose server is broken."""

        def __init__(self, session: Any) -> None:
            self.new_id = session.new_id

        async def request(self, command: Any, *, replay: bool) -> LockResult:
            return LockResult(*command[:2], 3, *command[2:6], 0, 0, 0, 0, None)

    options = HandleOptions(client._session, KEY)
    refusing: Any = Refusing(client._session)
    handle = Handle(dataclasses.replace(options, requester=refusing))
    with pytest.raises(ServerError):
        await handle._show()


async def test_in_use_counts_the_holders_of_all_clients(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("counted")
    semaphore = client.semaphore(key, 3)
    assert isinstance(semaphore, CountedHandle)
    assert await semaphore.in_use() == 0
    async with semaphore, other.semaphore(key, 3):
        assert await semaphore.in_use() == 2


@pytest.mark.parametrize("number", [0, -1, 65_536])
def test_a_number_of_holders_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="seats must be 1 to 65535, not"):
        check_count(number, "seats")


def test_one_less_than_the_number_of_holders_is_sent() -> None:
    assert (check_count(1, "seats"), check_count(65_535, "seats")) == (0, 65_534)


def test_a_data_frame_is_decoded() -> None:
    assert decoded(None) is None
    data = decoded(Data.set("x").encode())
    assert data is not None
    assert data.text == "x"
    with pytest.raises(RemoteProtocolError):
        decoded(b"\0")
