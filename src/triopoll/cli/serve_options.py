"""The options of ``triopoll serve``, which ``triopoll check`` has as well."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
from dataclasses import fields

from triopoll.ops.logs import FORMATS
from triopoll.server import ASGIApp, ServerSettings, StartupFailed
from trioslock.cli import DEFAULT

__all__ = [
    "OPTIONS",
    "add_serve_options",
    "binds_of",
    "load_app",
    "option_of",
    "server_settings",
]

DEFAULT_APP = "triopoll:app"
DEFAULT_BIND = "127.0.0.1:8000"

# Settings of the server that have an option, with its help.
OPTIONS = {
    "drain_delay": "seconds from SIGTERM, with readiness off, until listeners close",
    "drain_window": "seconds over which parked polls are then answered",
    "drain_grace": "seconds after that until the clients that are left are cut",
    "keep_alive": "seconds that a connection may be idle between two requests",
    "write_deadline": "seconds that a client may take to read what it is sent",
    "max_connections": "connections of one worker; more are answered 503",
    "max_unread_bytes": "bytes of answers that wait in one worker to be read by slow "
    "clients; beyond it the slowest are cut",
    "websocket_ping": "seconds without a byte after which a websocket is pinged",
    "websocket_pong_deadline": "seconds in which its client must then send something",
}


def add_serve_options(parser: argparse.ArgumentParser) -> None:
    """Add the application and all options."""
    add = parser.add_argument
    add(
        "app",
        nargs="?",
        default=DEFAULT_APP,
        help=f"the application, as module:name{DEFAULT}",
    )
    add(
        "--bind",
        action="append",
        metavar="ADDRESS",
        help="where to listen: HOST:PORT, unix:PATH or fd:NUMBER; may be given more "
        f"than once (default: {DEFAULT_BIND})",
    )
    add(
        "--workers",
        type=_whole,
        default=1,
        metavar="N",
        help=f"number of processes, at most one for each core{DEFAULT}",
    )
    add(
        "--log-format",
        choices=FORMATS,
        default="text",
        help=f"format of the lines on standard error{DEFAULT}",
    )
    add("--access-log", action="store_true", help="log each request, without its query")
    # The supervisor adds it to the command lines of its workers.
    add("--lifeline", type=int, help=argparse.SUPPRESS)
    for field in fields(ServerSettings):
        if field.name in OPTIONS:
            is_count = isinstance(field.default, int)
            add(
                option_of(field.name),
                type=_whole if is_count else _seconds,
                metavar="N" if is_count else "SECONDS",
                default=field.default,
                help=OPTIONS[field.name] + DEFAULT,
            )


def server_settings(options: argparse.Namespace) -> ServerSettings:
    """Return the settings of the server that the options ask for."""
    numbers = {name: getattr(options, name) for name in OPTIONS}
    return ServerSettings(access_log=options.access_log, **numbers)


def binds_of(options: argparse.Namespace) -> list[str]:
    """Return the addresses to listen on."""
    return options.bind or [DEFAULT_BIND]


def option_of(name: str) -> str:
    """Return how an option of this name is written."""
    return "--" + name.replace("_", "-")


def load_app(path: str) -> ASGIApp:
    """Import an application.

    Args:
        path: ``module:name``; the working directory is searched too.

    Raises:
        StartupFailed: There is no such module or name, or its import failed.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise StartupFailed(f"{path!r} is not module:name")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        app: ASGIApp = getattr(importlib.import_module(module_name), name)
    except Exception as error:
        raise StartupFailed(f"cannot import {path!r}: {error!r}") from error
    return app


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return number
