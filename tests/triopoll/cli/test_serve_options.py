"""The options of `serve`, as a parser of another command gets them."""

from __future__ import annotations

import argparse
import re

import pytest

from triopoll.cli.serve_options import (
    OPTIONS,
    add_serve_options,
    binds_of,
    load_app,
    option_of,
    server_settings,
)
from triopoll.server import ServerSettings, StartupFailed


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_serve_options(parser)
    return parser.parse_args(words)


def test_the_defaults_are_those_of_the_server() -> None:
    options = parse()
    assert server_settings(options) == ServerSettings()
    assert binds_of(options) == ["127.0.0.1:8000"]
    assert (options.app, options.workers) == ("triopoll:app", 1)


def test_each_option_reaches_the_settings() -> None:
    words = [word for name in OPTIONS for word in (option_of(name), "7")]
    settings = server_settings(parse(*words, "--access-log"))
    assert all(getattr(settings, name) == 7 for name in OPTIONS)
    assert settings.access_log


def test_several_addresses() -> None:
    assert binds_of(parse("--bind", "a:1", "--bind", "unix:/b")) == ["a:1", "unix:/b"]


@pytest.mark.parametrize(
    "words", [["--workers", "0"], ["--keep-alive", "nan"], ["--keep-alive", "soon"]]
)
def test_numbers_are_checked(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(*words)
    assert words[1] in capsys.readouterr().err


@pytest.mark.parametrize("path", ["json", ":app", "json:app", "nowhere_at_all:app"])
def test_an_application_that_cannot_be_loaded(path: str) -> None:
    with pytest.raises(StartupFailed, match=re.escape(path)):
        load_app(path)


def test_an_application() -> None:
    import json

    assert load_app("json:dumps") is json.dumps
