"""Lua scripts: sent by their digest, and in full where Redis does not know them yet.

A script is atomic: other clients see all of it or nothing, and so does the append-only
file. Redis forgets scripts when it restarts and by SCRIPT FLUSH. What it refuses for
that reason it has not executed, so it is sent again in full at once, by the thread that
got the reply: the task that put the command into the queue knows nothing of it.

Some scripts touch keys whose names they make up. A Redis Cluster allows that for keys
in the slot of the first one, and `_names` sees to it that they lie there. The scripts
need Redis 6.2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError

from ._executors import Command, Executor
from ._state import BackendStatus

__all__ = ["Script", "Scripted", "commands_in_scripts", "describe", "milliseconds"]

_CALL = re.compile(r"redis\.p?call\(\s*'([A-Za-z]+)'")
_scripts: dict[str, Script] = {}


class Script:
    """One script, which makes commands."""

    def __init__(self, name: str, source: str) -> None:
        """Keep the source.

        Args:
            name: For messages.
            source: Lua 5.1.
        """
        self.name = name
        self.source = source
        # SHA-1 is how Redis names scripts; it keeps no one out.
        digest = hashlib.sha1(source.encode(), usedforsecurity=False)
        self.digest = digest.hexdigest()
        _scripts[self.digest] = self

    def __repr__(self) -> str:
        return f"<Script: {self.name}>"

    def __call__(self, keys: Sequence[str], *args: str | bytes | int) -> Command:
        """Return the command that runs the script."""
        texts = (str(arg) if isinstance(arg, int) else arg for arg in args)
        return ("EVALSHA", self.digest, str(len(keys)), *keys, *texts)


class Scripted:
    """An executor that knows the scripts which Redis does not."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._sent: set[str | bytes] = set()

    def execute(self, commands: Sequence[Command]) -> Sequence[Any]:
        """Return a reply or an exception for each command, and raise nothing.

        Commands are executed in order, but for those that name a script which Redis
        has forgotten since it was sent: they come last.
        """
        replies = list(self._executor.execute([self._known(c) for c in commands]))
        unknown = [n for n, r in enumerate(replies) if isinstance(r, NoScriptError)]
        if unknown:
            self._sent.clear()
            again = self._executor.execute([_in_full(commands[n]) for n in unknown])
            for n, reply in zip(unknown, again, strict=True):
                replies[n] = reply
        return replies

    def close(self) -> None:
        """Close the connections; nothing is executed afterwards."""
        self._executor.close()

    def status(self) -> list[BackendStatus]:
        """Return what is known of each server; see `Executor`."""
        return self._executor.status()

    def _known(self, command: Command) -> Command:
        if command[0] != "EVALSHA" or command[1] in self._sent:
            return command
        self._sent.add(command[1])
        return _in_full(command)


def commands_in_scripts() -> frozenset[str]:
    """Return the names of the commands that the scripts call, in capitals."""
    sources = (script.source for script in _scripts.values())
    return frozenset(name for source in sources for name in _CALL.findall(source))


def milliseconds(seconds: float) -> int:
    """Return a time as Redis takes it; at least one, since none would be refused."""
    return max(1, round(seconds * 1000))


def describe(command: Command) -> str:
    """Return the name of a command and its first key, for a message.

    Not the rest: that is the user's, and the message goes to the log.
    """
    script = _scripts.get(str(command[1])) if command[0] == "EVALSHA" else None
    if script is None:
        return " ".join(map(repr, command[:2]))
    return f"{script.name} {command[3]!r}"


def _in_full(command: Command) -> Command:
    return ("EVAL", _scripts[str(command[1])].source, *command[2:])
