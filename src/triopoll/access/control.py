"""Decide whether a request may be served, for which keys, and for how long.

Everything is decided from the request and from tables in this process, without an
await. So no other request can take a place between the decision and the use of it::

    permit = access.admit_subscriber(request, [query.key], format_v1)
    if isinstance(permit, Response):
        return permit
    with permit:
        outcome = await wait(query)
    if permit.ended is not None:
        return permit.ended

or, for a wait without a task, between ``permit.begin(end)`` and ``permit.finish()``.

A wait that is ended from here (its ticket has expired, a newer wait of its session has
arrived) is cancelled, which leaves behind the same as a client that disconnects.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextvars import Token
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

import trio

from ..asgi.messages import Request, Response
from ..pending import waiting_subject
from .attendance import Attend, Attendance
from .cors import Cors
from .credentials import shown_key, shown_ticket
from .headers import parameter_values
from .keyring import Keyring
from .limits import Claim, ConcurrencyLimits, RateLimiter
from .patterns import EVERYTHING, Grants
from .proxies import FORWARDING, X_FORWARDED, TrustedProxies, Visitor
from .refusals import AccessRefused, Refusal, RefusalFormat
from .sessions import Owned, Sessions
from .sources import Sources
from .tickets import BadTicket, Ticket, TicketReader

__all__ = ["AccessControl", "AdmittedPublisher", "Limits", "Permit", "Rules"]

logger = logging.getLogger("triopoll.access")

_SESSION = "session"
_MAX_SESSION = 128
# Seconds after which to try again at a full limit; random, since clients that were
# refused together would come back together.
_RETRY_AFTER = (2, 8)

_EXPIRED = Refusal(401, "ticket_expired", "the ticket has expired")
_NOT_LOCAL = Refusal(
    *(403, "not_local", "publishing without a key is for programs on this machine only")
)
_REPLACED = Refusal(409, "replaced", "a newer wait of this session has come")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one client may use; 0 is no limit.

    Attributes:
        waits_per_key: Waits on one key.
        waits_per_subject: Waits of one ticket's subject.
        waits_per_ip: Waits of one address.
        requests_per_ip: Requests a second of one address, in the long run.
        burst_per_ip: Requests of one address at once.
        url_bytes: Path and query.
        states_per_ip: States a minute that visitors of one address may create.
    """

    waits_per_key: int = 0
    waits_per_subject: int = 0
    waits_per_ip: int = 0
    requests_per_ip: float = 0
    burst_per_ip: int = 1
    url_bytes: int = 2**14
    states_per_ip: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What requests are checked against.

    Attributes:
        keyring: Publishers' keys; None admits programs on this machine only.
        admins: Operators' keys; None admits no operator.
        tickets: Checks subscribers' tickets; None admits every subscriber.
        cookie: Name of the cookie that may carry a ticket; "" for none.
        proxies: Finds out which client a request comes from.
        cors: Which pages may read.
        visitors_create_states: Whether states are created without a publisher's key.
        hosts: Names in the Host header that are served, as `Sources` takes them.
        limits: How much one client may use.
    """

    keyring: Keyring | None = None
    admins: Keyring | None = None
    tickets: TicketReader | None = None
    cookie: str = ""
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
    cors: Cors = field(default_factory=Cors)
    visitors_create_states: bool = False
    hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class AdmittedPublisher:
    """A publisher that may publish to all keys that it asked for.

    Attributes:
        name: The name of its key; None for a program on this machine.
    """

    name: str | None


class Permit:
    """The right to wait for some keys: a context manager to wait in, once.

    The wait is counted against the limits, and ends with its ticket. Enter it before
    the next await, or more waits may be parked than the limits allow. A wait without a
    task is between `begin` and `finish` instead.

    Cancellation:
        The wait is no longer counted. A block that was ended from here is left as if
        by itself, with `ended` set.

    Attributes:
        subject: The subject of the ticket, if it has one.
        visitor: Where the request comes from.
        expires: When the ticket ends, in Unix seconds; None without a ticket.
        ended: After the block: what to answer if it was ended from here.
    """

    __slots__ = (
        "_access",
        "_attendance",
        "_claims",
        "_end",
        "_format",
        "_grants",
        "_replaced",
        "_scope",
        "_session",
        "_subject_token",
        "ended",
        "expires",
        "subject",
        "visitor",
    )

    def __init__(
        self,
        access: AccessControl,
        visitor: Visitor,
        ticket: Ticket | None,
        session: Owned | None,
        claims: tuple[Claim, ...],
        format_refusal: RefusalFormat,
        attendance: Attendance | None = None,
    ) -> None:
        """Only `AccessControl.admit_subscriber` makes one."""
        self.subject = ticket.subject if ticket else None
        self.visitor = visitor
        self.expires = ticket.expires if ticket else None
        self.ended: Response | None = None
        self._access = access
        # None where presence is off.
        self._attendance = attendance
        self._grants = ticket.grants if ticket else EVERYTHING
        self._session = session
        self._claims = claims
        self._format = format_refusal
        self._scope: trio.CancelScope | None = None
        # Ends the wait from here.
        self._end: Callable[[], None] | None = None
        self._replaced = False
        self._subject_token: Token[str | None] | None = None

    def __repr__(self) -> str:
        return f"<Permit: {self.subject!r} from {self.visitor.address}>"

    def allows(self, key: str) -> bool:
        """Return whether this key may be waited for as well (websockets ask later)."""
        return self._grants.allow(key)

    @property
    def deadline(self) -> float:
        """Return when the ticket ends, by trio's clock; infinite without a ticket."""
        if self.expires is None:
            return math.inf
        return trio.current_time() + self.expires - self._access.clock()

    @property
    def follow(self) -> Callable[[Collection[str]], None] | None:
        """Return what counts who waits on the keys of a websocket; None: nothing."""
        return None if self._attendance is None else self._attendance.follow

    def begin(self, end: Callable[[], None]) -> None:
        """Count the wait.

        Args:
            end: Called when a newer wait of the session arrives; returns at once. The
                caller ends the wait, as it does at `deadline`, and answers `refuse`.
        """
        if self._claims:
            self._access.concurrency.take(self._claims)
        if self._attendance is not None:
            self._attendance.begin()
        if self._session is not None:
            self._end = end
            self._access.sessions.enter(self._session, self._replace)

    def finish(self) -> None:
        """Count the wait no longer; may be called again."""
        if self._claims:
            self._release_claims()
        if self._attendance is not None:
            self._attendance.finish()
        if self._session is not None:
            self._access.sessions.leave(self._session, self._replace)

    def refuse(self) -> Response:
        """Return what to answer to a wait that was ended from here; count it."""
        refusal = _REPLACED if self._replaced else _EXPIRED
        return self._access.refuse(refusal, self._format)

    # Written out, since a generator and its helper cost more than the rest of it.
    def __enter__(self) -> Self:
        if self.subject is not None:
            self._subject_token = waiting_subject.set(self.subject)
        if self.expires is not None or self._session is not None:
            self._scope = trio.CancelScope(deadline=self.deadline)
            self.begin(partial(self._scope.cancel, _REPLACED.code))
            self._scope.__enter__()
        else:
            self.begin(_nothing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        self.finish()
        if self._subject_token is not None:
            waiting_subject.reset(self._subject_token)
        if self._scope is None:
            return None
        swallow = self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            self.ended = self.refuse()
        return swallow

    def _replace(self) -> None:
        """End the wait: a newer one of the session has arrived."""
        if self._end is not None:
            self._replaced = True
            # At once, not when the cancelled task runs: the newer wait needs the place.
            self._release_claims()
            self._end()

    def _release_claims(self) -> None:
        claims, self._claims = self._claims, ()
        self._access.concurrency.leave(claims)


def _nothing() -> None:
    pass


class AccessControl:
    """Check requests, and admit subscribers and publishers.

    Attributes:
        rules: What requests are checked against.
        clock: Returns Unix seconds.
        concurrency: The parked waits that are counted against limits.
        sessions: The sessions that wait.
        refusals: How often each code was answered, for metrics.
        attend: Returns what counts a wait for presence; None where that is off.
    """

    def __init__(
        self, rules: Rules | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        """Check against these rules; without any, all on this machine is allowed."""
        self.rules = rules or Rules()
        limits = self.rules.limits
        names = ("waits_per_key", "waits_per_subject", "waits_per_ip")
        self.clock = clock
        self.concurrency = ConcurrencyLimits({n: getattr(limits, n) for n in names})
        self.sessions = Sessions()
        self.refusals: Counter[str] = Counter()
        self.attend: Attend | None = None
        self._sources = Sources(self.rules.cors, self.rules.proxies, self.rules.hosts)
        self._limits_waits = any(getattr(limits, name) for name in names)
        self._rate = RateLimiter(limits.requests_per_ip, limits.burst_per_ip)
        states = limits.states_per_ip
        self._state_rate = RateLimiter(states / 60, states)
        # Whether a proxy that is not configured would be worth a warning.
        self._watches_for_proxy = not self.rules.proxies.any_trusted

    def __repr__(self) -> str:
        return f"<AccessControl: {self.rules.keyring!r}, {self.rules.tickets!r}>"

    def startup_warnings(self) -> list[str]:
        """Return what an operator should know about these rules, as sentences."""
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

    def check(self, request: Request) -> Refusal | None:
        """Return why a request is not served at all, or None.

        Checks the size of the URL and the rate of the address. Counts a refusal.
        """
        limits = self.rules.limits
        size = len(request.path) + len(request.query)
        if limits.url_bytes and size > limits.url_bytes:
            return self._count(
                Refusal(
                    *(414, "limit", f"the URL is longer than {limits.url_bytes} bytes"),
                    limit="url",
                )
            )
        if not limits.requests_per_ip and not self._watches_for_proxy:
            return None
        request.visitor = self.rules.proxies.visitor(request)
        bucket = request.visitor.bucket
        if bucket is None:
            # As `is_forwarded`, written out: each request comes this way.
            for name, _ in request.headers if self._watches_for_proxy else ():
                if name in FORWARDING or name.startswith(X_FORWARDED):
                    self._warn_of_proxy()
        elif seconds := self._rate.take(bucket, trio.current_time()):
            return self._count(_limit("requests_per_ip", 429, seconds))
        return None

    def check_source(
        self, request: Request, *, needs_ticket: bool = True
    ) -> Refusal | None:
        """Return why a request for an endpoint is not served to this page, or None.

        Counts a refusal.

        Args:
            request: Any request for an endpoint of the service.
            needs_ticket: Whether the endpoint asks for a ticket where tickets are
                configured.
        """
        is_open = self.rules.tickets is None or not needs_ticket
        refusal = self._sources.refuse_reader(request, is_open=is_open)
        return None if refusal is None else self._count(refusal)

    def admit_subscriber(
        self,
        request: Request,
        keys: Sequence[str],
        format_refusal: RefusalFormat,
        *,
        changes: bool = False,
    ) -> Permit | Response:
        """Decide whether a subscriber may wait for all of these keys.

        Args:
            request: With a ticket, where tickets are required.
            keys: As they have been parsed for the wait itself. Without any, only the
                ticket is checked.
            format_refusal: How this endpoint writes a refusal.
            changes: Whether the wait changes the state of an event. Without tickets,
                pages of other origins may not ask for that unless they are listed.

        Returns:
            What to wait in, or what to answer instead.
        """
        try:
            visitor = request.visitor or self.rules.proxies.visitor(request)
            ticket = None
            if self.rules.tickets is not None:
                ticket = self._ticket(request, self.rules.tickets)
                _check_grants(ticket.grants, keys)
            elif changes and (refusal := self._sources.refuse_change(request)):
                raise AccessRefused(refusal)
            session = None
            if b"session" in request.query or b"%" in request.query:
                session = _session(request, ticket, visitor)
                if session is not None:
                    # First, so that a reloaded page does not need a second place.
                    self.sessions.replace(session)
            claims: tuple[Claim, ...] = ()
            if self._limits_waits:
                claims = self._claims(visitor, ticket, keys)
                if claims:
                    self._check_claims(claims)
            attendance = None
            if self.attend is not None:
                attendance = self.attend(keys, ticket.subject if ticket else None)
            return Permit(
                *(self, visitor, ticket, session),
                *(claims, format_refusal, attendance),
            )
        except AccessRefused as refused:
            return self.refuse(refused.refusal, format_refusal)

    def admit_publisher(
        self, request: Request, keys: Sequence[str], format_refusal: RefusalFormat
    ) -> AdmittedPublisher | Response:
        """Decide whether a publisher may publish to all of these keys.

        Args:
            request: With an API key, where any are configured; otherwise from a
                program on this machine.
            keys: As they have been parsed; if one is refused, all are.
            format_refusal: How this endpoint writes a refusal.

        Returns:
            Who publishes, or what to answer instead.
        """
        try:
            if self.rules.keyring is None:
                if not self._sources.is_local_program(request):
                    raise AccessRefused(_NOT_LOCAL)
                return AdmittedPublisher(None)
            return _find_publisher(self.rules.keyring, request, tuple(keys))
        except AccessRefused as refused:
            return self.refuse(refused.refusal, format_refusal)

    def admit_admin(
        self, request: Request, keys: Sequence[str], format_refusal: RefusalFormat
    ) -> AdmittedPublisher | Response:
        """Decide whether an operator may look at these keys, and publish to them.

        Args:
            request: With an operator's key.
            keys: As they have been parsed; none for what concerns no single key.
            format_refusal: How this endpoint writes a refusal.

        Returns:
            The operator, or what to answer instead.
        """
        keyring = self.rules.admins or Keyring(())
        try:
            return _find_publisher(keyring, request, tuple(keys))
        except AccessRefused as refused:
            return self.refuse(refused.refusal, format_refusal)

    def admit_state_creator(
        self, request: Request, key: str, format_refusal: RefusalFormat
    ) -> AdmittedPublisher | Response:
        """Decide whether a state may be created: by a publisher, or by a visitor.

        Args:
            request: With an API key, unless visitors may create states.
            key: Of publishers, as it is granted.
            format_refusal: How this endpoint writes a refusal.
        """
        admitted = self._admit_visitor(request)
        if admitted is None:
            return self.admit_publisher(request, (key,), format_refusal)
        if isinstance(admitted, Refusal):
            return self.refuse(admitted, format_refusal)
        return admitted

    def _admit_visitor(self, request: Request) -> AdmittedPublisher | Refusal | None:
        """Return None where a request is a publisher's, or must be one."""
        if not self.rules.visitors_create_states:
            return None
        keyring = self.rules.keyring
        try:
            if keyring is not None and keyring.find(shown_key(request)) is not None:
                return None
        except AccessRefused:
            pass  # a visitor shows no key
        bucket = self.visitor(request).bucket
        if bucket is None:
            return AdmittedPublisher(None)
        seconds = self._state_rate.take(bucket, trio.current_time())
        if seconds:
            return _limit("states_per_ip", 429, seconds)
        return AdmittedPublisher(None)

    def visitor(self, request: Request) -> Visitor:
        """Return the client that a request comes from."""
        visitor: Visitor | None = request.visitor
        return visitor or self.rules.proxies.visitor(request)

    def refuse(self, refusal: Refusal, format_refusal: RefusalFormat) -> Response:
        """Count a refusal and write it."""
        return format_refusal(self._count(refusal))

    def _count(self, refusal: Refusal) -> Refusal:
        self.refusals[refusal.code] += 1
        return refusal

    def _claims(
        self, visitor: Visitor, ticket: Ticket | None, keys: Sequence[str]
    ) -> tuple[Claim, ...]:
        """Return what a wait would use of each limit that is set."""
        limits = self.rules.limits
        claims: list[Claim] = []
        if limits.waits_per_key:
            claims += [("waits_per_key", key) for key in set(keys)]
        if limits.waits_per_subject and ticket is not None and ticket.subject:
            claims.append(("waits_per_subject", ticket.subject))
        if limits.waits_per_ip and visitor.bucket is not None:
            claims.append(("waits_per_ip", visitor.bucket))
        return tuple(claims)

    def _check_claims(self, claims: tuple[Claim, ...]) -> None:
        if (full := self.concurrency.full(claims)) is not None:
            raise AccessRefused(_limit(full, 503 if full == "waits_per_key" else 429))

    def _ticket(self, request: Request, reader: TicketReader) -> Ticket:
        shown = shown_ticket(request, self.rules.cookie)
        if shown.only_by_cookie and not self.rules.cors.trusts_page(request):
            raise AccessRefused(
                Refusal(403, "origin", "a ticket by cookie is not for other pages")
            )
        try:
            return reader.read(shown.text, self.clock())
        except BadTicket as error:
            raise AccessRefused(Refusal(401, error.code, str(error))) from None

    def _warn_of_proxy(self) -> None:
        self._watches_for_proxy = False
        logger.warning(
            "requests come through a proxy, and TRIOPOLL_TRUSTED_PROXIES is not set: "
            "no client's address is known, so no limit by address applies"
        )


def _check_grants(grants: Grants, keys: Sequence[str]) -> None:
    for key in keys:
        if not grants.allow(key):
            raise AccessRefused(
                Refusal(403, "forbidden", "this key is not granted to you")
            )


def _find_publisher(
    keyring: Keyring, request: Request, keys: tuple[str, ...]
) -> AdmittedPublisher:
    found = keyring.find(shown_key(request))
    if found is None:
        raise AccessRefused(Refusal(401, "key_invalid", "the API key is not known"))
    _check_grants(found.grants, keys)
    return AdmittedPublisher(found.name)


def _session(request: Request, ticket: Ticket | None, visitor: Visitor) -> Owned | None:
    names = [name for name in parameter_values(request, _SESSION) if name]
    if not names:
        return None
    if len(set(names)) > 1 or len(names[0].encode()) > _MAX_SESSION:
        raise AccessRefused(
            Refusal(
                400,
                "bad_request",
                f"session is not one name of at most {_MAX_SESSION} bytes",
            )
        )
    if ticket is not None and ticket.subject is not None:
        return (f"subject {ticket.subject}", names[0])
    return (f"address {visitor.address}", names[0])


def _limit(limit: str, status: int, seconds: int | None = None) -> Refusal:
    if seconds is None:
        seconds = random.randint(*_RETRY_AFTER)
    message = f"the limit {limit} has been reached"
    return Refusal(status, "limit", message, limit, seconds)
