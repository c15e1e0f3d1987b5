"""More than a thousand requests that must be refused.

Each differs from a valid request in one respect. They are built for the time at which
they are tried, so that they can be sent to a server as well as to an access check.

The valid requests are here too, because a service that refuses everything would pass
otherwise.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from triopoll.access import Keyring, TicketReader, entry_for
from triopoll.access.tickets import public_key_verifier, secret_verifier
from trioslock.protocol import to_key

SECRET = "a-secret-of-a-thousand-variants-0123456789"
NEW_SECRET = "another-secret-of-a-thousand-variants-98765"
API_KEY = "Zm9yLXRlc3RzLW9ubHktbm90LWEtcmVhbC1hcGkta2V5"
COOKIE = "triopoll_ticket"
REVOKED = "revoked-ticket"

# Keys that the valid requests may name, and keys of another owner.
MINE, MINE_PREFIX = "tenant1/mine", "tenant1/*"
OTHERS = "tenant2/orders"

_PRIVATE = ed25519.Ed25519PrivateKey.from_private_bytes(b"\7" * 32)
_PEM = _PRIVATE.public_key().public_bytes(
    Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
)


@dataclass(frozen=True)
class Variant:
    """One request.

    Attributes:
        name: What is wrong with it.
        key: The key that it asks for.
        query: Parameters besides the key, percent-encoded.
        headers: Without those that each request has.
    """

    name: str
    key: str = MINE
    query: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=())


def configured_tickets() -> TicketReader:
    return TicketReader(
        [
            secret_verifier(SECRET),
            secret_verifier(NEW_SECRET),
            public_key_verifier(_PEM),
        ],
        [REVOKED],
    )


def configured_keys() -> Keyring:
    return Keyring([entry_for("tenant1", API_KEY, [MINE_PREFIX])])


def settings() -> dict[str, str]:
    """Return the same for a server's environment, without the public key."""
    return {
        "ticket_secrets": f"{SECRET} {NEW_SECRET}",
        "revoked_tickets": REVOKED,
        "publish_keys": entry_for("tenant1", API_KEY, [MINE_PREFIX]),
    }


def good_subscribers(now: float) -> Iterator[Variant]:
    yield bearing("new secret", token(now, secret=NEW_SECRET))
    yield bearing("header", token(now))
    yield Variant("parameter", query=urlencode({"ticket": token(now)}))
    yield Variant("cookie", headers=(("cookie", f"{COOKIE}={token(now)}"),))
    yield bearing("prefix", token(now, keys=[MINE_PREFIX]), "tenant1/../tenant1/x")


def bad_subscribers(now: float) -> Iterator[Variant]:
    yield from _altered(token(now))
    yield from _other_keys(now)
    yield from _other_secrets(now)
    yield from _other_algorithms(now)
    yield from _other_times(now)
    yield from _other_claims(now)
    yield from _revoked(now)
    yield from _places(now)
    yield from _sizes(now)


def good_publishers() -> Iterator[Variant]:
    yield bearing("key", API_KEY)
    yield bearing("prefix", API_KEY, "tenant1/")


def bad_publishers(now: float) -> Iterator[Variant]:
    for number, text in enumerate(_alterations(API_KEY)):
        yield bearing(f"altered {number}", text)
    for number, key in enumerate(tricks()):
        yield bearing(f"other key {number}", API_KEY, key)
    entry = entry_for("tenant1", API_KEY, [MINE_PREFIX])
    for name, text in [
        ("nothing", ""),
        ("ticket", token(now)),
        ("entry", entry),
        ("digest", entry.split(":")[1]),
        ("digest in capitals", entry.split(":")[1].upper()),
        ("name", "tenant1"),
        ("twice", f"{API_KEY} {API_KEY}"),
        ("list", f"{API_KEY},{API_KEY}"),
        ("long", API_KEY * 100),
        ("wildcard", "*"),
        ("zero byte", API_KEY + "\0"),
        ("capitals", API_KEY.swapcase()),
    ]:
        yield bearing(name, text)
    basic = base64.b64encode(f"tenant1:{API_KEY}".encode()).decode()
    for scheme in ("Basic " + basic, API_KEY, "Token " + API_KEY, "Digest " + API_KEY):
        yield Variant(f"as {scheme[:6]}", headers=(("authorization", scheme),))
    for name in ("key", "api_key", "ticket", "authorization", "token"):
        yield Variant(f"parameter {name}", query=urlencode({name: API_KEY}))
    for name in ("x-api-key", "cookie", "x-forwarded-for", "proxy-authorization"):
        yield Variant(f"header {name}", headers=((name, API_KEY),))
    yield Variant("cookie", headers=(("cookie", f"{COOKIE}={API_KEY}"),))
    both = (
        ("authorization", "Bearer wrong"),
        ("authorization", f"Bearer {API_KEY}"),
    )
    yield Variant("two headers", headers=both)
    yield Variant("two headers, turned", headers=both[::-1])


