"""What the commands share that are clients of the service: its URL and a credential."""

from __future__ import annotations

import argparse
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from triopoll.client import PollClient, PollClientError, open_poll_client
from triopoll.settings import CLIENT_VARIABLES
from trioslock.cli import DEFAULT, Commands, add_json, run

__all__ = ["add_client_command", "add_client_options", "client_of"]

# What the client raises when the service cannot be reached, or refuses.
_ERRORS: tuple[type[Exception], ...] = (PollClientError,)

_DEFAULT_URL = "http://127.0.0.1:8000"
# More than the longest ticket that the service reads.
_LONGEST = 8192
_URL, _API_KEY, _TICKET, _ = CLIENT_VARIABLES

Credential: TypeAlias = Literal["api_key", "ticket"]
_SOURCES: dict[Credential, tuple[str, str]] = {
    "api_key": (_API_KEY, "API key"),
    "ticket": (_TICKET, "ticket"),
}


def add_client_command(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    execute: Callable[[argparse.Namespace], Awaitable[int]],
    *credentials: Credential,
    url: bool = True,
    **words: Any,
) -> argparse.ArgumentParser:
    """Add a command that is a client of the service, with ``--json``.

    Args:
        commands: What ``add_subparsers()`` has returned.
        name: Of the command.
        execute: Returns the exit code; may raise what the client raises.
        credentials: As for `add_client_options`.
        url: As for `add_client_options`.
        words: Its help, description and epilog.

    Returns:
        Its parser, for its own options.
    """
    layout = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(name, formatter_class=layout, **words)
    add_client_options(parser, *credentials, url=url)
    add_json(parser)
    run_it = partial(run, execute, program="triopoll", refusals=_ERRORS)
    parser.set_defaults(run=run_it)
    return parser


def add_client_options(
    parser: argparse.ArgumentParser, *credentials: Credential, url: bool = True
) -> None:
    """Add ``--url``, and a file for each credential that the command may send.

    A credential is never an argument: all users of a machine see those of a process.

    Args:
        parser: Of the command.
        credentials: Which ones.
        url: Whether the URL is an option.
    """
    default = os.environ.get(_URL) or _DEFAULT_URL
    if url:
        parser.add_argument(
            "--url", default=default, help=f"service; {_URL} sets the default{DEFAULT}"
        )
    else:
        parser.add_argument(
            "url", nargs="?", default=default, metavar="URL", help="service" + DEFAULT
        )
    for name in credentials:
        variable, text = _SOURCES[name]
        parser.add_argument(
            f"--{name.replace('_', '-')}-file",
            type=_read,
            dest=name,
            metavar="PATH",
            help=f"file with the {text} (without it: the variable {variable})",
        )


def client_of(options: argparse.Namespace) -> AbstractAsyncContextManager[PollClient]:
    """Return the client that the options ask for; nothing is sent yet.

    Raises:
        ValueError: The URL, or the value of a variable, cannot be used.
    """
    secrets = {
        name: getattr(options, name, None) or _from_environment(variable)
        for name, (variable, _) in _SOURCES.items()
    }
    return open_poll_client(
        options.url, api_key=secrets["api_key"], ticket=secrets["ticket"]
    )


def _from_environment(variable: str) -> str | None:
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    if not _is_token(text):
        raise ValueError(f"{variable} is not one word of ASCII characters")
    return text


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LONGEST + 1).decode("ascii", "replace").strip()
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error.strerror}") from None
    if not _is_token(text):
        raise argparse.ArgumentTypeError(f"{path} is not one word of ASCII characters")
    return text


def _is_token(text: str) -> bool:
    return 0 < len(text) <= _LONGEST and text.isascii() and text.isprintable()
