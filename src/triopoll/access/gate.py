"""The one object that endpoints ask: may this be done, by whom, and for how long.

Everything is decided from the request and from tables in this process, without an
await, so between the decision and the place that it takes nobody can slip in::

    admission = gate.subscriber(request, [query.key], refuse_v1)
    if isinstance(admission, Answer):
        return admission
    with admission.waiting():
        outcome = await wait(query)
    if admission.ended is not None:
        return admission.ended

Whatever ends the block from here (the ticket has expired, a newer wait of the session
has come) is a cancellation, which leaves behind what a client leaves that hangs up.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import NoReturn, Self

import trio

from ..asgi.messages import Request, Response
from .cors import Cors
from .credentials import shown_key, shown_ticket
from .headers import header_values, parameter_values
from .keyring import Keyring
from .limits import Claim, ConcurrencyLimits, RateLimiter
from .patterns import EVERYTHING, Grants
from .peers import TrustedProxies, Visitor, is_direct_and_local, is_local_name
from .refusals import Refusal, Refused, Shape, refuse_v1
from .sessions import Owned, Sessions
from .tickets import BadTicket, Ticket, TicketReader

__all__ = ["Permit", "AccessControl", "Limits", "Publisher", "Rules"]

logger = logging.getLogger("triopoll.access")

_SESSION = b"session"
_MAX_SESSION = 128
# Seconds after which to try again at a full limit, spread, since a crowd that was
# refused together would come back together.
_COME_BACK = (2, 8)

_EXPIRED = Refusal(401, "ticket_expired", "the ticket has expired")
_REPLACED = Refusal(409, "replaced", "a newer wait of this session has come")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is allowed; 0 is no limit.

    Attributes:
        waits_per_key: Waits on one key.
        waits_per_subject: Waits of one ticket's subject.
        waits_per_ip: Waits of one address.
        requests_per_ip: Requests a second of one address, in the long run.
        burst_per_ip: Requests of one address at once.
        url_bytes: Path and query.
    """

    waits_per_key: int = 0
    waits_per_subject: int = 0
    waits_per_ip: int = 0
    requests_per_ip: float = 0
    burst_per_ip: int = 1
    url_bytes: int = 2**14


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a gate goes by.

    Attributes:
        keyring: Publishers' keys; None serves programs on this machine only.
        tickets: Checks subscribers' tickets; None serves everybody.
        cookie: Name of the cookie that may carry a ticket; "" for none.
        peers: Finds out who a request comes from.
        cors: Which pages may read.
        limits: How much anybody may take.
    """

    keyring: Keyring | None = None
    tickets: TicketReader | None = None
    cookie: str = ""
    peers: TrustedProxies = field(default_factory=TrustedProxies)
    cors: Cors = field(default_factory=Cors)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Publisher:
    """Somebody who may publish what he asked for.

    Attributes:
        name: Whose key it was; None for a program on this machine.
    """

    name: str | None


class Permit:
    """Somebody who may wait for what he asked for.

    Attributes:
        subject: Whose ticket it is, if it says so.
        visitor: Where the request comes from.
        expires: When the ticket ends, in Unix seconds; None without a ticket.
        ended: After the block: what to answer if it was ended from here.
    """

    __slots__ = (
        "_claims",
        "_gate",
        "_grants",
        "_refuse",
        "_replaced",
        "_scope",
        "_session",
        "ended",
        "expires",
        "subject",
        "visitor",
    )

    def __init__(
        self,
        gate: AccessControl,
        visitor: Visitor,
        ticket: Ticket | None,
        session: Owned | None,
        claims: tuple[Claim, ...],
        refuse: Shape,
    ) -> None:
        """Only `AccessControl.subscriber` makes one."""
        self.subject = ticket.subject if ticket else None
        self.visitor = visitor
        self.expires = ticket.expires if ticket else None
        self.ended: Response | None = None
        self._gate = gate
        self._grants = ticket.grants if ticket else EVERYTHING
        self._session = session
        self._claims = claims
        self._refuse = refuse
        self._scope: trio.CancelScope | None = None
        self._replaced = False

    def __repr__(self) -> str:
        return f"<Permit: {self.subject!r} from {self.visitor.address}>"

    def allows(self, key: str) -> bool:
        """Return whether this key may be waited for as well (websockets ask later)."""
        return self._grants.allow(key)

    def waiting(self) -> Self:
        """Return what to wait in: a block that is counted and ends with the ticket.

        Enter it before the next await, or more may wait than the limits say; once.

        Cancellation:
            The wait is no longer counted. A block that was ended from here is left
            as if by itself, with `ended` set.
        """
        return self

    # Written out, since a generator and its helper cost more than the rest of it.
    def __enter__(self) -> Self:
        self._gate.places.take(self._claims)
        if self.expires is not None or self._session is not None:
            self._scope = trio.CancelScope(deadline=self._deadline())
            if self._session is not None:
                self._gate.sessions.enter(self._session, self._replace)
            self._scope.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self._leave()
        if self._scope is None:
            return None
        if self._session is not None:
            self._gate.sessions.leave(self._session, self._replace)
        swallow = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            refusal = _REPLACED if self._replaced else _EXPIRED
            self.ended = self._gate.refuse(refusal, self._refuse)
        return swallow

    def _deadline(self) -> float:
        if self.expires is None:
            return math.inf
        return trio.current_time() + self.expires - self._gate.clock()

    def _replace(self) -> None:
        """A newer wait of the session has come."""
        if self._scope is not None:
            self._replaced = True
            self._scope.cancel(_REPLACED.code)
            # Now, not when it gets to run: the newer one wants the place.
            self._leave()

    def _leave(self) -> None:
        claims, self._claims = self._claims, ()
        self._gate.places.leave(claims)


class AccessControl:
    """Who may do what, and how much of it.

    Attributes:
        rules: What it goes by.
        clock: Returns Unix seconds.
        places: The places to wait in that are taken.
        sessions: The sessions that wait.
        refusals: How often each code was answered, for metrics.
    """

    def __init__(
        self, rules: Rules | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Open a gate; without rules, for everybody on this machine."""
        self.rules = rules or Rules()
        limits = self.rules.limits
        names = ("waits_per_key", "waits_per_subject", "waits_per_ip")
        self.clock = clock
        self.places = ConcurrencyLimits({name: getattr(limits, name) for name in names})
        self.sessions = Sessions()
        self.refusals: Counter[str] = Counter()
        self._rates = RateLimiter(limits.requests_per_ip, limits.burst_per_ip)
        self._warned = False

    def __repr__(self) -> str:
        return f"<AccessControl: {self.rules.keyring!r}, {self.rules.tickets!r}>"

    def notes(self) -> list[str]:
        """Return what somebody who starts the service should know, as sentences."""
        found: list[str] = []
        if self.rules.keyring is None:
            found.append(
                "publishing is served to programs on this machine only, "
                "since no publisher's key is configured"
            )
        if self.rules.tickets is None:
            found.append(
                "subscribing is open to everybody, since no ticket's secret or public "
                "key is configured"
            )
        return found

    def enter(self, request: Request, refuse: Shape = refuse_v1) -> Response | None:
        """Return the answer to a request that no endpoint need see, or None."""
        try:
            self._check_size(request)
            self._check_rate(request)
        except Refused as refused:
            return self.refuse(refused.refusal, refuse)
        return self.rules.cors.preflight(request)

    def leave(self, request: Request, answer: Response) -> Response:
        """Return the answer with what a foreign page's browser must be told."""
        headers = self.rules.cors.headers(request)
        if not headers:
            return answer
        return dataclasses.replace(answer, headers=(*answer.headers, *headers))

    def subscriber(
        self, request: Request, keys: Iterable[str], refuse: Shape = refuse_v1
    ) -> Permit | Response:
        """Decide whether somebody may wait for all of these keys.

        Args:
            request: With a ticket, where tickets are asked for.
            keys: As they have been read for the wait itself. Without any, only the
                ticket is checked.
            refuse: How this endpoint writes that it may not be.

        Returns:
            What to wait in, or what to answer instead.
        """
        try:
            return self._admit(request, tuple(keys), refuse)
        except Refused as refused:
            return self.refuse(refused.refusal, refuse)

    def publisher(
        self, request: Request, keys: Iterable[str], refuse: Shape = refuse_v1
    ) -> Publisher | Response:
        """Decide whether somebody may publish to all of these keys.

        Args:
            request: With an API key, where there are any; otherwise from a program
                on this machine.
            keys: As they have been read; if one is refused, all are.
            refuse: How this endpoint writes that it may not be.

        Returns:
            Who publishes, or what to answer instead.
        """
        try:
            if self.rules.keyring is None:
                _check_local(request, self.rules.cors)
                return Publisher(None)
            return _find_publisher(self.rules.keyring, request, tuple(keys))
        except Refused as refused:
            return self.refuse(refused.refusal, refuse)

    def refuse(self, refusal: Refusal, refuse: Shape) -> Response:
        """Count a refusal and write it."""
        self.refusals[refusal.code] += 1
        return refuse(refusal)

    def _admit(self, request: Request, keys: tuple[str, ...], refuse: Shape) -> Permit:
        visitor = self.rules.peers.visitor(request)
        ticket = self._ticket(request)
        if ticket is not None:
            _check_grants(ticket.grants, keys)
        session = _session(request, _owner(ticket, visitor))
        if session is not None:
            # First, so that a page that was loaded again need not fit in twice.
            self.sessions.replace(session)
        claims = self._claims(visitor, ticket, keys)
        if claims and (full := self.places.full(claims)) is not None:
            _refuse_limit(full, 503 if full == "waits_per_key" else 429)
        return Permit(self, visitor, ticket, session, claims, refuse)

    def _claims(
        self, visitor: Visitor, ticket: Ticket | None, keys: tuple[str, ...]
    ) -> tuple[Claim, ...]:
        """Return what a wait would take of each limit that there is."""
        limits = self.rules.limits
        claims: list[Claim] = []
        if limits.waits_per_key:
            claims += [("waits_per_key", key) for key in set(keys)]
        if limits.waits_per_subject and ticket is not None and ticket.subject:
            claims.append(("waits_per_subject", ticket.subject))
        if limits.waits_per_ip and visitor.bucket is not None:
            claims.append(("waits_per_ip", visitor.bucket))
        return tuple(claims)

    def _ticket(self, request: Request) -> Ticket | None:
        reader = self.rules.tickets
        if reader is None:
            return None
        shown = shown_ticket(request, self.rules.cookie)
        if shown.only_by_cookie and not self.rules.cors.trusts_page(request):
            raise Refused(
                Refusal(403, "origin", "a ticket by cookie is not for other pages")
            )
        try:
            return reader.read(shown.text, self.clock())
        except BadTicket as error:
            raise Refused(Refusal(401, error.code, str(error))) from None

    def _check_size(self, request: Request) -> None:
        limit = self.rules.limits.url_bytes
        if limit and len(request.path) + len(request.query) > limit:
            raise Refused(
                Refusal(414, "limit", f"the URL is longer than {limit} bytes", "url")
            )

    def _check_rate(self, request: Request) -> None:
        visitor = self.rules.peers.visitor(request)
        if visitor.bucket is None:
            self._warn_of_proxy(request)
        elif seconds := self._rates.take(visitor.bucket, trio.current_time()):
            _refuse_limit("requests_per_ip", 429, seconds)

    def _warn_of_proxy(self, request: Request) -> None:
        if self._warned or self.rules.peers.trusts_anybody:
            return
        if header_values(request, b"x-forwarded-for"):
            self._warned = True
            logger.warning(
                "requests come through a proxy, and TRIOPOLL_TRUSTED_PROXIES is not "
                "set: nobody's address is known, so no limit by address is kept"
            )


