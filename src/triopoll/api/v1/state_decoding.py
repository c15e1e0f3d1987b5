"""Read the requests of `/v1/states`: bytes to what the core is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

from msgspec import Raw, UnsetType
from msgspec.json import Decoder

from ...access import Refusal
from ...asgi.messages import Request
from ...core.state_rules import EXPIRED, Change, NewState
from ...core.state_secrets import digest_of, draw_numbers
from ..validation import (
    MALFORMED,
    BadRequest,
    StrictStruct,
    check_json_value,
    check_names,
    decode,
    decoder_of,
    explain_malformed,
    split_members,
    value_or_none,
)
from .state_schemas import (
    MAX_STATE_DATA_BYTES,
    AckState,
    ChangeState,
    CreateState,
    WaitState,
)

__all__ = [
    "BadSecret",
    "DataTooLong",
    "read_ack",
    "read_change",
    "read_creation",
    "read_key",
    "read_state_wait",
]

_Struct = TypeVar("_Struct", bound=StrictStruct)

_BODY = "the body"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{22}", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)
_SECRET_HEADER = b"triopoll-poll-secret"
_MAX_USER_AGENT = 256


class DataTooLong(BadRequest):
    """The data has more bytes than a state may have."""


class BadSecret(Exception):
    """There is no secret, or there are two."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def read_key(request: Request) -> str:
    """Return the key in the path of a request."""
    return _token("key", request.path_values["key"])


def read_creation(request: Request, address: str | None) -> NewState:
    """Read the body of ``POST /v1/states``."""
    body = _read(_CREATE, request.body)
    numbers, number = draw_numbers() if body.match else (None, None)
    moves = value_or_none(body.moves)
    _check_states("state", (body.state,))
    _check_states("moves", _names_in(moves or {}))
    return NewState(
        state=body.state,
        data=_data(body.data),
        ttl=body.ttl,
        confirm_within=body.confirm_within,
        moves=moves,
        numbers=numbers,
        number=number,
        address=address,
        user_agent=_user_agent(request),
    )


def read_change(request: Request) -> Change:
    """Read the body of ``PUT /v1/states/KEY``."""
    body = _read(_CHANGE, request.body)
    _check_states("state", (body.state,))
    return Change(
        state=body.state,
        data=_data(body.data),
        if_version=value_or_none(body.if_version),
        is_final=body.final,
        ttl=value_or_none(body.ttl),
        choice=value_or_none(body.choice),
    )


def read_state_wait(request: Request) -> tuple[WaitState, bytes]:
    """Read the body of ``POST /v1/states/wait``; return it and the secret's digest."""
    body = _read(_WAIT, request.body)
    _token("key", body.key)
    return body, _digest(request, body.poll_secret)


def read_ack(request: Request) -> tuple[AckState, bytes]:
    """Read the body of ``POST /v1/states/ack``; return it and the secret's digest."""
    body = _read(_ACK, request.body)
    _token("key", body.key)
    return body, _digest(request, body.poll_secret)


def _read(decoder: Decoder[_Struct], text: bytes) -> _Struct:
    try:
        check_names(split_members(text, _BODY), decoder.type, _BODY)
        return decode(decoder, text, _BODY)
    except MALFORMED:
        raise BadRequest(explain_malformed(text)) from None


def _digest(request: Request, given: str | UnsetType) -> bytes:
    """Return the digest of the secret in the header, or in the body."""
    shown = [value for name, value in request.headers if name == _SECRET_HEADER]
    texts = {value.decode("latin-1") for value in shown}
    if not isinstance(given, UnsetType):
        texts.add(given)
    if not texts:
        sentence = "poll_secret is in no header, and not in the body"
        raise BadSecret(Refusal(401, "secret_missing", sentence))
    if len(texts) > 1:
        sentence = "there are two different poll_secrets"
        raise BadSecret(Refusal(401, "secret_ambiguous", sentence))
    return digest_of(_token("poll_secret", texts.pop()))


def _token(field: str, text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise BadRequest(f"{field} is not 22 characters of base64url")
    return text


def _data(data: Raw | UnsetType) -> Raw:
    if isinstance(data, UnsetType):
        return Raw(b"null")
    text = bytes(data)
    if len(text) > MAX_STATE_DATA_BYTES:
        raise DataTooLong(f"data is longer than {MAX_STATE_DATA_BYTES} bytes")
    try:
        check_json_value(text, "data")
    except MALFORMED:
        raise BadRequest(explain_malformed(text, "data")) from None
    # A copy: the other bytes of the body are not kept for it.
    return Raw(text)


def _check_states(field: str, names: Iterable[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise BadRequest(
                f"{field} has {name[:64]!r}, which is not 1 to 64 of the characters "
                "A-Z a-z 0-9 _ . : -"
            )
        if name == EXPIRED:
            raise BadRequest(f"{field} has {EXPIRED!r}, which is reserved")


def _names_in(moves: dict[str, list[str]]) -> Iterator[str]:
    for source, targets in moves.items():
        yield source
        yield from targets


def _user_agent(request: Request) -> str:
    for name, value in request.headers:
        if name == b"user-agent":
            text = value.decode("utf-8", "replace")[:_MAX_USER_AGENT]
            return "".join(c if c.isprintable() else "\ufffd" for c in text)
    return ""


_CREATE, _CHANGE = decoder_of(CreateState), decoder_of(ChangeState)
_WAIT, _ACK = decoder_of(WaitState), decoder_of(AckState)
