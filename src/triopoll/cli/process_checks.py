"""Checks of what this process has: its settings, its secrets, its addresses and files.

Each function returns findings and raises nothing for what an operator can have wrong.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from triopoll.access import access_control_from
from triopoll.access.configuration import entries_of
from triopoll.server import BindError, open_socket
from triopoll.server.descriptors import allowed_descriptors
from triopoll.services import log_limits
from triopoll.settings import (
    ANY_ADDRESS,
    CLIENT_VARIABLES,
    PREFIX,
    Settings,
    SettingsError,
    networks_of,
)

from .finding import Finding, right, warning, wrong

__all__ = [
    "check_access",
    "check_address",
    "check_files",
    "check_proxies",
    "check_settings",
]

# A secret of random letters has more; one that was typed in may have fewer.
_DISTINCT = 10
_FILE = "file:"
_SECRET_FILES = ("ticket_secrets",)


def check_settings(settings: Settings) -> Finding:
    """Check what needs more than the variables: files, and several values together."""
    try:
        log_limits(settings)
        access_control_from(settings)
    except SettingsError as error:
        return wrong("settings", str(error), "correct the variable or the file")
    given = {name for name in os.environ if name.startswith(PREFIX)}
    given -= {*CLIENT_VARIABLES}
    return right("settings", f"{len(given)} variables are set, and all are valid")


def check_access(settings: Settings) -> list[Finding]:
    """Check who may publish and who may wait.

    Raises:
        SettingsError: `check_settings` says it.
    """
    access = access_control_from(settings)
    rules = access.rules
    found: list[Finding] = []
    if rules.keyring is None:
        found.append(
            warning(
                "publishers",
                "no API key is configured, so only programs of this machine publish",
                f"make one with `triopoll key`, and set {PREFIX}PUBLISH_KEYS",
            )
        )
    elif not len(rules.keyring):
        found.append(
            wrong(
                "publishers",
                f"{PREFIX}PUBLISH_KEYS has no entry, so nobody can publish",
                "add the line that `triopoll key` prints",
            )
        )
    else:
        found.append(right("publishers", f"{len(rules.keyring)} API keys"))
    found.append(_tickets(settings, is_open=rules.tickets is None))
    return found + list(_open_files(settings))


def _tickets(settings: Settings, *, is_open: bool) -> Finding:
    if is_open:
        return warning(
            "tickets",
            "neither a secret nor a public key is configured, so all visitors may read "
            "all keys",
            f"set {PREFIX}TICKET_SECRETS or {PREFIX}TICKET_PUBLIC_KEYS",
        )
    secrets = entries_of(settings.ticket_secrets)
    if any(len(set(secret)) < _DISTINCT for secret in secrets):
        return wrong(
            "tickets",
            f"a secret has fewer than {_DISTINCT} different characters: it can be "
            "guessed",
            "take a random one: openssl rand -base64 32",
        )
    if not secrets and not entries_of(settings.ticket_public_keys):
        return wrong(
            "tickets",
            "the files name no secret and no public key, so nobody can read",
            f"fill {PREFIX}TICKET_SECRETS or {PREFIX}TICKET_PUBLIC_KEYS",
        )
    return right("tickets", "each visitor needs a ticket")


def _open_files(settings: Settings) -> Iterable[Finding]:
    for name in _SECRET_FILES:
        value: str = getattr(settings, name)
        path = value.removeprefix(_FILE)
        if path != value and os.stat(path).st_mode & stat.S_IROTH:
            yield warning(
                "tickets",
                f"all users of this machine may read {PREFIX}{name.upper()}'s file",
                f"chmod o-r {path}",
            )


def check_proxies(settings: Settings, binds: Sequence[str]) -> Finding:
    """Check whose word about the address of a client is taken."""
    check, name = "proxies", f"{PREFIX}TRUSTED_PROXIES"
    trusted = entries_of(settings.trusted_proxies)
    addresses = [word for word in trusted if word != "unix"]
    if any(network in ANY_ADDRESS for network in networks_of(" ".join(addresses))):
        return warning(
            check,
            "every address is trusted as a proxy, so a client may claim any address",
            f"name the networks of your proxies in {name}",
        )
    behind_sockets = any(bind.startswith("unix:") for bind in binds)
    if behind_sockets and "unix" not in trusted:
        return warning(
            check,
            "the proxy at the Unix socket is not trusted, so all its clients count as "
            "one",
            f"add the word unix to {name}",
        )
    if not trusted and all(map(_is_local, binds)):
        return warning(
            check,
            "only programs of this machine reach the service, and no proxy is trusted",
            f"if a proxy is in front, set {name}, to 127.0.0.1 for one on this machine",
        )
    return right(check, f"trusted: {' '.join(trusted) or 'none'}")


def _is_local(bind: str) -> bool:
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_address(bind: str) -> Finding:
    """Check that an address can be listened on; it is free again afterwards."""
    check = f"address {bind}"
    if bind.startswith("fd:"):
        return right(check, "a socket that the process inherits; it was not tried")
    try:
        sock = open_socket(bind)
    except BindError as error:
        return wrong(
            check,
            str(error),
            "end what listens there, or choose another --bind; give --running if it is "
            "the service itself",
        )
    sock.close()
    if bind.startswith("unix:"):
        os.unlink(bind.removeprefix("unix:"))
    return right(check, "is free")


def check_files(connections: int) -> Finding:
    """Check that the process may open as many files as it may have connections."""
    allowed = allowed_descriptors(connections)
    if allowed < connections:
        return wrong(
            "files",
            f"the process may open {allowed} files, too few for {connections} "
            "connections",
            "raise the limit (LimitNOFILE, ulimit -n), or lower --max-connections",
        )
    return right("files", f"{allowed} may be open, for {connections} connections")
