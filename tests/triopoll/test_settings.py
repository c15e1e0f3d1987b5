"""Settings: one variable a field, and nothing unknown or half-read."""

import dataclasses
import re
from pathlib import Path

import pytest

from triopoll.settings import PREFIX, Settings, SettingsError, settings_from


def test_an_empty_environment_gives_the_defaults() -> None:
    """Nothing has to be configured for a start."""
    settings = settings_from({})
    assert settings == Settings()
    assert settings.slock_url == "embedded://127.0.0.1:5658"
    assert settings.redis_url == "memory://"
    assert (settings.default_timeout, settings.max_timeout) == (60.0, 300.0)


def test_each_field_is_read_from_its_variable() -> None:
    """Every field can be set, under the prefix and its own name in capitals."""
    given = Settings(
        slock_url="slock://10.0.0.1:5658",
        slock_db=9,
        redis_url="rediss://:secret@cache:6380/2",
        default_timeout=12.5,
        max_timeout=100,
        backend_limit=2,
        max_key_bytes=64,
        max_waits=9,
        max_watched_keys=8,
        max_held_keys=6,
        held_keys_per_ip=15,
        v1_default_timeout=3,
        v1_max_timeout=5,
        max_message_bytes=99,
        publish_keys="file:/etc/triopoll/keys",
        admin_keys="file:/etc/triopoll/operators",
        ticket_secrets="file:/etc/triopoll/secrets",
        ticket_public_keys="/etc/triopoll/ticket.pem",
        ticket_cookie="seat",
        revoked_tickets="one two",
        trusted_proxies="10.0.0.0/8",
        proxy_header="forwarded",
        cors_origins="https://app.example",
        hosts="poll.example",
        waits_per_key=10,
        waits_per_subject=11,
        waits_per_ip=0,
        requests_per_ip=12,
        burst_per_ip=13,
        max_url_bytes=4000,
        max_body_bytes=5000,
        list_prefix="lists:",
        redis_prefix="ours:",
        log_max_messages=7,
        log_max_age=60,
        log_max_ttl=70,
        log_trim_acked=True,
        retention="orders/*:length=8",
        max_delay=71,
        max_pending_per_key=72,
        max_pending=73,
        presence="chat/* alerts",
        presence_linger=20,
        presence_max_subjects=21,
        presence_max_waits=22,
        websockets=False,
        websocket_ping=14,
        sse_lifetime=30,
        sse_ping=9,
        drain_window=1,
        metrics_from="10.0.0.0/8 ::1 loopback",
        states_create="visitors",
        states_per_ip=16,
        stream_timeout=3,
        stream_max_bytes=17,
        stream_max_append_bytes=18,
        stream_max_ttl=19,
        demo="off",
    )
    environ = {
        PREFIX + field.name.upper(): str(getattr(given, field.name))
        for field in dataclasses.fields(given)
    }
    assert settings_from(environ | {"PATH": "/bin"}) == given
    for field in dataclasses.fields(given):
        assert getattr(given, field.name) != getattr(Settings(), field.name)


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "redis://10.0.0.6:6379/0",
        "rediss://app:secret@[::1]:6380/1?ssl_ca_certs=/etc/ca.pem",
        "unix:///run/redis/redis.sock?db=2",
        "redis+sentinel://s1:26379,[::1]:26379/mymaster/0",
        "rediss+sentinel://s1,s2/mymaster",
        "redis+cluster://c1:7000,c2:7000",
        "rediss+cluster://c1",
    ],
)
def test_urls_of_redis(url: str) -> None:
    """Each form, with one host or several."""
    settings = settings_from({"TRIOPOLL_REDIS_URL": url})
    assert settings.redis_url == url
    assert settings.keeps_messages == url.startswith("memory")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("embedded://127.0.0.1:5658", "127.0.0.1:5658"),
        ("slock://a:1,[::1]:2/3", "a:1,[::1]:2"),
        ("slock://user:secret@a:1", "a:1"),
        ("slock://a,b:6000", "a:5658,b:6000"),
        ("embedded://:5000", "127.0.0.1:5000"),
        ("embedded://[::1]", "[::1]:5658"),
    ],
)
def test_where_slock_is(url: str, address: str) -> None:
    """For the log: without what is secret."""
    assert settings_from({"TRIOPOLL_SLOCK_URL": url}).slock_address == address


