"""The systemd units: systemd accepts them, and their commands start."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from tests.deploy.samples import DEPLOY, gives_time
from tests.services import find_tool

from triopoll.server import ServerSettings
from triopoll.settings import settings_from

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
TRIOPOLL = (DEPLOY / "systemd" / "triopoll.service").read_text()


def values(text: str, key: str) -> list[str]:
    """Return the values of a key of the unit."""
    return re.findall(rf"^{re.escape(key)}=(.*)$", text, re.MULTILINE)


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a unit, whose program exists."""
    text = request.param.read_text()
    changed, count = re.subn(
        r"^(ExecStart=)/opt/triopoll/\S+", r"\1/bin/true", text, flags=re.MULTILINE
    )
    assert count == 1
    copy = tmp_path / request.param.name
    copy.write_text(changed)
    return copy


def analyze(*arguments: str) -> tuple[int, str]:
    command = [find_tool("systemd-analyze"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


def test_there_are_units() -> None:
    assert [path.name for path in UNITS] == ["triopoll.service", "trioslock.service"]


def test_systemd_accepts_the_unit(unit: Path) -> None:
    """systemd knows each key of the unit and accepts its value."""
    assert analyze("verify", "--man=no", str(unit)) == (0, "")


def test_the_unit_has_few_rights(unit: Path) -> None:
    """By systemd's own measure, 100 for a service that may do anything."""
    limit = ("security", "--offline=true", "--threshold=20", str(unit))
    assert analyze(*limit) == (0, "")
    unit.write_text(unit.read_text().replace("CapabilityBoundingSet=\n", ""))
    assert analyze(*limit)[0] == 1


def test_the_service_accepts_the_variables() -> None:
    settings = settings_from(
        dict(line.split("=", 1) for line in values(TRIOPOLL, "Environment"))
    )
    assert settings.trusted_proxies == "127.0.0.1"
    assert not settings.keeps_messages


def test_the_unit_gives_the_time_that_the_drain_takes() -> None:
    (command,) = values(TRIOPOLL, "ExecStart")
    (seconds,) = values(TRIOPOLL, "TimeoutStopSec")
    assert gives_time(float(seconds), command.split()[1:])
    assert values(TRIOPOLL, "KillMode") == ["mixed"]


def test_each_connection_has_a_descriptor() -> None:
    (limit,) = values(TRIOPOLL, "LimitNOFILE")
    assert int(limit) >= ServerSettings().max_connections + 100
