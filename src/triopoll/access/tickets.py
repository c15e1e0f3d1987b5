"""Subscribers' tickets: JSON Web Tokens that name the keys that may be waited for.

A web application signs a ticket, the subscriber shows it, and it is checked here
without a call to another service. PyJWT checks the signature. The claims are parsed
here, because the time is an argument, and because a claim that is not exactly as
documented is refused: a guess at a claim of another type could grant more than the
signer meant.

A verifier is a key *with* its algorithm. The algorithm in the token's header is only
compared to it, so neither ``none`` nor a public key used as a secret is accepted.
"""

from __future__ import annotations

import base64
import json
import math
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from .patterns import BadPattern, Grants, grants_from

__all__ = [
    "BadTicket",
    "BadVerifier",
    "Ticket",
    "TicketReader",
    "Verifier",
    "issue_ticket",
    "public_key_verifier",
    "secret_verifier",
]

MAX_TICKET_LENGTH = 4096
MIN_SECRET_BYTES = 32
MIN_RSA_BITS = 2048
# For clocks that differ. It does not apply to the expiry: that would be a longer
# ticket.
LEEWAY = 10.0
_MAX_ID_LENGTH = 256
# Tickets whose signature is not checked again; 16 MiB if each has the greatest length.
_KEPT = 4096

_BY_SECRET = "HS256"
_JWS = jwt.PyJWS()


