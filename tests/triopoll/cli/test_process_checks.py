"""Settings, secrets, proxies, addresses and files, right and wrong."""

from __future__ import annotations

import resource
import socket
from pathlib import Path

import pytest
from tests.services import find_free_port
from tests.triopoll.access.asking import SECRET

from triopoll.access import entry_for, new_key
from triopoll.cli.finding import Finding
from triopoll.cli.process_checks import (
    check_access,
    check_address,
    check_files,
    check_proxies,
    check_settings,
)
from triopoll.settings import Settings

KEY = entry_for("shop", new_key(), ["*"])
WEAK = "ab" * 20


def verdicts(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.verdict for finding in findings}


def test_settings_that_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many are given is said, since a variable may not have reached the process."""
    monkeypatch.setenv("TRIOPOLL_MAX_WAITS", "1")
    monkeypatch.setenv("TRIOPOLL_CLIENT_URL", "http://a")
    finding = check_settings(Settings())
    assert (finding.verdict, finding.text[:1]) == ("right", "1")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(retention="orders:length=no"), "TRIOPOLL_RETENTION"),
        (Settings(ticket_secrets="short"), "less than 32 bytes"),
        (Settings(publish_keys="file:/nowhere"), "TRIOPOLL_PUBLISH_KEYS"),
        (Settings(trusted_proxies="proxy"), "TRIOPOLL_TRUSTED_PROXIES"),
    ],
)
def test_values_that_serve_would_refuse(settings: Settings, words: str) -> None:
    """With the name of the variable, and without a secret."""
    finding = check_settings(settings)
    assert finding.verdict == "wrong"
    assert words in finding.text


def test_an_open_service() -> None:
    """Neither keys nor tickets: a warning for each."""
    assert verdicts(check_access(Settings())) == {
        "publishers": "warning",
        "tickets": "warning",
    }


def test_a_closed_service() -> None:
    found = check_access(Settings(publish_keys=KEY, ticket_secrets=SECRET))
    assert verdicts(found) == {"publishers": "right", "tickets": "right"}


def test_empty_files_let_nobody_in(tmp_path: Path) -> None:
    """They are set, so it was meant otherwise."""
    path = tmp_path / "empty"
    path.write_text("# none yet\n")
    name = f"file:{path}"
    found = check_access(Settings(publish_keys=name, ticket_public_keys=name))
    assert verdicts(found) == {"publishers": "wrong", "tickets": "wrong"}


def test_a_secret_that_can_be_guessed() -> None:
    """It is long enough to be accepted, and is not printed."""
    *_, finding = check_access(Settings(publish_keys=KEY, ticket_secrets=WEAK))
    assert finding.verdict == "wrong"
    assert "ab" * 3 not in finding.text + finding.advice


@pytest.mark.parametrize(("mode", "count"), [(0o644, 1), (0o600, 0)])
def test_a_file_of_secrets_that_all_may_read(
    tmp_path: Path, mode: int, count: int
) -> None:
    path = tmp_path / "secrets"
    path.write_text(SECRET)
    path.chmod(mode)
    found = check_access(Settings(publish_keys=KEY, ticket_secrets=f"file:{path}"))
    warnings = [each for each in found if each.verdict == "warning"]
    assert len(warnings) == count
    assert all(str(path) in each.advice for each in warnings)


@pytest.mark.parametrize(
    ("trusted", "binds", "verdict", "words"),
    [
        ("", ["0.0.0.0:8000"], "right", "none"),
        ("10.0.0.0/8", ["127.0.0.1:8000"], "right", "10.0.0.0/8"),
        ("unix", ["unix:/run/x"], "right", "unix"),
        ("10.0.0.0/8", ["unix:/run/x"], "warning", "Unix socket"),
        ("", ["unix:/run/x"], "warning", "Unix socket"),
        ("0.0.0.0/0", ["0.0.0.0:8000"], "warning", "every address"),
        ("10.0.0.1 ::/0", ["0.0.0.0:8000"], "warning", "every address"),
        (
            "",
            ["127.0.0.1:8000", "[::1]:8000", "localhost:1"],
            "warning",
            "this machine",
        ),
        ("", ["127.0.0.1:8000", ":8000"], "right", "none"),
    ],
)
def test_proxies(trusted: str, binds: list[str], verdict: str, words: str) -> None:
    """Trusted too much, or not at all where one must be in front."""
    finding = check_proxies(Settings(trusted_proxies=trusted), binds)
    assert (finding.verdict, words in finding.text) == (verdict, True)


def test_an_address_that_is_free() -> None:
    """It is free afterwards, too."""
    bind = f"127.0.0.1:{find_free_port()}"
    assert [check_address(bind).verdict for _ in range(2)] == ["right", "right"]


def test_a_socket_file_is_removed_again(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    assert check_address(f"unix:{path}").verdict == "right"
    assert not path.exists()


def test_an_address_that_is_taken() -> None:
    """It is named, and so is the option for a service that runs."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        finding = check_address(f"127.0.0.1:{sock.getsockname()[1]}")
    assert finding.verdict == "wrong"
    assert "Address already in use" in finding.text
    assert "--running" in finding.advice


def test_an_inherited_socket_is_not_touched() -> None:
    """To try it would be to take it from the service."""
    assert "not tried" in check_address("fd:3").text


def test_files() -> None:
    """The hard limit counts, up to which the service raises its own."""
    assert check_files(1).verdict == "right"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert check_files(hard + 1).verdict == "wrong"
