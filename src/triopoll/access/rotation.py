"""Read API keys, tickets' secrets, public keys and revoked tickets again.

Each file that one of these settings names is followed. A file is read when it has
changed and then stayed the same for a moment: one that is being written is not read
half. A file that cannot be used changes nothing.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import TypeAlias, TypeVar

import trio

from ..settings import PREFIX, Settings, SettingsError
from .configuration import (
    files_of,
    names_file,
    read_keyring,
    read_public_keys,
    read_revoked,
    read_secrets,
)
from .control import Rules
from .keyring import Keyring
from .tickets import Verifier

__all__ = ["KeyFiles"]

logger = logging.getLogger("triopoll.access")

_T = TypeVar("_T")
# Of each file: size, device, inode, times of modification and of change. One that is
# replaced, appended to, rewritten or made readable differs in at least one of them.
# None: there is no such file.
_State: TypeAlias = tuple[tuple[int, ...] | None, ...]
# Takes what was read into use, and says how much it is, without a secret.
_Use: TypeAlias = Callable[[Rules], str]
# Returns the keyring of publishers, or that of operators.
_KeyringOf: TypeAlias = Callable[[Rules], Keyring | None]
# A file that has changed at each of so many looks is read nevertheless.
_MAX_CHANGES = 10


class KeyFiles:
    """The files of a service's keys, secrets and revoked tickets.

    Attributes:
        reloads: How often files were read again, by setting and by "ok" or "failed". A
            file that cannot be used counts as often as that is logged.
    """

    def __init__(self, settings: Settings, rules: Rules) -> None:
        """Follow the files that the settings name.

        Args:
            settings: Where the files are.
            rules: Its keyring and its reader of tickets get what is read.
        """
        self.reloads: Counter[tuple[str, str]] = Counter()
        self._settings = settings
        self._rules = rules
        self._sources = [
            _Source(setting) for setting in _LOADERS if names_file(settings, setting)
        ]
        self._asked = trio.Event()

    def __repr__(self) -> str:
        names = ", ".join(source.setting for source in self._sources)
        return f"<KeyFiles: {names or 'none'}; {self.failing} failing>"

    @property
    def failing(self) -> int:
        """Return for how many settings older values stay in use."""
        return sum(source.failure is not None for source in self._sources)

    def read_soon(self) -> None:
        """Have all files read now, whether or not they have changed."""
        self._asked.set()

    async def run(self, *, interval: float = 5.0, settle: float = 1.0) -> None:
        """Read files again when they change, and at `read_soon`.

        A file that cannot be used, or is gone, changes nothing. That is logged once,
        and at each `read_soon`; the file is tried again at each look.

        Args:
            interval: Seconds between two looks at the files.
            settle: Seconds for which a file must stay the same before it is read.

        Cancellation:
            What was read last stays in use.
        """
        if not self._sources:
            await trio.lowlevel.checkpoint()
        while self._sources:
            is_asked = self._asked.is_set()
            if is_asked:
                self._asked = trio.Event()
            await self.look(at_once=is_asked)
            is_changing = any(source.changes for source in self._sources)
            # Looking works on every file system, network mounts included.
            with trio.move_on_after(settle if is_changing else interval):
                await self._asked.wait()

    async def look(self, *, at_once: bool = False) -> None:
        """Look once whether files have changed, and read those that are due.

        Args:
            at_once: Read all of them.

        Cancellation:
            As for `run`.
        """
        await trio.lowlevel.checkpoint()
        for source in self._sources:
            # Before the file is read, so that the next look finds a change meanwhile.
            state = await _in_thread(partial(_state_of, self._settings, source.setting))
            if source.is_due(state) or at_once:
                await self._read(source, state, is_asked=at_once)

    async def _read(self, source: _Source, state: _State, *, is_asked: bool) -> None:
        is_first = source.seen is None
        source.note_read(state)
        load = partial(_load, self._settings, source.setting, state)
        try:
            use = await _in_thread(load)
        except SettingsError as error:
            why = str(error)
            if is_asked or why != source.failure:
                source.failure = why
                self._count(source, "failed")
                logger.error("%s; what was read before stays in use", why)
            return
        source.failure = None
        self._count(source, "ok")
        # At the start they have been read before, and no line is written for that.
        level = logging.DEBUG if is_first else logging.INFO
        found = use(self._rules)
        logger.log(level, "%s%s was read again, %s", PREFIX, source.setting, found)

    def _count(self, source: _Source, result: str) -> None:
        self.reloads[source.setting.lower(), result] += 1


class _Source:
    """The files of one setting as they looked at the latest looks.

    Attributes:
        setting: Without its prefix.
        seen: What they looked like when they were read; None before that.
        changes: How many looks in a row have found them otherwise.
        failure: Why older values stay in use; None if they do not.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting
        self.seen: _State | None = None
        self.changes = 0
        self.failure: str | None = None
        self._latest: _State | None = None

    def is_due(self, state: _State) -> bool:
        """Note what the files look like now; return whether to read them."""
        if state == self.seen:
            self.changes = 0
            return self.failure is not None
        is_settled = state == self._latest
        self._latest = state
        self.changes += 1
        return is_settled or self.changes > _MAX_CHANGES

    def note_read(self, state: _State) -> None:
        """Note that they are read, or tried, as they look now."""
        self.seen, self.changes = state, 0


