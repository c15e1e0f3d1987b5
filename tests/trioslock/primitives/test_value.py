from __future__ import annotations

from functools import partial

import pytest
from tests.trioslock.backends import NOTHING, Backend
from tests.trioslock.primitives.answering import answered

from trioslock import Client, Data, LockError, ServerError, Value
from trioslock.primitives import Flags
from trioslock.protocol import CommandType, ExpiryFlag, LockCommand, LockFlag


@pytest.fixture
def value(backend: Backend, client: Client) -> Value:
    return client.value(backend.key("value"), ttl=60)


async def text_of(value: Value) -> str | None:
    data = await value.get()
    return None if data is None else data.text


async def test_a_value_is_set_read_and_removed(
    backend: Backend, value: Value, other: Client
) -> None:
    assert await value.get() is None
    assert await value.set("one") is None
    before = await other.value(value.key, ttl=60).set("two")
    assert before is not None
    assert before.text == "one"
    assert await text_of(value) == "two"
    removed = await value.unset()
    assert removed is not None
    assert removed.text == "two"
    assert await value.unset() is None
    assert await value.get() is None
    assert await backend.claims(value.key) == NOTHING


@pytest.mark.parametrize(
    ("plain", "read"),
    [
        (b"bytes", b"bytes"),
        ("text", b"text"),
        (-12, -12),
        (["a", b"bc"], (b"a", b"bc")),
        ({"k": "v", "k2": b"long"}, {b"k": b"v", b"k2": b"long"}),
    ],
)
async def test_types_come_back(value: Value, plain: object, read: object) -> None:
    await value.set(plain)  # type: ignore[arg-type]
    data = await value.get()
    assert data is not None
    assert data.value == read
    await value.unset()


async def test_numbers_are_counted_in_one_step(value: Value) -> None:
    assert await value.increment() == 1
    assert await value.increment(41) == 42
    assert await value.increment(-50) == -8
    await value.unset()


async def test_numbers_wrap_around_at_64_bits(value: Value) -> None:
    await value.set(2**63 - 1)
    assert await value.increment() == -(2**63)
    data = await value.get()
    assert data is not None
    assert data.value == -(2**63)
    await value.unset()


async def test_what_was_removed_is_not_counted_on(value: Value) -> None:
    """The server keeps a value for seconds after its key is free."""
    await value.set(5)
    await value.unset()
    assert await value.increment() == 1
    await value.unset()


async def test_bytes_are_added_and_taken(value: Value) -> None:
    assert await value.append("abc") == 3
    assert await value.append(b"def") == 6
    assert await value.shift(2) == b"ab"
    assert await text_of(value) == "cdef"
    await value.unset()


async def test_taking_more_than_there_is_takes_what_there_is(value: Value) -> None:
    """The real server would end: it must never get such a command."""
    assert await value.shift(1) == b""
    await value.set("abc")
    assert await value.shift(99) == b"abc"
    assert await value.shift(1) == b""
    await value.unset()


async def test_an_array_is_a_queue(value: Value) -> None:
    for item in ("a", b"b", "c"):
        await value.push(item)
    assert await value.pop() == (b"a",)
    assert await value.pop(5) == (b"b", b"c")
    assert await value.pop() == ()
    await value.unset()


async def test_popping_no_array_takes_nothing(value: Value) -> None:
    await value.set("text")
    assert await value.pop() == ()
    assert await text_of(value) == "text"
    await value.unset()


async def test_of_a_pipeline_the_last_plain_operation_decides(value: Value) -> None:
    await value.set("x")
    before = await value.pipeline(Data.append("y"), Data.append("z"))
    assert before is not None
    assert before.text == "x"
    assert await text_of(value) == "xz"
    await value.unset()


async def test_a_pipeline_runs_all_that_it_executes(
    backend: Backend, client: Client, value: Value
) -> None:
    others = [client.value(backend.key("other"), ttl=60) for _ in range(2)]
    operations = [
        Data.execute(
            LockCommand(
                CommandType.LOCK,
                bytes(15) + bytes([index]),
                LockFlag.UPDATE,
                client.number,
                other.key,
                other.key,
                0,
                0,
                60,
                0,
                0,
                0,
                Data.set(f"run {index}").encode(),
            )
        )
        for index, other in enumerate(others)
    ]
    await value.pipeline(*operations)
    for index, other in enumerate(others):
        await backend.until(other.key, 1, 0)
        assert await text_of(other) == f"run {index}"
        await other.unset()
    await value.unset()


async def test_touch_says_whether_there_was_anything(
    backend: Backend, value: Value
) -> None:
    assert not await value.touch()
    assert await backend.claims(value.key) == NOTHING
    await value.set("x")
    assert await value.touch()
    assert await text_of(value) == "x"
    await value.unset()


async def test_the_name_is_stored_for_lists(backend: Backend, client: Client) -> None:
    name = backend.key("named")
    value = client.value(name, ttl=60)
    await value.set("x")
    (found,) = [held for held in await client.keys() if held.key == value.key]
    assert found.data is not None
    assert found.data.raw == b"x"
    assert found.data.properties == ((1, name.encode()),)
    await value.unset()


async def test_a_lock_on_the_key_keeps_its_value(
    backend: Backend, client: Client, other: Client
) -> None:
    key = backend.key("value")
    value = client.value(key, ttl=60)
    async with other.lock(key) as grant:
        await grant.update(Data.set("of the lock"))
        assert await text_of(value) == "of the lock"
        with pytest.raises(LockError):
            await value.set("x")
        with pytest.raises(LockError):
            await value.unset()
        with pytest.raises(LockError):
            await value.touch()


async def test_flags_go_with_each_change(backend: Backend, client: Client) -> None:
    value = client.value(backend.key("value"), ttl=60, flags=Flags(log="at-once"))
    assert value._lease[1] & ExpiryFlag.LOG_AT_ONCE
    await value.set("x")
    await value.unset()


async def test_repr_tells_the_ttl(client: Client) -> None:
    assert "ttl 60 s" in repr(client.value("value", ttl=60))


async def test_any_other_answer_is_an_error() -> None:
    value = Value(answered(12, lease=60))
    for operation in (
        *(value.get, value.unset, value.touch, value.increment, value.pop),
        *(
            partial(value.set, "x"),
            partial(value.append, "x"),
            partial(value.push, "x"),
        ),
        partial(value.pipeline, Data.set("x")),
    ):
        with pytest.raises(ServerError):
            await operation()


async def test_a_value_without_a_name_stores_none(
    backend: Backend, client: Client
) -> None:
    """The text dialect's KEYS does not list it then."""
    named = client.value(backend.key("value"), ttl=60)
    unnamed = Value(named._options)
    await unnamed.set("x")
    found = await unnamed.get()
    assert found is not None
    assert found.properties == ()
    await named.set("y")
    found = await unnamed.get()
    assert found is not None
    assert found.properties
    await unnamed.unset()
