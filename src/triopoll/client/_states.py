"""States: create, change and acknowledge them, and follow one until it is final."""

# JSON from the network is of any type until it is checked:
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import trio

from ._credentials import Credential
from ._errors import ConnectionBroken, ServerBusy, TransientError, UnexpectedResponse
from ._http import HttpConnection, Site
from ._publishing import plain_value
from ._requests import RepeatingConnection
from ._responses import checked, json_text, read_response, retry_seconds
from ._retry_delay import RetryDelay
from ._retry_log import RetryLog

__all__ = [
    "ChangedState",
    "CreatedState",
    "State",
    "StateClient",
    "StateOrigin",
    "StateWatch",
]

_T = TypeVar("_T")

_SECRET = "Triopoll-Poll-Secret"
_PATH = "/v1/states"
# Seconds that a response may take beyond the wait that was asked for.
_GRACE = 10.0
# An unchanged response within less than this part of the wait was not sent by the
# server.
_EARLY = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedState:
    """A state that was created.

    Attributes:
        key: For the QR code, and for those who change it.
        poll_secret: For the page that follows it, and for no other place.
        version: Its version.
        state: Its name.
        expires_in: Seconds until it expires.
        numbers: With `match`: what the page shows.
    """

    key: str
    poll_secret: str = field(repr=False)
    version: int
    state: str
    expires_in: float
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state as its page reads it.

    Attributes:
        state: Its name.
        data: Its data.
        version: Its version.
        final: Nothing changes it any more.
        expires_in: Seconds until it expires; of a final state: for which it is kept.
        numbers: With `match`: what the page shows.
    """

    state: str
    data: Any = field(repr=False)
    version: int
    final: bool
    expires_in: float
    numbers: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedState:
    """A state after a change.

    Attributes:
        key: Its key.
        state: Its name.
        version: Its version.
        final: Nothing changes it any more.
        expires_in: Seconds until it expires; of a final state: for which it is kept.
        number: With `match`, after the move to `scanned`: the right number, for the
            side that has scanned alone.
    """

    key: str
    state: str
    version: int
    final: bool
    expires_in: float
    number: int | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateOrigin:
    """What is known of the creator of a state.

    Attributes:
        address: Where it was created from; None where that is not known.
        user_agent: What its creator calls itself.
        created_at: In Unix seconds.
        age: In seconds.
        state: Its present name.
        version: Its present version.
    """

    address: str | None
    user_agent: str
    created_at: float
    age: float
    state: str
    version: int


class StateClient:
    """One connection to create and change states over; see `PollClient`."""

    def __init__(self, site: Site, credential: Credential) -> None:
        what = f"changing states at {site.authority}"
        self._requests = RepeatingConnection(site, credential, what)

    async def create(self, fields: Mapping[str, Any]) -> CreatedState:
        """Create a state; see `PollClient.create_state`."""
        body = _body(fields)
        return await self._requests.request("POST", _PATH, body, _parser(CreatedState))

    async def change(self, key: str, fields: Mapping[str, Any]) -> ChangedState:
        """Change a state; see `PollClient.set_state`."""
        body = _body(fields)
        return await self._requests.request(
            "PUT", f"{_PATH}/{key}", body, _parser(ChangedState)
        )

    async def acknowledge(self, key: str, secret: str, version: int) -> None:
        """Acknowledge a final state; see `PollClient.ack_state`."""
        await self._requests.request(
            "POST",
            f"{_PATH}/ack",
            _body({"key": key, "version": version}),
            lambda shape: None,
            {_SECRET: secret},
            may_be_empty=True,
        )

    async def origin(self, key: str) -> StateOrigin:
        """Return the origin of a state; see `PollClient.state_origin`."""
        return await self._requests.request(
            "GET", f"{_PATH}/{key}/origin", b"", _parser(StateOrigin)
        )

    async def aclose(self) -> None:
        """Close the connection."""
        await self._requests.aclose()


class StateWatch:
    """An asynchronous iterator over the versions of one state, to the final one.

    Enter it to use it. Versions that came and went while nothing was asked are left
    out: only the last one counts. One task at a time may iterate.
    """

    def __init__(
        self, site: Site, key: str, secret: str, *, version: int, wait: float
    ) -> None:
        """Prepare; `PollClient.watch_state` does this."""
        self._http = HttpConnection(site)
        self._key = key
        self._secret = secret
        self._version = version
        self._wait = wait
        self._retry_delay = RetryDelay()
        self._retry_log = RetryLog(f"waiting for a state at {site.authority}")
        self._not_before = 0.0
        self._is_final = False

    def __repr__(self) -> str:
        return f"<triopoll.client.StateWatch {self._key}: version {self._version}>"

    @property
    def version(self) -> int:
        """Return the version that was returned last, to continue from it later."""
        return self._version

    async def __aenter__(self) -> Self:
        """Return itself; nothing is sent yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self._http.aclose()

    def __aiter__(self) -> Self:
        """Return itself; another loop continues where the last one ended."""
        return self

    async def __anext__(self) -> State:
        """Return the state once it has another version than the last one.

        Lost connections, restarts and slow servers raise nothing; the attempt is
        repeated.

        Raises:
            Refused: 404: the key is unknown, or the secret is another one; 410: the
                state was acknowledged.
            StopAsyncIteration: The last one was final.

        Cancellation:
            Nothing is lost: the next call returns what this one would have.
        """
        await trio.lowlevel.checkpoint()
        while not self._is_final:
            await trio.sleep_until(self._not_before)
            try:
                state = await self._ask()
            except TransientError as error:
                delay = self._retry_delay.next(error.retry)
                self._not_before = trio.current_time() + delay
                self._retry_log.failed(error, delay)
                continue
            self._retry_delay.reset()
            self._retry_log.worked()
            if state.version != self._version:
                self._version, self._is_final = state.version, state.final
                return state
        raise StopAsyncIteration

    async def _ask(self) -> State:
        fields = {"key": self._key, "version": self._version, "timeout": self._wait}
        started = trio.current_time()
        response = await self._http.request(
            "POST",
            f"{_PATH}/wait",
            {_SECRET: self._secret, "Content-Type": "application/json"},
            _body(fields),
            seconds=self._wait + _GRACE,
        )
        shape = read_response(response)
        state = _parser(State)(shape)
        if state.version == self._version:
            if "retry_ms" in shape:
                raise ServerBusy("the server restarts", _retry(shape))
            granted = min(self._wait, state.expires_in)
            if trio.current_time() - started < granted * _EARLY:
                raise ConnectionBroken("an unchanged response, far too early")
        return state


def _retry(shape: Mapping[str, Any]) -> float:
    try:
        return retry_seconds(shape)
    except (TypeError, ValueError) as error:
        raise UnexpectedResponse(f"not a state: {error}") from error


def _body(fields: Mapping[str, Any]) -> bytes:
    given = {name: value for name, value in fields.items() if value is not None}
    return json_text(given, default=plain_value).encode()


def _parser(kind: Callable[..., _T]) -> Callable[[Mapping[str, Any]], _T]:
    """Return a function from the JSON object of a response to one of the types here."""
    names: Sequence[str] = kind.__dataclass_fields__  # type: ignore[attr-defined]  # dataclasses

    def parse(shape: Mapping[str, Any]) -> _T:
        given = {name: shape[name] for name in names if name in shape}
        try:
            checked(given["state"], str)
            checked(given["version"], int)
            if "numbers" in given:
                given["numbers"] = tuple(checked(given["numbers"], list))
            return kind(**given)
        except (KeyError, TypeError) as error:
            raise UnexpectedResponse(f"not a state: {type(error).__name__}") from error

    return parse
