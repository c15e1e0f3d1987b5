"""Keys, secrets and revoked tickets change with their files, and need no restart."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.triopoll.access.asking import NOW, SECRET, ticket
from tests.triopoll.support import eventually

from triopoll.access import BadTicket, KeyFiles, access_control_from, entry_for
from triopoll.access.control import Rules
from triopoll.settings import settings_from

OTHER = "another-secret-of-tests-that-is-long-enough"


@dataclass
class Followed:
    """The files that are followed, and the rules that they lead to."""

    files: KeyFiles
    rules: Rules

    def admits(self, key: str) -> bool:
        assert self.rules.keyring is not None
        return self.rules.keyring.find(key) is not None

    def reads(self, secret: str) -> bool:
        assert self.rules.tickets is not None
        try:
            self.rules.tickets.read(ticket("a", secret=secret, id="1"), NOW)
        except BadTicket:
            return False
        return True

    async def look(self) -> None:
        """Look until a file that has changed and then stayed the same is read."""
        await self.files.look()
        await self.files.look()


async def follow(caplog: pytest.LogCaptureFixture, **settings: str) -> Followed:
    named = {f"TRIOPOLL_{name.upper()}": value for name, value in settings.items()}
    parsed = settings_from(named)
    rules = access_control_from(parsed).rules
    followed = Followed(KeyFiles(parsed, rules), rules)
    caplog.set_level(logging.INFO, "triopoll.access")
    # The first reading, of which nothing is said.
    await followed.look()
    assert not caplog.records
    return followed


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def rename(path: Path, text: str) -> None:
    other = path.with_name("new")
    other.write_text(text)
    os.replace(other, path)


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


async def test_keys_of_operators(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Are followed as those of publishers are."""
    path = tmp_path / "operators"
    path.write_text(entry_for("olga", "old", ["*"]))
    followed = await follow(caplog, admin_keys=f"file:{path}")
    rename(path, entry_for("olga", "new", ["*"]))
    await followed.look()
    admins = followed.rules.admins
    assert admins is not None
    assert (admins.find("old"), bool(admins.find("new"))) == (None, True)
    (record,) = caplog.records
    assert record.message == "TRIOPOLL_ADMIN_KEYS was read again, keys: 1"


@pytest.mark.parametrize("write", [rename, rewrite])
async def test_a_key_is_changed_over(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    write: Callable[[Path, str], None],
) -> None:
    """The old key, both, the new one: each step is a change of the file."""
    path = tmp_path / "keys"
    old, new = (entry_for("shop", key, ["*"]) for key in ("old", "new"))
    path.write_text(old)
    followed = await follow(caplog, publish_keys=f"file:{path}")
    assert (followed.admits("old"), followed.admits("new")) == (True, False)
    write(path, f"{new}\n{old}\n")
    await followed.look()
    assert (followed.admits("old"), followed.admits("new")) == (True, True)
    write(path, f"{new}\n")
    await followed.look()
    assert (followed.admits("old"), followed.admits("new")) == (False, True)
    assert [record.message for record in caplog.records] == [
        "TRIOPOLL_PUBLISH_KEYS was read again, keys: 2",
        "TRIOPOLL_PUBLISH_KEYS was read again, keys: 1",
    ]
    assert followed.files.reloads == {("publish_keys", "ok"): 3}


