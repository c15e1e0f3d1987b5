"""Every public callable of trioslock refuses what it cannot use, and nothing breaks.

Callables and parameters are found by introspection. A new parameter is tried as soon as
its annotation is known here; an annotation that is not known fails the test.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from math import inf, nan
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio
from trio.testing import MockClock

import trioslock
from trioslock import Backoff, Client, Data, Flags, LocalProtocolError, recipes
from trioslock._arguments import shown
from trioslock.embedded import open_embedded
from trioslock.engine import EngineLimits
from trioslock.protocol import CommandType, LockCommand
from trioslock.server import ServerLimits, open_server
from trioslock.storage import open_storage
from trioslock.testing import Network, open_network

HUGE = 10**400
CANDIDATES: list[Any] = [
    *(True, None, 7, 0, -1, HUGE, 3.5, -0.5, nan, inf, -inf, 1e300),
    *("text", "", b"bytes", b"", [1], {}, object()),
]
"""What a caller may pass by mistake."""


class Kind(NamedTuple):
    """What a parameter accepts, and a value for calls about another parameter."""

    accepts: Callable[[Any], bool]
    good: Any = None


def seconds(least: float = 0, most: float = inf) -> Kind:
    def accepts(value: Any) -> bool:
        number = type(value) in (int, float)
        return number and least < value <= most and (value < 1e15 or value == inf)

    return Kind(accepts, 5)


def whole(low: int, high: int, *, none: bool = False) -> Kind:
    def accepts(value: Any) -> bool:
        return (none and value is None) or (type(value) is int and low <= value <= high)

    return Kind(accepts, None if none else max(low, 1))


def one_of(*values: Any, good: Any = None) -> Kind:
    return Kind(lambda value: any(value is each for each in values), good)


def carried(value: Any) -> bool:
    """Whether `Data.set` takes it."""
    number = type(value) is int and value != HUGE
    return isinstance(value, str | bytes) or number or value == {}


SECONDS = seconds(most=1e15)
COMMAND = LockCommand(int(CommandType.LOCK), b"r" * 16, 0, 0, b"l" * 16, b"k" * 16)
NAME = Kind(lambda value: isinstance(value, str | bytes) and bool(value), "name")
VALUE = Kind(carried, "value")
TEXT_OR_BYTES = Kind(lambda value: isinstance(value, str | bytes), "text")
NOTHING = one_of()

BY_NAME = {
    "per": seconds(most=1e15),
    "heartbeat": seconds(most=1e15),
    "session_ttl": seconds(0.99, 60_000),
    "close_grace": seconds(-0.1),
    "first of Backoff": seconds(most=5),
    "factor of Backoff": seconds(0.99, 1e15),
    "limit of Backoff": seconds(0.04, 1e15),
    "jitter of Backoff": seconds(-0.1, 1),
    "int of ServerLimits": whole(0, 2**63 - 1),
    "float of ServerLimits": seconds(-0.1),
    "int of EngineLimits": whole(0, 2**63 - 1),
    "version": whole(0, 2**64 - 1),
    "member": whole(0, 2**64 - 2, none=True),
    "priority": whole(0, 255, none=True),
    "number": whole(0, 254),
    "db": whole(0, 254),
    "port": whole(0, 65_535),
    "by": whole(-(2**63), 2**63 - 1),
    "size": whole(0, 2**32 - 1),
    "count": whole(0, 2**32 - 1),
    "stage": whole(0, 3),
    "max_inflight": whole(1, 2**63 - 1),
    "url": Kind(lambda value: False, "slock://127.0.0.1"),
    "host": Kind(lambda value: value is None or isinstance(value, str), "name"),
    "directory": Kind(lambda value: False, Path("/nowhere")),
    "key of Data.set": Kind(
        lambda value: value is None or isinstance(value, str | bytes)
    ),
    "name of to_key": TEXT_OR_BYTES,
    "slot": Kind(
        lambda value: SECONDS.accepts(value) or (type(value) is str and value != ""),
        "slot",
    ),
    "keep of barrier": SECONDS,
}
BY_ANNOTATION = {
    "Key": NAME,
    "str | bytes": NAME,
    "str | None": Kind(lambda value: value is None or isinstance(value, str)),
    "float | None": Kind(lambda value: value is None or SECONDS.accepts(value)),
    "bytes | str": TEXT_OR_BYTES,
    "Lease": seconds(),
    "float": seconds(),
    "int": whole(1, 65_535),
    "bool": one_of(True, good=False),
    "bytes": NOTHING,
    "Flags": NOTHING,
    "Value": VALUE,
    "PlainValue": VALUE,
    "DataLike": VALUE,
    "DataLike | None": Kind(lambda value: value is None or carried(value)),
    "Data": NOTHING,
    "LockCommand": Kind(lambda value: False, COMMAND),
    "Default": NOTHING,
    "Callable[[outcome.Outcome[Data | None]], object]": Kind(callable, print),
    "Fsync": NOTHING,
    "Literal['default', 'at-once', 'never']": NOTHING,
    **{
        f"{kind} | None": one_of(None)
        for kind in (
            *("Flags", "bytes", "Backoff", "ServerLimits", "EngineLimits"),
            *("EngineHost", "Storage"),
        )
    },
}

PLAIN_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "open_client": trioslock.open_client,
    "open_embedded": open_embedded,
    "open_server": open_server,
    "open_storage": open_storage,
    "to_key": trioslock.to_key,
    "Backoff": Backoff,
    "Flags": Flags,
    "ServerLimits": ServerLimits,
    "EngineLimits": EngineLimits,
}
HANDLES: dict[str, Callable[[Client], Any]] = {
    "Client": lambda client: client,
    "Database": lambda client: client.db(1),
    "Data": lambda client: Data,
    "Lock": lambda client: client.lock("lock"),
    "FencedLock": lambda client: client.lock("fenced", fenced=True),
    "RLock": lambda client: client.rlock("rlock"),
    "RWLock": lambda client: client.rwlock("rwlock"),
    "ReadSide": lambda client: client.rwlock("rwlock").read(),
    "WriteSide": lambda client: client.rwlock("rwlock").write(),
    "Semaphore": lambda client: client.semaphore("semaphore", 2),
    "ConcurrencyLimiter": lambda client: client.concurrency("limit", 2),
    "TokenBucket": lambda client: client.token_bucket("bucket", 2, 5),
    "Event": lambda client: client.event("event", ttl=9),
    "GroupEvent": lambda client: client.group_event("group", ttl=9),
    "TreeLock": lambda client: client.tree("tree"),
    "TreeLeaf": lambda client: client.tree("tree").leaf(),
    "Value": lambda client: client.value("value"),
}
RECIPES = {
    name: getattr(recipes, name)
    for name in recipes.__all__
    if "db" in inspect.signature(getattr(recipes, name)).parameters
}
GRANTS = {
    "Grant": "Lock",
    "LevelGrant": "RLock",
    "LeafGrant": "TreeLock",
}
NOT_CALLED = {
    *("SessionStatistics", "Change", "DatabaseState", "HeldKey", "Holder", "Waiter"),
    *("MemberState", "Role", "SetState", "Changes", "Subscription", "BegunWait"),
}
"""Made by the library alone; their methods take nothing."""


class Call(NamedTuple):
    """One callable with a wrong value for one of its parameters."""

    where: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    wrong: Any


def kind_of(function: str, parameter: inspect.Parameter) -> Kind:
    note = str(parameter.annotation).strip("\"'")
    own = parameter.name
    for name in (f"{own} of {function}", f"{note} of {function}", own):
        if name in BY_NAME:
            return BY_NAME[name]
    if note not in BY_ANNOTATION:
        pytest.fail(f"{function}: say here what {parameter} accepts")
    return BY_ANNOTATION[note]


def calls_of(where: str, function: Callable[..., Any]) -> Iterator[Call]:
    parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        kind = kind_of(where, parameter)
        keywords = {
            each.name: kind_of(where, each).good
            for each in parameters
            if each.default is each.empty and each.kind is not each.VAR_POSITIONAL
        }
        for value in CANDIDATES:
            if kind.accepts(value):
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                yield Call(f"{where}({parameter})", function, (value,), {}, value)
            else:
                given = {**keywords, parameter.name: value}
                yield Call(f"{where}({parameter})", function, (), given, value)


def methods_of(name: str, thing: Any) -> Iterator[tuple[str, Callable[..., Any]]]:
    owner = thing if isinstance(thing, type) else type(thing)
    for method in dir(owner):
        member = inspect.getattr_static(owner, method)
        # Of a class itself, such as Data, only what is called on the class.
        bound = isinstance(member, classmethod) or (
            owner is not thing and inspect.isroutine(member)
        )
        if not method.startswith("_") and bound and not hidden(owner, method):
            yield f"{name}.{method}", getattr(thing, method)


def hidden(owner: type, method: str) -> bool:
    """Whether a method is for the library: called by other modules, not by users."""
    return (owner.__name__, method) in INTERNAL or ("any", method) in INTERNAL


INTERNAL = {
    *(
        ("any", name)
        for name in (
            "lost",
            "granted",
            "renew_from",
            "count_from",
            "confirm",
            "share_used",
        )
    ),
    *(("any", name) for name in ("renewed", "mark_lost", "mark_renewed", "unlock_of")),
    *(("any", name) for name in ("accept", "take", "link")),
    *(("any", name) for name in ("begin_attempt", "begin_body", "begin_leave")),
    *(("any", name) for name in ("end_body", "end_body_in_trio", "finish_release")),
    ("Client", "write_by"),
    ("Data", "decode"),
}


async def refused(call: Call) -> str | None:
    """Return what is wrong with how a call was refused, None if nothing is."""
    try:
        with trio.fail_after(5):
            async with AsyncExitStack() as stack:
                result = call.function(*call.arguments, **call.keywords)
                if inspect.isawaitable(result):
                    await result
                elif hasattr(result, "__aenter__") and not hasattr(result, "acquire"):
                    await stack.enter_async_context(result)
    except (TypeError, ValueError, LocalProtocolError) as error:
        text = str(error)
        named = isinstance(call.wrong, list) or shown(call.wrong) in text
        return None if named and "\n" not in text else f"says {text!r}"
    except BaseException as error:  # noqa: BLE001 - reported
        return f"raises {error!r}"
    return "accepts it"


async def report(calls: Iterator[Call], client: Client) -> list[str]:
    faults = [
        f"{call.where} with {shown(call.wrong)}: {fault}"
        for call in calls
        if (fault := await refused(call)) is not None
    ]
    with trio.fail_after(5):
        await client.ping()
        async with client.lock("still working"):
            pass
    assert client.statistics().connections == 1
    assert client.statistics().in_flight == 0
    return faults


@pytest.fixture
async def network(autojump_clock: MockClock) -> AsyncIterator[Network]:
    async with open_network() as opened:
        yield opened


@pytest.mark.parametrize("name", PLAIN_FUNCTIONS)
async def test_a_function_refuses_wrong_arguments(name: str, network: Network) -> None:
    async with network.open_client() as client:
        assert await report(calls_of(name, PLAIN_FUNCTIONS[name]), client) == []


@pytest.mark.parametrize("name", RECIPES)
async def test_a_recipe_refuses_wrong_arguments(name: str, network: Network) -> None:
    """Also what is no client and no database."""
    async with network.open_client() as client:
        recipe = partial(RECIPES[name], client)
        assert await report(calls_of(name, recipe), client) == []
        arguments = [
            kind_of(name, each).good
            for each in inspect.signature(recipe).parameters.values()
            if each.default is each.empty
        ]
        with pytest.raises(TypeError, match="db must be a Client or a Database"):
            await RECIPES[name](1, *arguments)


@pytest.mark.parametrize("name", HANDLES)
async def test_a_handle_refuses_wrong_arguments(name: str, network: Network) -> None:
    async with network.open_client() as client:
        for where, method in methods_of(name, HANDLES[name](client)):
            assert await report(calls_of(where, method), client) == []


@pytest.mark.parametrize("name", GRANTS)
async def test_a_grant_refuses_wrong_arguments(name: str, network: Network) -> None:
    """And it is still held: its release with wrong data has not happened."""
    async with network.open_client() as client:
        grant = await HANDLES[GRANTS[name]](client).acquire()
        assert type(grant).__name__ == name
        for where, method in methods_of(name, grant):
            assert await report(calls_of(where, method), client) == []
        assert grant.held
        await grant.release()


def test_every_public_name_is_tried() -> None:
    """A new class of the package is added here, with how to make one."""
    tried = {*PLAIN_FUNCTIONS, *HANDLES, *GRANTS, *NOT_CALLED}
    classes = {
        name
        for name in trioslock.__all__
        if callable(getattr(trioslock, name))
        and not (
            isinstance(getattr(trioslock, name), type)
            and issubclass(getattr(trioslock, name), Exception)
        )
    }
    assert classes - {"SESSION"} <= tried


async def test_text_for_an_event_is_its_value(
    autojump_clock: MockClock, network: Network
) -> None:
    """It was put on the connection without a frame; ``Value.set`` takes it, too."""
    async with network.open_client() as client:
        event = client.event("event", ttl=9)
        await event.set("text")
        data = await event.wait()
        assert data is not None
        assert data.text == "text"
        await client.ping()


async def test_two_numbers_are_not_one_key(
    autojump_clock: MockClock, network: Network
) -> None:
    async with network.open_client() as client:
        for number in (7, 9):
            refusal = f"key must be text or bytes, not {number}"
            with pytest.raises(TypeError, match=refusal):
                client.lock(number)  # type: ignore[arg-type]