def _check_grants(grants: Grants, keys: tuple[str, ...]) -> None:
    for key in keys:
        if not grants.allow(key):
            raise Refused(Refusal(403, "forbidden", "this key is not granted to you"))


def _find_publisher(
    keyring: Keyring, request: Request, keys: tuple[str, ...]
) -> Publisher:
    found = keyring.find(shown_key(request))
    if found is None:
        raise Refused(Refusal(401, "key_invalid", "the API key is none of ours"))
    _check_grants(found.grants, keys)
    return Publisher(found.name)


def _check_local(request: Request, cors: Cors) -> None:
    """Refuse all but programs on this machine.

    A browser on this machine is one, and any page in it can have it send a request
    here. So pages are refused, and names that are not this machine's: a page's host
    can be made to point here (DNS rebinding).
    """
    hosts = header_values(request, b"host")
    if (
        is_direct_and_local(request)
        and all(is_local_name(host.decode("latin-1")) for host in hosts)
        and cors.names_page(request)
    ):
        return
    raise Refused(
        Refusal(403, "not_local", "publishing without a key is for this machine only")
    )


def _owner(ticket: Ticket | None, visitor: Visitor) -> str:
    if ticket is not None and ticket.subject is not None:
        return f"subject {ticket.subject}"
    return f"address {visitor.address}"


def _session(request: Request, owner: str) -> Owned | None:
    names = [name for name in parameter_values(request, _SESSION) if name]
    if not names:
        return None
    if len(set(names)) > 1 or len(names[0]) > _MAX_SESSION:
        raise Refused(
            Refusal(
                400,
                "bad_request",
                f"session is not one name of at most {_MAX_SESSION} bytes",
            )
        )
    return (owner, names[0])


def _refuse_limit(limit: str, status: int, seconds: int | None = None) -> NoReturn:
    if seconds is None:
        seconds = random.randint(*_COME_BACK)
    message = f"the limit {limit} has been reached"
    raise Refused(Refusal(status, "limit", message, limit, seconds))
