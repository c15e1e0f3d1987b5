"""The terminals of a tutorial: programs that wait for each other, and what they print.

A page shows what to type and what appears, in ``console`` blocks below the name of a
terminal (``**Terminal 1**``), in the order in which it happens:

- ``$ command`` starts a program; what ran in this terminal before must have ended;
- ``$ fg`` lets a program go on that ``^Z`` has frozen;
- ``^C`` interrupts it, ``^\\`` kills it, and an empty line is the Enter key;
- any other line is the next one that the program prints.

When a key is pressed or a program is started, no terminal has printed more than the
page shows; so a program that does not wait, where the page says so, is found out.
"""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, Self

ROOT = Path(__file__).parents[2]
LIMIT = 30.0
_BLOCK = re.compile(
    r"^\*\*(Server|Terminal \d)\*\*\n\n```console\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
_KEYS = {"^C": signal.SIGINT, "^\\": signal.SIGKILL, "^Z": signal.SIGSTOP}


class Line(NamedTuple):
    """One line that a page shows.

    Attributes:
        terminal: Where.
        text: What is typed or printed there.
    """

    terminal: str
    text: str


def lines_of(page: Path) -> list[Line]:
    """Return what a page shows in its terminals, in order."""
    return [
        Line(match[1], text)
        for match in _BLOCK.finditer(page.read_text())
        for text in match[2].splitlines()
    ]


class Terminal:
    """One terminal: at most one program at a time, and the lines that it prints."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = environment
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._printed: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None
        self._expected_code = 0

    def start(self, command: str) -> None:
        """Start a program of the repository, once the one before it has ended."""
        self.end()
        words = shlex.split(command)
        words[0] = str(Path(sys.executable).parent / Path(words[0]).name)
        self._process = subprocess.Popen(
            words,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._expected_code = 0
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._printed.put(line.rstrip("\n"))
        self._printed.put(None)

    def press(self, key: str) -> None:
        """Press a key, as the page shows it."""
        assert self._process is not None
        if key == "^\\":
            self._expected_code = -signal.SIGKILL
        if key:
            self._process.send_signal(_KEYS[key])
        else:
            assert self._process.stdin is not None
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def resume(self) -> None:
        """Let a frozen program go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def next_line(self) -> str:
        """Return the next line that the program prints.

        Raises:
            AssertionError: It ends, or prints nothing for a long time.
        """
        try:
            line = self._printed.get(timeout=LIMIT)
        except queue.Empty:
            raise AssertionError("nothing is printed") from None
        assert line is not None, "the program has ended"
        return line

    def unread(self) -> list[str]:
        """Return what has been printed and not been read."""
        lines: list[str] = []
        with suppress(queue.Empty):
            while (line := self._printed.get_nowait()) is not None:
                lines.append(line)
            # The end of the output is found again by `end`.
            self._printed.put(None)
        return lines

    def end(self) -> None:
        """Wait until the program has ended, without an error and without a word."""
        if self._process is None:
            return
        code = self._process.wait(LIMIT)
        rest = self.close()
        assert (code, rest) == (self._expected_code, [])

    def close(self) -> list[str]:
        """Kill the program if it runs; return what it had printed."""
        process, self._process = self._process, None
        if process is None:
            return []
        process.kill()
        assert self._reader is not None
        self._reader.join(LIMIT)
        # Closes the pipes, and waits.
        with process:
            lines = self.unread()
        self._printed = queue.SimpleQueue()
        return lines


class Desk:
    """The terminals of a reader, who does what a page says.

    Args:
        variables: Added to the environment of the programs.
        replace: Texts of the page, and what stands for them here.
        any_token: Take any number for a fencing token.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        replace: Mapping[str, str],
        *,
        any_token: bool = False,
    ) -> None:
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
        self._replace = replace
        self._any_token = any_token
        self._terminals: dict[str, Terminal] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for terminal in self._terminals.values():
            terminal.close()

    def do(self, line: Line) -> None:
        """Type what the page says, or see what it shows.

        Raises:
            AssertionError: Something else is printed.
        """
        terminal = self._terminals.setdefault(
            line.terminal, Terminal(self._environment, ROOT)
        )
        text = line.text
        for old, new in self._replace.items():
            text = text.replace(old, new)
        if text in _KEYS or not text or text.startswith("$ "):
            self.check_quiet()
        if text in _KEYS or not text:
            terminal.press(text)
        elif text == "$ fg":
            terminal.resume()
        elif text.startswith("$ "):
            terminal.start(text[2:])
        else:
            found = terminal.next_line()
            assert self._comparable(found) == self._comparable(text)

    def check_quiet(self) -> None:
        """See that no program has printed more than was read.

        Raises:
            AssertionError: One has.
        """
        unread = {name: one.unread() for name, one in self._terminals.items()}
        assert not any(unread.values()), unread

    def end(self) -> None:
        """Wait until all programs have ended.

        Raises:
            AssertionError: One has failed, or printed what the page does not show.
        """
        for terminal in self._terminals.values():
            terminal.end()

    def _comparable(self, text: str) -> str:
        return re.sub(r"(?<=token )\d+", "N", text) if self._any_token else text
