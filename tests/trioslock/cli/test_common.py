"""Options, exit codes, and errors as one line."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from trioslock import ConnectionLost, LockLost
from trioslock.cli import _common as common


def exit_code(error: BaseException) -> int:
    async def function(_: argparse.Namespace) -> int:
        raise error

    return common.run(function, argparse.Namespace())


def test_the_code_of_the_function_is_that_of_the_run() -> None:
    async def function(options: argparse.Namespace) -> int:
        return int(options.code)

    assert common.run(function, argparse.Namespace(code=7)) == 7


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ConnectionLost("gone"), 74, "trioslock: gone\n"),
        (OSError("no route"), 74, "trioslock: no route\n"),
        (LockLost("lost", key=b"k", reason="expired"), 75, "trioslock: lost\n"),
        (ValueError("long key"), 2, "trioslock: long key\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_a_line_and_a_code(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same in groups."""
    assert exit_code(error) == code
    assert capsys.readouterr().err == text
    group = BaseExceptionGroup("", [BaseExceptionGroup("", [error])])
    assert exit_code(group) == code
    assert capsys.readouterr().err == text


def test_another_program(capsys: pytest.CaptureFixture[str]) -> None:
    """It has its name in the line, and errors of its own that are no bugs."""

    async def function(_: argparse.Namespace) -> int:
        raise ZeroDivisionError("refused")

    options = argparse.Namespace()
    refusals = (ZeroDivisionError,)
    assert common.run(function, options, program="other", refusals=refusals) == 74
    assert capsys.readouterr().err == "other: refused\n"


def test_a_bug_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(ZeroDivisionError())
    with pytest.raises(ExceptionGroup):
        exit_code(ExceptionGroup("", [ConnectionLost("gone"), ZeroDivisionError()]))


@pytest.mark.parametrize("word", ["0", "-1", "inf", "nan", "x"])
def test_seconds_are_above_zero(word: str) -> None:
    assert common.seconds("0.5") == 0.5
    with pytest.raises(argparse.ArgumentTypeError, match="seconds above 0"):
        common.seconds(word)


@pytest.mark.parametrize("words", [["--url", "http://x"], []])
def test_a_wrong_url_is_a_usage_error(
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also that of the environment."""
    if not words:
        monkeypatch.setenv("TRIOSLOCK_URL", "http://x")
    parser = argparse.ArgumentParser()
    common.add_url(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 2
    assert "a server's URL starts with slock://" in capsys.readouterr().err


CHILD = """
import os, signal, sys, trio
from trioslock.cli._common import run

async def function(mode):
    if mode == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        await trio.sleep_forever()
    print("line")
    return 0

signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(run(function, sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "code"), [("interrupt", 130), ("print", 141)])
def test_a_ctrl_c_and_a_closed_pipe_are_quiet(mode: str, code: int) -> None:
    """As of the script, which has set SIGINT to its default."""
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-c", CHILD, mode]
    done = subprocess.run(
        words, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, "")
