"""A command that runs while a key is held."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import trio

__all__ = ["Child"]

_PR_SET_PDEATHSIG = 1
# A terminal sends these to the whole foreground group, so the child has them already.
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


class Child:
    """A running command, in the process group and with the streams of this process.

    It is started by this thread: Linux sends the death signal of a child when the
    *thread* that started it ends.

    Args:
        command: Its words.
        environment: Its whole environment.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            preexec_fn=_death_signal(),  # noqa: PLW1509  # it calls libc only
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait until it ends; return its exit code, 128 + n for signal n.

        Cancellation:
            The command runs on.
        """
        await trio.to_thread.run_sync(self._process.wait, abandon_on_cancel=True)
        code = self._process.returncode
        return code if code >= 0 else 128 - code

    def pass_on(self, signum: int) -> None:
        """Send it a signal, but for those that a terminal has sent to it already."""
        if signum not in _FROM_TERMINAL:
            self._process.send_signal(signum)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    async def end(self, grace: float) -> None:
        """Send SIGTERM, and SIGKILL after ``grace`` seconds; wait for its end.

        Cancellation:
            It is not cancelled: a command must not go on without its lock.
        """
        with trio.CancelScope(shield=True):
            self._process.terminate()
            with trio.move_on_after(grace):
                await self.wait()
            self.kill()
            await self.wait()


def _death_signal() -> Callable[[], None] | None:
    """Return what asks Linux for a SIGTERM to the child when its parent dies."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:  # pragma: no cover  # runs in the child, before its program
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return ask
