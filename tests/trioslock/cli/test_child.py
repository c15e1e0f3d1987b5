"""A child process: its exit code, signals, and its end."""

from __future__ import annotations

import os
import signal

import pytest

from trioslock.cli._child import Child


def child(script: str) -> Child:
    return Child(["sh", "-c", script], os.environ)


async def test_the_exit_code_is_that_of_a_shell() -> None:
    assert await child("exit 3").wait() == 3
    assert await child("kill -TERM $$").wait() == 143


async def test_it_is_killed_when_it_ignores_sigterm() -> None:
    running = child("trap '' TERM; exec sleep 60")
    await running.end(0.2)
    assert await running.wait() in (137, 143)


async def test_an_interrupt_of_the_terminal_is_not_sent_again() -> None:
    running = child("exec sleep 60")
    running.pass_on(signal.SIGINT)
    running.pass_on(signal.SIGTERM)
    assert await running.wait() == 143


def test_a_program_that_is_not_there_is_an_oserror() -> None:
    with pytest.raises(FileNotFoundError):
        Child(["/no/such"], {})
