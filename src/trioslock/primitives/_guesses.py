"""Names that users of other libraries try first, and the call that does it here.

Known from trio, asyncio, threading and redis-py. The error of a missing attribute names
the right call, so it need not be looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

_ACQUIRE = "use `await acquire()`, or `async with`"
_RELEASE = (
    "a handle holds nothing: release what `await acquire()` has returned with "
    "`await grant.release()`, or use `async with`"
)
_TRY = "use `await try_acquire()`, which raises trio.WouldBlock"
_TIMEOUT = "use `await acquire()` within trio.fail_after or trio.move_on_after"
_EXTEND = "use `await grant.extend()` of what `await acquire()` has returned"
_OWNED = "use `grant.held` of what `await acquire()` has returned"

GUESSES: dict[str, dict[str, str]] = {
    "Acquirable": {
        "release": _RELEASE,
        "acquire_nowait": _TRY,
        "acquire_on_behalf_of": _ACQUIRE,
        "acquire_on_behalf_of_nowait": _TRY,
        "release_on_behalf_of": _RELEASE,
        "try_lock": _TRY,
        "lock": _ACQUIRE,
        "unlock": _RELEASE,
        "acquire_timeout": _TIMEOUT,
        "extend": _EXTEND,
        "reacquire": _EXTEND,
        "owned": _OWNED,
        "is_owned": _OWNED,
        "held": _OWNED,
        "locked": "use `await show()`, which returns the first holder or None",
        "is_locked": "use `await show()`, which returns the first holder or None",
        "statistics": "use `await show()`, or `client.statistics()`",
    },
    "ExclusiveHandle": {"is_locked": "use `await locked()`"},
    "CountedHandle": {
        "value": "use `await in_use()`, how many are held now",
        "borrowed_tokens": "use `await in_use()`",
        "available_tokens": "use `await in_use()`, and take it from the limit",
        "total_tokens": "use the number that the handle was made with",
        "locked": "use `await in_use()`",
    },
    "Semaphore": {
        "value": "use `await available()`",
        "max_value": "use `permits`",
        "available_tokens": "use `await available()`",
    },
    "TokenBucket": {
        "acquire_nowait": _TRY,
        "release": "a token is not released: it comes back at the end of its period",
    },
    "RWLock": {
        **dict.fromkeys(
            ("acquire_read", "read_lock", "reader", "reader_lock"),
            "use `async with rwlock.read()`",
        ),
        **dict.fromkeys(
            ("acquire_write", "write_lock", "writer", "writer_lock"),
            "use `async with rwlock.write()`",
        ),
        **dict.fromkeys(
            ("acquire", "acquire_nowait", "try_acquire", "release", "locked"),
            "choose a side: `rwlock.read()` or `rwlock.write()`",
        ),
    },
    "Event": {
        "isSet": "use `await is_set()`",
        "is_clear": "use `await is_set()`",
        "reset": "use `await clear()`",
        "unset": "use `await clear()`",
        "wait_for": "use `await wait()` within trio.move_on_after",
        "notify": "use `await set()`",
        "notify_all": "use `await set()`",
        "statistics": "use `client.statistics()`",
    },
    "GroupEvent": {
        "notify": "use `await wakeup()`",
        "notify_all": "use `await wakeup()`",
        "wake": "use `await wakeup()`",
        "reset": "use `await clear()`",
        "isSet": "use `await is_set()`",
    },
    "Value": {
        "delete": "use `await unset()`",
        "incr": "use `await increment()`",
        "decr": "use `await increment()` with a negative number",
        "rpush": "use `await push()`",
        "lpush": "use `await push()`, which adds at the end",
        "lpop": "use `await pop()`",
        "expire": "use `await touch()`, which starts the ttl again",
    },
    "Grant": {
        "acquire": "a grant is what `await lock.acquire()` has returned",
        "renew": "use `await grant.extend()`",
        "reacquire": "use `await grant.extend()`",
        "refresh": "use `await grant.extend()`",
        "unlock": "use `await grant.release()`",
        "release_nowait": "use `await grant.release()`",
        "owned": "use `grant.held`",
        "is_acquired": "use `grant.held`",
        "locked": "use `grant.held`",
    },
    "Database": {
        "Lock": "use `client.lock()`",
        "mutex": "use `client.lock()`",
        "Semaphore": "use `client.semaphore()`",
        "Event": "use `client.event()`",
        "condition": "use `client.group_event()`",
        "read_write_lock": "use `client.rwlock()`",
        "capacity_limiter": "use `client.concurrency()`",
        "get": "use `await client.value(key).get()`",
        "set": "use `await client.value(key).set(value)`",
        "select": "use `client.db()`",
        "close": "leave the `async with` of open_client",
        "aclose": "leave the `async with` of open_client",
    },
}
"""By class, its bases included, then by the name that was tried."""


class Guessed:
    """A class whose missing attributes name the right call."""

    # Not for type checkers: to them each name would be there.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            kind = type(self)
            message = f"{kind.__name__!r} object has no attribute {name!r}"
            advice = _advice(kind, name)
            raise AttributeError(
                f"{message}: {advice}" if advice else message, name=name, obj=self
            )


def _advice(kind: type, name: str) -> str:
    tables = (GUESSES.get(base.__name__, {}) for base in kind.__mro__)
    return next((table[name] for table in tables if name in table), "")
