"""Commands about one key that have actions of their own."""

from __future__ import annotations

import argparse

import pytest

from trioslock import FOREVER
from trioslock.cli._actions import add_action, add_actions, add_ttl


async def act(options: argparse.Namespace) -> int:
    return 7 if options.key == "k" else 1


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    actions = add_actions(parser.add_subparsers(), "thing", "do it", "one\n  two\n")
    add_action(actions, "see", "see it", act)
    add_ttl(add_action(actions, "make", "make it", act), "time")
    return parser


def test_an_action_has_a_key_and_the_options_of_all(
    parser: argparse.ArgumentParser,
) -> None:
    """It runs its function, and its time has no end unless one is given."""
    options = parser.parse_args(["thing", "see", "--json", "k"])
    assert (options.action, options.key, options.json) == ("see", "k", True)
    assert options.url.startswith("slock://")
    assert options.ttl == FOREVER
    assert options.run(options) == 7
    assert parser.parse_args(["thing", "make", "k"]).ttl == FOREVER
    assert parser.parse_args(["thing", "make", "--ttl", "2", "k"]).ttl == 2


@pytest.mark.parametrize("words", [["thing"], ["thing", "see", "--ttl", "2", "k"]])
def test_what_an_action_does_not_have_is_refused(
    parser: argparse.ArgumentParser, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 2


def test_the_examples_keep_their_lines(
    parser: argparse.ArgumentParser, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["thing", "--help"])
    assert "one\n  two\n" in capsys.readouterr().out
