"""Tickets: the service accepts those that it issued and refuses all others."""

from __future__ import annotations

import base64
import json
import math
import string
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.triopoll.access.asking import NOW, SECRET, reader, ticket

from triopoll.access.tickets import (
    LEEWAY,
    BadTicket,
    BadVerifier,
    TicketReader,
    issue_ticket,
    public_key_verifier,
    secret_verifier,
)

OTHER = "another-secret-which-is-long-enough-too"


def signed(
    claims: Any, key: Any = SECRET, algorithm: str = "HS256", **headers: Any
) -> str:
    """Return a token with any claims."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    return jwt.PyJWS().encode(payload, key, algorithm=algorithm, headers=headers)


def pem(private: Any) -> bytes:
    public = private.public_key()
    encoded: bytes = public.public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    return encoded


def test_what_was_issued_is_read() -> None:
    """Keys, subject, id and expiry are read as they were given."""
    read = reader().read(ticket("a", "b*", subject="ann", id="7"), NOW)
    assert read.grants.allow("a")
    assert read.grants.allow("bc")
    assert not read.grants.allow("c")
    assert (read.subject, read.id, read.expires) == ("ann", "7", NOW + 60)


def test_a_ticket_gets_an_identifier_of_its_own() -> None:
    """Each ticket has its own id, so it can be revoked alone."""
    first, second = (reader().read(ticket("a"), NOW) for _ in range(2))
    assert first.id
    assert first.id != second.id
    assert first.subject is None


def test_other_libraries_can_issue_tickets() -> None:
    """A ticket is a plain JWT."""
    text = jwt.encode({"exp": NOW + 5, "keys": ["a"]}, SECRET, algorithm="HS256")
    assert reader().read(text, NOW).grants.allow("a")


def test_it_ends_on_the_second() -> None:
    """The expiry has no leeway."""
    text = ticket("a", lifetime=60)
    reader().read(text, NOW + 59.9)
    with pytest.raises(BadTicket) as caught:
        reader().read(text, NOW + 60)
    assert caught.value.code == "ticket_expired"


def test_a_ticket_that_is_shown_again_is_not_taken_on_trust() -> None:
    """The cache stores the claims, not the decision."""
    checker, text = reader(), ticket("a", id="1", lifetime=60)
    first = checker.read(text, NOW)
    assert checker.read(text, NOW) is first
    checker.revoked = frozenset({"1"})
    with pytest.raises(BadTicket, match="revoked"):
        checker.read(text, NOW)
    checker.revoked = frozenset()
    with pytest.raises(BadTicket, match="expired"):
        checker.read(text, NOW + 60)
    assert reader().read(text, NOW) is not first


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_it_begins_with_some_leeway(claim: str) -> None:
    """The beginning has a leeway of seconds, not of minutes."""
    text = signed({"exp": NOW + 600, "keys": ["a"], claim: NOW + 60})
    reader().read(text, NOW + 60 - LEEWAY)
    with pytest.raises(BadTicket) as caught:
        reader().read(text, NOW + 59 - LEEWAY)
    assert caught.value.code == "ticket_not_yet_valid"


def test_a_revoked_ticket_is_refused_from_then_on() -> None:
    """Other tickets of the same subject stay valid."""
    checker = reader()
    text, other = ticket("a", id="1"), ticket("a", id="2")
    checker.read(text, NOW)
    checker.revoked = frozenset({"1"})
    with pytest.raises(BadTicket) as caught:
        checker.read(text, NOW)
    assert caught.value.code == "ticket_revoked"
    checker.read(other, NOW)


def test_secrets_and_public_keys_are_replaced_apart() -> None:
    """What was signed with one that is gone is refused, also if it was read before."""
    private = ed25519.Ed25519PrivateKey.generate()
    by_key = signed({"exp": NOW + 9, "keys": ["a"]}, private, "EdDSA")
    public = public_key_verifier(pem(private))
    tickets = TicketReader([secret_verifier(SECRET), public])
    tickets.read(ticket("a"), NOW)
    tickets.replace_verifiers([secret_verifier(OTHER)], secret=True)
    tickets.read(ticket("a", secret=OTHER), NOW)
    with pytest.raises(BadTicket):
        tickets.read(ticket("a"), NOW)
    tickets.read(by_key, NOW)
    tickets.replace_verifiers([], secret=False)
    with pytest.raises(BadTicket):
        tickets.read(by_key, NOW)
    assert repr(tickets) == "<TicketReader: HS256, 0 revoked>"


def test_two_secrets_are_valid_together() -> None:
    """Tickets that were signed with the old secret stay valid during a rotation."""
    checker = TicketReader([secret_verifier(SECRET), secret_verifier(OTHER)])
    checker.read(ticket("a"), NOW)
    checker.read(ticket("a", secret=OTHER), NOW)
    with pytest.raises(BadTicket):
        TicketReader([secret_verifier(OTHER)]).read(ticket("a"), NOW)


@pytest.mark.parametrize(
    "claims",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b'{"exp":1900000000,"keys":["a"],"exp":1900000000}',
        b'{"exp":1900000000,"keys":["a"],"keys":["*"]}',
        b'{"exp":Infinity,"keys":["a"]}',
        b'{"exp":NaN,"keys":["a"]}',
        b'{"exp":1e999,"keys":["a"]}',
        b'{"exp":1' + b"0" * 2000 + b',"keys":["a"]}',
        b"[" * 1500,
        {"keys": ["a"]},
        {"exp": None, "keys": ["a"]},
        {"exp": "1900000000", "keys": ["a"]},
        {"exp": True, "keys": ["a"]},
        {"exp": [NOW + 9], "keys": ["a"]},
        {"exp": NOW + 9},
        {"exp": NOW + 9, "keys": "a"},
        {"exp": NOW + 9, "keys": {"a": 1}},
        {"exp": NOW + 9, "keys": []},
        {"exp": NOW + 9, "keys": ["a", 1]},
        {"exp": NOW + 9, "keys": ["a", None]},
        {"exp": NOW + 9, "keys": [["a"]]},
        {"exp": NOW + 9, "keys": [""]},
        {"exp": NOW + 9, "keys": ["a*b"]},
        {"exp": NOW + 9, "keys": ["a"] * 65},
        {"exp": NOW + 9, "keys": ["a"], "nbf": "0"},
        {"exp": NOW + 9, "keys": ["a"], "iat": False},
        {"exp": NOW + 9, "keys": ["a"], "sub": 7},
        {"exp": NOW + 9, "keys": ["a"], "sub": ""},
        {"exp": NOW + 9, "keys": ["a"], "sub": "s" * 257},
        {"exp": NOW + 9, "keys": ["a"], "jti": ["x"]},
        {"exp": NOW + 9, "keys": ["a"], "aud": "another service"},
    ],
)
def test_claims_of_another_kind_are_refused(claims: Any) -> None:
    """Claims of a wrong type are refused although the signature is valid."""
    with pytest.raises(BadTicket) as caught:
        reader().read(signed(claims), NOW)
    assert caught.value.code == "ticket_invalid"


def test_no_algorithm_and_no_signature_get_nothing() -> None:
    """The algorithm "none" is refused."""
    claims = {"exp": NOW + 9, "keys": ["*"]}
    none = jwt.encode(claims, None, algorithm="none")
    head, payload, _ = ticket("*").split(".")
    for text in (none, none.rstrip("."), f"{head}.{payload}.", f"{head}.{payload}"):
        with pytest.raises(BadTicket):
            reader().read(text, NOW)


def test_a_signature_has_one_encoding() -> None:
    """The same signature in another encoding is refused, whatever its last bits are."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    for number in range(64):
        good = ticket("a", id=str(number))
        reader().read(good, NOW)
        last = alphabet.index(good[-1])
        same_bytes = {good[:-1] + alphabet[last + unused] for unused in (1, 2, 3)}
        others = {good + "=", good + "==", good + "!", f"{good[:-9]}\n{good[-9:]}"}
        standard = good.replace("-", "+").replace("_", "/")
        for bad in same_bytes | others | ({standard} - {good}):
            with pytest.raises(BadTicket, match="signature"):
                reader().read(bad, NOW)


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm_with_the_right_secret_gets_nothing(algorithm: str) -> None:
    """A secret is valid with exactly one algorithm."""
    claims = {"exp": NOW + 9, "keys": ["a"]}
    with pytest.raises(BadTicket):
        reader().read(signed(claims, SECRET + OTHER + OTHER, algorithm), NOW)
    long = TicketReader([secret_verifier(SECRET + OTHER + OTHER)])
    with pytest.raises(BadTicket):
        long.read(signed(claims, SECRET + OTHER + OTHER, algorithm), NOW)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RS256", "ES256", "EdDSA"])
