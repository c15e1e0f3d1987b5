"""Checks of slock: that it answers, takes locks, leads, and has the right time.

Each function returns within the limit that it gets.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import trio

from triopoll.core.slock_backend import probe_slock
from triopoll.server import BindError, open_socket
from triopoll.settings import PREFIX, Settings
from trioslock import Client, Flags, SlockError, open_client
from trioslock.cli import NodeInfo, ask_node, replica_set
from trioslock.client import Address, parse_url
from trioslock.link import Role, SetState

from .finding import Finding, clock_finding, right, warning, wrong

__all__ = ["check_clock", "check_slock", "set_findings"]

# The version that slock is tested with.
_TESTED = "2.1.12"
# slock counts in whole seconds.
_CLOCK_SECONDS = 3.0
_CLOCK_LEASE = 2.0


async def check_slock(
    settings: Settings, *, workers: int, running: bool, limit: float
) -> list[Finding]:
    """Check the slock of the settings.

    Args:
        settings: Name it.
        workers: How many processes are to use it.
        running: Whether the service runs already.
        limit: Seconds for each question.

    Cancellation:
        A lock of the check ends by itself within 2 seconds.
    """
    if settings.embedded_address is not None:
        return [_check_embedded(*settings.embedded_address, workers, running)]
    try:
        url = parse_url(settings.slock_url)
    except ValueError as error:
        return [wrong("slock", f"{PREFIX}SLOCK_URL: {error}", "correct the variable")]
    nodes = await _ask_members(url.addresses, limit)
    answers, is_only = any(node.error is None for node in nodes), len(nodes) == 1
    found = [
        _member_finding(node, is_only=is_only, others_answer=answers) for node in nodes
    ]
    return found + await _check_use(settings, is_only, limit) if answers else found


async def _check_use(settings: Settings, is_only: bool, limit: float) -> list[Finding]:
    """Check what the service does with slock, as it does it."""
    found: list[Finding] = []
    async with open_client(settings.slock_url, wait_connected=False) as client:
        found.append(await _check_locks(client, limit))
        if found[0].verdict == "right":
            found += await check_clock(client, limit)
        if not is_only:
            found += set_findings(await replica_set(client))
    return found


def _check_embedded(host: str, port: int, workers: int, running: bool) -> Finding:
    if workers > 1:
        return wrong(
            "slock",
            f"the embedded engine serves one process, and there are {workers} workers",
            f"run a slock server and set {PREFIX}SLOCK_URL=slock://HOST:PORT",
        )
    if not running:
        try:
            open_socket(f"[{host}]:{port}" if ":" in host else f"{host}:{port}").close()
        except BindError as error:
            return wrong(
                "slock",
                f"the embedded engine {error}",
                f"end what listens there, or set {PREFIX}SLOCK_URL; give --running if "
                "it is the service itself",
            )
    return right("slock", f"an engine in the process itself, at {host}:{port}")


async def _ask_members(addresses: Sequence[Address], limit: float) -> list[NodeInfo]:
    """Ask all members at once; return what each says, or its error."""
    found: dict[Address, NodeInfo] = {}

    async def ask(address: Address) -> None:
        error = f"no answer within {limit:g} s"
        found[address] = NodeInfo(str(address), {}, error)
        with trio.move_on_after(limit):
            found[address] = await ask_node((address.host, address.port))

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(ask, address)
    return [found[address] for address in addresses]


def _member_finding(node: NodeInfo, *, is_only: bool, others_answer: bool) -> Finding:
    check = f"slock {node.address}"
    if node.error is not None:
        verdict = warning if others_answer else wrong
        return verdict(check, node.error, "start it, or correct its address")
    version, role = node.facts.get("version", "?"), node.facts.get("role", "no role")
    text = f"slock {version}, {role}"
    if version != _TESTED:
        return warning(check, text, f"the service is tested with slock {_TESTED}")
    if is_only and role == "follower":
        return warning(
            check,
            f"{text}: the other members of its replica set are not named",
            f"name all members in {PREFIX}SLOCK_URL, with commas between them",
        )
    return right(check, text)


async def _check_locks(client: Client, limit: float) -> Finding:
    check = "slock locks"
    began = trio.current_time()
    error = f"no lock was granted within {limit:g} s"
    with trio.move_on_after(limit):
        try:
            await probe_slock(client)
        except SlockError as refused:
            return wrong(check, str(refused), "see the log of slock; it may be full")
        seconds = trio.current_time() - began
        return right(check, f"a lock was taken and released in {seconds * 1000:.0f} ms")
    if reason := client.statistics().error:
        error = f"{error}: {reason}"
    return wrong(check, error, "see whether slock, or its replica set, has a leader")


def set_findings(state: SetState) -> list[Finding]:
    """Return what the state of a replica set means."""
    check = "slock replica set"
    found: list[Finding] = []
    for member in state.members:
        where = "{}:{}".format(*member.address)
        if member.learned:
            text = f"{where} is a member, and {PREFIX}SLOCK_URL does not name it"
            found.append(warning(check, text, f"add {where} to the variable"))
    if state.leader is None:
        text = "no member says that it leads"
        return [*found, wrong(check, text, "see the logs of the members")]
    up = sum(member.role is not Role.DOWN for member in state.members)
    text = "{}:{} leads, {} of {} members answer".format(
        *state.leader, up, len(state.members)
    )
    return [*found, right(check, text)]


async def check_clock(client: Client, limit: float) -> list[Finding]:
    """Compare the clock of slock with the time at which it says a lock was taken.

    Returns:
        One finding; none if slock does not say it.

    Cancellation:
        The lock ends by itself within 2 seconds.
    """
    name = f"triopoll:probe:{secrets.token_hex(8)}"
    lock = client.lock(name, lease=_CLOCK_LEASE, renew=False, flags=Flags(log="never"))
    with trio.move_on_after(limit):
        try:
            grant = await lock.try_acquire()
            holders = await client.holders(name)
            now = time.time()
            await grant.release()
        except SlockError:
            return []
        return [
            clock_finding("slock clock", each.since - now, _CLOCK_SECONDS)
            for each in holders
            if each.since is not None
        ]
    return []
