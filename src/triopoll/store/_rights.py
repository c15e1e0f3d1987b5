"""Which commands the store sends to Redis, and whether a user may send them.

Redis knows from version 7.0 on: a script may ask what its own user is allowed to do
(`redis.acl_check_cmd`), without a right that the user does not need anyway, and without
an entry in the log of refused commands. `ACL DRYRUN` and `MULTI` would need rights of
their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._scripts import commands_in_scripts

__all__ = ["LOWEST_VERSION", "Missing", "ask_rights", "missing_rights", "needed"]

LOWEST_VERSION = (6, 2)
"""The first version of Redis that the store works with."""

_KNOWS_RIGHTS = (7, 0)

# What is sent outside of scripts. A test compares it to the code of the store.
SENT = frozenset(
    {"DEL", "EVAL", "EVALSHA", "GET", "HDEL", "HGET", "HKEYS", "HMGET", "INFO"}
    | {"RPUSH", "SELECT", "SET", "UNLINK"}
)
SENT_TO_CLUSTERS = frozenset({"CLUSTER SLOTS", "ASKING"})
# What is sent for lists and values, whose names begin with another prefix.
ON_LISTS = frozenset(
    ["EVAL", "EVALSHA", "GET", "LPOP", "LPUSH", "RPUSH", "SET", "TYPE"]
)
_WITHOUT_KEY = frozenset({"INFO", "SELECT", "TIME", *SENT_TO_CLUSTERS})

# Argument: a list of commands, as JSON. Returns for each of them 1 if the user may send
# it, 0 if not, 2 if this Redis does not know it.
_ASK = """
local answers = {}
for place, command in ipairs(cjson.decode(ARGV[1])) do
  local known, allowed = pcall(redis.acl_check_cmd, unpack(command))
  answers[place] = known and (allowed and 1 or 0) or 2
end
return answers
"""


@dataclass(frozen=True, slots=True)
class Missing:
    """What a user may not do.

    Attributes:
        commands: Names in capitals, of commands that are not allowed.
        prefixes: Of keys that are out of reach.
    """

    commands: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.commands or self.prefixes)

    @property
    def rules(self) -> str:
        """Return what to add to the user, as ``ACL SETUSER`` takes it."""
        rights = [f"+{name.lower().replace(' ', '|')}" for name in self.commands]
        return " ".join([*(f"~{prefix}*" for prefix in self.prefixes), *rights])


def needed(*, is_cluster: bool) -> frozenset[str]:
    """Return the names of all commands that the store sends, in capitals."""
    names = commands_in_scripts() | SENT
    return names - {"SELECT"} | SENT_TO_CLUSTERS if is_cluster else names


def ask_rights(version: Sequence[int], commands: Sequence[str], key: str) -> Any:
    """Return the command that asks which commands a user may send for a key.

    Args:
        version: Of the Redis.
        commands: Their names.
        key: A key that the commands would use.

    Returns:
        The command; None where the Redis cannot say.
    """
    if tuple(version) < _KNOWS_RIGHTS:
        return None
    return ("EVAL", _ASK, "0", json.dumps([_sample(name, key) for name in commands]))


def missing_rights(denied: Mapping[str, frozenset[str]]) -> Missing:
    """Return what a user lacks.

    Args:
        denied: By prefix, the commands that are refused for a key that begins with it.
    """
    # EVAL has just been allowed: where it is refused, the key is the reason.
    prefixes = [prefix for prefix, names in denied.items() if "EVAL" in names]
    commands = {n for prefix in denied.keys() - prefixes for n in denied[prefix]}
    return Missing(tuple(sorted(commands)), tuple(prefixes))


def _sample(name: str, key: str) -> list[str]:
    if name in _WITHOUT_KEY:
        return name.split()
    if name in ("EVAL", "EVALSHA"):
        return [name, "", "1", key]
    return [name, key]
