"""The service accepts the keys and tickets that the commands print."""

from __future__ import annotations

import time

import pytest
from tests.triopoll.access.asking import SECRET, ask, code_of

from triopoll.__main__ import main
from triopoll.access import AdmittedPublisher, Permit, access_control_from
from triopoll.api.refusals import format_v1
from triopoll.settings import settings_from


def test_a_key_and_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The service accepts the printed key with the printed line."""
    assert main(["key", "shop", "shop:*", "news"]) == 0
    lines = capsys.readouterr().out.splitlines()
    key, line = (text.split(maxsplit=1)[1] for text in lines)
    control = access_control_from(settings_from({"TRIOPOLL_PUBLISH_KEYS": line}))
    assert control.admit_publisher(
        ask(bearer=key), ["shop:1", "news"], format_v1
    ) == AdmittedPublisher("shop")
    assert (
        code_of(control.admit_publisher(ask(bearer=key), ["newsletter"], format_v1))
        == "forbidden"
    )
    assert key not in line


def test_a_ticket(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ticket is signed with the first secret, the new one during a rotation."""
    environ = {"TRIOPOLL_TICKET_SECRETS": f"{SECRET} {'x' * 32}"}
    monkeypatch.setenv(*next(iter(environ.items())))
    arguments = ["ticket", "a*", "--lifetime", "60", "--subject", "ann", "--id", "7"]
    assert main(arguments) == 0
    text = capsys.readouterr().out.strip()
    permit = access_control_from(settings_from(environ)).admit_subscriber(
        ask(bearer=text), ["ab"], format_v1
    )
    assert isinstance(permit, Permit)
    assert permit.subject == "ann"
    assert permit.expires is not None
    assert 50 < permit.expires - time.time() <= 61
    revoked = environ | {"TRIOPOLL_REVOKED_TICKETS": "7"}
    answer = access_control_from(settings_from(revoked)).admit_subscriber(
        ask(bearer=text), ["ab"], format_v1
    )
    assert code_of(answer) == "ticket_revoked"


@pytest.mark.parametrize(
    ("secrets", "arguments", "word"),
    [
        ("", ["key", "a b", "*"], "NAME"),
        ("", ["key", "shop", "a*b"], "shop"),
        ("", ["ticket", "a"], "TRIOPOLL_TICKET_SECRETS"),
        ("short", ["ticket", "a"], "TRIOPOLL_TICKET_SECRETS"),
        (SECRET, ["ticket", "a*b"], "key"),
        (SECRET, ["ticket", "a", "--lifetime", "0"], "lifetime"),
        (SECRET, ["ticket", "a", "--lifetime", "inf"], "lifetime"),
    ],
)
def test_what_cannot_be_made(
    secrets: str,
    arguments: list[str],
    word: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Invalid arguments print one sentence and exit with the usage error code."""
    monkeypatch.setenv("TRIOPOLL_TICKET_SECRETS", secrets)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert word in shown.err
    assert not secrets or secrets not in shown.err
