"""What is printed is safe on a terminal, and can be read back."""

from __future__ import annotations

import io
import json
import sys
from math import inf

import pytest

from trioslock import Data, to_key
from trioslock.cli import _output as output

HOSTILE = "a\x1b]0;title\x07\x9b31m\u202eb\nc\x7f\udc80"


class Terminal(io.TextIOWrapper):
    """A stdout that says that it is a terminal."""

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        return True

    def printed(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue()


def test_nothing_in_safe_text_moves_a_cursor() -> None:
    assert output.safe(HOSTILE).isprintable()
    assert output.safe(HOSTILE).startswith("a\\x1b]0;title\\x07")
    assert output.safe("Schlüssel 鍵") == "Schlüssel 鍵"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("report", "report"),
        ("Schlüssel", "Schlüssel"),
        ("0123456789abcdef", "0123456789abcdef"),
        ("bad\x1b[31m", b"bad\x1b[31m".rjust(16, b"\0").hex()),
        (b"\xff" * 16, "ff" * 16),
        (bytes(16), "00" * 16),
    ],
)
def test_a_key_that_is_printed_can_be_given_again(name: str | bytes, text: str) -> None:
    key = to_key(name)
    assert output.key_text(key) == text
    assert to_key(output.key_text(key)) == key


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (inf, "-"), (-3, "0s"), (119, "119s"), (120, "2m"), (7200, "2h")],
)
def test_an_age_is_short(seconds: float | None, text: str) -> None:
    assert output.age(seconds) == text
    assert output.age(864_000) == "10d"


def test_addresses_are_those_of_urls() -> None:
    assert output.address_text(("a", 1)) == "a:1"
    assert output.address_text(("::1", 1)) == "[::1]:1"


def test_characters_that_stdout_does_not_have_are_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = Terminal("ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    output.show("鍵\x1b")
    assert stdout.printed() == b"\\u9375\\x1b\n"


def test_json_is_one_line_of_ascii(capsys: pytest.CaptureFixture[str]) -> None:
    output.show_json({"key": HOSTILE})
    line = capsys.readouterr().out
    assert line.isascii()
    assert line.rstrip("\n").count("\n") == 0
    assert json.loads(line) == {"key": HOSTILE}


VALUES: list[tuple[Data, bytes, object]] = [
    (Data.set("text"), b"text\n", {"type": "text", "value": "text"}),
    (Data.set(b"\xff\x1b"), b"\xff\x1b\n", {"type": "bytes", "value": "ff1b"}),
    (Data.set(-7), b"-7\n", {"type": "number", "value": -7}),
    (Data.set(["a", "b"]), b"a\nb\n", {"type": "array", "value": ["a", "b"]}),
    (Data.set({"a": b"\xff"}), b"a=\xff\n", {"type": "map", "value": {"a": "\\xff"}}),
]


@pytest.mark.parametrize(("data", "printed", "record"), VALUES)
def test_a_value_goes_as_it_is_into_a_pipe_and_with_its_type_into_json(
    data: Data,
    printed: bytes,
    record: object,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    output.show_data(data)
    assert capfdbinary.readouterr().out == printed
    assert output.typed(data) == record
    assert output.typed(None) is None


def test_on_a_terminal_a_value_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    output.show_data(Data.set([b"a\x1b[31m", b"\xff\n"]))
    assert terminal.printed() == b"a\\x1b[31m\n\\xff\\n\n"
