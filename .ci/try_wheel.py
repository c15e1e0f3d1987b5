"""Try a built wheel as its users would, in virtual environments of its own.

The base install must bring trio and nothing else and serve slock; the install with
the ``poll`` extra must serve a poll that a publisher wakes; pytest must find the
plugins, and be told that the one of triopoll needs the extra.

Usage: ``python .ci/try_wheel.py dist/trioslock-*.whl``
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT = 20.0

# Sets the event "test" as the README does with redis-cli.
SET_EVENT = "lock test lock_id test flag 2 timeout 5 expried 120 count 2"

USE_CLIENT = """
import sys, trio, trioslock

async def main():
    async with trioslock.open_client(sys.argv[1]) as client:
        async with client.lock("wheel"):
            assert await client.lock("wheel").locked()
        assert not await client.lock("wheel").locked()

async def limited():
    with trio.fail_after(10):
        await main()
trio.run(limited)
"""


USE_PLUGIN = """
import pytest

def test_server(slock_server, request):
    assert slock_server.claims("k") == (0, 0)
    with pytest.raises(pytest.fail.Exception, match="poll"):
        request.getfixturevalue("triopoll_server")
"""


def main() -> None:
    wheel = Path(sys.argv[1]).resolve()
    # Away from the source tree, so that nothing is imported from it.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try_base(wheel, Path(folder) / "base")
        try_poll(wheel, Path(folder) / "poll")
        try_plugin(wheel, Path(folder) / "test")
    print(f"{wheel.name}: base install, poll extra and pytest plugin work")


def try_base(wheel: Path, home: Path) -> None:
    python = make_environment(home, str(wheel))
    freeze = [str(python), "-m", "pip", "list", "--format=freeze"]
    names = {line.partition("==")[0].lower() for line in output(freeze).split()}
    allowed = {
        *("attrs", "idna", "outcome", "pip", "sniffio", "sortedcontainers"),
        *("setuptools", "trio", "trioslock", "wheel"),
    }
    assert names <= allowed, f"the base install brings {sorted(names - allowed)}"
    serve = [str(python), "-m", "trioslock", "serve", "--port", "0"]
    with running(serve, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        line = server.stdout.readline().decode()
        assert "listening on 127.0.0.1:" in line, f"serve printed {line!r}"
        port = int(line.strip().rpartition(":")[2])
        assert ask(port, "ping").startswith(b"+PONG"), "serve does not answer"
        url = f"slock://127.0.0.1:{port}"
        subprocess.run([str(python), "-c", USE_CLIENT, url], check=True, timeout=LIMIT)
    assert server.returncode == 0, f"serve ended with {server.returncode}"


def try_poll(wheel: Path, home: Path) -> None:
    python = make_environment(home, f"{wheel}[poll]")
    web, slock = free_port(), free_port()
    hypercorn = [
        *(str(python.with_name("hypercorn")), "-k", "trio"),
        *("--bind", f"127.0.0.1:{web}", "triopoll:app"),
    ]
    environment = {**os.environ, "TRIOPOLL_SLOCK_URL": f"embedded://127.0.0.1:{slock}"}
    with running(hypercorn, env=environment):
        wait_for(web)
        wait_for(slock)
        url = f"http://127.0.0.1:{web}/poll/event?event=test"
        curl = ["curl", "-sS", "--max-time", str(LIMIT), url]
        with running(curl, stdout=subprocess.PIPE) as poll:
            time.sleep(0.5)
            assert poll.poll() is None, "the poll did not wait"
            ask(slock, SET_EVENT)
            answer = poll.communicate(timeout=LIMIT)[0].decode()
        assert '"err_code":0' in answer, f"the woken poll answered {answer!r}"
        module = f"http://127.0.0.1:{web}/js/{wheel.name.split('-')[1]}/triopoll.js"
        assert "class Triopoll" in output(["curl", "-sSf", module])


def try_plugin(wheel: Path, home: Path) -> None:
    python = make_environment(home, f"{wheel}[test]")
    test = home.with_name("test_plugin.py")
    test.write_text(USE_PLUGIN)
    subprocess.run([str(python), "-m", "pytest", "-q", str(test)], check=True)


def make_environment(home: Path, requirement: str) -> Path:
    """Create a virtual environment, install into it, return its python."""
    subprocess.run([sys.executable, "-m", "virtualenv", "-q", str(home)], check=True)
    python = home / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", requirement], check=True)
    return python


@contextmanager
def running(
    command: list[str], *, stdout: int | None = None, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the length of the block; end it with SIGTERM if need be."""
    process = subprocess.Popen(command, stdout=stdout, env=env)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def ask(port: int, line: str) -> bytes:
    """Send one command in the text dialect and return the first bytes of the reply."""
    words = line.encode().split()
    parts = [b"*%d" % len(words)]
    for word in words:
        parts += [b"$%d" % len(word), word]
    with socket.create_connection(("127.0.0.1", port), LIMIT) as sock:
        sock.sendall(b"\r\n".join(parts) + b"\r\n")
        return sock.recv(4096)


def wait_for(port: int) -> None:
    """Block until something listens on the port."""
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
