"""``/v1/states``: create a state, wait for it, acknowledge it, change it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial

import trio
from msgspec import UNSET, UnsetType

from ...access.limits import RateLimiter
from ...access.refusals import Refusal
from ...asgi.messages import UNCACHED, UNCACHED_JSON, Request, Response, Routes
from ...core.outcomes import Failure
from ...core.state_rules import BadChoice, Conflict, StateRefusal, StateView
from ...core.state_secrets import digest_of, new_token
from ...services import Services
from ..refusals import format_v1
from ..validation import BadRequest, StrictStruct
from .responses import SPREAD_MS, failure_response, shortened
from .serializers import ErrorResponse, encode
from .state_decoding import (
    BadSecret,
    DataTooLong,
    read_ack,
    read_change,
    read_creation,
    read_key,
    read_state_wait,
)
from .state_schemas import (
    ChangedResponse,
    ConflictResponse,
    CreatedResponse,
    OriginResponse,
    StateResponse,
)

__all__ = ["state_routes"]

# A wait that is answered unchanged this early (seconds) has not waited. So many of them
# a second and at once are answered; the rest with 429.
_NO_WAIT = 1.0
_NO_WAITS_PER_SECOND, _NO_WAITS_AT_ONCE = 1.0, 10

_REFUSED = {
    StateRefusal.UNKNOWN: (404, "the key is unknown, or the secret is another one"),
    StateRefusal.GONE: (410, "the state has been acknowledged"),
}


def state_routes(services: Services) -> Routes:
    """Return the endpoints of `/v1/states`.

    Args:
        services: What the endpoints use.
    """
    endpoints = _StateEndpoints(services)
    return {
        "/v1/states": {"POST": partial(endpoints.answer, endpoints.create)},
        "/v1/states/wait": {"POST": partial(endpoints.answer, endpoints.wait)},
        "/v1/states/ack": {"POST": partial(endpoints.answer, endpoints.acknowledge)},
        "/v1/states/{key}": {"PUT": partial(endpoints.answer, endpoints.change)},
        "/v1/states/{key}/origin": {"GET": partial(endpoints.answer, endpoints.origin)},
    }


class _StateEndpoints:
    """The endpoints, and the clients that poll without waiting."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._states = services.states
        self._access = services.access
        self._no_waits = RateLimiter(_NO_WAITS_PER_SECOND, _NO_WAITS_AT_ONCE)

    async def answer(
        self, endpoint: Callable[[Request], Awaitable[Response]], request: Request
    ) -> Response:
        try:
            return await endpoint(request)
        except BadSecret as error:
            return self._access.refuse(error.refusal, format_v1)
        except DataTooLong as error:
            return _respond(ErrorResponse("data_too_long", str(error)), 413)
        except BadRequest as error:
            return _respond(ErrorResponse("bad_request", str(error)), 400)

    async def create(self, request: Request) -> Response:
        address = self._access.visitor(request).address
        new = read_creation(request, address)
        key, secret = new_token(), new_token()
        granted = _granted_as(key)
        admitted = self._access.admit_state_creator(request, granted, format_v1)
        if isinstance(admitted, Response):
            return admitted
        created = await self._states.create(key, digest_of(secret), new)
        if isinstance(created, Failure):
            return failure_response(created)
        body = CreatedResponse(
            key=key,
            poll_secret=secret,
            version=created.record.version,
            state=created.record.state,
            expires_in=_seconds(created),
            numbers=_numbers(created),
        )
        return _respond(body, 201)

    async def wait(self, request: Request) -> Response:
        body, digest = read_state_wait(request)
        settings = self._services.settings
        seconds = settings.v1_default_timeout
        if not isinstance(body.timeout, UnsetType):
            seconds = min(body.timeout, settings.v1_max_timeout)
        seconds = shortened(seconds)
        since = trio.current_time()
        found = await self._states.wait(body.key, digest, body.version, seconds)
        if not isinstance(found, StateView):
            return self._refuse(found)
        draining = self._services.drain.released
        is_early = trio.current_time() - since < _NO_WAIT
        if found.record.version == body.version and is_early and not draining:
            # Counted for those who know the secret: the key alone is in a QR code,
            # and who reads that must not be able to stop the page.
            client = f"{body.key} {digest.hex()}"
            if wait := self._no_waits.take(client, trio.current_time()):
                return self._access.refuse(_too_fast(wait), format_v1)
        retry_ms = random.randint(0, SPREAD_MS) if draining else UNSET
        response = _respond(_state_response(found, retry_ms), 200)
        response.woken = found.woken
        return response

    async def acknowledge(self, request: Request) -> Response:
        body, digest = read_ack(request)
        refused = await self._states.acknowledge(body.key, digest, body.version)
        if refused is None:
            return Response(b"", 204, UNCACHED)
        return self._refuse(refused)

    async def change(self, request: Request) -> Response:
        key = read_key(request)
        change = read_change(request)
        admitted = self._access.admit_publisher(request, (_granted_as(key),), format_v1)
        if isinstance(admitted, Response):
            return admitted
        changed = await self._states.change(key, change)
        if not isinstance(changed, StateView):
            return self._refuse(changed)
        number = UNSET if changed.number is None else changed.number
        body = ChangedResponse(
            key=key,
            state=changed.record.state,
            version=changed.record.version,
            final=changed.record.is_final,
            expires_in=_seconds(changed),
            number=number,
        )
        return _respond(body, 200)

    async def origin(self, request: Request) -> Response:
        key = read_key(request)
        admitted = self._access.admit_publisher(request, (_granted_as(key),), format_v1)
        if isinstance(admitted, Response):
            return admitted
        found = await self._states.origin(key)
        if isinstance(found, (StateRefusal, Failure)):
            return self._refuse(found)
        body = OriginResponse(
            address=found.record.address,
            user_agent=found.record.user_agent,
            created_at=round(found.created_at, 3),
            age=round(found.age, 3),
            state=found.record.state,
            version=found.record.version,
        )
        return _respond(body, 200)

    def _refuse(
        self, refused: StateRefusal | Conflict | BadChoice | Failure
    ) -> Response:
        match refused:
            case Failure():
                return failure_response(refused)
            case BadChoice():
                raise BadRequest(refused.value)
            case Conflict():
                is_mismatch = refused.replacement is not None
                body = ConflictResponse(
                    code="mismatch" if is_mismatch else "conflict",
                    message=refused.reason,
                    state=refused.state,
                    version=refused.version,
                )
                return _respond(body, 409)
            case StateRefusal():
                status, message = _REFUSED[refused]
                return _respond(ErrorResponse(refused.value, message), status)


def _granted_as(key: str) -> str:
    """Return the name by which a publisher's key grants a state."""
    return f"state:{key}"


def _state_response(found: StateView, retry_ms: int | UnsetType) -> StateResponse:
    record = found.record
    return StateResponse(
        state=record.state,
        data=record.data,
        version=record.version,
        final=record.is_final,
        expires_in=_seconds(found),
        numbers=_numbers(found),
        retry_ms=retry_ms,
    )


def _seconds(found: StateView) -> float:
    return round(found.expires_in, 3)


def _numbers(found: StateView) -> list[int] | UnsetType:
    return UNSET if found.record.numbers is None else list(found.record.numbers)


def _too_fast(seconds: int) -> Refusal:
    message = "wait for the state with a timeout, not in a loop"
    return Refusal(429, "limit", message, "state_polls", seconds)


def _respond(body: StrictStruct, status: int) -> Response:
    return Response(encode(body), status, UNCACHED_JSON)
