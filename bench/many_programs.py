"""The programs of `many.py`, from the text of the page that describes them.

Each block of "From one machine to many" that begins with a comment is used as it is.
Only addresses and directories are replaced: every machine is a set of ports of this
one.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from chaos_programs import HOST, Program, free_ports
from chaos_tally import Tally

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "from-one-machine-to-many.md"
PROXIES = ROOT / "deploy" / "proxies"
DATA = ("10.0.0.21", "10.0.0.22", "10.0.0.23")
NODES = ("10.0.0.11", "10.0.0.12")
SLOCK, REDIS, SENTINEL, WEB = 5658, 6379, 26379, 8000
PONG = (b"PING\r\n", b"+PONG")
NEEDS_PASSWORD = (b"PING\r\n", b"-NOAUTH")
LIVE = (b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", b"HTTP/1.1 200")
NOT_FORWARDED = (LIVE[0], b"HTTP/1.1 404")
# What nginx stores on disk, in directories that only root may write.
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def blocks() -> dict[str, str]:
    """Return the blocks of the page by the comment with which they begin."""
    found = re.findall(
        r"^```text\n# (.*)\n((?s:.*?))^```$", PAGE.read_text(), re.MULTILINE
    )
    return dict(found)


class Addresses:
    """The port of this machine for each address of the page."""

    def __init__(self) -> None:
        places = [(host, port) for host in DATA for port in (SLOCK, REDIS, SENTINEL)]
        places += [(host, WEB) for host in NODES]
        self.proxy, *ports = free_ports(len(places) + 1)
        self.ports = dict(zip(places, ports, strict=True))

    def local(self, text: str) -> str:
        """Replace each address, however the program separates host and port."""
        text = re.sub(
            r"(10\.0\.0\.\d+)(:| | --port=| -p |\nport )(\d+)",
            lambda each: f"{HOST}{each[2]}{self.ports[each[1], int(each[3])]}",
            text,
        )
        return re.sub(r"10\.0\.0\.\d+", HOST, text)


class Programs:
    """All programs, not started yet.

    Attributes:
        slock: Three servers, or the one of trioslock without a binary.
        redis: The first one is the primary at the start.
        sentinels: One for each Redis.
        nodes: Two servers of two workers.
        nginx: In front of them.
        key: The API key of the publishers.
        password: That of Redis.
        is_set: Whether the slock servers are members of a set.
    """

    def __init__(self, folder: Path, slock_binary: str, tally: Tally) -> None:
        self._addresses = Addresses()
        self._folder = folder
        self._blocks = blocks()
        self._binary = slock_binary
        self._make = partial(Program, folder=folder, tally=tally)
        self.is_set = bool(slock_binary)
        self.slock = self._slock_servers()
        self.redis = [self._redis_server(host) for host in DATA]
        self.sentinels = [self._sentinel(host) for host in DATA]
        self.key = self._publishers_key()
        self.nodes = [self._node(host) for host in NODES]
        self.nginx = self._nginx()
        text = self._blocks[f"redis.conf on {DATA[0]}"]
        (self.password,) = re.findall(r"^requirepass (\S+)$", text, re.MULTILINE)

    @property
    def data(self) -> list[Program]:
        """Return what the nodes need."""
        return [*self.slock, *self.redis, *self.sentinels]

    @property
    def joining(self) -> list[list[str]]:
        """Return the commands that make the slock servers one set."""
        lines = self._block("REPLSET, once").splitlines() if self.is_set else []
        return [shlex.split(line) for line in lines]

    def _block(self, title: str) -> str:
        return self._addresses.local(self._blocks[title])

    def _slock_servers(self) -> list[Program]:
        if not self.is_set:
            port = self._addresses.ports[DATA[0], SLOCK]
            command = [sys.executable, "-m", "trioslock", "serve", "--host", HOST]
            command += ["--port", str(port), "--data", str(self._folder / "slock-data")]
            return [self._make("slock", command, port)]
        return [self._slock_server(host) for host in DATA]

    def _slock_server(self, host: str) -> Program:
        line = self._blocks[f"slock on {DATA[0]}"].replace(DATA[0], host)
        data = self._folder / f"slock-{host}"
        data.mkdir()
        line = self._addresses.local(line).replace("/var/lib/slock", str(data))
        line = line.replace("/var/log/slock.log", str(data / "log"))
        # By default each takes memory for four million keys.
        command = [self._binary, *shlex.split(line)[1:], "--db_fast_key_count=4096"]
        return self._make(f"slock-{host}", command, self._addresses.ports[host, SLOCK])

    def _redis_server(self, host: str) -> Program:
        first, *_ = DATA
        text = self._blocks[f"redis.conf on {first}"]
        text = text.replace(f"bind {first}", f"bind {host}")
        if host != first:
            text += self._blocks["redis.conf on the other two, one line more"]
        # A replica that comes back is in sync at once.
        text += "repl-diskless-sync-delay 0\n"
        file = self._written(f"redis-{host}", text)
        command = ["redis-server", str(file)]
        port = self._addresses.ports[host, REDIS]
        return self._make(f"redis-{host}", command, port, hello=NEEDS_PASSWORD)

    def _sentinel(self, host: str) -> Program:
        first, *_ = DATA
        text = self._blocks[f"sentinel.conf on {first}"]
        text = text.replace(f"bind {first}", f"bind {host}")
        file = self._written(f"sentinel-{host}", text)
        command = ["redis-sentinel", str(file)]
        port = self._addresses.ports[host, SENTINEL]
        return self._make(f"sentinel-{host}", command, port, hello=PONG)

    def _written(self, name: str, text: str) -> Path:
        """Write a configuration of Redis into a directory of its own."""
        data = self._folder / f"{name}-data"
        data.mkdir()
        file = data / "own.conf"
        text = self._addresses.local(text).replace("/var/lib/redis", str(data))
        file.write_text(text)
        return file

    def _publishers_key(self) -> str:
        """Make an API key, with its line in the file that the nodes read."""
        command = [sys.executable, "-m", "triopoll", "key", "publisher", "*"]
        output = subprocess.run(command, check=True, capture_output=True, text=True)
        words = dict(line.split(maxsplit=1) for line in output.stdout.splitlines())
        (self._folder / "keys").write_text(words["line:"] + "\n")
        return words["key:"]

    def _node(self, host: str) -> Program:
        text = self._block("/etc/triopoll/many.env").replace(
            "/etc/triopoll", str(self._folder)
        )
        settings = dict(line.split("=", 1) for line in text.splitlines())
        if not self.is_set:
            settings["TRIOPOLL_SLOCK_URL"] = f"slock://{HOST}:{self.slock[0].port}"
        line = self._blocks[f"triopoll on {NODES[0]}"].replace(NODES[0], host)
        _, *words = shlex.split(self._addresses.local(line))
        return self._make(
            f"triopoll-{host}",
            [sys.executable, "-m", "triopoll", *words],
            self._addresses.ports[host, WEB],
            env=settings,
            hello=LIVE,
        )

    def _nginx(self) -> Program:
        (self._folder / "snippets").mkdir()
        snippet = self._folder / "snippets" / "triopoll.conf"
        shutil.copy(PROXIES / "nginx-triopoll.conf", snippet)
        text = self._addresses.local((PROXIES / "nginx.conf").read_text())
        plain = f"listen {HOST}:{self._addresses.proxy};"
        text = re.sub(r"listen 443 .*", plain, text)
        text = re.sub(r"^ *ssl_.*\n", "", text, flags=re.MULTILINE)
        file = self._folder / "nginx.conf"
        file.write_text(f"{_nginx_head(self._folder)}{text}}}\n")
        search = f"{os.environ['PATH']}:/usr/sbin"
        command = [shutil.which("nginx", path=search) or "nginx", "-c", str(file)]
        port = self._addresses.proxy
        return self._make("nginx", command, port, hello=NOT_FORWARDED)


def _nginx_head(folder: Path) -> str:
    # Its processes would run as another user, who may not enter the folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in TEMPORARY)
    return (
        f"daemon off;\n{user}pid {folder}/nginx.pid;\nerror_log stderr;\n"
        "events { worker_connections 4096; }\n"
        f"http {{\naccess_log off;\n{temporary}"
    )