def test_an_empty_variable_is_an_absent_one() -> None:
    """Compose files and unit files set variables to nothing to unset them."""
    assert settings_from({"TRIOPOLL_MAX_WAITS": ""}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRIOPOLL_TIMEOUT_MAX", "5"),
        ("TRIOPOLL_slock_url", "slock://h:1"),
        ("TRIOPOLL_", "x"),
        ("TRIOPOLL_SLOCK_URL", "http://127.0.0.1:5658"),
        ("TRIOPOLL_SLOCK_URL", "127.0.0.1:5658"),
        ("TRIOPOLL_SLOCK_URL", "slock:127.0.0.1"),
        ("TRIOPOLL_SLOCK_URL", "embedded://127.0.0.1:port"),
        ("TRIOPOLL_SLOCK_URL", "embedded://127.0.0.1:99999"),
        ("TRIOPOLL_SLOCK_URL", "embedded://[::1]:1,[::2]:2"),
        ("TRIOPOLL_SLOCK_URL", "slock://a:5658,[::1"),
        ("TRIOPOLL_SLOCK_URL", "slock://a:5658,[::1]x:5658"),
        ("TRIOPOLL_SLOCK_URL", "slock://a:5658,x[::1]:5658"),
        ("TRIOPOLL_SLOCK_URL", "slock://a:5658,[host]:5658"),
        ("TRIOPOLL_SLOCK_DB", "255"),
        ("TRIOPOLL_SLOCK_DB", "-1"),
        ("TRIOPOLL_SLOCK_DB", "0000"),
        ("TRIOPOLL_REDIS_URL", "postgres://h/1"),
        ("TRIOPOLL_REDIS_URL", "redis://[::1"),
        ("TRIOPOLL_METRICS_FROM", "everybody"),
        ("TRIOPOLL_METRICS_FROM", "10.0.0.1/8"),
        ("TRIOPOLL_METRICS_FROM", "any,nobody"),
        ("TRIOPOLL_MAX_TIMEOUT", "soon"),
        ("TRIOPOLL_MAX_TIMEOUT", "nan"),
        ("TRIOPOLL_MAX_TIMEOUT", "inf"),
        ("TRIOPOLL_MAX_TIMEOUT", "0"),
        ("TRIOPOLL_DEFAULT_TIMEOUT", "-1"),
        ("TRIOPOLL_DEFAULT_TIMEOUT", "301"),
        ("TRIOPOLL_BACKEND_LIMIT", "5s"),
        ("TRIOPOLL_MAX_KEY_BYTES", "0"),
        ("TRIOPOLL_MAX_KEY_BYTES", "1.5"),
        ("TRIOPOLL_MAX_WAITS", "-3"),
        ("TRIOPOLL_MAX_WAITS", "٣"),
        ("TRIOPOLL_MAX_WAITS", "9999999999"),
        ("TRIOPOLL_WAITS_PER_IP", "none"),
        ("TRIOPOLL_WAITS_PER_IP", "00"),
        ("TRIOPOLL_PROXY_HEADER", "x-real-ip"),
        ("TRIOPOLL_LOG_TRIM_ACKED", "1"),
        ("TRIOPOLL_LOG_MAX_AGE", "604801"),
        ("TRIOPOLL_REDIS_PREFIX", "a\nb"),
        ("TRIOPOLL_REDIS_PREFIX", "ä" * 65),
        ("TRIOPOLL_LIST_PREFIX", "triopoll:lists:"),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str) -> None:
    """The message says which variable is wrong: there may be many."""
    with pytest.raises(SettingsError, match=variable):
        settings_from({variable: value})


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("TRIOPOLL_MAXTIMEOUT", "TRIOPOLL_MAX_TIMEOUT"),
        ("TRIOPOLL_TIMEOUT_MAX", "TRIOPOLL_MAX_TIMEOUT"),
        ("TRIOPOLL_slock_url", "TRIOPOLL_SLOCK_URL"),
        ("TRIOPOLL_REDIS", "TRIOPOLL_REDIS_URL"),
    ],
)
def test_a_mistyped_variable_is_corrected(variable: str, meant: str) -> None:
    """The message has the name that was meant, without a look into the manual."""
    with pytest.raises(SettingsError) as caught:
        settings_from({variable: "5"})
    assert str(caught.value) == f"{variable} is not a setting; did you mean {meant}?"