async def test_a_secret_is_changed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A ticket that was read before is read no more when its secret is gone."""
    path = tmp_path / "secrets"
    path.write_text(SECRET)
    followed = await follow(caplog, ticket_secrets=f"file:{path}")
    assert (followed.reads(SECRET), followed.reads(OTHER)) == (True, False)
    rename(path, f"{OTHER}\n{SECRET}\n")
    await followed.look()
    assert (followed.reads(SECRET), followed.reads(OTHER)) == (True, True)
    rename(path, OTHER)
    await followed.look()
    assert (followed.reads(SECRET), followed.reads(OTHER)) == (False, True)
    assert SECRET not in caplog.text
    assert OTHER not in caplog.text


def pem() -> bytes:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


async def test_public_keys_change_beside_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A key's file and the list of them are followed; the secret in a value stays."""
    first, second, paths = (tmp_path / name for name in ("1.pem", "2.pem", "list"))
    first.write_bytes(pem())
    second.write_bytes(pem())
    paths.write_text(f"{first}\n")
    followed = await follow(
        caplog, ticket_secrets=SECRET, ticket_public_keys=f"file:{paths}"
    )
    append(paths, f"{second}\n")
    await followed.look()
    assert repr(followed.rules.tickets).count("EdDSA") == 2
    append(first, "\n")
    await followed.look()
    assert followed.files.reloads["ticket_public_keys", "ok"] == 3
    append(paths, "a path with a \0\n")
    await followed.look()
    assert followed.files.failing == 1
    assert (
        repr(followed.rules.tickets) == "<TicketReader: HS256, EdDSA, EdDSA, 0 revoked>"
    )
    assert followed.reads(SECRET)


async def test_a_mounted_secret_of_kubernetes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What changes is a link on the way to the file, and all files at once."""
    for name, secret in (("1", SECRET), ("2", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "secrets").write_text(secret)
    (tmp_path / "..data").symlink_to("1")
    path = tmp_path / "secrets"
    path.symlink_to("..data/secrets")
    followed = await follow(caplog, ticket_secrets=f"file:{path}")
    (tmp_path / "new").symlink_to("2")
    os.replace(tmp_path / "new", tmp_path / "..data")
    await followed.look()
    assert (followed.reads(SECRET), followed.reads(OTHER)) == (False, True)


@pytest.mark.parametrize("write", [append, rename, rewrite])
async def test_revoked_tickets(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    write: Callable[[Path, str], None],
) -> None:
    """Each way to change the file is noticed; it may also be empty."""
    path = tmp_path / "revoked"
    path.write_text("one\n")
    followed = await follow(
        caplog, ticket_secrets=SECRET, revoked_tickets=f"file:{path}"
    )
    assert followed.rules.tickets is not None
    write(path, "second\n")
    await followed.look()
    assert "second" in followed.rules.tickets.revoked
    path.write_text("")
    await followed.look()
    assert not followed.rules.tickets.revoked


WRONG = {
    "malformed": b"shop:no digest:*\n",
    "not text": b"\xff\xfe\n",
    "emptied": b"",
    "three keys of a name": "\n".join(
        entry_for("shop", key, ["*"]) for key in "abc"
    ).encode(),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
async def test_a_wrong_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """It is tried again and again, and one line says so, until a good one comes."""
    path = tmp_path / "keys"
    path.write_text(entry_for("shop", "old", ["*"]))
    followed = await follow(caplog, publish_keys=f"file:{path}")
    path.write_bytes(content)
    for _ in range(3):
        await followed.look()
    assert followed.admits("old")
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("TRIOPOLL_PUBLISH_KEYS ")
    assert line.endswith("; what was read before stays in use")
    assert repr(followed.files) == "<KeyFiles: PUBLISH_KEYS; 1 failing>"
    path.write_text(entry_for("shop", "new", ["*"]))
    await followed.look()
    assert (followed.admits("old"), followed.admits("new")) == (False, True)
    assert not followed.files.failing
    assert followed.files.reloads["publish_keys", "failed"] == 1


async def test_who_asks_is_told_each_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a good file and of a wrong one, whether or not it has changed."""
    path = tmp_path / "keys"
    path.write_text(entry_for("shop", "old", ["*"]))
    followed = await follow(caplog, publish_keys=f"file:{path}")
    for _ in range(2):
        await followed.files.look(at_once=True)
    path.write_text("wrong")
    for _ in range(2):
        await followed.files.look(at_once=True)
    assert [record.levelname for record in caplog.records] == [
        *("INFO", "INFO", "ERROR", "ERROR")
    ]


