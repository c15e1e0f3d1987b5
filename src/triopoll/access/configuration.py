"""From the settings to `AccessControl`; an error names the variable that is wrong."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

from ..settings import PREFIX, Settings, SettingsError
from .control import AccessControl, Limits, Rules
from .cors import Cors
from .keyring import Keyring
from .proxies import TrustedProxies
from .tickets import TicketReader, Verifier, public_key_verifier, secret_verifier

__all__ = [
    "access_control_from",
    "entries_of",
    "naming",
    "read_revoked",
    "revoked_path",
    "signing_secret",
]

# The old secret and the new one.
_SECRETS = 2
_FILE = "file:"
_MAX_FILE_BYTES = 2**24


def access_control_from(settings: Settings) -> AccessControl:
    """Return the access control that the settings ask for; files are read now.

    Raises:
        SettingsError: A value or a file cannot be used; names the variable, and
            never a secret.
    """
    with naming("TRUSTED_PROXIES"):
        proxies = TrustedProxies(
            entries_of(settings.trusted_proxies), settings.proxy_header
        )
    with naming("CORS_ORIGINS"):
        cors = Cors(entries_of(settings.cors_origins))
    with naming("HOSTS"):
        hosts = tuple(entries_of(settings.hosts))
    rules = Rules(
        keyring=_keyring(settings),
        tickets=_tickets(settings),
        cookie=settings.ticket_cookie,
        proxies=proxies,
        cors=cors,
        visitors_create_states=settings.states_create == "visitors",
        hosts=hosts,
        limits=Limits(
            waits_per_key=settings.waits_per_key,
            waits_per_subject=settings.waits_per_subject,
            waits_per_ip=settings.waits_per_ip,
            requests_per_ip=settings.requests_per_ip,
            burst_per_ip=settings.burst_per_ip,
            url_bytes=settings.max_url_bytes,
            states_per_ip=settings.states_per_ip,
        ),
    )
    # What it refuses of the rules are host names.
    with naming("HOSTS"):
        return AccessControl(rules)


def read_revoked(settings: Settings) -> frozenset[str]:
    """Return the identifiers of revoked tickets; a file is read now.

    Raises:
        SettingsError: The file cannot be read.
    """
    with naming("REVOKED_TICKETS"):
        return frozenset(entries_of(settings.revoked_tickets))


def revoked_path(settings: Settings) -> str | None:
    """Return the path of the file of revoked tickets, or None if there is none."""
    text = settings.revoked_tickets
    return text.removeprefix(_FILE) if text.startswith(_FILE) else None


def signing_secret(settings: Settings) -> str:
    """Return the secret that tickets are signed with here: the first one.

    Raises:
        SettingsError: No secret is set, or it cannot be used.
    """
    with naming("TICKET_SECRETS"):
        secrets = entries_of(settings.ticket_secrets)
        if not secrets:
            raise ValueError("has no secret to sign with")
        secret_verifier(secrets[0])
    return secrets[0]


def entries_of(text: str) -> list[str]:
    """Return the words of a value, or the lines of the file that it names.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is too long, or not UTF-8.
    """
    if not text.startswith(_FILE):
        return text.split()
    lines = _content(text.removeprefix(_FILE)).decode().splitlines()
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


@contextlib.contextmanager
def naming(name: str) -> Generator[None]:
    """Name the variable in what a value or a file is refused with.

    Args:
        name: Of the variable, without its prefix.

    Raises:
        SettingsError: The block has raised what `entries_of` raises, or ValueError.
    """
    try:
        yield
    except UnicodeDecodeError:
        # Its message repeats what was decoded.
        raise SettingsError(f"{PREFIX}{name} names a file that is not UTF-8") from None
    except OSError as error:
        raise SettingsError(
            f"{PREFIX}{name} names a file that cannot be read: {error.strerror}"
        ) from None
    except ValueError as error:
        raise SettingsError(f"{PREFIX}{name} {error}") from None


def _keyring(settings: Settings) -> Keyring | None:
    if not settings.publish_keys:
        return None
    with naming("PUBLISH_KEYS"):
        # A file without entries admits no publisher: its author asked for keys.
        return Keyring(entries_of(settings.publish_keys))


def _tickets(settings: Settings) -> TicketReader | None:
    if not (settings.ticket_secrets or settings.ticket_public_keys):
        return None
    with naming("TICKET_SECRETS"):
        verifiers = _secrets(settings.ticket_secrets)
    with naming("TICKET_PUBLIC_KEYS"):
        paths = entries_of(settings.ticket_public_keys)
        verifiers += [public_key_verifier(_content(path)) for path in paths]
    return TicketReader(verifiers, read_revoked(settings))


def _secrets(text: str) -> list[Verifier]:
    secrets = entries_of(text)
    if len(secrets) > _SECRETS:
        raise ValueError(f"has {len(secrets)} secrets; {_SECRETS} are for changing")
    return [secret_verifier(secret) for secret in secrets]


def _content(path: str) -> bytes:
    if os.path.getsize(path) > _MAX_FILE_BYTES:
        raise ValueError(f"names a file of more than {_MAX_FILE_BYTES} bytes")
    return Path(path).read_bytes()
