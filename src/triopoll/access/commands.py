"""``triopoll key`` and ``triopoll ticket``: create API keys and tickets."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Protocol

from ..settings import PREFIX, SettingsError, settings_from
from .configuration import signing_secret
from .keyring import BadKeyEntry, entry_for, new_key
from .tickets import issue_ticket

__all__ = ["add_commands"]

_PATTERNS = "a key, or a prefix and * (in quotes, or the shell expands it)"
_WRONG = 2


class Commands(Protocol):
    """What ``add_subparsers()`` returns; its class has no public name."""

    def add_parser(self, name: str, **words: Any) -> argparse.ArgumentParser:
        """Add a command."""
        ...


def add_commands(commands: Commands) -> None:
    """Add the two commands; `run` of the parsed options executes the chosen one.

    Args:
        commands: What ``add_subparsers()`` has returned.
    """
    key = commands.add_parser(
        "key",
        help="make an API key for a publisher",
        description="Print a new API key, and the line for the setting "
        f"{PREFIX}PUBLISH_KEYS that admits it. The key is stored nowhere.",
    )
    key.add_argument("name", help="name of the publisher")
    key.add_argument("patterns", nargs="+", metavar="KEY", help=_PATTERNS)
    key.set_defaults(run=_key)

    ticket = commands.add_parser(
        "ticket",
        help="sign a ticket for a subscriber",
        description=f"Print a ticket, signed with the first of {PREFIX}TICKET_SECRETS.",
    )
    ticket.add_argument("patterns", nargs="+", metavar="KEY", help=_PATTERNS)
    ticket.add_argument(
        "--lifetime", type=float, default=3600.0, help="seconds (default: 3600)"
    )
    ticket.add_argument(
        "--subject", help="subject of the ticket; limits and sessions are counted by it"
    )
    ticket.add_argument(
        "--id", help="identifier by which it can be revoked (default: random)"
    )
    ticket.set_defaults(run=_ticket)


def _key(options: argparse.Namespace) -> int:
    key = new_key()
    try:
        entry = entry_for(options.name, key, options.patterns)
    except BadKeyEntry as error:
        return _complain(error)
    sys.stdout.write(f"key:  {key}\nline: {entry}\n")
    return 0


def _ticket(options: argparse.Namespace) -> int:
    try:
        text = issue_ticket(
            signing_secret(settings_from(os.environ)),
            options.patterns,
            lifetime=options.lifetime,
            subject=options.subject,
            id=options.id,
        )
    except (SettingsError, ValueError) as error:
        return _complain(error)
    sys.stdout.write(f"{text}\n")
    return 0


def _complain(error: Exception) -> int:
    sys.stderr.write(f"triopoll: {error}\n")
    return _WRONG