def test_public_keys(kind: str) -> None:
    """Each type of public key verifies with its one algorithm."""
    private: Any = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }[kind]()
    checker = TicketReader([public_key_verifier(pem(private))])
    claims = {"exp": NOW + 9, "keys": ["a"]}
    assert checker.read(signed(claims, private, kind), NOW).grants.allow("a")
    assert kind in repr(checker)
    with pytest.raises(BadTicket):
        checker.read(signed(claims, SECRET), NOW)
    with pytest.raises(BadTicket):
        checker.read(confused(claims, pem(private)), NOW)


def confused(claims: Any, public: bytes) -> str:
    """Sign with HS256 and a public key as the secret; PyJWT refuses to do this."""
    import hashlib
    import hmac

    def encode(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    header = encode(b'{"alg":"HS256","typ":"JWT"}')
    text = header + b"." + encode(json.dumps(claims).encode())
    signature = hmac.new(public, text, hashlib.sha256).digest()
    return (text + b"." + encode(signature)).decode()


def test_weak_and_wrong_keys_are_refused_at_the_start() -> None:
    """Short secrets and unsupported types of keys are refused."""
    weak = [
        rsa.generate_private_key(65537, 1024),
        ec.generate_private_key(ec.SECP384R1()),
        dsa.generate_private_key(1024),
    ]
    for private in weak:
        with pytest.raises(BadVerifier):
            public_key_verifier(pem(private))
    with pytest.raises(BadVerifier):
        public_key_verifier(b"no key")
    with pytest.raises(BadVerifier, match="32"):
        secret_verifier("x" * 31)
    public = pem(ed25519.Ed25519PrivateKey.generate()).decode()
    with pytest.raises(BadVerifier, match="public"):
        secret_verifier(public)
    assert SECRET not in repr(secret_verifier(SECRET))


def test_what_is_no_ticket_is_refused() -> None:
    """Any text is refused without an error, and long texts at once."""
    nested = base64.urlsafe_b64encode(b"[" * 2000).decode().rstrip("=")
    for text in ("", ".", "..", "a.b.c", "é.é.é", "x" * 10_000, f"{nested}.e30.AA"):
        with pytest.raises(BadTicket):
            reader().read(text, NOW)


@pytest.mark.parametrize("keys", [[], [""], ["a*b"], ["x" * 200] * 30])
def test_a_ticket_that_would_be_refused_is_not_issued(keys: list[str]) -> None:
    """Issuing raises an error for claims that the service would refuse."""
    with pytest.raises(ValueError, match="refused"):
        issue_ticket(SECRET, keys, lifetime=60)


def test_a_ticket_that_cannot_be_made_is_not_issued() -> None:
    """Issuing raises an error for invalid arguments."""
    with pytest.raises(ValueError, match="32"):
        issue_ticket("short", ["a"], lifetime=60)
    for lifetime in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="lifetime"):
            issue_ticket(SECRET, ["a"], lifetime=lifetime)
    with pytest.raises(ValueError, match="sub"):
        issue_ticket(SECRET, ["a"], lifetime=60, subject="")


def test_the_time_is_taken_where_none_is_given() -> None:
    """Without an explicit time, issuing uses the current time."""
    import time

    text = issue_ticket(SECRET, ["a"], lifetime=60)
    left = reader().read(text, time.time()).expires - time.time()
    assert 59 < left <= 61
    assert math.isfinite(left)
