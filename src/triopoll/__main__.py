"""The command ``triopoll``: serve the application, and make API keys and tickets."""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import fields

if __name__ == "__main__":
    # As `triopoll.script` does: before the imports that take a second.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.argv[1:2] == ["serve"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

import trio

import trioslock
from triopoll.access import add_commands
from triopoll.access.commands import Commands
from triopoll.asgi.exceptions import only_error
from triopoll.ops.logs import FORMATS, set_up_logs
from triopoll.server import (
    ASGIApp,
    BindError,
    LifespanError,
    ServerSettings,
    StartupFailed,
    open_socket,
    serve,
    supervise,
)
from triopoll.server.descriptors import allow_descriptors
from triopoll.server.garbage import collect_seldom
from triopoll.server.supervisor import (
    EXIT_CUT,
    EXIT_FAILED,
    EXIT_STARTUP,
    watch_lifeline,
)
from triopoll.server.watchdog import exit_after

__all__ = ["main"]

logger = logging.getLogger("triopoll")

DEFAULT_APP = "triopoll:app"
DEFAULT_BIND = "127.0.0.1:8000"
_DEFAULT = " (default: %(default)s)"
# Seconds from the end of the drain to the end of the process.
_SHUTDOWN_SECONDS = 10.0

# Settings of the server that have an option, with its help.
_OPTIONS = {
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: Without the program's name; default: those of the process.

    Returns:
        0 after a drain in which all clients were answered, 1 if a client was cut, 2 for
        a wrong command line, 3 if the application or its address refused to start, 4 if
        the application failed to shut down, or the server failed.
    """
    options = _parser().parse_args(arguments)
    code: int = options.run(options)
    return code


def _serve(options: argparse.Namespace) -> int:
    set_up_logs(options.log_format)
    numbers = {name: getattr(options, name) for name in _OPTIONS}
    settings = ServerSettings(access_log=options.access_log, **numbers)
    if options.lifeline is None:  # workers inherit the limit of their supervisor
        allow_descriptors(settings.max_connections)
    try:
        if options.workers > 1:
            return _run_workers(options, settings)
        return _run_worker(options, settings)
    except (BindError, LifespanError) as error:
        logger.error("%s", error)
        refused = isinstance(error, (BindError, StartupFailed))
        return EXIT_STARTUP if refused else EXIT_FAILED
    except Exception:
        # Python's own exit code for a traceback would say that a client was cut.
        logger.exception("the server failed")
        return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "triopoll",
        description="Serve long polls over HTTP, and make API keys and tickets for "
        "them. The settings are environment variables that begin with TRIOPOLL_.",
    )
    version = f"triopoll {trioslock.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    add_commands(commands)
    return parser


def _add_serve(commands: Commands) -> None:
    serve_parser = commands.add_parser(
        "serve",
        help="serve the application over HTTP/1.1",
        description="Serve an ASGI application over HTTP/1.1 until SIGTERM or SIGINT, "
        "then answer its parked requests and stop.",
    )
    add = serve_parser.add_argument
    add(
        "app",
        nargs="?",
        default=DEFAULT_APP,
        help=f"the application, as module:name{_DEFAULT}",
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
        help=f"number of processes, at most one for each core{_DEFAULT}",
    )
    add(
        "--log-format",
        choices=FORMATS,
        default="text",
        help=f"format of the lines on standard error{_DEFAULT}",
    )
    add("--access-log", action="store_true", help="log each request, without its query")
    # The supervisor adds it to the command lines of its workers.
    add("--lifeline", type=int, help=argparse.SUPPRESS)
    for field in fields(ServerSettings):
        if field.name in _OPTIONS:
            is_count = isinstance(field.default, int)
            add(
                _option(field.name),
                type=_whole if is_count else _seconds,
                metavar="N" if is_count else "SECONDS",
                default=field.default,
                help=_OPTIONS[field.name] + _DEFAULT,
            )
    serve_parser.set_defaults(run=_serve)


def _option(name: str) -> str:
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


def _run_worker(options: argparse.Namespace, settings: ServerSettings) -> int:
    app = load_app(options.app)
    sockets = [open_socket(bind) for bind in _binds(options)]

    async def run() -> int:
        try:
            async with trio.open_nursery() as nursery:
                if options.lifeline is not None:
                    nursery.start_soon(watch_lifeline, options.lifeline)
                nursery.start_soon(collect_seldom)
                cut = await serve(app, sockets, settings, drained=_limit_shutdown)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            error = only_error(group)
            raise error from error.__cause__
        return cut

    return EXIT_CUT if trio.run(run) else 0


def _limit_shutdown(cut: int) -> None:
    exit_after(_SHUTDOWN_SECONDS, EXIT_CUT if cut else EXIT_FAILED)


def _run_workers(options: argparse.Namespace, settings: ServerSettings) -> int:
    sockets = [open_socket(bind) for bind in _binds(options)]
    command = [sys.executable, "-m", "triopoll", "serve", options.app]
    command += ["--log-format", options.log_format]
    if options.access_log:
        command.append("--access-log")
    for sock in sockets:
        command += ["--bind", f"fd:{sock.fileno()}"]
    for name in _OPTIONS:
        command += [_option(name), str(getattr(settings, name))]
    return trio.run(supervise, command, sockets, options.workers)


def _binds(options: argparse.Namespace) -> list[str]:
    return options.bind or [DEFAULT_BIND]


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


if __name__ == "__main__":
    sys.exit(main())
