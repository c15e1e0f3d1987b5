"""What an application's backend does for its pages, for those of the demo.

Each key that the demo makes has a *link*: a state under a name that no client can send,
and that no secret opens. It shows that the demo has made the key, and knows which phone
has scanned a login. So the demo changes no other key, and keeps nothing in the process:
a login survives a restart if states are in Redis.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec
import trio

from ..access import issue_ticket
from ..access.configuration import signing_secret
from ..asgi.messages import Request
from ..core.outcomes import Failure
from ..core.publisher import Draft, Unpublished
from ..core.state_rules import (
    BadChoice,
    Change,
    Conflict,
    NewState,
    StateRefusal,
    StateView,
)
from ..core.state_secrets import digest_of, draw_numbers, new_token
from ..services import Services
from ..store import FoundState, NewMessage

__all__ = ["JOBS", "DemoBackend", "DemoRefused", "Requester"]

# Keys of messages: each inbox, and the jobs for workers.
INBOX = "triopoll-demo:inbox:"
JOBS = "triopoll-demo:jobs"

_LOGIN_SECONDS = 180.0
_CONFIRM_SECONDS = 120.0
_JOB_SECONDS = 600.0
_ROOM_SECONDS = 6 * 3600.0
_TICKET_SECONDS = 900.0
_MAX_AGENT = 200
_MOVES = {
    "pending": ["scanned"],
    "scanned": ["approved", "rejected"],
    "approved": ["confirmed", "rejected"],
}
_USER = "Ada Lovelace"
_STEP_SECONDS = 0.3

_Job: TypeAlias = Callable[[], Awaitable[None]]


class DemoRefused(Exception):
    """A request that the demo does not serve.

    Attributes:
        status: HTTP status.
        code: As in the errors of `/v1`.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks for a key.

    Attributes:
        request: The request.
        user_agent: What its client calls itself.
    """

    request: Request
    user_agent: str


class DemoBackend:
    """The backend of the demo's pages."""

    def __init__(self, services: Services) -> None:
        """Use parts that are open already."""
        self._services = services
        self._states = services.states

    # --- login ------------------------------------------------------------------------

    async def create_login(self, requester: Requester) -> dict[str, str]:
        """Create the state that a page waits on, and return its key and secret.

        Raises:
            DemoRefused: The store does not answer.
        """
        numbers, number = draw_numbers()
        new = NewState(
            state="pending",
            data=_json(None),
            ttl=_LOGIN_SECONDS,
            confirm_within=_CONFIRM_SECONDS,
            moves=_MOVES,
            numbers=numbers,
            number=number,
            **self._origin(requester),
        )
        made = await self._create(new)
        await self._make_link(made["key"], _LOGIN_SECONDS)
        return made

    async def scan(self, key: str, requester: Requester) -> dict[str, str]:
        """Note that a phone has scanned a code; return what that phone waits on.

        Raises:
            DemoRefused: The key is none of the demo's, or another phone was first.
        """
        await self._linked(key)
        computer = _found(await self._states.origin(key))
        phone, secret = new_token(), new_token()
        # The link first: of two phones that scan one code, one gets beyond this line.
        link = Change(state="scanned", data=_json({"phone": phone}), if_version=1)
        _changed(await self._states.change(_link(key), link))
        scanned = _changed(await self._states.change(key, Change(state="scanned")))
        origin = {
            "address": computer.record.address,
            "user_agent": computer.record.user_agent,
            "age": computer.age,
        }
        new = NewState(
            state="scanned",
            data=_json({"origin": origin}),
            ttl=scanned.expires_in,
            confirm_within=scanned.expires_in,
            moves=_MOVES,
            **self._origin(requester),
        )
        _view(await self._states.create(phone, digest_of(secret), new))
        return {"key": phone, "poll_secret": secret}

    async def approve(self, key: str, phone: str) -> dict[str, str]:
        """Note that the person at the phone knows the computer; show the number there.

        Raises:
            DemoRefused: The key is none of the demo's, or this phone did not scan it.
        """
        await self._check_phone(key, phone)
        await self._move(key, Change(state="approved"))
        return await self._tell_phone(key, phone)

    async def reject(self, key: str, phone: str) -> dict[str, str]:
        """End a login.

        Raises:
            DemoRefused: As by `approve`.
        """
        await self._check_phone(key, phone)
        await self._move(key, Change(state="rejected", is_final=True))
        return await self._tell_phone(key, phone)

    async def choose(self, key: str, secret: str, choice: int) -> dict[str, str]:
        """Confirm a login by the number that was chosen at the computer. One try.

        Raises:
            DemoRefused: The key is none of the demo's, or the secret is not the page's.
        """
        phone = (await self._linked(key)).get("phone", "")
        _view(await self._states.wait(key, digest_of(secret), 0, 0))
        confirmed = Change(
            state="confirmed",
            # Your application: a code, to be used once, for which the page gets its
            # session.
            data=_json({"user": _USER}),
            is_final=True,
            choice=choice,
        )
        await self._move(key, confirmed)
        return await self._tell_phone(key, phone)

    async def _check_phone(self, key: str, phone: str) -> None:
        linked = (await self._linked(key)).get("phone", "")
        if not secrets.compare_digest(linked.encode(), phone.encode()):
            raise DemoRefused(403, "forbidden", "this phone has not scanned the code")

    async def _move(self, key: str, change: Change) -> None:
        """Change a login; a change that was made before, or lost its race, is left."""
        result = await self._states.change(key, change)
        if not isinstance(result, Conflict):
            _changed(result)

    async def _tell_phone(self, key: str, phone: str) -> dict[str, str]:
        """Bring the phone's state to that of the computer; return it."""
        computer = _found(await self._states.origin(key))
        record = computer.record
        data = {"number": record.number} if record.state == "approved" else None
        follow = Change(
            state=record.state,
            data=_json(data),
            is_final=record.is_final,
            ttl=max(1.0, record.expires - computer.age),
        )
        await self._move(phone, follow)
        return {"state": record.state}

    # --- inbox ------------------------------------------------------------------------

    async def create_room(self) -> dict[str, str]:
        """Make an inbox, and return its name.

        Raises:
            DemoRefused: The store does not answer.
        """
        room = new_token()
        await self._make_link(room, _ROOM_SECONDS)
        return {"room": room}

    async def enter_room(self, room: str) -> dict[str, str | None]:
        """Return the key of an inbox, and a ticket for it where tickets are asked for.

        Raises:
            DemoRefused: There is no such inbox, or tickets are signed elsewhere.
        """
        await self._linked(room)
        key = INBOX + room
        return {"key": key, "ticket": self._ticket(key, room)}

    async def send(self, room: str, text: str, message_id: str) -> dict[str, str]:
        """Publish a message to an inbox.

        Raises:
            DemoRefused: There is no such inbox, or the store does not answer.
        """
        await self._linked(room)
        data = msgspec.json.encode({"text": text})
        message = NewMessage(INBOX + room, data, id=message_id, is_json=True)
        await self._publish(message)
        return {"id": message_id}

    def _ticket(self, key: str, room: str) -> str | None:
        settings = self._services.settings
        if self._services.access.rules.tickets is None:
            return None
        if not settings.ticket_secrets:
            raise DemoRefused(403, "forbidden", "tickets are not signed by this server")
        secret = signing_secret(settings)
        return issue_ticket(secret, [key], lifetime=_TICKET_SECONDS, subject=room)

    # --- job --------------------------------------------------------------------------

    async def create_job(
        self, by: Literal["server", "worker"], requester: Requester
    ) -> tuple[dict[str, str], _Job | None]:
        """Create the state of a job.

        Returns:
            Its key and secret, and what to run in the background.

        Raises:
            DemoRefused: The store does not answer.
        """
        new = NewState(
            state="queued",
            data=_json({"percent": 0}),
            ttl=_JOB_SECONDS,
            confirm_within=_JOB_SECONDS,
            **self._origin(requester),
        )
        made = await self._create(new)
        key = made["key"]
        if by == "worker":
            data = msgspec.json.encode({"key": key})
            await self._publish(NewMessage(JOBS, data, is_json=True, ttl=_JOB_SECONDS))
            return made, None
        return made, partial(self._work, key)

    async def _work(self, key: str) -> None:
        """Do a job.

        Cancellation:
            The job stays where it is until it expires.
        """
        for percent in range(0, 100, 5):
            data = _json({"percent": percent})
            await self._move(key, Change(state="running", data=data))
            await trio.sleep(_STEP_SECONDS)
        done = Change(state="done", data=_json({"percent": 100}), is_final=True)
        await self._move(key, done)

    # --- both -------------------------------------------------------------------------

    def _origin(self, requester: Requester) -> dict[str, Any]:
        visitor = self._services.access.visitor(requester.request)
        agent = requester.user_agent[:_MAX_AGENT]
        return {"address": visitor.address, "user_agent": agent}

    async def _create(self, new: NewState) -> dict[str, str]:
        key, secret = new_token(), new_token()
        _view(await self._states.create(key, digest_of(secret), new))
        return {"key": key, "poll_secret": secret}

    async def _make_link(self, key: str, seconds: float) -> None:
        new = NewState(
            state="made", data=_json({}), ttl=seconds, confirm_within=seconds
        )
        # The digest of a secret that is thrown away: no client can read the link.
        digest = digest_of(new_token())
        _view(await self._states.create(_link(key), digest, new))

    async def _linked(self, key: str) -> Mapping[str, str]:
        """Return what the link of a key knows.

        Raises:
            DemoRefused: The demo has not made the key, or it is too old.
        """
        found = _found(await self._states.origin(_link(key)))
        data: Mapping[str, str] | None = msgspec.json.decode(found.record.data)
        if data is None:
            raise DemoRefused(404, "unknown", "the code is too old")
        return data

    async def _publish(self, draft: Draft) -> None:
        (result,) = await self._services.publisher.publish([draft])
        if isinstance(result, Unpublished):
            raise _failed(result.failure)


def _link(key: str) -> str:
    # Longer than any key that the states API accepts.
    return f"triopoll-demo:{key}"


def _json(shape: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(shape))


def _failed(failure: Failure) -> DemoRefused:
    return DemoRefused(503, failure.name.lower(), "the store or slock does not answer")


def _view(result: StateView | StateRefusal | Failure) -> StateView:
    if isinstance(result, StateView):
        return result
    raise _refusal(result)


def _found(result: FoundState | StateRefusal | Failure) -> FoundState:
    if isinstance(result, FoundState):
        return result
    raise _refusal(result)


def _changed(
    result: StateView | StateRefusal | Conflict | BadChoice | Failure,
) -> StateView:
    if isinstance(result, Conflict):
        raise DemoRefused(409, "conflict", "the code was used before")
    if isinstance(result, BadChoice):
        raise DemoRefused(400, "bad_request", result.value)
    return _view(result)


def _refusal(result: StateRefusal | Failure) -> DemoRefused:
    if isinstance(result, Failure):
        return _failed(result)
    return DemoRefused(404, result.value, "there is no such code")
