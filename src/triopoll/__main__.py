"""The command ``triopoll``: serve the application, and make API keys and tickets."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence

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
from triopoll.cli.serve_options import (
    OPTIONS,
    add_serve_options,
    binds_of,
    load_app,
    option_of,
    server_settings,
)
from triopoll.ops.logs import set_up_logs
from triopoll.server import (
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

# Seconds from the end of the drain to the end of the process.
_SHUTDOWN_SECONDS = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
        arguments: Without the program's name; default: those of the process.

    Returns:
        2 for a wrong command line. Of `serve`: 0 after a drain in which all clients
        were answered, 1 if a client was cut, 3 if the application or its address
        refused to start, 4 if the application failed to shut down, or the server
        failed. The reference has those of the other commands.
    """
    words = sys.argv[1:] if arguments is None else arguments
    options = _parser(words).parse_args(words)
    code: int = options.run(options)
    return code


def _serve(options: argparse.Namespace) -> int:
    set_up_logs(options.log_format)
    settings = server_settings(options)
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


def _parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return the parser of a command line; for `serve` without the other commands."""
    parser = argparse.ArgumentParser(
        "triopoll",
        description="Serve long polls over HTTP, check a deployment, make API keys and "
        "tickets, publish and wait. The settings of the service are environment "
        "variables that begin with TRIOPOLL_.",
    )
    parser.set_defaults(parser=parser)
    version = f"triopoll {trioslock.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    add_commands(commands)
    if words[:1] != ["serve"]:
        # The clients, checks and stores that they import are not for a supervisor.
        from triopoll.cli.commands import add_commands as add_others  # noqa: PLC0415

        add_others(commands)
    return parser


def _add_serve(commands: Commands) -> None:
    serve_parser = commands.add_parser(
        "serve",
        help="serve the application over HTTP/1.1",
        description="Serve an ASGI application over HTTP/1.1 until SIGTERM or SIGINT, "
        "then answer its parked requests and stop.",
    )
    add_serve_options(serve_parser)
    serve_parser.set_defaults(run=_serve)


def _run_worker(options: argparse.Namespace, settings: ServerSettings) -> int:
    app = load_app(options.app)
    sockets = [open_socket(bind) for bind in binds_of(options)]

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
    sockets = [open_socket(bind) for bind in binds_of(options)]
    command = [sys.executable, "-m", "triopoll", "serve", options.app]
    command += ["--log-format", options.log_format]
    if options.access_log:
        command.append("--access-log")
    for sock in sockets:
        command += ["--bind", f"fd:{sock.fileno()}"]
    for name in OPTIONS:
        command += [option_of(name), str(getattr(settings, name))]
    return trio.run(supervise, command, sockets, options.workers)


if __name__ == "__main__":
    sys.exit(main())