def tricks() -> list[str]:
    """Return names that MINE_PREFIX seems to cover and must not cover."""
    digest = to_key(OTHERS).hex()
    names = [
        OTHERS,
        "",
        "*",
        "t*",
        "tenant1",
        "tenant10/x",
        "tenant1\\mine",
        "tenant1 /mine",
        " tenant1/mine",
        "\ttenant1/mine",
        "Tenant1/mine",
        "TENANT1/MINE",
        "tenant\u0661/mine",
        "tenant\u00b9/mine",
        "tenant\uff11/mine",
        "\uff54enant1/mine",
        "tenant1\u2044mine",
        "tenant1\uff0fmine",
        "tenant1%2fmine",
        "tenant1%2Fmine",
        "tenant1%252Fmine",
        "%74enant1/mine",
        "tenant1&#47;mine",
        "t\u0435nant1/mine",
        "tena\u0301nt1/mine",
        "tenant\u200b1/mine",
        "\ufefftenant1/mine",
        "\u202etenant1/mine",
        "tenant1\0/mine",
        "\0tenant1/mine",
        "tenant1/\0",
        "tenant1/mine\0",
        "./tenant1/mine",
        "/tenant1/mine",
        "//tenant1/mine",
        "tenant2/../tenant1/mine",
        "../tenant1/mine",
        "x/tenant1/mine",
        "triopoll:log:tenant1/mine",
        "tenant1,tenant1/mine",
        "tenant1:tenant1/mine",
        "['tenant1/mine']",
        digest,
        digest.upper(),
        to_key(MINE).hex(),
        "tenant2/tenant1/",
        "\r\ntenant1/",
        "tenant1;/mine",
        "tenant1?/mine",
        "tenant1#/mine",
    ]
    return names + [name for other in _neighbours("tenant1/") for name in other]


def _neighbours(prefix: str) -> Iterator[tuple[str, str]]:
    """Return names whose first characters differ in one place."""
    for index, char in enumerate(prefix):
        for other in {chr(ord(char) + 1), chr(ord(char) - 1), char.upper()} - {char}:
            changed = prefix[:index] + other + prefix[index + 1 :]
            yield changed, changed + "mine"


def bearing(name: str, text: str, key: str = MINE) -> Variant:
    return Variant(name, key, headers=(("authorization", f"Bearer {text}"),))


def token(now: float, *, secret: str = SECRET, **claims: Any) -> str:
    """Return a valid ticket with the given changes; a claim of None is left out."""
    given = {"exp": now + 3600, "keys": [MINE], "sub": "ann"} | claims
    payload = {name: value for name, value in given.items() if value is not None}
    return sign(json.dumps(payload).encode(), {"alg": "HS256"}, secret.encode())


def sign(
    payload: bytes, header: dict[str, Any], key: bytes, digest: str = "sha256"
) -> str:
    """Sign a token without a library, since libraries refuse most of these."""
    text = f"{_encode(json.dumps(header).encode())}.{_encode(payload)}"
    return f"{text}.{_encode(hmac.new(key, text.encode(), digest).digest())}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _altered(good: str) -> Iterator[Variant]:
    for number, text in enumerate(_alterations(good)):
        yield bearing(f"altered {number}", text)
    head, payload, signature = good.split(".")
    for name, text in [
        ("no signature", f"{head}.{payload}."),
        ("two parts", f"{head}.{payload}"),
        ("four parts", f"{good}.{signature}"),
        ("empty head", f".{payload}.{signature}"),
        ("empty payload", f"{head}..{signature}"),
        ("parts turned", f"{signature}.{payload}.{head}"),
        ("space inside", f"{head}. {payload}.{signature}"),
        ("quoted", f'"{good}"'),
        ("percent-encoded", quote(good).replace(".", "%2E")),
        ("another payload", f"{head}.{_encode(b'{}')}.{signature}"),
        ("standard alphabet", good[:-2] + "+/"),
    ]:
        yield bearing(name, text)


def _alterations(text: str) -> Iterator[str]:
    """Return the text with each character changed, and cut at each length."""
    for index, char in enumerate(text):
        other = "A" if char != "A" else "B"
        yield text[:index] + other + text[index + 1 :]
        yield text[:index]


