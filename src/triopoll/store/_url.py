"""Where Redis is, as one URL says it.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]             one server
    rediss://...                                         the same over TLS
    unix://[USER:PASSWORD@]/PATH?db=DB                   a socket file
    redis+sentinel://HOST[:PORT],.../NAME[/DB]           the primary that Sentinels name
    redis+cluster://HOST[:PORT],...                      a Redis Cluster

`rediss+sentinel` and `rediss+cluster` use TLS. Options of redis-py's connections follow
a question mark (`?ssl_ca_certs=/etc/ca.pem`), beside `sentinel_username` and
`sentinel_password`.
"""

# Redis-py is typed in part only:
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, Literal
from urllib.parse import unquote

import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection, parse_url
from redis.retry import Retry

from triopoll.settings import hosts_of

__all__ = ["RedisAddress", "parse_redis_url"]

_FORM = re.compile(
    r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^/?#]*)@)?[^/?#@]*"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?",
    re.IGNORECASE,
)
_KINDS: dict[str, Literal["server", "sentinel", "cluster"]] = {
    "redis": "server",
    "rediss": "server",
    "unix": "server",
    "redis+sentinel": "sentinel",
    "rediss+sentinel": "sentinel",
    "redis+cluster": "cluster",
    "rediss+cluster": "cluster",
}
_PORTS = {"server": 6379, "sentinel": 26379, "cluster": 6379}
# What a connection would do otherwise, and must not: replies are those of RESP2.
_FIXED: dict[str, Any] = {"protocol": 2}
# Nor does it tell Redis the name of redis-py, for which a user may have no permission.
_NAMES = ("driver_info", "lib_name", "lib_version")
# Options of redis-py's pools. One connection serves a process, so they mean nothing.
_OF_POOLS = ("max_connections", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """Where a Redis is, and how to connect to it.

    Attributes:
        kind: Whether the hosts are one server, Sentinels, or nodes of a cluster.
        hosts: Name and port of each; empty for a socket file.
        path: Of the socket file; "" without one.
        name: What the Sentinels call the primary; "" without Sentinels.
        is_tls: Whether connections use TLS.
        options: Of redis-py's connections to Redis.
        sentinel_options: Of its connections to the Sentinels.
    """

    kind: Literal["server", "sentinel", "cluster"]
    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    name: str = ""
    is_tls: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def connection(self, host: str = "", port: int = 0) -> Any:
        """Return a connection to Redis, not opened yet.

        Args:
            host: To which server; default: the only one that the URL names.
            port: Its port.
        """
        if self.path:
            # redis-py's keyword arguments have no types.
            kind: Any = redis.UnixDomainSocketConnection
            return kind(path=self.path, **self.options)
        if not host:
            host, port = self.hosts[0]
        return self._over_network(host, port, self.options)

    def sentinel(self, host: str, port: int) -> Any:
        """Return a connection to a Sentinel, not opened yet."""
        return self._over_network(host, port, self.sentinel_options)

    def with_limit(self, limit: float) -> RedisAddress:
        """Return the same address, whose connections wait no longer than `limit`."""
        limits = {"socket_timeout": limit, "socket_connect_timeout": limit}
        return replace(self, options={**self.options, **limits})

    def _over_network(self, host: str, port: int, options: Mapping[str, Any]) -> Any:
        kind = redis.SSLConnection if self.is_tls else redis.Connection
        return kind(host=host, port=port, **options)


def parse_redis_url(url: str, limit: float) -> RedisAddress:
    """Read the URL of a Redis.

    Args:
        url: Of one of the forms above.
        limit: Seconds that Redis may take to accept a connection or to answer, unless
            the URL says otherwise.

    Raises:
        ValueError: It cannot be used. The message does not repeat the URL, which may
            hold a password.
    """
    match = _FORM.fullmatch(url)
    kind = _KINDS.get(match["scheme"].lower()) if match else None
    if match is None or kind is None:
        forms = ", ".join(f"{scheme}://" for scheme in _KINDS)
        raise ValueError(f"the scheme is none of {forms}")
    scheme = match["scheme"].lower()
    options = _options(match["query"] or "", limit)
    secrets = _credentials(match["user"] or "")
    address = RedisAddress(
        kind=kind,
        hosts=_hosts(url, scheme, kind),
        is_tls=scheme.startswith("rediss"),
        sentinel_options=_sentinel_options(options, limit)
        if kind == "sentinel"
        else {},
        options={**options, **secrets},
    )
    return _checked(_with_path(address, scheme, unquote(match["path"])))


def _hosts(url: str, scheme: str, kind: str) -> tuple[tuple[str, int], ...]:
    hosts = tuple(
        (unquote(host) or "localhost", _PORTS[kind] if port is None else port)
        for host, port in hosts_of(url)
    )
    if not all(port for _, port in hosts):
        raise ValueError("a port must be from 1 to 65535")
    if scheme == "unix":
        if hosts != (("localhost", _PORTS[kind]),):
            raise ValueError("a socket file has a path, and no host")
        return ()
    if kind == "server" and len(hosts) > 1:
        raise ValueError(
            f"{scheme}:// has one host; several are Sentinels ({scheme}+sentinel://) "
            f"or nodes of a cluster ({scheme}+cluster://)"
        )
    return hosts


def _credentials(text: str) -> dict[str, str]:
    user, colon, password = text.partition(":")
    found = {"username": unquote(user), "password": unquote(password) if colon else ""}
    return {name: value for name, value in found.items() if value}


def _options(query: str, limit: float) -> dict[str, Any]:
    # redis-py knows the types of its options.
    parse: Any = parse_url
    options: dict[str, Any] = parse(f"redis:///?{query}")
    for name in _OF_POOLS:
        options.pop(name, None)
    if options.get("decode_responses"):
        raise ValueError("decode_responses cannot be used: messages are bytes")
    # A command that may have been executed must not be sent again.
    fixed = {**_FIXED, **_silence(), "retry": Retry(NoBackoff(), 0)}
    limits = {"socket_timeout": limit, "socket_connect_timeout": limit}
    return {**limits, **options, **fixed}


def _silence() -> dict[str, None]:
    """Return the options by which a connection does not say what it is."""
    known = signature(AbstractConnection.__init__).parameters
    # The first has replaced the others, which redis-py 8 warns of.
    names = _NAMES[:1] if _NAMES[0] in known else _NAMES[1:]
    return dict.fromkeys(names)


def _sentinel_options(options: dict[str, Any], limit: float) -> dict[str, Any]:
    """Take the options that are for Sentinels alone out of all, and return theirs."""
    found = {
        name: options.pop(f"sentinel_{name}")
        for name in ("username", "password")
        if f"sentinel_{name}" in options
    }
    shared = {
        name: value
        for name, value in options.items()
        if name.startswith(("ssl_", "socket_")) or name in (*_FIXED, *_NAMES, "retry")
    }
    # Several are asked in turn within the limit for all.
    shared["socket_timeout"] = min(shared["socket_timeout"], limit / 2)
    shared["socket_connect_timeout"] = shared["socket_timeout"]
    return {**shared, **found}


def _with_path(address: RedisAddress, scheme: str, path: str) -> RedisAddress:
    """Read what a path says: of a socket file, of a primary's name, of a database."""
    if scheme == "unix":
        return replace(address, path=path or "/")
    name, db = "", path.strip("/")
    if address.kind == "sentinel":
        name, _, db = db.partition("/")
        if not name:
            raise ValueError("the path must be /NAME or /NAME/DB of the primary")
    if not db:
        return replace(address, name=name)
    if not (db.isascii() and db.isdecimal()):
        raise ValueError(f"the database must be a number, not {db!r}")
    options = {"db": int(db), **address.options}
    return replace(address, name=name, options=options)


def _checked(address: RedisAddress) -> RedisAddress:
    """Refuse what would fail at the first command otherwise."""
    if address.kind == "cluster" and address.options.get("db"):
        raise ValueError("a cluster has database 0 only")
    try:
        address.connection()
    except TypeError as error:
        # "... got an unexpected keyword argument 'name'"
        option = str(error).rpartition("argument ")[2]
        raise ValueError(f"there is no option {option}") from None
    except redis.RedisError as error:
        raise ValueError(str(error)) from None
    return address
