"""The settings: one frozen dataclass, read from the environment.

Each field is one variable, ``TRIOPOLL_`` and the field's name in capitals. Any other
variable that starts with ``TRIOPOLL_`` is refused: a mistyped limit that is silently
ignored would be found in production.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = [
    "ANY_ADDRESS",
    "CLIENT_VARIABLES",
    "DELAYED_NAME",
    "SUPERVISOR_VARIABLE",
    "PREFIX",
    "PRESENCE_NAME",
    "WORKER_VARIABLE",
    "Network",
    "Settings",
    "SettingsError",
    "count_of",
    "hosts_of",
    "is_internal",
    "networks_of",
    "seconds_of",
    "settings_from",
]

PREFIX = "TRIOPOLL_"
# Not a setting: a supervisor sets it for its workers, which are not one process group,
# so that they know that they belong together. The value is its process id.
SUPERVISOR_VARIABLE = "_TRIOPOLL_SUPERVISOR"
# Not a setting either: which worker it is, of how many, and where their metrics sockets
# are, as PLACE/COUNT:DIRECTORY.
WORKER_VARIABLE = "_TRIOPOLL_WORKER"

# Not settings of the service: the commands that are its clients read them, in a shell
# that may start the service as well.
CLIENT_VARIABLES = (
    "TRIOPOLL_CLIENT_URL",
    "TRIOPOLL_CLIENT_API_KEY",
    "TRIOPOLL_CLIENT_TICKET",
    "TRIOPOLL_CLIENT_ADMIN_KEY",
)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
ANY_ADDRESS: tuple[Network, ...] = (
    ipaddress.ip_network("0.0.0.0/0"),
    ipaddress.ip_network("::/0"),
)
_LOOPBACK: tuple[Network, ...] = (
    ipaddress.ip_network("127.0.0.0/8"),
    ipaddress.ip_network("::1/128"),
)
_NETWORKS = {"any": ANY_ADDRESS, "loopback": _LOOPBACK, "nobody": ()}

# What the names on slock begin with that deliver delayed messages.
DELAYED_NAME = "triopoll:delayed:"
# What the names of the logs begin with that have joins and leaves.
PRESENCE_NAME = "triopoll:presence:"
# The locks that all senders to a group take, the probe's, and those.
_INTERNAL_NAMES = (
    *("polling:group:message:", "triopoll:probe:"),
    *(DELAYED_NAME, PRESENCE_NAME),
)

_SLOCK_SCHEMES = ("embedded", "slock")
_MAX_PREFIX_BYTES = 128
_REDIS_SCHEMES = (
    *("memory", "redis", "rediss", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)


class SettingsError(ValueError):
    """A variable is unknown, or its value cannot be used; the message names it."""


# Not urlsplit(): what it accepts of several hosts and of brackets differs between
# patch releases of Python.
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)")
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%[\w.~-]+)?)\]|(?P<name>[^\[\]:]*))"
    r"(?::(?P<port>[0-9]{0,5}))?"
)
_MAX_PORT = 65_535
_SLOCK_HOST, _SLOCK_PORT = "127.0.0.1", 5658


def _url(schemes: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if _scheme(text) not in schemes:
            forms = ", ".join(f"{scheme}://" for scheme in schemes)
            # The value is left out of the message: it may have a password in it.
            raise ValueError(f"is not a URL of one of the forms {forms}")
        if len(hosts_of(text)) > 1 and _scheme(text) == "embedded":
            raise ValueError("names several hosts, and the embedded engine has one")
        return text

    return parse


def _scheme(text: str) -> str:
    match = _URL.match(text)
    return match["scheme"].lower() if match else ""


def hosts_of(text: str) -> list[tuple[str, int | None]]:
    """Return host and port of each member of a URL; "" and None where it has none.

    They are cut at commas, alike on every Python.

    Raises:
        ValueError: A host or a port is malformed.
    """
    match = _URL.match(text)
    authority = match["authority"] if match else ""
    return [_host(member) for member in authority.rpartition("@")[2].split(",")]


def _host_port(host: str, port: int | None) -> str:
    """Return one member of a slock URL as it is written, with what it leaves out."""
    name = f"[{host}]" if ":" in host else host or _SLOCK_HOST
    return f"{name}:{_SLOCK_PORT if port is None else port}"


def _host(member: str) -> tuple[str, int | None]:
    match = _HOST.fullmatch(member)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port or 0) > _MAX_PORT:
        raise ValueError("is not a URL: the host or the port is malformed")
    return (match["v6"] or match["name"]).lower(), port


def seconds_of(text: str) -> float:
    """Return the number of seconds that a value says.

    Raises:
        ValueError: It is not a number above 0.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"must be a number of seconds above 0, not {text!r}")
    return value


