"""URLs of servers: ``slock://host:port/database``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from .._arguments import check_int, check_type
from ..protocol import MAX_DATABASE

DEFAULT_PORT = 5658
_SCHEME = "slock://"
# An IPv6 address stands in brackets, as in other URLs.
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.~-]+)?)\]|(?P<name>[^\[\]:/?#@]+))(?::(?P<port>\d{1,5}))?"
)
_DATABASE = re.compile(r"\d{1,3}")


@dataclass(frozen=True, slots=True)
class Address:
    """One node of the server."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerURL:
    """The nodes to connect to, and the database of the client."""

    addresses: tuple[Address, ...]
    db: int = 0


def parse_url(url: str) -> ServerURL:
    """Read ``slock://host[:port][,host[:port]...][/database]``.

    Raises:
        TypeError: It is no text.
        ValueError: It is not of this form; the message says which part.
    """
    check_type(url, str, "a server's URL", "text")
    if not url.startswith(_SCHEME):
        raise ValueError(
            f"a server's URL starts with {_SCHEME}, not as {_shown(url)!r} does"
        )
    if "@" in url:
        raise ValueError(
            "slock has no users and no passwords: what the URL has before its @, in "
            f"{_shown(url)!r}, is not a host"
        )
    hosts, _, path = url.removeprefix(_SCHEME).partition("/")
    addresses = tuple(_address(part, url) for part in hosts.split(","))
    return ServerURL(addresses, _database(path, url))


def check_database(db: int) -> int:
    """Return a database number that the server accepts.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is not 0 to 254.
    """
    return check_int(db, "a database", 0, MAX_DATABASE)


def _shown(url: str) -> str:
    """Return a URL for a message: what stands before an @ may be a password."""
    _, at, rest = url.rpartition("@")
    return f"...@{rest}" if at else url


def _address(text: str, url: str) -> Address:
    match = _HOST.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} in {url!r} is not a host, host:port or [IPv6]:port")
    port = int(match["port"] or DEFAULT_PORT)
    if not 1 <= port <= 65_535:
        raise ValueError(f"port {port} in {url!r} is not 1 to 65535")
    return Address(match["v6"] or unquote(match["name"]), port)


def _database(path: str, url: str) -> int:
    if not path:
        return 0
    if not _DATABASE.fullmatch(path):
        raise ValueError(f"{path!r} in {url!r} is not the number of a database")
    return check_database(int(path))
