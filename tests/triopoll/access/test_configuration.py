"""Building the access check from settings, and the errors for invalid ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.triopoll.access.asking import (
    KEY,
    NOW,
    SECRET,
    ask,
    code_of,
    ticket,
)

from triopoll.access import AdmittedPublisher, Permit, access_control_from, entry_for
from triopoll.access.configuration import files_of, names_file, read_revoked
from triopoll.api.refusals import format_v1
from triopoll.settings import SettingsError, settings_from


def test_the_defaults_ask_for_nothing_but_have_limits() -> None:
    """By default subscribing is open, publishing is local, and limits apply."""
    control = access_control_from(settings_from({}))
    assert control.rules.keyring is None
    assert control.rules.tickets is None
    assert control.rules.limits.waits_per_ip == 1000
    assert isinstance(control.admit_subscriber(ask(), ["a"], format_v1), Permit)


def test_all_that_can_be_set(tmp_path: Path) -> None:
    """Each setting takes effect."""
    keys = tmp_path / "keys"
    keys.write_text(f"# publishers\n\n  {entry_for('shop', KEY, ['a b*'])}\n")
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    pem = tmp_path / "ticket.pem"
    pem.write_bytes(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    control = access_control_from(
        settings_from(
            {
                "TRIOPOLL_PUBLISH_KEYS": f"file:{keys}",
                "TRIOPOLL_TICKET_SECRETS": f"{'x' * 32} {SECRET}",
                "TRIOPOLL_TICKET_PUBLIC_KEYS": str(pem),
                "TRIOPOLL_TICKET_COOKIE": "c",
                "TRIOPOLL_REVOKED_TICKETS": "one two",
                "TRIOPOLL_TRUSTED_PROXIES": "10.0.0.0/8 unix",
                "TRIOPOLL_PROXY_HEADER": "Forwarded",
                "TRIOPOLL_CORS_ORIGINS": "https://app.example",
                "TRIOPOLL_WAITS_PER_KEY": "1",
                "TRIOPOLL_WAITS_PER_SUBJECT": "2",
                "TRIOPOLL_WAITS_PER_IP": "3",
                "TRIOPOLL_REQUESTS_PER_IP": "0",
                "TRIOPOLL_BURST_PER_IP": "5",
                "TRIOPOLL_MAX_URL_BYTES": "6000",
            }
        )
    )
    control.clock = lambda: NOW
    assert control.admit_publisher(
        ask(bearer=KEY), ["a b1"], format_v1
    ) == AdmittedPublisher("shop")
    request = ask(headers={"cookie": f"c={ticket('a')}", "forwarded": "for=1.1.1.1"})
    request.peer = "10.1.1.1"
    permit = control.admit_subscriber(request, ["a"], format_v1)
    assert isinstance(permit, Permit)
    assert permit.visitor.address == "1.1.1.1"
    revoked = control.admit_subscriber(
        ask(bearer=ticket("a", id="two")), ["a"], format_v1
    )
    assert code_of(revoked) == "ticket_revoked"
    assert "EdDSA" in repr(control)
    page = ask(headers={"origin": "https://app.example"})
    assert dict(control.rules.cors.headers(page))[b"vary"] == b"Origin"
    limits = control.rules.limits
    assert (limits.waits_per_key, limits.waits_per_subject) == (1, 2)
    assert (limits.waits_per_ip, limits.requests_per_ip, limits.burst_per_ip) == (
        3,
        0,
        5,
    )
    assert limits.url_bytes == 6000


def test_an_empty_file_of_keys_refuses_all_publishers(tmp_path: Path) -> None:
    """An empty file of API keys refuses every publisher."""
    (tmp_path / "keys").write_text("# none yet\n")
    environ = {"TRIOPOLL_PUBLISH_KEYS": f"file:{tmp_path / 'keys'}"}
    control = access_control_from(settings_from(environ))
    answer = control.admit_publisher(
        ask(peer="127.0.0.1", bearer="x"), ["a"], format_v1
    )
    assert code_of(answer) == "key_invalid"


def test_keys_of_operators() -> None:
    """Are apart from those of publishers; an error names their variable."""
    entry = entry_for("olga", KEY, ["*"])
    control = access_control_from(settings_from({"TRIOPOLL_ADMIN_KEYS": entry}))
    assert control.rules.keyring is None
    admitted = control.admit_admin(ask(bearer=KEY), ["k"], format_v1)
    assert admitted == AdmittedPublisher("olga")
    with pytest.raises(SettingsError, match="TRIOPOLL_ADMIN_KEYS entry 1 is not"):
        access_control_from(settings_from({"TRIOPOLL_ADMIN_KEYS": KEY}))


def test_an_empty_file_of_secrets_refuses_all_subscribers(tmp_path: Path) -> None:
    """An empty file of secrets refuses every subscriber."""
    (tmp_path / "secrets").write_text("")
    environ = {"TRIOPOLL_TICKET_SECRETS": f"file:{tmp_path / 'secrets'}"}
    control = access_control_from(settings_from(environ))
    assert (
        code_of(control.admit_subscriber(ask(bearer=ticket("a")), ["a"], format_v1))
        == "ticket_invalid"
    )


def test_the_files_of_a_setting(tmp_path: Path) -> None:
    """Those of public keys are listed in the setting, or in a file that is one too."""
    paths = tmp_path / "list"
    paths.write_text("1.pem\n# old\n2.pem\n")
    for name, value, files in (
        ("PUBLISH_KEYS", "file:keys", ["keys"]),
        ("PUBLISH_KEYS", "a b", []),
        ("PUBLISH_KEYS", "", []),
        ("TICKET_PUBLIC_KEYS", "1.pem 2.pem", ["1.pem", "2.pem"]),
        ("TICKET_PUBLIC_KEYS", f"file:{paths}", [str(paths), "1.pem", "2.pem"]),
        ("TICKET_PUBLIC_KEYS", f"file:{paths}.absent", [f"{paths}.absent"]),
        ("TICKET_PUBLIC_KEYS", "", []),
    ):
        settings = settings_from({f"TRIOPOLL_{name}": value})
        assert files_of(settings, name) == files
        assert names_file(settings, name) == bool(files)


def test_revoked_tickets_are_read_again(tmp_path: Path) -> None:
    """The file of revoked tickets is read again after it has changed."""
    path = tmp_path / "revoked"
    path.write_text("one\n")
    settings = settings_from({"TRIOPOLL_REVOKED_TICKETS": f"file:{path}"})
    assert read_revoked(settings) == {"one"}
    path.write_text("one\ntwo\n")
    assert read_revoked(settings) == {"one", "two"}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PUBLISH_KEYS", "shop:hunter2hunter2:*"),
        ("PUBLISH_KEYS", "hunter2hunter2"),
        ("PUBLISH_KEYS", "hunter2hunter2:shop:*"),
        ("PUBLISH_KEYS", "file:/does/not/exist"),
        ("PUBLISH_KEYS", "file:/does/not/hunter2"),
        ("PUBLISH_KEYS", "file:/"),
        ("TICKET_SECRETS", "hunter2hunter2"),
        ("TICKET_SECRETS", " ".join([f"hunter2{n}" * 5 for n in range(3)])),
        ("TICKET_PUBLIC_KEYS", "/does/not/exist"),
        ("TICKET_PUBLIC_KEYS", __file__),
        ("REVOKED_TICKETS", "file:/does/not/exist"),
        ("TRUSTED_PROXIES", "proxy.example"),
        ("CORS_ORIGINS", "app.example"),
        ("CORS_ORIGINS", "https://user:hunter2@app.example"),
        ("HOSTS", "https://app.example"),
        ("PROXY_HEADER", "x-real-ip"),
        ("WAITS_PER_IP", "-1"),
        ("WAITS_PER_KEY", "00x"),
        ("BURST_PER_IP", "0"),
    ],
)
def test_what_cannot_be_used_is_named(variable: str, value: str) -> None:
    """The start fails with the name of the variable and without any secret."""
    environ = {f"TRIOPOLL_{variable}": value}
    if variable == "REVOKED_TICKETS":
        environ["TRIOPOLL_TICKET_SECRETS"] = SECRET
    with pytest.raises(SettingsError, match=f"TRIOPOLL_{variable}") as caught:
        access_control_from(settings_from(environ))
    assert "hunter2" not in str(caught.value)


def test_files_that_are_no_text_or_too_long(tmp_path: Path) -> None:
    """The error names the file and does not contain its contents."""
    path = tmp_path / "secrets"
    path.write_bytes(b"hunter2\xff")
    settings = settings_from({"TRIOPOLL_TICKET_SECRETS": f"file:{path}"})
    with pytest.raises(SettingsError, match="UTF-8") as caught:
        access_control_from(settings)
    assert "hunter2" not in str(caught.value)
    with path.open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(SettingsError, match="bytes"):
        access_control_from(settings)