def _other_keys(now: float) -> Iterator[Variant]:
    prefix = token(now, keys=[MINE_PREFIX])
    for number, key in enumerate(tricks()):
        yield bearing(f"prefix against {number}", prefix, key)
    exact = token(now)
    for number, key in enumerate((*tricks(), "tenant1/min", MINE + "/", MINE + "2")):
        yield bearing(f"name against {number}", exact, key)
    for keys in (
        ["tenant1/*/x"],
        ["*/mine"],
        ["tenant?/*"],
        ["tenant[1]/*"],
        ["tenant1/m*ne"],
        ["**"],
        [".*"],
        ["tenant1/mine", ""],
        ["tenant1/mine", "x*y"],
        ["tenant1/.*"],
        ["tenant1%2F*"],
    ):
        yield bearing(f"patterns {keys}", token(now, keys=keys))


def _other_secrets(now: float) -> Iterator[Variant]:
    secrets = [
        "",
        "secret",
        "changeme",
        SECRET.upper(),
        SECRET[::-1],
        SECRET + "\n",
        " " + SECRET,
        f"{SECRET} {NEW_SECRET}",
        hashlib.sha256(SECRET.encode()).hexdigest(),
        base64.b64encode(SECRET.encode()).decode(),
        API_KEY,
        "tenant1",
        "None",
        "null",
        _PEM.decode(),
        _PEM.decode().strip(),
        *(SECRET[:length] for length in range(1, len(SECRET))),
    ]
    for number, secret in enumerate(secrets):
        yield bearing(f"secret {number}", token(now, secret=secret))


def _other_algorithms(now: float) -> Iterator[Variant]:
    payload = json.dumps({"exp": now + 3600, "keys": [MINE]}).encode()
    body = _encode(payload)
    for name in ("none", "None", "NONE", "nOnE", "", "null", "HS256 ", "hs256"):
        head = _encode(json.dumps({"alg": name}).encode())
        yield bearing(f"alg {name!r}", f"{head}.{body}.")
        yield bearing(f"alg {name!r}, a dot less", f"{head}.{body}")
        text = sign(payload, {"alg": name}, SECRET.encode())
        yield bearing(f"alg {name!r}, signed", text)
    for name, digest in [("HS384", "sha384"), ("HS512", "sha512")]:
        text = sign(payload, {"alg": name}, SECRET.encode(), digest)
        yield bearing(name, text)
    for name in ("RS256", "ES256", "EdDSA", "PS256", "ES256K", "dir", "A128KW"):
        text = sign(payload, {"alg": name}, SECRET.encode())
        yield bearing(f"{name} with the secret", text)
        yield bearing(f"{name} by the public key", sign(payload, {"alg": name}, _PEM))
    for key in (_PEM, _PEM.strip(), _PRIVATE.public_key().public_bytes_raw()):
        yield bearing("HS256 by the public key", sign(payload, {"alg": "HS256"}, key))
    headers: list[dict[str, Any]] = [
        {},
        {"alg": None},
        {"alg": ["HS256"]},
        {"alg": {"HS256": 1}},
        {"alg": 0},
        {"alg": "HS256", "kid": "../../dev/null"},
        {"alg": "HS256", "kid": "' OR 1=1"},
        {"alg": "HS256", "jku": "https://evil.example/keys"},
        {"alg": "HS256", "x5u": "https://evil.example/cert"},
        {"alg": "HS256", "jwk": {"kty": "oct", "k": _encode(b"evil" * 8)}},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "zip": "DEF"},
    ]
    for header in headers:
        yield bearing(f"header {header}", sign(payload, header, b"evil" * 8))


def _other_times(now: float) -> Iterator[Variant]:
    for ago in (0, 1, 9, 10, 11, 30, 60, 600, 3600, 86400, now - 1, now, 2 * now):
        yield bearing(f"ended {ago:g} s ago", token(now, exp=now - ago))
    for later in (60, 600, 3600, 86400, 10 * now):
        for claim in ("nbf", "iat"):
            text = token(now, exp=now + 2 * later, **{claim: now + later})
            yield bearing(f"{claim} in {later:g} s", text)
    for value in ("9999999999", "", [], {}, True, False, float("inf"), float("nan")):
        for claim in ("exp", "nbf", "iat"):
            yield bearing(f"{claim} is {value!r}", token(now, **{claim: value}))
    yield bearing("never ends", token(now, exp=None))


