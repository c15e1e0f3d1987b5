"""The URL and the credentials of the commands, and what they may be."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from triopoll.cli.client_options import add_client_options, client_of
from triopoll.settings import CLIENT_VARIABLES, Settings, settings_from


def parse(*words: str, url: bool = True) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_client_options(parser, "api_key", "ticket", url=url)
    return parser.parse_args(words)


async def sent(options: argparse.Namespace) -> tuple[str, object, object]:
    """Return where a client sends to, and what it would send."""
    async with client_of(options) as client:
        key = client._publisher._requests._credential
        ticket = client._ticket
        return repr(client), await key.headers(), await ticket.headers()


async def test_without_anything() -> None:
    """The address on which the service listens, and no credential."""
    client, key, ticket = await sent(parse())
    assert "127.0.0.1:8000" in client
    assert (key, ticket) == ({}, {})


async def test_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which the service does not say that they are no settings."""
    values = ("http://a:1", "k", " t\n")
    for name, value in zip(CLIENT_VARIABLES, values, strict=False):
        monkeypatch.setenv(name, value)
    client, key, ticket = await sent(parse())
    assert "a:1" in client
    assert key == {"Authorization": "Bearer k"}
    assert ticket == {"Authorization": "Bearer t"}
    assert settings_from(dict.fromkeys(CLIENT_VARIABLES, "x")) == Settings()


async def test_files_come_before_variables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIOPOLL_CLIENT_API_KEY", "old")
    path = tmp_path / "key"
    path.write_text("new\n")
    _, key, _ = await sent(parse("--api-key-file", str(path)))
    assert key == {"Authorization": "Bearer new"}


@pytest.mark.parametrize("content", [b"", b"two\nlines", b"\xff", b"x" * 9000])
def test_a_file_with_something_else(
    tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its path is named, and nothing of it repeated."""
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        parse("--ticket-file", str(path))
    assert caught.value.code == 2
    errors = capsys.readouterr().err
    assert f"{path} is not one word" in errors
    assert "two" not in errors


def test_a_file_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--ticket-file", "/nowhere")
    assert "/nowhere: No such file" in capsys.readouterr().err


async def test_a_variable_with_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and its value not repeated."""
    monkeypatch.setenv("TRIOPOLL_CLIENT_TICKET", "two\nlines")
    with pytest.raises(ValueError, match="TRIOPOLL_CLIENT_TICKET is not") as caught:
        client_of(parse())
    assert "two" not in str(caught.value)


def test_a_url_in_place_of_the_option() -> None:
    assert parse("http://b:2", url=False).url == "http://b:2"