def count_of(text: str) -> int:
    """Return the number that a value says.

    Raises:
        ValueError: It is not a whole number above 0, of at most nine digits.
    """
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 10 and int(text)):
        raise ValueError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def _limit(text: str) -> int:
    return 0 if text == "0" else count_of(text)


def _database(text: str) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    if not (is_number and int(text) <= 254):
        raise ValueError(f"must be a database, 0 to 254, not {text!r}")
    return int(text)


def _choice(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be one of {', '.join(words)}, not {text!r}")
        return text.lower()

    return parse


_FLAGS = {"true": True, "on": True, "false": False, "off": False}


def _flag(text: str) -> bool:
    value = _FLAGS.get(text.lower())
    if value is None:
        raise ValueError(f"must be on or off (or true or false), not {text!r}")
    return value


def _prefix(text: str) -> str:
    if not (text.isprintable() and len(text.encode()) <= _MAX_PREFIX_BYTES):
        raise ValueError(
            f"must be printable, and at most {_MAX_PREFIX_BYTES} bytes of UTF-8"
        )
    return text


def networks_of(text: str) -> tuple[Network, ...]:
    """Return the networks of a list.

    Args:
        text: Words: addresses and networks, or ``loopback``, ``any``, ``nobody``.

    Raises:
        ValueError: A word is none of these; the message lacks the variable's name.
    """
    found: list[Network] = []
    for word in text.split():
        try:
            named = _NETWORKS.get(word)
            found += (ipaddress.ip_network(word),) if named is None else named
        except ValueError:
            words = ", ".join(_NETWORKS)
            raise ValueError(
                f"must be networks such as 10.0.0.0/8, or {words}, not {word!r}"
            ) from None
    return tuple(found)


def _networks(text: str) -> str:
    networks_of(text)
    return text


def is_internal(key: str) -> bool:
    """Return whether a name is that of a key which the service itself uses.

    No client may name one, publishers included: an event or a group of that name would
    hold what the service takes as a lock, and a message would be one of its own.
    """
    return key.startswith(_INTERNAL_NAMES)


def _setting(default: Any, parse: Callable[[str], Any], *, secret: bool = False) -> Any:
    return dataclasses.field(
        default=default, repr=not secret, metadata={"parse": parse}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold all settings of the service.

    Attributes:
        slock_url: ``embedded://HOST:PORT`` runs an engine in this process which also
            listens there for publishers; ``slock://HOST:PORT`` uses a server.
        slock_db: The database of the events and groups on slock, whose names clients
            choose; None for that of the URL, which has all other keys of the service.
        redis_url: Where messages are: ``memory://`` in this process, or a Redis:
            ``redis://``, ``unix://``, ``redis+sentinel://`` or ``redis+cluster://``;
            with ``rediss`` over TLS.
        default_timeout: Seconds that a poll waits if it does not give a timeout.
        max_timeout: Seconds that a poll may wait.
        backend_limit: Seconds within which slock and Redis must answer.
        max_key_bytes: Longest key in bytes of UTF-8.
        max_waits: Polls that may be parked in this process at once.
        publish_keys: Publishers' keys, as `access.keyring` reads them. This and the
            other lists are words, or ``file:PATH`` with an entry in each line.
        admin_keys: Operators' keys, as `publish_keys`; the admin page needs them.
        ticket_secrets: Secrets that subscribers' tickets are signed with.
        ticket_public_keys: PEM files with public keys that they are checked by.
        ticket_cookie: Name of the cookie that may carry a ticket.
        revoked_tickets: Identifiers (``jti``) of tickets that are refused.
        trusted_proxies: Addresses and networks of proxies, or ``unix``.
        proxy_header: The header in which they give a client's address.
        cors_origins: Origins whose pages may read answers, or ``*``.
        hosts: Names in the Host header that are served. Without any, all are, except to
            this machine's browsers (`access.sources`).
        waits_per_key: Polls on one key; this and the following: 0 is no limit.
        waits_per_subject: Polls of one ticket's subject.
        waits_per_ip: Polls of one address.
        requests_per_ip: Requests a second of one address, averaged.
        burst_per_ip: Requests of one address at once.
        max_url_bytes: Path and query of a request.
        max_body_bytes: Body of a request.
        list_prefix: With which the names of the compatible lists in Redis begin.
        redis_prefix: With which the names of all other keys in Redis begin. No key that
            a client names reaches one of them.
        log_max_messages: Messages of a key that are kept to be read by cursor.
        log_max_age: Seconds for which they are kept.
        log_max_ttl: Longest time to live that a publisher may give a message, seconds.
        log_trim_acked: Whether a reader's cursor removes the messages before it.
        retention: Rules for the logs of some keys, as `store.with_retention` reads
            them: words, or ``file:PATH`` with a rule in each line.
        max_delay: Seconds by which a message may be delayed; 0: messages cannot be
            delayed, and none are delivered.
        max_pending_per_key: Delayed messages of a key that may be pending.
        max_pending: Delayed messages that may be pending in all.
        presence: Keys on which it is kept who waits, as `access.patterns` reads them:
            words, or ``file:PATH`` with one in each line.
        presence_linger: Seconds for which a wait that has ended still counts.
        presence_max_subjects: Subjects of a key in this process; one more is anonymous.
        presence_max_waits: Waits in this process that count, on all keys.
        websockets: Whether ``/v1/ws`` and ``/poll/ws`` are served.
        websocket_ping: Seconds from one ping of a websocket to the next. Its client
            must send something within half of that.
        drain_window: Seconds over which parked polls are answered when a server stops
            that does not drain by itself.
        metrics_from: Who may read ``/metrics``, as `networks_of` reads it.
        max_held_keys: Keys that the waits of this process may leave held on slock until
            their leases end.
        held_keys_per_ip: The same for the waits of one address; 0 is no limit.
        max_watched_keys: Logs that may be watched in this process at once.
        v1_default_timeout: Seconds that a wait of ``/v1`` takes without a timeout.
        v1_max_timeout: Seconds that a wait of ``/v1`` may take.
        sse_lifetime: Seconds for which server-sent events are sent on one connection.
        sse_ping: Seconds without an event after which a comment is sent.
        max_message_bytes: Longest message that may be published.
        states_create: Who may create states: ``publishers`` or ``visitors``.
        states_per_ip: States a minute that visitors of one address may create; 0 is no
            limit.
        stream_timeout: Seconds that a long poll of a stream takes.
        stream_max_bytes: Longest stream; an append beyond it is refused.
        stream_max_append_bytes: Longest append to a stream, within `max_body_bytes`.
        stream_max_ttl: Longest time to live of a stream, seconds, which one that does
            not say has; 0 is no limit.
        demo: Whether ``/demo`` is served: ``auto`` serves it to this machine only, and
            only while no API key, ticket or proxy is configured.
    """

    slock_url: str = _setting("embedded://127.0.0.1:5658", _url(_SLOCK_SCHEMES))
    slock_db: int | None = _setting(None, _database)
    redis_url: str = _setting("memory://", _url(_REDIS_SCHEMES), secret=True)
    default_timeout: float = _setting(60.0, seconds_of)
    max_timeout: float = _setting(300.0, seconds_of)
    backend_limit: float = _setting(5.0, seconds_of)
    max_key_bytes: int = _setting(256, count_of)
    max_waits: int = _setting(16384, count_of)
    publish_keys: str = _setting("", str, secret=True)
    admin_keys: str = _setting("", str, secret=True)
    ticket_secrets: str = _setting("", str, secret=True)
    ticket_public_keys: str = _setting("", str)
    ticket_cookie: str = _setting("triopoll_ticket", str)
    revoked_tickets: str = _setting("", str)
    trusted_proxies: str = _setting("", str)
    proxy_header: str = _setting(
        "x-forwarded-for", _choice("x-forwarded-for", "forwarded")
    )
    cors_origins: str = _setting("", str)
    hosts: str = _setting("", str)
    waits_per_key: int = _setting(0, _limit)
    waits_per_subject: int = _setting(100, _limit)
    waits_per_ip: int = _setting(1000, _limit)
    requests_per_ip: int = _setting(100, _limit)
    burst_per_ip: int = _setting(1000, count_of)
    max_url_bytes: int = _setting(2**14, count_of)
    max_body_bytes: int = _setting(2**20, count_of)
    list_prefix: str = _setting("", _prefix)
    redis_prefix: str = _setting("triopoll:", _prefix)
    log_max_messages: int = _setting(1000, count_of)
    log_max_age: float = _setting(3600.0, seconds_of)
    log_max_ttl: float = _setting(604800.0, seconds_of)
    log_trim_acked: bool = _setting(False, _flag)
    retention: str = _setting("", str)
    max_delay: int = _setting(604_800, _limit)
    max_pending_per_key: int = _setting(1000, count_of)
    max_pending: int = _setting(100_000, count_of)
    presence: str = _setting("", str)
    presence_linger: float = _setting(10.0, seconds_of)
    presence_max_subjects: int = _setting(100, count_of)
    presence_max_waits: int = _setting(65536, count_of)
    websockets: bool = _setting(True, _flag)
    websocket_ping: float = _setting(20.0, seconds_of)
    drain_window: float = _setting(2.0, seconds_of)
    metrics_from: str = _setting("loopback", _networks)
    max_held_keys: int = _setting(65536, count_of)
    held_keys_per_ip: int = _setting(1000, _limit)
    max_watched_keys: int = _setting(32768, count_of)
    v1_default_timeout: float = _setting(25.0, seconds_of)
    v1_max_timeout: float = _setting(55.0, seconds_of)
    sse_lifetime: float = _setting(60.0, seconds_of)
    sse_ping: float = _setting(15.0, seconds_of)
    max_message_bytes: int = _setting(262144, count_of)
    states_create: str = _setting("publishers", _choice("publishers", "visitors"))
    states_per_ip: int = _setting(30, _limit)
    stream_timeout: float = _setting(20.0, seconds_of)
    stream_max_bytes: int = _setting(2**24, count_of)
    stream_max_append_bytes: int = _setting(2**20, count_of)
    stream_max_ttl: int = _setting(0, _limit)
    demo: str = _setting("auto", _choice("auto", "on", "off"))

    @property
    def keeps_messages(self) -> bool:
        """Return whether messages are kept in this process."""
        return _scheme(self.redis_url) == "memory"

    def reserves(self, key: str) -> bool:
        """Return whether a list of this name would have a key of another kind."""
        return (self.list_prefix + key).startswith(self.redis_prefix)

    @property
    def slock_address(self) -> str:
        """Return where slock is, for messages: each host with its port."""
        return ",".join(_host_port(*each) for each in hosts_of(self.slock_url))

    @property
    def embedded_address(self) -> tuple[str, int] | None:
        """Return host and port of the embedded engine, or None if there is none."""
        if _scheme(self.slock_url) != "embedded":
            return None
        host, port = hosts_of(self.slock_url)[0]
        return host or _SLOCK_HOST, _SLOCK_PORT if port is None else port


def settings_from(environ: Mapping[str, str]) -> Settings:
    """Read the settings from environment variables.

    Args:
        environ: All variables; those without the prefix are ignored, and so are
            `CLIENT_VARIABLES`.

    Returns:
        The settings; what is absent or empty has its default.

    Raises:
        SettingsError: For an unknown variable, a bad value, or two values that
            contradict each other; the message names the variable.
    """
    fields = {PREFIX + f.name.upper(): f for f in dataclasses.fields(Settings)}
    values: dict[str, Any] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in CLIENT_VARIABLES:
            continue
        if variable not in fields:
            raise SettingsError(_unknown(variable, list(fields)))
        if text:
            values[fields[variable].name] = _parse(variable, fields[variable], text)
    return _consistent(Settings(**values))


def _unknown(variable: str, known: list[str]) -> str:
    # All names begin alike: only what is behind the prefix says how close two are.
    names = {name.removeprefix(PREFIX): name for name in known}
    given = variable.removeprefix(PREFIX).upper()
    for close in difflib.get_close_matches(given, names, n=1):
        return f"{variable} is not a setting; did you mean {names[close]}?"
    return f"{variable} is not a setting; there are {', '.join(known)}"


def _parse(variable: str, field: dataclasses.Field[Any], text: str) -> Any:
    try:
        return field.metadata["parse"](text)
    except ValueError as error:
        raise SettingsError(f"{variable} {error}") from None


def _consistent(settings: Settings) -> Settings:
    for name in ("", "v1_"):
        default = getattr(settings, f"{name}default_timeout")
        highest = getattr(settings, f"{name}max_timeout")
        if default > highest:
            raise SettingsError(
                f"{PREFIX}{name.upper()}DEFAULT_TIMEOUT ({default:g}) is above "
                f"{PREFIX}{name.upper()}MAX_TIMEOUT ({highest:g})"
            )
    if settings.log_max_age > settings.log_max_ttl:
        raise SettingsError(
            f"{PREFIX}LOG_MAX_AGE ({settings.log_max_age:g}) is above "
            f"{PREFIX}LOG_MAX_TTL ({settings.log_max_ttl:g})"
        )
    if settings.reserves(""):
        raise SettingsError(
            f"{PREFIX}LIST_PREFIX begins with {PREFIX}REDIS_PREFIX, which is for the "
            "keys that are not lists; choose another one"
        )
    # The messages of the OpenResty API are values beside the lists
    # (`triopoll.core.latest_message`).
    values = settings.list_prefix + "polling:"
    if settings.redis_prefix.startswith(values) or settings.reserves("polling:"):
        raise SettingsError(
            f"{PREFIX}REDIS_PREFIX overlaps with {values}, with which the names of the "
            "OpenResty API's messages begin; choose another one"
        )
    return settings