def _other_claims(now: float) -> Iterator[Variant]:
    keys: list[Any] = [
        None, "", MINE, [], {}, {MINE: True}, [[MINE]], [MINE, 1], [None], [True],
        0, True, [""], ["x" * 300], [MINE] * 65,
    ]  # fmt: skip
    for value in keys:
        yield bearing(f"keys {value!r:.40}", token(now, keys=value))
    for name in ("key", "Keys", "scope", "events", "mercure", "keys "):
        yield bearing(f"claim {name!r}", token(now, keys=None, **{name: [MINE]}))
    for name in ("sub", "jti"):
        for value in ("", "x" * 257, 1, [], {}, True):
            yield bearing(f"{name} {value!r:.20}", token(now, **{name: value}))
    for value in ("triopoll", ["triopoll"], "", 1):
        yield bearing(f"aud {value!r}", token(now, aud=value))
    end = int(now) + 3600
    for text in (
        "",
        "null",
        "[]",
        "1",
        f'"{MINE}"',
        "{",
        f'{{"exp":{end},"keys":["{MINE}"]}}x',
        f'{{"exp":{end},"keys":["{OTHERS}"],"keys":["{MINE}"]}}',
        f'{{"exp":1,"keys":["{MINE}"],"exp":{end}}}',
        f"{{'exp':{end},'keys':['{MINE}']}}",
        "[" * 1000,
    ):
        text_token = sign(text.encode(), {"alg": "HS256"}, SECRET.encode())
        yield bearing(f"payload {text[:30]}", text_token)


def _revoked(now: float) -> Iterator[Variant]:
    """Return the revoked id by each way, and in other encodings of the ticket."""
    for secret in (SECRET, NEW_SECRET):
        for keys in ([MINE], [MINE_PREFIX], ["*"]):
            for lifetime in (10, 3600, 10**6):
                claims = {"jti": REVOKED, "keys": keys, "exp": now + lifetime}
                text = token(now, secret=secret, **claims)
                yield bearing("revoked, header", text)
                yield bearing("revoked, padded", text + "=")
                yield bearing("revoked, padded twice", text + "==")
                yield Variant("revoked, parameter", query=urlencode({"ticket": text}))
                cookie = f"{COOKIE}={text}"
                yield Variant("revoked, cookie", headers=(("cookie", cookie),))


def _places(now: float) -> Iterator[Variant]:
    good, other = token(now), token(now, sub="bob")
    expired = token(now, exp=now - 60)

    def header(text: str) -> tuple[str, str]:
        return ("authorization", f"Bearer {text}")

    def cookie(text: str) -> tuple[str, str]:
        return ("cookie", f"{COOKIE}={text}")

    yield Variant("no ticket")
    yield Variant("empty parameter", query="ticket=")
    for bad in (other, expired, "x", API_KEY):
        for first, second in ((good, bad), (bad, good)):
            parameter = urlencode({"ticket": first})
            yield Variant(
                "parameter, header", query=parameter, headers=(header(second),)
            )
            yield Variant(
                "parameter, cookie", query=parameter, headers=(cookie(second),)
            )
            yield Variant("header, cookie", headers=(header(first), cookie(second)))
            yield Variant("two headers", headers=(header(first), header(second)))
            yield Variant("two cookies", headers=(cookie(first), cookie(second)))
            yield Variant(
                "two in one cookie",
                headers=(("cookie", f"{COOKIE}={first}; {COOKIE}={second}"),),
            )
            yield Variant(
                "two parameters", query=f"{parameter}&{urlencode({'ticket': second})}"
            )
    for scheme in ("Basic", "Token", "JWT", "Digest", "Bearer:", "Bear", ""):
        yield Variant(f"as {scheme}", headers=(("authorization", f"{scheme} {good}"),))
    for name in ("Ticket", "TICKET", "ticket[]", "token", "access_token", "jwt", "t"):
        yield Variant(f"parameter {name}", query=urlencode({name: good}))
    for name in ("x-ticket", "ticket", "x-authorization", "proxy-authorization"):
        yield Variant(f"header {name}", headers=((name, good),))
    for name in (COOKIE.upper(), COOKIE + "s", "x" + COOKIE, "ticket", "$" + COOKIE):
        yield Variant(f"cookie {name}", headers=(("cookie", f"{name}={good}"),))
    for sign_of_page in (
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1.evil.example"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ):
        yield Variant("from another page", headers=(cookie(good), sign_of_page))
    for name in ("x-forwarded-for", "x-real-ip", "forwarded", "x-remote-user"):
        for value in ("127.0.0.1", "::1", "for=127.0.0.1", "admin"):
            yield Variant(f"{name}: {value}", headers=((name, value),))


def _sizes(now: float) -> Iterator[Variant]:
    for length in (4000, 4097, 5000, 6000):
        yield bearing(f"{length} bytes", token(now, more="x" * length))
        yield Variant(
            f"{length} bytes, parameter",
            query=urlencode({"ticket": token(now, more="x" * length)}),
        )
        yield bearing(f"{length} bytes of nothing", "x" * length)
        yield bearing(f"{length} dots", "." * length)
