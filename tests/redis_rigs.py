"""Arrangements of several real Redis programs: replicas, Sentinel, Cluster, TLS.

Each listens on free ports of 127.0.0.1, starts within seconds, and is ended with its
block. What a test breaks (a frozen or killed program) is ended all the same.
"""

from __future__ import annotations

import datetime
import ipaddress
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.backoff import NoBackoff
from redis.retry import Retry
from tests.services import RedisServer, find_tool, wait_for_port

# Milliseconds after which Sentinel and Cluster count a silent node as failed.
_DOWN_AFTER = 400


def until(condition: Callable[[], object], limit: float = 30) -> None:
    """Block until the condition holds; an error of Redis counts as "not yet"."""
    deadline = time.monotonic() + limit
    error: Exception | None = None
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except (redis.RedisError, OSError) as caught:
            error = caught
        time.sleep(0.02)
    raise AssertionError(f"still not so after {limit} s") from error


def admin_of(server: RedisServer, **options: Any) -> redis.Redis:
    """Return a client for what a test does to a server itself; it never retries."""
    retry = Retry(NoBackoff(), 0)
    return redis.Redis(server.host, server.port, retry=retry, **options)


class Pair:
    """A primary and its replica.

    Attributes:
        primary: Where writes go, at first.
        replica: Has what the primary has, a moment later.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        replicating = {"repl-diskless-sync-delay": "0", **options}
        self.primary = RedisServer(_made(directory / "1"), options=replicating)
        address = f"{self.primary.host} {self.primary.port}"
        self.replica = RedisServer(
            _made(directory / "2"), options={**replicating, "replicaof": address}
        )

    def __enter__(self) -> Self:
        self.primary.start()
        self.replica.start()
        self.wait_in_sync()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.kill()

    @property
    def servers(self) -> tuple[RedisServer, RedisServer]:
        return self.primary, self.replica

    def wait_in_sync(self) -> None:
        """Block until the replica follows, and has all that was written before."""
        with admin_of(self.primary) as primary, admin_of(self.replica) as replica:
            until(
                lambda: replica.info("replication").get("master_link_status") == "up",
                limit=20,
            )
            offset = primary.info("replication")["master_repl_offset"]
            until(lambda: replica.info("replication")["slave_repl_offset"] >= offset)

    def cut_replica(self) -> None:
        """Keep what is written from now on from the replica, whatever is under way."""
        with admin_of(self.replica) as admin:
            admin.replicaof("127.0.0.1", 1)

    def promote(self) -> None:
        """Make the replica the primary, and the primary its replica."""
        with admin_of(self.replica) as admin:
            admin.replicaof("NO", "ONE")
        with admin_of(self.primary) as admin:
            admin.replicaof(self.replica.host, self.replica.port)
        self.primary, self.replica = self.replica, self.primary


class SentinelRig(Pair):
    """A primary and its replica, watched by two Sentinels.

    Attributes:
        name: What the Sentinels call the primary.
        url: For triopoll.
    """

    name = "mymaster"

    def __init__(self, directory: Path, *, password: str = "") -> None:
        super().__init__(directory)
        self._password = password
        self._sentinels = [
            _Sentinel(_made(directory / f"s{n}"), self.primary, password)
            for n in range(2)
        ]

    def __enter__(self) -> Self:
        super().__enter__()
        for sentinel in self._sentinels:
            sentinel.start()
        for sentinel in self._sentinels:
            until(lambda each=sentinel: each.knows_all())
        return self

    def __exit__(self, *_: object) -> None:
        for sentinel in self._sentinels:
            sentinel.kill()
        super().__exit__()

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{each.port}" for each in self._sentinels)

    @property
    def url(self) -> str:
        secret = f"?sentinel_password={self._password}" if self._password else ""
        return f"redis+sentinel://{self.hosts}/{self.name}/0{secret}"

    def kill_sentinel(self) -> None:
        """Leave one Sentinel."""
        self._sentinels[0].kill()

    def fail_over(self) -> None:
        """Have the Sentinels make the replica the primary; the old one lives on."""
        with self._sentinels[0].admin() as admin:
            admin.execute_command("SENTINEL", "FAILOVER", self.name)
        self.wait_until_moved()

    def wait_until_moved(self) -> None:
        """Block until the Sentinels name the other node, and it takes writes."""
        for sentinel in self._sentinels:
            if sentinel.is_running:
                until(lambda each=sentinel: each.primary_port() == self.replica.port)
        with admin_of(self.replica) as admin:
            until(lambda: admin.role()[0] == b"master")
        self.primary, self.replica = self.replica, self.primary


class _Sentinel(RedisServer):
    def __init__(self, directory: Path, primary: RedisServer, password: str) -> None:
        super().__init__(directory)
        self._password = password
        name = SentinelRig.name
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {directory}",
            f"sentinel monitor {name} {primary.host} {primary.port} 1",
            f"sentinel down-after-milliseconds {name} {_DOWN_AFTER}",
            f"sentinel failover-timeout {name} 5000",
        ]
        if password:
            lines += [f"requirepass {password}", f"sentinel sentinel-pass {password}"]
        (directory / "sentinel.conf").write_text("\n".join(lines) + "\n")

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        command = [find_tool("redis-sentinel"), str(self.directory / "sentinel.conf")]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for_port(self.port, self._process)

    def admin(self) -> redis.Redis:
        return admin_of(self, password=self._password or None)

    def primary_port(self) -> int:
        with self.admin() as admin:
            return int(admin.sentinel_get_master_addr_by_name(SentinelRig.name)[1])

    def knows_all(self) -> bool:
        with self.admin() as admin:
            state = admin.sentinel_master(SentinelRig.name)
        return state["num-slaves"] == 1 and state["num-other-sentinels"] == 1


class ClusterRig:
    """Three primaries with a third of the slots each, and a replica of the first.

    Attributes:
        nodes: The primaries, and the replica at the end.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        cluster = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(_DOWN_AFTER),
            "cluster-replica-validity-factor": "0",
            "repl-diskless-sync-delay": "0",
        }
        self.nodes: list[RedisServer] = []
        for n in range(4):
            server = RedisServer(_made(directory / f"{n}"))
            # By default it is the port plus 10,000, which another program may have.
            bus = {"cluster-port": str(RedisServer(directory).port)}
            server.options = {**cluster, **bus, **options}
            self.nodes.append(server)

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        first, *others = self.nodes
        bounds = [0, 5461, 10923, 16384]
        for n, node in enumerate(self.nodes[:3]):
            self._ask(
                node, "CLUSTER", "ADDSLOTSRANGE", str(bounds[n]), str(bounds[n + 1] - 1)
            )
            self._ask(node, "CLUSTER", "SET-CONFIG-EPOCH", str(n + 1))
        for node in others:
            bus = str(node.options["cluster-port"])
            self._ask(first, "CLUSTER", "MEET", node.host, str(node.port), bus)
        for node in self.nodes:
            until(lambda each=node: self._knows_all(each))
        self._ask(
            self.nodes[3], "CLUSTER", "REPLICATE", self._ask(first, "CLUSTER", "MYID")
        )
        for node in self.nodes:
            until(lambda each=node: self._is_up(each))
        with admin_of(self.nodes[3]) as admin:
            until(lambda: admin.info("replication").get("master_link_status") == "up")
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()

    @property
    def url(self) -> str:
        hosts = ",".join(f"{node.host}:{node.port}" for node in self.nodes[:2])
        return f"redis+cluster://{hosts}"

    def fail_over(self) -> None:
        """Have the replica take the first node's place, by agreement."""
        self._ask(self.nodes[3], "CLUSTER", "FAILOVER")
        self.wait_until_moved()

    def wait_until_moved(self) -> None:
        """Block until the replica has the first node's slots, and all say so."""
        moved = self.nodes[3]
        until(lambda: admin_of(moved).role()[0] == b"master")
        for node in self.nodes[1:]:
            until(lambda each=node: self._is_up(each))

    def client(self) -> redis.RedisCluster:
        """Return a client for what a test looks at itself."""
        return redis.RedisCluster(self.nodes[1].host, self.nodes[1].port)

    def slots_of(self, n: int) -> range:
        """Return the slots that a node had at the start."""
        bounds = [0, 5461, 10923, 16384]
        return range(bounds[n], bounds[n + 1])

    def move_slot(self, slot: int, source: int, target: int) -> None:
        """Give a slot to another node, with all that is in it."""
        with self.moving_slot(slot, source, target):
            pass

    @contextmanager
    def moving_slot(self, slot: int, source: int, target: int) -> Iterator[None]:
        """Give a slot to another node; within the block it is under way."""
        giver, taker = self.nodes[source], self.nodes[target]
        names = {each.port: self._ask(each, "CLUSTER", "MYID") for each in self.nodes}
        set_slot = ("CLUSTER", "SETSLOT", str(slot))
        self._ask(taker, *set_slot, "IMPORTING", names[giver.port])
        self._ask(giver, *set_slot, "MIGRATING", names[taker.port])
        yield
        while keys := self._ask(
            giver, "CLUSTER", "GETKEYSINSLOT", str(slot), "100", text=False
        ):
            address = (taker.host, str(taker.port))
            self._ask(giver, "MIGRATE", *address, "", "0", "5000", "KEYS", *keys)
        for node in (taker, giver, *self.nodes[:3]):
            self._ask(node, *set_slot, "NODE", names[taker.port])

    def _knows_all(self, node: RedisServer) -> bool:
        lines = self._ask(node, "CLUSTER", "NODES").splitlines()
        return len(lines) == 4 and not any("handshake" in line for line in lines)

    def _is_up(self, node: RedisServer) -> bool:
        return "cluster_state:ok" in self._ask(node, "CLUSTER", "INFO")

    def _ask(self, node: RedisServer, *command: Any, text: bool = True) -> Any:
        """Send a command as it is: redis-py would rather have a whole cluster."""
        connection = redis.Connection(host=node.host, port=node.port, protocol=2)
        try:
            connection.connect()
            connection.send_command(*command)
            reply = connection.read_response()
        finally:
            connection.disconnect()
        return reply.decode() if text and isinstance(reply, bytes) else reply


