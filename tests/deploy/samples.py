"""The files of `deploy/`, and how long the service that they start takes to stop."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from triopoll import __main__ as program

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IMAGE = f"triopoll:{VERSION}"

# What a sample may add to the time that the service needs, in seconds.
RESERVE = 15.0


def read_yaml(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def seconds_to_stop(arguments: Sequence[str]) -> float:
    """Return after which time a service has ended that was started with arguments."""
    options = program._parser().parse_args(list(arguments))
    drain = options.drain_delay + options.drain_window + options.drain_grace
    return float(drain + program._SHUTDOWN_SECONDS)


def gives_time(seconds: float, arguments: Sequence[str]) -> bool:
    """Return whether a time to stop is enough, and not far more."""
    needed = seconds_to_stop(arguments)
    return needed < seconds <= needed + RESERVE
