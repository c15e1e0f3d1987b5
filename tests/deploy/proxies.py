"""The proxies that a sample exists for, started with it on ports of a test."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.samples import DEPLOY
from tests.nginx import nginx_file
from tests.services import find_free_port, find_tool, wait_for_port

SAMPLES = DEPLOY / "proxies"
_SBIN = f"{os.environ['PATH']}:/usr/sbin"


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """Replace parts of a sample, each of which it must have once."""
    for old, new in changes:
        text, count = re.subn(re.escape(old), new, text)
        assert count == 1, old
    return text


@dataclass(frozen=True)
class Proxy:
    """A program and its sample.

    Attributes:
        name: The program.
        sample: The path of its file in `deploy/`.
        listens: What stands in the sample for the address of the proxy.
        plain: What stands there in a test, without TLS; PORT is replaced.
        write: Write a text as the file of the program, and return its path.
        run: The arguments with which it runs; FILE is replaced.
        check: The arguments with which it checks a file.
        nodes: The addresses of the two nodes in the sample.
        check_of_nodes: What in the sample makes it ask whether nodes are ready.
    """

    name: str
    sample: str
    listens: str
    plain: str
    write: Callable[[str, Path], Path]
    run: Sequence[str]
    check: Sequence[str]
    nodes: tuple[str, str] = ("10.0.0.11:8000", "10.0.0.12:8000")
    check_of_nodes: str = "$^"

    def __str__(self) -> str:
        return self.sample

    def text(self, folder: Path) -> str:
        """Return the sample, with the certificates in a folder."""
        make_certificates(folder)
        text = (DEPLOY / self.sample).read_text()
        return text.replace("/etc/ssl/", f"{folder}/")

    def command(self, arguments: Sequence[str], text: str, folder: Path) -> list[str]:
        file = str(self.write(text, folder))
        words = [word.replace("FILE", file) for word in arguments]
        # Caddy keeps what it knows in its home.
        home = ("env", f"HOME={folder}", f"XDG_DATA_HOME={folder}")
        return [*home, find_tool(self.name, _SBIN), *words]

    def checking(self, change: Callable[[str], str], folder: Path) -> tuple[int, str]:
        """Let it check its sample, changed; return its exit code and its errors."""
        command = self.command(self.check, change(self.text(folder)), folder)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        return done.returncode, done.stderr

    @contextmanager
    def running(
        self, folder: Path, *nodes: int, checks_nodes: bool = True
    ) -> Iterator[int]:
        """Run it before one or two nodes; return its own port.

        Args:
            folder: For its files.
            nodes: The ports of the nodes. The second may be missing: it is down.
            checks_nodes: Whether it may notice that without a request.
        """
        port = find_free_port()
        first, second = nodes if len(nodes) == 2 else (*nodes, find_free_port())
        text = replaced(
            self.text(folder),
            (self.listens, self.plain.replace("PORT", str(port))),
            (self.nodes[0], f"127.0.0.1:{first}"),
            (self.nodes[1], f"127.0.0.1:{second}"),
        )
        if not checks_nodes:
            text = re.sub(self.check_of_nodes, "", text)
        command = self.command(self.run, text, folder)
        with subprocess.Popen(command, cwd=folder) as process:
            try:
                wait_for_port(port, process)
                yield port
            finally:
                process.kill()


def make_certificates(folder: Path) -> None:
    """Make the certificate that the samples name, signed by itself."""
    command = [find_tool("openssl"), "req", "-x509", "-newkey", "ed25519", "-nodes"]
    command += ["-subj", "/CN=poll.example", "-days", "2"]
    command += ["-addext", "subjectAltName=DNS:poll.example,IP:127.0.0.1"]
    key, certificate = folder / "poll.example.key", folder / "poll.example.pem"
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both = certificate.read_text() + key.read_text()
    (folder / "poll.example.both.pem").write_text(both)


def _write_nginx(text: str, folder: Path) -> Path:
    (folder / "snippets").mkdir(exist_ok=True)
    shutil.copy(SAMPLES / "nginx-triopoll.conf", folder / "snippets" / "triopoll.conf")
    return nginx_file(text, folder)


def _write(text: str, folder: Path) -> Path:
    file = folder / "configuration"
    file.write_text(text)
    return file


_NGINX: dict[str, Sequence[str]] = {
    "run": ("-c", "FILE", "-g", "master_process off;"),
    "check": ("-t", "-q", "-c", "FILE"),
}
PROXIES = [
    Proxy(
        name="nginx",
        sample="proxies/nginx.conf",
        listens="443 ssl http2;",
        plain="127.0.0.1:PORT;",
        write=_write_nginx,
        **_NGINX,
    ),
    Proxy(
        name="nginx",
        sample="compose/nginx.conf",
        listens="listen 80;",
        plain="listen 127.0.0.1:PORT;",
        write=_write_nginx,
        nodes=("172.30.58.21:8000", "172.30.58.22:8000"),
        **_NGINX,
    ),
    Proxy(
        name="haproxy",
        sample="proxies/haproxy.cfg",
        listens="bind :443 ssl",
        plain="bind 127.0.0.1:PORT #",
        write=_write,
        run=("-db", "-f", "FILE"),
        check=("-c", "-q", "-f", "FILE"),
        check_of_nodes=r"default-server check .*",
    ),
    Proxy(
        name="caddy",
        sample="proxies/Caddyfile",
        listens="poll.example {",
        plain="{\n\tadmin off\n}\nhttp://:PORT {\n\tbind 127.0.0.1",
        write=_write,
        run=("run", "--adapter", "caddyfile", "--config", "FILE"),
        check=("validate", "--adapter", "caddyfile", "--config", "FILE"),
        check_of_nodes=r"health_.*",
    ),
]