class BadTicket(Exception):
    """A ticket is refused.

    Attributes:
        code: One word for programs.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class BadVerifier(ValueError):
    """A secret or public key cannot be used; the message does not repeat it."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """The claims of a ticket whose signature has been checked.

    Attributes:
        grants: The keys that may be waited for.
        expires: When it ends, in Unix seconds.
        subject: Limits and sessions are counted by it; None if it has none.
        id: Identifier by which it is revoked.
        not_before: When it becomes valid, in Unix seconds.
    """

    grants: Grants
    expires: float
    subject: str | None
    id: str | None
    not_before: float = -math.inf


@dataclass(frozen=True, slots=True)
class Verifier:
    """A key and the one algorithm that it is used with."""

    algorithm: str
    key: Any = field(repr=False)

    @property
    def is_secret(self) -> bool:
        """Return whether the key also signs."""
        return self.algorithm == _BY_SECRET


class TicketReader:
    """Check tickets.

    Attributes:
        revoked: Identifiers (``jti``) of tickets that are refused; replace the set
            to change it.
    """

    def __init__(
        self, verifiers: Sequence[Verifier], revoked: Iterable[str] = ()
    ) -> None:
        self._verifiers = tuple(verifiers)
        self.revoked = frozenset(revoked)
        # A page shows its ticket with every poll. Only tickets with a valid signature
        # are cached: others raise.
        self._signed = lru_cache(maxsize=_KEPT)(self._read_signed)

    def __repr__(self) -> str:
        algorithms = ", ".join(verifier.algorithm for verifier in self._verifiers)
        return f"<TicketReader: {algorithms}, {len(self.revoked)} revoked>"

    def replace_verifiers(self, verifiers: Iterable[Verifier], *, secret: bool) -> None:
        """Replace the secrets or the public keys, and keep the others.

        Args:
            verifiers: The new ones.
            secret: Whether they are secrets.
        """
        kept = [each for each in self._verifiers if each.is_secret != secret]
        self._verifiers = (*kept, *verifiers)
        # Their signatures may be those of a key that is gone.
        self._signed.cache_clear()

    def read(self, text: str, now: float) -> Ticket:
        """Check a ticket and return its claims.

        Args:
            text: The ticket as received.
            now: Unix seconds.

        Raises:
            BadTicket: Its signature is not known, or it is not valid now.
        """
        if len(text) > MAX_TICKET_LENGTH or not text.isascii():
            raise _invalid("the ticket is too long or not a JSON Web Token")
        ticket = self._signed(text)
        if ticket.expires <= now:
            raise BadTicket("ticket_expired", "the ticket has expired")
        if ticket.not_before > now + LEEWAY:
            raise BadTicket("ticket_not_yet_valid", "the ticket is not valid yet")
        if ticket.id is not None and ticket.id in self.revoked:
            raise BadTicket("ticket_revoked", "the ticket has been revoked")
        return ticket

    def _read_signed(self, text: str) -> Ticket:
        if not _is_base64url(text.rpartition(".")[2]):
            raise _invalid("the ticket's signature is not valid")
        return _claims(self._payload(text))

    def _payload(self, text: str) -> bytes:
        for verifier in self._verifiers:
            try:
                return cast(
                    "bytes",
                    _JWS.decode(text, verifier.key, algorithms=[verifier.algorithm]),
                )
            except (jwt.PyJWTError, ValueError, RecursionError):
                # The response does not say which check failed: that helps attackers.
                continue
        raise _invalid("the ticket's signature is not valid")


def secret_verifier(secret: str) -> Verifier:
    """Return the verifier of tickets that are signed with a shared secret (HS256).

    Raises:
        BadVerifier: The secret is too short, or looks like a key of another kind.
    """
    key = secret.encode()
    if len(key) < MIN_SECRET_BYTES:
        raise BadVerifier(f"has a secret of less than {MIN_SECRET_BYTES} bytes")
    try:
        _JWS.encode(b"", key, algorithm=_BY_SECRET)
    except jwt.PyJWTError:
        raise BadVerifier("has a secret that looks like a public key") from None
    return Verifier(_BY_SECRET, key)


def public_key_verifier(pem: bytes) -> Verifier:
    """Return the verifier of tickets that are signed with a private key.

    The algorithm follows from the key: RS256 for RSA, ES256 for the curve P-256, EdDSA
    for Ed25519.

    Raises:
        BadVerifier: It is not such a public key, or a weak one.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadVerifier("has a file that is not a public key in PEM") from None
    if isinstance(key, rsa.RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return Verifier("RS256", key)
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp256r1":
        return Verifier("ES256", key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Verifier("EdDSA", key)
    raise BadVerifier(
        f"has a public key that is not RSA from {MIN_RSA_BITS} bits on, P-256 or "
        "Ed25519"
    )


def issue_ticket(
    secret: str,
    keys: Sequence[str],
    *,
    lifetime: float,
    subject: str | None = None,
    id: str | None = None,  # noqa: A002 - the claim's own name
    now: float | None = None,
) -> str:
    """Sign a ticket. For web applications; any JWT library can do the same.

    Args:
        secret: One of those that triopoll is configured with, at least 32 bytes.
        keys: Names, or patterns with a ``*`` at the end.
        lifetime: Seconds until it ends; a parked wait ends with it.
        subject: Limits and sessions are counted by it.
        id: Identifier by which it can be revoked. Default: a random one.
        now: Unix seconds; default: the current time.

    Returns:
        The ticket, ASCII text.

    Raises:
        ValueError: The ticket would be refused, or the secret cannot be used.
    """
    if not 0 < lifetime < math.inf:
        raise ValueError(f"lifetime must be a number of seconds, not {lifetime}")
    begin = time.time() if now is None else now
    claims: dict[str, object] = {
        "exp": math.ceil(begin + lifetime),
        "iat": math.floor(begin),
        "jti": secrets.token_urlsafe(12) if id is None else id,
        "keys": list(keys),
    }
    if subject is not None:
        claims["sub"] = subject
    payload = json.dumps(claims, separators=(",", ":")).encode()
    verifier = secret_verifier(secret)
    text = _JWS.encode(payload, verifier.key, algorithm=verifier.algorithm)
    try:
        TicketReader([verifier]).read(text, begin)
    except BadTicket as error:
        raise ValueError(f"this would be refused: {error}") from None
    return text


def _is_base64url(text: str) -> bool:
    """Report whether it is the one encoding of its bytes that RFC 7515 allows.

    PyJWT also accepts padding and other values of the unused bits, and older releases
    skip characters of no alphabet: many texts would be the same ticket.
    """
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return False
    return base64.urlsafe_b64encode(data).rstrip(b"=") == text.encode()


def _claims(payload: bytes) -> Ticket:
    try:
        claims = json.loads(payload, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _invalid("the ticket's claims are not a JSON object") from None
    if not isinstance(claims, dict):
        raise _invalid("the ticket's claims are not a JSON object")
    given = cast("dict[str, object]", claims)
    if "aud" in given:
        raise _invalid("the ticket is for another audience")
    begins = [_moment(given, name) for name in ("nbf", "iat") if name in given]
    return Ticket(
        grants=_grants(given.get("keys")),
        expires=_moment(given, "exp"),
        subject=_text(given, "sub"),
        id=_text(given, "jti"),
        not_before=max(begins, default=-math.inf),
    )


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _moment(claims: dict[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _invalid(f"the ticket's {name} is not a number")
    try:
        moment = float(value)
    except OverflowError:
        moment = math.inf
    if not math.isfinite(moment):
        raise _invalid(f"the ticket's {name} is not a time")
    return moment


def _text(claims: dict[str, object], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_ID_LENGTH:
        raise _invalid(
            f"the ticket's {name} is not text of 1 to {_MAX_ID_LENGTH} characters"
        )
    return value


def _grants(keys: object) -> Grants:
    if not isinstance(keys, list):
        raise _invalid("the ticket has no list of keys")
    patterns = cast("list[object]", keys)
    texts = [pattern for pattern in patterns if isinstance(pattern, str)]
    if len(texts) != len(patterns):
        raise _invalid("the ticket's keys are not all text")
    try:
        return grants_from(texts)
    except BadPattern as error:
        raise _invalid(f"the ticket {error}") from None


def _invalid(message: str) -> BadTicket:
    return BadTicket("ticket_invalid", message)
