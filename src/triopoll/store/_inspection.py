"""What a Redis says of itself, asked once over a connection of its own.

For a check before the service runs: `_node` asks less, again and again. All of this
blocks, within the limits of the address; it is for a thread.
"""

# Redis-py is typed in part only:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import redis

from ._base import StoreFailed
from ._cluster import ask_slots
from ._open import layout_of
from ._refusals import REFUSALS, code_of, translate
from ._rights import ON_LISTS, Missing, ask_rights, missing_rights, needed
from ._sentinel import ask_sentinel
from ._slots import SLOTS
from ._url import RedisAddress

__all__ = [
    "Host",
    "RedisReport",
    "SlotOwners",
    "inspect_cluster",
    "inspect_redis",
    "inspect_sentinel",
    "numbers_of",
]

Host: TypeAlias = tuple[str, int]
"""Name or address, and port."""

_Ask: TypeAlias = Callable[..., Any]
_REPLICA = ("slave", "replica")
_CONFIG = ("save", "appendfsync")
_ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN")


@dataclass(frozen=True, slots=True)
class RedisReport:
    """What one server says of itself; what the user may not ask is missing.

    Attributes:
        version: Its version.
        is_replica: It follows another server.
        info: The fields of ``INFO``.
        config: Values of ``CONFIG GET``.
        refusal: Why it does not take a write; "" if it does.
        seconds_ahead: By how much its clock is ahead of this machine's; None: unknown.
        missing: Which rights the user lacks; None if the server cannot say it.
    """

    version: str
    is_replica: bool
    info: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    refusal: str = ""
    seconds_ahead: float | None = None
    missing: Missing | None = None


@dataclass(frozen=True, slots=True)
class SlotOwners:
    """The nodes of a cluster.

    Attributes:
        primaries: Those that have slots.
        replicas: Those that follow one of them.
        unowned: How many slots no node has.
    """

    primaries: tuple[Host, ...]
    replicas: tuple[Host, ...]
    unowned: int


def inspect_redis(
    address: RedisAddress, host: Host | None, redis_prefix: str, list_prefix: str
) -> RedisReport:
    """Ask one Redis for its state; nothing in it is changed.

    Args:
        address: How to connect.
        host: To which server; None for the only one that the address names.
        redis_prefix: Of our keys.
        list_prefix: Of the names of lists and values.

    Raises:
        StoreError: It does not answer, or refuses the connection.
    """
    layout = layout_of(address, redis_prefix, list_prefix)
    with _connected(address.connection(*(host or ("", 0)))) as ask:
        greeting = _greeting(ask("HELLO"))
        version = greeting.get("version", "")
        is_cluster = address.kind == "cluster"
        keys = {
            redis_prefix: (layout.probes[0], needed(is_cluster=is_cluster)),
            list_prefix: (f"{list_prefix}probe", ON_LISTS),
        }
        return RedisReport(
            version=version,
            is_replica=greeting.get("role") in _REPLICA,
            info=_info(ask("INFO", "default")),
            config=_config(ask),
            refusal=_refusal(ask, layout.probes),
            seconds_ahead=_seconds_ahead(ask),
            missing=_missing(ask, version, keys),
        )


def inspect_sentinel(address: RedisAddress, host: Host) -> tuple[Host, list[Host]]:
    """Ask a Sentinel for the primary and its replicas.

    Returns:
        The primary; and its replicas, as far as the Sentinel tells the user.

    Raises:
        StoreError: It does not answer, refuses, or does not know the primary.
    """
    connection = address.sentinel(*host)
    with _connected(connection) as ask:
        primary = ask_sentinel(connection, address.name)
        if primary is None:
            raise StoreFailed(f"it does not know a primary named {address.name!r}")
        replicas = ask("SENTINEL", "REPLICAS", address.name)
        return primary, list(_replicas(replicas))


def inspect_cluster(address: RedisAddress, host: Host) -> SlotOwners:
    """Ask a node of a cluster for all nodes.

    Raises:
        StoreError: It does not answer, or refuses.
    """
    with _translated():
        ranges = ask_slots(address, host)
    primaries = dict.fromkeys(hosts[0] for _, _, hosts in ranges)
    replicas = dict.fromkeys(each for _, _, hosts in ranges for each in hosts[1:])
    owned = sum(last - first + 1 for first, last, _ in ranges)
    return SlotOwners(tuple(primaries), tuple(replicas), SLOTS - owned)


@contextmanager
def _translated() -> Generator[None]:
    """Raise what goes wrong in the block as a `StoreError`."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise translate(error) from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise StoreFailed("its answers are not those of a Redis") from error


@contextmanager
def _connected(connection: Any) -> Generator[_Ask]:
    """Connect; the block gets what sends a command and returns the reply.

    An error reply is returned too: it says what the user may not ask.
    """

    def ask(*command: str) -> Any:
        connection.send_command(*command, check_health=False)
        try:
            return connection.read_response()
        except redis.ResponseError as error:
            return error

    with _translated():
        try:
            connection.connect()
            yield ask
        finally:
            connection.disconnect()


def numbers_of(version: str) -> tuple[int, ...]:
    """Return a version as numbers, for comparisons."""
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _greeting(hello: Any) -> dict[str, str]:
    """Return the fields of the answer to HELLO, which no access list can forbid."""
    if isinstance(hello, Exception):
        raise hello
    texts = [each.decode() if isinstance(each, bytes) else "" for each in hello]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _info(reply: Any) -> dict[str, str]:
    if not isinstance(reply, bytes):
        return {}
    lines = reply.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _config(ask: _Ask) -> dict[str, str]:
    """Return what INFO does not tell: when the data is saved."""
    found: dict[str, str] = {}
    for name in _CONFIG:
        reply = ask("CONFIG", "GET", name)
        if isinstance(reply, list) and len(reply) == 2:
            found[name] = reply[1].decode("utf-8", "replace")
    return found


def _refusal(ask: _Ask, probes: Sequence[str]) -> str:
    """Return why no write is taken; in a cluster, of a key that the node has."""
    for probe in probes:
        # Passes all that may refuse a write, and changes nothing.
        reply = ask("SET", probe, "", "XX")
        if not isinstance(reply, Exception):
            return ""
        code = code_of(reply)
        if code not in _ELSEWHERE:
            refusal = REFUSALS.get(code)
            return refusal.meaning if refusal else str(reply)
    return ""


def _seconds_ahead(ask: _Ask) -> float | None:
    before = time.time()
    reply = ask("TIME")
    after = time.time()
    if not isinstance(reply, list):
        return None
    now = int(reply[0]) + int(reply[1]) / 1e6
    return now - (before + after) / 2


def _missing(
    ask: _Ask, version: str, keys: Mapping[str, tuple[str, frozenset[str]]]
) -> Missing | None:
    denied: dict[str, frozenset[str]] = {}
    for prefix, (key, names) in keys.items():
        commands = sorted(names)
        question = ask_rights(numbers_of(version), commands, key)
        if question is None:
            return None
        reply = ask(*question)
        if isinstance(reply, Exception):
            return Missing(("EVAL",)) if code_of(reply) == "NOPERM" else None
        answers = zip(commands, reply, strict=True)
        denied[prefix] = frozenset(name for name, answer in answers if answer != 1)
    return missing_rights(denied)


def _replicas(reply: Any) -> Iterator[Host]:
    """Yield the addresses in the answer to SENTINEL REPLICAS, if it was not refused."""
    for each in reply if isinstance(reply, list) else ():
        fields = dict(zip(each[::2], each[1::2], strict=True))
        yield fields[b"ip"].decode(), int(fields[b"port"])
