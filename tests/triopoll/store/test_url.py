"""Each form of URL, and what each refusal says."""

from typing import Any

import pytest
import redis

from triopoll.store._url import RedisAddress, parse_redis_url


def parse(url: str) -> RedisAddress:
    return parse_redis_url(url, 5.0)


def chosen(options: Any) -> dict[str, Any]:
    """Return the options that the URL has chosen."""
    fixed = ("retry", "protocol", "socket_timeout", "socket_connect_timeout")
    # What it does not tell Redis about itself, by the names of several versions.
    fixed += ("driver_info", "lib_name", "lib_version")
    return {name: value for name, value in options.items() if name not in fixed}


@pytest.mark.parametrize(
    ("url", "host", "options"),
    [
        ("redis://h", ("h", 6379), {}),
        ("redis://", ("localhost", 6379), {}),
        ("redis://H:7/3", ("h", 7), {"db": 3}),
        ("redis://h:/0", ("h", 6379), {"db": 0}),
        ("redis://h?db=4", ("h", 6379), {"db": 4}),
        ("redis://h/2?db=4", ("h", 6379), {"db": 4}),
        ("redis://[::1]", ("::1", 6379), {}),
        ("redis://[fe80::1%25eth0]:7", ("fe80::1%eth0", 7), {}),
        ("redis://:p%40%2F@h", ("h", 6379), {"password": "p@/"}),
        ("redis://u:p:q@h", ("h", 6379), {"username": "u", "password": "p:q"}),
        ("redis://u@h", ("h", 6379), {"username": "u"}),
        ("redis://u:a@b@h", ("h", 6379), {"username": "u", "password": "a@b"}),
        (
            "redis://h?client_name=x&max_connections=9",
            ("h", 6379),
            {"client_name": "x"},
        ),
    ],
)
def test_one_server(url: str, host: tuple[str, int], options: dict[str, Any]) -> None:
    """Host, port, database, user and password, and options behind."""
    address = parse(url)
    assert (address.kind, address.hosts, address.is_tls) == ("server", (host,), False)
    assert chosen(address.options) == options
    connection = address.connection()
    assert (connection.host, connection.port) == host
    assert connection.db == options.get("db", 0)
    assert (connection.socket_timeout, connection.protocol) == (5.0, 2)


def test_a_socket_file() -> None:
    """Its path is the URL's; the database is an option."""
    address = parse("unix://u:p@/run/redis%20x.sock?db=3")
    connection = address.connection()
    assert isinstance(connection, redis.UnixDomainSocketConnection)
    assert (connection.path, connection.db) == ("/run/redis x.sock", 3)
    assert (connection.username, connection.password) == ("u", "p")


def test_tls() -> None:
    """Its options are redis-py's."""
    options = "ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem&ssl_keyfile=/k.pem"
    address = parse(f"rediss://h:1/0?{options}&ssl_check_hostname=false")
    connection = address.connection()
    assert isinstance(connection, redis.SSLConnection)
    assert (connection.ca_certs, connection.certfile) == ("/ca.pem", "/c.pem")
    assert connection.check_hostname is False


def test_sentinels() -> None:
    """Several hosts, the name of the primary, and what they are told and it is not."""
    address = parse(
        "redis+sentinel://u:p@a,b:2,[::1]:3/my%20master/4"
        "?sentinel_username=su&sentinel_password=sp&socket_timeout=3"
    )
    assert address.kind == "sentinel"
    assert address.hosts == (("a", 26379), ("b", 2), ("::1", 3))
    assert address.name == "my master"
    assert chosen(address.options) == {"username": "u", "password": "p", "db": 4}
    assert chosen(address.sentinel_options) == {"username": "su", "password": "sp"}
    sentinel, primary = address.sentinel("b", 2), address.connection("x", 9)
    assert (sentinel.host, sentinel.db, sentinel.socket_timeout) == ("b", 0, 2.5)
    assert (primary.host, primary.db, primary.socket_timeout) == ("x", 4, 3.0)


def test_sentinels_over_tls() -> None:
    """Both the Sentinels and the primary, with the same certificates."""
    address = parse("rediss+sentinel://a/m?ssl_ca_certs=/ca.pem")
    for connection in (address.sentinel("a", 1), address.connection("b", 1)):
        assert isinstance(connection, redis.SSLConnection)
        assert connection.ca_certs == "/ca.pem"


@pytest.mark.parametrize("path", ["", "/", "/0"])
def test_a_cluster(path: str) -> None:
    """Several hosts, and no database but the first."""
    address = parse(f"redis+cluster://:p@a,b:2{path}")
    assert (address.kind, address.hosts) == ("cluster", (("a", 6379), ("b", 2)))
    assert parse("rediss+cluster://a").is_tls
    shorter = address.with_limit(1)
    assert shorter.connection("b", 2).socket_timeout == 1
    assert shorter.connection("b", 2).password == "p"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://h", "scheme is none of redis://"),
        ("redis:h", "scheme is none of redis://"),
        ("redis", "scheme is none of redis://"),
        ("redis://h/x", "the database must be a number, not 'x'"),
        ("redis://h/1/2", "the database must be a number, not '1/2'"),
        ("redis://h:port", "the host or the port is malformed"),
        ("redis://h:99999", "the host or the port is malformed"),
        ("redis://h:0", "a port must be from 1 to 65535"),
        ("redis://[::1", "the host or the port is malformed"),
        ("redis://::1", "the host or the port is malformed"),
        ("redis://[x]", "the host or the port is malformed"),
        ("redis://a,b", r"has one host; several are .*redis\+sentinel://"),
        ("redis://h?decode_responses=1", "decode_responses cannot be used"),
        ("redis://h?socket_timeout=soon", "socket_timeout"),
        ("redis://h?nonsense=1", "there is no option 'nonsense'"),
        ("unix://host/path", "a socket file has a path, and no host"),
        ("redis+sentinel://a", "the path must be /NAME or /NAME/DB"),
        ("redis+sentinel://a/m/x", "the database must be a number"),
        ("redis+cluster://a/1", "a cluster has database 0 only"),
        ("redis+cluster://a?db=1", "a cluster has database 0 only"),
    ],
)
def test_what_cannot_be_used(url: str, sentence: str) -> None:
    """A sentence says what is accepted, and never repeats a password."""
    with pytest.raises(ValueError, match=sentence) as caught:
        parse(url.replace("://", "://user:hunter2@", 1))
    assert "hunter2" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    """Nor is one for the Sentinels."""
    address = parse("redis+sentinel://:hunter2@a/m?sentinel_password=hunter3")
    assert "hunter" not in repr(address)
