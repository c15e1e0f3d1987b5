"""What Redis means by the error replies that are about Redis, not about a command.

Each code is told apart by a row of the table: which error a caller gets, what the log
says, whether a new connection can help, and whether a command that has to be
acknowledged is sent again. A code that has no row is an error of its command alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import redis
from redis import exceptions

from ._base import StoreError, StoreFailed, StoreFull, StoreUnreachable

__all__ = ["AWAY", "REFUSALS", "Refusal", "code_of", "refusal_of", "translate"]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an error code of Redis means.

    Attributes:
        meaning: What the log says that Redis does, after its address.
        error: The error that a caller gets.
        reconnects: Whether another connection may help: to a server that has taken
            over, to one that has finished loading, with rights that it has now.
        retries: Whether the same command may succeed later as it is.
        healed: What the log says once it is over, before the time that it took.
        of_server: Whether other commands are refused as well, so that it is a state of
            the server.
    """

    meaning: str
    error: type[StoreError]
    reconnects: bool
    retries: bool = True
    healed: str = "takes writes again"
    of_server: bool = True


# No reply at all: the connection was refused, lost, or silent for too long.
AWAY = Refusal("does not answer", StoreUnreachable, True, healed="answers again")

# Source: shared replies in Redis's src/server.c (createSharedObjects), and the
# NOPERM, WRONGPASS and ASK replies in src/acl.c, src/cluster.c. All of these are sent
# before a command is executed, so none of them has done half of its work.
REFUSALS: dict[str, Refusal] = {
    "READONLY": Refusal("is a replica and refuses writes", StoreUnreachable, True),
    "LOADING": Refusal(
        "is loading its data", StoreUnreachable, True, healed="answers again"
    ),
    "MASTERDOWN": Refusal("is a replica without its primary", StoreUnreachable, True),
    "CLUSTERDOWN": Refusal(
        "belongs to a cluster that is down",
        StoreUnreachable,
        True,
        healed="answers again",
    ),
    "NOREPLICAS": Refusal(
        "refuses writes for want of replicas", StoreUnreachable, True
    ),
    "MISCONF": Refusal(
        "refuses writes since it cannot save to disk", StoreUnreachable, True
    ),
    "OOM": Refusal("is full and refuses to store", StoreFull, False),
    "NOPERM": Refusal(
        "does not permit what is asked", StoreFailed, False, of_server=False
    ),
    "NOAUTH": Refusal(
        "asks for a password", StoreUnreachable, True, healed="answers again"
    ),
    "WRONGPASS": Refusal(
        "does not accept the user or the password",
        StoreUnreachable,
        True,
        healed="answers again",
    ),
    "BUSY": Refusal(
        "is busy with a script", StoreUnreachable, False, healed="answers again"
    ),
    "TRYAGAIN": Refusal(
        "is moving keys to another node", StoreUnreachable, False, of_server=False
    ),
    "MOVED": Refusal(
        "has given keys to another node", StoreUnreachable, False, of_server=False
    ),
    "ASK": Refusal(
        "is giving keys to another node", StoreUnreachable, False, of_server=False
    ),
    "MAXCLIENTS": Refusal(
        "has too many connections", StoreUnreachable, True, healed="answers again"
    ),
}

# redis-py before 8 keeps the code of these to itself; a subclass comes before its base.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "WRONGPASS"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.NoScriptError, "NOSCRIPT"),
)
# What Redis says to a client that has given no password: to HELLO, and to the rest.
_NOAUTH = re.compile(r"^(?:NOAUTH )?(?:HELLO must be called|Authentication required)")
_CODE = re.compile(r"([A-Z][A-Z0-9]{2,})(?: |$)")
# Redis 6.2 wraps the error of a command that a script calls.
_IN_SCRIPT = re.compile(r"[Ee]rror running script .*?-([A-Z][A-Z0-9]{2,}) ", re.DOTALL)


def code_of(error: Exception) -> str:
    """Return the code with which an error reply of Redis begins; "" without one."""
    text = str(error)
    if isinstance(error, redis.RedisError) and "max number of clients" in text:
        return "MAXCLIENTS"
    if wrapped := _IN_SCRIPT.search(text):
        return wrapped[1]
    if code := getattr(error, "status_code", None):
        return str(code)
    if isinstance(error, exceptions.AuthenticationError) and _NOAUTH.search(text):
        return "NOAUTH"
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    match = _CODE.match(text) if isinstance(error, redis.ResponseError) else None
    return match[1] if match else ""


def refusal_of(error: Exception) -> Refusal | None:
    """Return what an error says of Redis; None if it is about its command alone."""
    refusal = REFUSALS.get(code_of(error))
    if refusal is None and not isinstance(error, redis.ResponseError):
        return AWAY
    return refusal


def translate(error: Exception) -> StoreError:
    """Return an error for one caller; each needs its own, for its own traceback."""
    refusal = refusal_of(error)
    kind = StoreFailed if refusal is None else refusal.error
    text, code = str(error) or type(error).__name__, code_of(error)
    translated = kind(text if not code or code in text else f"{code} {text}")
    translated.__cause__ = error
    return translated