def _load_keys(name: str, of: _KeyringOf, settings: Settings) -> _Use:
    return partial(_use_keys, read_keyring(settings, name), of)


def _use_keys(new: Keyring, of: _KeyringOf, rules: Rules) -> str:
    keyring = of(rules)
    assert keyring is not None
    keyring.replace(new)
    return f"keys: {len(new)}"


def _load_secrets(settings: Settings) -> _Use:
    return partial(_use_verifiers, read_secrets(settings), "secrets")


def _load_public_keys(settings: Settings) -> _Use:
    return partial(_use_verifiers, read_public_keys(settings), "public keys")


def _use_verifiers(verifiers: list[Verifier], what: str, rules: Rules) -> str:
    assert rules.tickets is not None
    rules.tickets.replace_verifiers(verifiers, secret=what == "secrets")
    return f"{what}: {len(verifiers)}"


def _load_revoked(settings: Settings) -> _Use:
    return partial(_use_revoked, read_revoked(settings))


def _use_revoked(revoked: frozenset[str], rules: Rules) -> str:
    # Without secrets and public keys there are no tickets.
    if rules.tickets is not None:
        rules.tickets.revoked = revoked
    return f"revoked tickets: {len(revoked)}"


# Of each setting that is followed.
_LOADERS: dict[str, Callable[[Settings], _Use]] = {
    "PUBLISH_KEYS": partial(_load_keys, "PUBLISH_KEYS", attrgetter("keyring")),
    "ADMIN_KEYS": partial(_load_keys, "ADMIN_KEYS", attrgetter("admins")),
    "TICKET_SECRETS": _load_secrets,
    "TICKET_PUBLIC_KEYS": _load_public_keys,
    "REVOKED_TICKETS": _load_revoked,
}


def _load(settings: Settings, setting: str, state: _State) -> _Use:
    # Its writer has emptied it and not written it yet. A list of revoked tickets is
    # empty in ordinary running.
    if setting != "REVOKED_TICKETS" and any(each and not each[0] for each in state):
        raise SettingsError(
            f"{PREFIX}{setting} names a file of 0 bytes; to have no entry at all, "
            "write a line that begins with #"
        )
    return _LOADERS[setting](settings)


def _state_of(settings: Settings, setting: str) -> _State:
    return tuple(map(_state_of_file, files_of(settings, setting)))


def _state_of_file(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    # Without the time of change, a file whose rights were wrong would stay unread.
    times = found.st_mtime_ns, found.st_ctime_ns
    return (found.st_size, found.st_dev, found.st_ino, *times)


async def _in_thread(call: Callable[[], _T]) -> _T:
    # A network mount that hangs must not keep the service from ending.
    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)