@pytest.mark.parametrize("variable", ["TRIOPOLL_", "TRIOPOLL_QQQ"])
def test_an_unknown_variable_comes_with_those_there_are(variable: str) -> None:
    """One that resembles none is answered with the list of all."""
    with pytest.raises(SettingsError, match="there are TRIOPOLL_SLOCK_URL, ") as caught:
        settings_from({variable: "5"})
    for field in dataclasses.fields(Settings):
        assert PREFIX + field.name.upper() in str(caught.value)


def test_no_password_in_errors_or_repr() -> None:
    """Start-up errors and logs are read by more people than know the password."""
    with pytest.raises(SettingsError) as caught:
        settings_from({"TRIOPOLL_REDIS_URL": "rediss//:hunter2@h"})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(Settings(redis_url="redis://:hunter2@h"))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("embedded://127.0.0.1:5658", ("127.0.0.1", 5658)),
        ("embedded://127.0.0.1", ("127.0.0.1", 5658)),
        ("embedded://", ("127.0.0.1", 5658)),
        ("embedded://[::1]:0", ("::1", 0)),
        ("slock://127.0.0.1:5658", None),
    ],
)
def test_embedded_address(url: str, address: tuple[str, int] | None) -> None:
    """The embedded engine listens where its URL says, by default as slock does."""
    assert Settings(slock_url=url).embedded_address == address


# A bracketed host may stand at any place: urlsplit() of some Pythons refuses those
# that do not come first.
REPLICA_SETS = (
    "slock://a:5658,b:5659,[::1]/3",
    "slock://a:5658,[::1]:5658",
    "slock://[::1]:5658,a:5658",
    "slock://[fe80::1%eth0]:5658,[fe80::2%eth0]:5658/0",
)


def test_a_replica_set_is_one_url() -> None:
    """Several hosts, each with a port of its own; a bad one among them is named."""
    for url in REPLICA_SETS:
        assert settings_from({"TRIOPOLL_SLOCK_URL": url}).slock_url == url
    with pytest.raises(SettingsError, match="TRIOPOLL_SLOCK_URL"):
        settings_from({"TRIOPOLL_SLOCK_URL": "slock://a:5658,b:many"})


def test_the_documentation_has_each_variable_and_its_default() -> None:
    """Every setting is documented, and with its default."""
    page = (Path(__file__).parents[2] / "docs/reference/settings.md").read_text()
    rows = dict(
        re.findall(r"^\| `(TRIOPOLL_\w+)` \|.*\| `?([^|`]+?)`? \|$", page, re.MULTILINE)
    )
    assert rows == {
        PREFIX + field.name.upper(): written(field.default)
        for field in dataclasses.fields(Settings)
    }


def written(default: object) -> str:
    if isinstance(default, bool | None):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default) or "none"


@pytest.mark.parametrize(
    ("list_prefix", "key", "reserved"),
    [
        ("", "our:x", True),
        ("", "our:", True),
        ("", "our", False),
        ("", "Our:x", False),
        ("", "your:our:x", False),
        ("o", "ur:x", True),
        ("lists:", "our:x", False),
    ],
)
def test_keys_that_are_no_lists_are_reserved(
    list_prefix: str, key: str, reserved: bool
) -> None:
    """What counts is the name in Redis, however it is put together."""
    settings = Settings(list_prefix=list_prefix, redis_prefix="our:")
    assert settings.reserves(key) == reserved
