"""From the settings to `AccessControl`; an error names the variable that is wrong."""

from __future__ import annotations

import contextlib
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
    "files_of",
    "names_file",
    "naming",
    "read_keyring",
    "read_public_keys",
    "read_revoked",
    "read_secrets",
    "signing_secret",
]

# The old secret and the new one.
_SECRETS = 2
_FILE = "file:"
# The setting whose entries are paths themselves.
_PATHS = "TICKET_PUBLIC_KEYS"
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
        keyring=_keyring(settings, "PUBLISH_KEYS"),
        admins=_keyring(settings, "ADMIN_KEYS"),
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


def read_keyring(settings: Settings, name: str) -> Keyring:
    """Return the keys of publishers or of operators; a file is read now.

    Args:
        settings: Have them.
        name: Of the variable, without its prefix.

    Raises:
        SettingsError: The file cannot be read, or an entry is malformed.
    """
    with naming(name):
        # A file without entries admits nobody: its author asked for keys.
        return Keyring(entries_of(_text_of(settings, name)))


def read_secrets(settings: Settings) -> list[Verifier]:
    """Return what verifies tickets that are signed with a secret; a file is read now.

    Raises:
        SettingsError: The file cannot be read, or a secret cannot be used.
    """
    with naming("TICKET_SECRETS"):
        secrets = entries_of(settings.ticket_secrets)
        if len(secrets) > _SECRETS:
            raise ValueError(f"has {len(secrets)} secrets; {_SECRETS} are for changing")
        return [secret_verifier(secret) for secret in secrets]


def read_public_keys(settings: Settings) -> list[Verifier]:
    """Return what verifies tickets that are signed with a private key; read now.

    Raises:
        SettingsError: A file cannot be read, or is not a public key.
    """
    with naming("TICKET_PUBLIC_KEYS"):
        paths = entries_of(settings.ticket_public_keys)
        return [public_key_verifier(_content(path)) for path in paths]


def names_file(settings: Settings, name: str) -> bool:
    """Return whether a setting names a file, and is not the value itself.

    Args:
        settings: Have it.
        name: Of the variable, without its prefix.
    """
    text = _text_of(settings, name)
    return bool(text) and (text.startswith(_FILE) or name == _PATHS)


def files_of(settings: Settings, name: str) -> list[str]:
    """Return the paths of the files that a setting names, as far as they are known.

    Args:
        settings: Have it.
        name: Of the variable, without its prefix.
    """
    text = _text_of(settings, name)
    files = [text.removeprefix(_FILE)] if text.startswith(_FILE) else []
    if name == _PATHS:
        # A list that cannot be read is refused by who reads the keys.
        with contextlib.suppress(OSError, ValueError):
            files += entries_of(text)
    return files


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


def _keyring(settings: Settings, name: str) -> Keyring | None:
    return read_keyring(settings, name) if _text_of(settings, name) else None


def _tickets(settings: Settings) -> TicketReader | None:
    if not (settings.ticket_secrets or settings.ticket_public_keys):
        return None
    verifiers = read_secrets(settings) + read_public_keys(settings)
    return TicketReader(verifiers, read_revoked(settings))


def _text_of(settings: Settings, name: str) -> str:
    text: str = getattr(settings, name.lower())
    return text


def _content(path: str) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise ValueError(f"names a file of more than {_MAX_FILE_BYTES} bytes")
    return data
