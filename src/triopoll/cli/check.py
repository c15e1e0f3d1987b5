"""``triopoll check``: what is right and what is wrong, before `serve` says it."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from functools import partial

import trio

from triopoll.server import StartupFailed
from triopoll.settings import Settings, SettingsError, settings_from
from trioslock.cli import CONFLICT, Commands, add_json, run

from .finding import Finding, right, show_finding, wrong
from .process_checks import (
    check_access,
    check_address,
    check_files,
    check_proxies,
    check_settings,
)
from .redis_checks import check_redis
from .serve_options import (
    add_serve_options,
    binds_of,
    load_app,
    server_settings,
)
from .slock_checks import check_slock

__all__ = ["add_check"]

_EXAMPLES = """\
examples:
  triopoll check                     with the environment that serve will have
  triopoll check --workers 4 --bind 0.0.0.0:8000
  triopoll check --running --json    on a machine where the service runs

The exit code is 0 if nothing is wrong, with or without warnings, and 1 otherwise.
"""


def add_check(commands: Commands[argparse.ArgumentParser]) -> None:
    """Add ``check``, with the options of ``serve``."""
    parser = commands.add_parser(
        "check",
        help="check the settings, slock, Redis and this machine before serving",
        description="Read the settings as serve does, connect to slock and Redis, and "
        "print what is right, what is wrong, and what to do. All options of serve are "
        "accepted: give the same ones.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_serve_options(parser)
    add_json(parser)
    parser.add_argument(
        "--running",
        action="store_true",
        help="the service runs already: do not check that its addresses are free",
    )
    parser.set_defaults(run=partial(run, _run, program="triopoll"))


async def _run(options: argparse.Namespace) -> int:
    # What the clients would log is among the findings.
    logging.disable()
    try:
        return await _check(options)
    finally:
        logging.disable(logging.NOTSET)


async def _check(options: argparse.Namespace) -> int:
    found: list[Finding] = []

    def show(findings: list[Finding]) -> None:
        found.extend(findings)
        for finding in findings:
            show_finding(finding, as_json=options.json)

    settings = _read(options, show)
    if settings is not None:
        show(_of_process(options, settings))
        for findings in await _of_servers(options, settings):
            show(findings)
    return CONFLICT if any(each.verdict == "wrong" for each in found) else 0


def _read(
    options: argparse.Namespace, show: Callable[[list[Finding]], None]
) -> Settings | None:
    """Import the application and read its settings; show what comes of it."""
    try:
        app = load_app(options.app)
    except StartupFailed as error:
        show([wrong("application", str(error), "correct its name, or install it")])
        return None
    # One that wraps the service, or another one, has the variables only.
    read: Callable[[], Settings] = getattr(
        app, "read_settings", partial(settings_from, os.environ)
    )
    try:
        settings = read()
    except SettingsError as error:
        show([wrong("settings", str(error), "correct the variable")])
        return None
    finding = check_settings(settings)
    show([right("application", f"{options.app} can be imported"), finding])
    return settings if finding.verdict == "right" else None


def _of_process(options: argparse.Namespace, settings: Settings) -> list[Finding]:
    binds = binds_of(options)
    addresses = [] if options.running else list(map(check_address, binds))
    files = check_files(server_settings(options).max_connections)
    proxies = check_proxies(settings, binds)
    return [*check_access(settings), proxies, files, *addresses]


async def _of_servers(
    options: argparse.Namespace, settings: Settings
) -> list[list[Finding]]:
    """Check slock and Redis at the same time."""
    found: dict[str, list[Finding]] = {}
    workers, limit = options.workers, settings.backend_limit

    async def slock() -> None:
        found["slock"] = await check_slock(
            settings, workers=workers, running=options.running, limit=limit
        )

    async def redis() -> None:
        found["redis"] = await check_redis(settings, workers=workers, limit=limit)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slock)
        nursery.start_soon(redis)
    return [found["slock"], found["redis"]]