async def test_a_file_that_is_gone_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read when it is back, unchanged or not."""
    path, away = tmp_path / "keys", tmp_path / "away"
    path.write_text(entry_for("shop", "old", ["*"]))
    followed = await follow(caplog, publish_keys=f"file:{path}")
    os.replace(path, away)
    await followed.look()
    assert "cannot be read: No such file" in caplog.text
    assert followed.files.failing
    assert followed.admits("old")
    os.replace(away, path)
    await followed.look()
    assert not followed.files.failing


async def test_an_error_that_passes(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that could not be read is tried again, although it has not changed."""
    path = tmp_path / "keys"
    path.write_text(entry_for("shop", "old", ["*"]))
    followed = await follow(caplog, publish_keys=f"file:{path}")
    rename(path, entry_for("shop", "newer", ["*"]))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", too_many_files)
        await followed.look()
        assert followed.files.failing
    await followed.files.look()
    assert followed.admits("newer")


def too_many_files(*_: object) -> NoReturn:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


async def test_a_file_that_blocks_does_not_keep_the_service_from_ending(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a network mount does that hangs; here it is a pipe that has no writer."""
    path = tmp_path / "revoked"
    path.write_text("one\n")
    followed = await follow(
        caplog, ticket_secrets=SECRET, revoked_tickets=f"file:{path}"
    )
    path.unlink()
    os.mkfifo(path)
    await followed.files.look()
    with trio.move_on_after(0.1) as scope:
        await followed.files.look()
    assert scope.cancelled_caught
    os.close(os.open(path, os.O_WRONLY))  # the thread reads to the end


async def test_a_list_without_an_entry_admits_no_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it says so by a comment: an empty file is one that is not written yet."""
    path = tmp_path / "keys"
    path.write_text(entry_for("shop", "old", ["*"]))
    followed = await follow(caplog, publish_keys=f"file:{path}")
    path.write_text("# none\n")
    await followed.look()
    assert not followed.admits("old")


async def test_a_file_that_is_being_written_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is read when it has changed at ten looks and is still changing."""
    path = tmp_path / "revoked"
    path.write_text("0\n")
    followed = await follow(
        caplog, ticket_secrets=SECRET, revoked_tickets=f"file:{path}"
    )
    assert followed.rules.tickets is not None
    for _ in range(10):
        append(path, "1\n")
        await followed.files.look()
        assert followed.rules.tickets.revoked == {"0"}
    append(path, "1\n")
    await followed.files.look()
    assert followed.rules.tickets.revoked == {"0", "1"}


async def test_a_file_that_is_back_as_it_was(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is read, since nothing has changed."""
    path, away = tmp_path / "keys", tmp_path / "away"
    path.write_text(entry_for("shop", "old", ["*"]))
    away.symlink_to(path)
    followed = await follow(caplog, publish_keys=f"file:{away}")
    away.unlink()
    await followed.files.look()
    away.symlink_to(path)
    await followed.look()
    assert not caplog.records


async def test_looking_goes_on_by_itself_and_at_once_when_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked, it does not wait for the next look, or for the file to stay the same."""
    path = tmp_path / "keys"
    path.write_text(entry_for("shop", "old", ["*"]))
    followed = await follow(caplog, publish_keys=f"file:{path}")
    path.write_text(entry_for("shop", "newer", ["*"]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(followed.files.run, interval=0.01, settle=0.01))
        await eventually(lambda: followed.admits("newer"))
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(followed.files.run, interval=1e6, settle=1e6))
        await trio.testing.wait_all_tasks_blocked()
        path.write_text(entry_for("shop", "old", ["*"]))
        followed.files.read_soon()
        await eventually(lambda: followed.admits("old"))
        nursery.cancel_scope.cancel()


async def test_without_a_file_there_is_nothing_to_follow() -> None:
    """A value in the setting itself holds until the next start."""
    settings = settings_from({"TRIOPOLL_REVOKED_TICKETS": "a"})
    files = KeyFiles(settings, access_control_from(settings).rules)
    with trio.fail_after(5):
        await files.run()
    assert repr(files) == "<KeyFiles: none; 0 failing>"


async def test_revoked_tickets_without_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """There are no tickets, so the list is read and has no effect."""
    path = tmp_path / "revoked"
    path.write_text("one\n")
    followed = await follow(caplog, revoked_tickets=f"file:{path}")
    assert followed.files.reloads == {("revoked_tickets", "ok"): 1}
    assert followed.rules.tickets is None