@dataclass(frozen=True)
class Certificates:
    """Files of a certificate authority of the test's own, and what it has signed.

    Attributes:
        authority: Its certificate.
        server: Certificate and key for localhost and 127.0.0.1.
        client: Certificate and key of a client.
    """

    authority: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]


def make_certificates(directory: Path) -> Certificates:
    """Make an authority, and have it sign a server's and a client's certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("triopoll tests")
    authority = _certificate(name, name, key, key, is_authority=True)
    paths: dict[str, tuple[Path, Path]] = {}
    for who in ("server", "client"):
        own = ec.generate_private_key(ec.SECP256R1())
        signed = _certificate(_name(who), name, own, key, is_authority=False)
        paths[who] = directory / f"{who}.pem", directory / f"{who}.key"
        paths[who][0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        paths[who][1].write_bytes(_pem(own))
    path = directory / "authority.pem"
    path.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    return Certificates(path, paths["server"], paths["client"])


@contextmanager
def tls_server(directory: Path, certificates: Certificates) -> Iterator[RedisServer]:
    """Run a Redis that talks TLS only, and only to clients with a certificate."""
    server = RedisServer(directory)
    command = [
        find_tool("redis-server"),
        *("--port", "0", "--bind", "127.0.0.1", "--tls-port", str(server.port)),
        *("--dir", str(directory), "--save", "", "--tls-auth-clients", "yes"),
        *("--tls-ca-cert-file", str(certificates.authority)),
        *("--tls-cert-file", str(certificates.server[0])),
        *("--tls-key-file", str(certificates.server[1])),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_for_port(server.port, process)
        yield server
    finally:
        process.kill()
        process.wait()


@contextmanager
def socket_server(directory: Path) -> Iterator[Path]:
    """Run a Redis that listens on a socket file only; the block gets its path."""
    path = directory / "redis.sock"
    command = [
        *(find_tool("redis-server"), "--port", "0", "--dir", str(directory)),
        *("--save", "", "--unixsocket", str(path)),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(unix_socket_path=str(path)) as admin:
            until(admin.ping)
        yield path
    finally:
        process.kill()
        process.wait()


@dataclass
class Resolver:
    """What some names resolve to, in this process; a test may move them.

    Attributes:
        ports: The port of 127.0.0.1 that a name leads to, whatever port is asked for.
        asked: The names, each time that they were resolved.
    """

    ports: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._system = socket.getaddrinfo

    def __call__(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host in self.ports:
            self.asked.append(host)
            host, port = "127.0.0.1", self.ports[host]
        return self._system(host, port, *args, **kwargs)


def cleaned(stack: ExitStack, servers: Sequence[RedisServer]) -> None:
    """End servers with a stack, in whatever state they are."""
    for server in servers:
        stack.callback(server.kill)


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback])
    constraints = x509.BasicConstraints(ca=is_authority, path_length=None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - hour)
        .not_valid_after(now + hour)
        .add_extension(constraints, critical=True)
    )
    if not is_authority:
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())
