"""A naive model of the engine: lists, scans, and the rules word by word.

It is slow and obvious on purpose. It shares no code with the engine but the
commands and results; the numbers are those of the real server. Time is whole wall
milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from trioslock.protocol import InitCommand, InitResult, LockCommand, LockResult

LOCK, UNLOCK, WILL_LOCK, WILL_UNLOCK = 1, 2, 8, 9
NEVER = 10**18


@dataclass(eq=False)
class Party:
    number: int
    open: bool = True
    client_id: bytes | None = None
    successor: Party | None = None
    wills: list[LockCommand] = field(default_factory=list)


@dataclass(eq=False)
class Request:
    """A waiter (levels 0) or a holder, in the order in which it got there."""

    party: Party
    command: LockCommand
    levels: int = 0
    start: int = 0
    lease_second: int = 0
    end: int = NEVER
    armed: int = 0
    exact: bool = False
    entries: list[tuple[int, bool, LockCommand]] = field(default_factory=list)


class Model:
    def __init__(self, wall_ms: int) -> None:
        self.now = wall_ms
        self.parties: dict[int, Party] = {}
        self.registered: dict[bytes, Party] = {}
        self.databases: set[int] = set()
        self.holders: dict[tuple[int, bytes], list[Request]] = {}
        self.waiters: dict[tuple[int, bytes], list[Request]] = {}
        self.values: dict[tuple[int, bytes], bytes] = {}
        self.used: set[tuple[int, bytes]] = set()
        self.ends: dict[tuple[int, bytes], int] = {}
        self.released = True
        self.out: list[tuple[int, Any]] = []
        self.todo: list[tuple[Party, LockCommand]] = []
        self.armings = 0
        self.ids = 0

    # What the tests call.

    def add_peer(self) -> int:
        number = len(self.parties) + 1
        self.parties[number] = Party(number)
        return number

    def submit(self, number: int, command: Any) -> list[tuple[int, Any]]:
        self.out = []
        party = self.parties[number]
        if isinstance(command, InitCommand):
            self.init(party, command)
        elif command.type == WILL_LOCK:
            party.wills.append(command._replace(type=LOCK))
        elif command.type == WILL_UNLOCK:
            party.wills.append(command._replace(type=UNLOCK))
        else:
            self.run(party, command)
        return self.out

    def drop_peer(self, number: int) -> list[tuple[int, Any]]:
        self.out = []
        party = self.parties[number]
        party.open = False
        if party.client_id and self.registered.get(party.client_id) is party:
            del self.registered[party.client_id]
        for command in party.wills:
            self.run(party, command)
        return self.out

    def advance(self, wall_ms: int) -> list[tuple[int, Any]]:
        """Time goes on; everything due by then is seen at that moment."""
        self.out = []
        self.now = wall_ms
        while True:
            due = [each for each in self.requests() if each.end <= wall_ms]
            if not due:
                return self.out
            first_end = min(each.end for each in due)
            batch = [each for each in due if each.end == first_end]
            for each in sorted(batch, key=lambda request: request.armed):
                if each.end == first_end and each in self.requests():
                    self.fire(each)
            self.run_todo()

    def requests(self) -> list[Request]:
        lists = [*self.holders.values(), *self.waiters.values()]
        return [each for entries in lists for each in entries]

    def levels(self, place: tuple[int, bytes]) -> int:
        return sum(each.levels for each in self.holders.get(place, []))

    # Parties.

    def init(self, party: Party, command: InitCommand) -> None:
        if party.client_id and self.registered.get(party.client_id) is party:
            del self.registered[party.client_id]
        known = command.client_id in self.registered
        party.client_id = command.client_id
        self.registered[command.client_id] = party
        kind = 0x0D if known else 0x0C
        self.out.append((party.number, InitResult(command.request_id, 0, kind)))

    def recipient(self, party: Party) -> Party | None:
        if party.open:
            return party
        if party.successor is None or not party.successor.open:
            party.successor = self.registered.get(party.client_id or b"none")
        return party.successor

    def is_alive(self, party: Party) -> bool:
        return party.open or (party.successor is not None and party.successor.open)

    def answer(
        self, party: Party, command: LockCommand, code: int, levels: int = 0
    ) -> None:
        place = command.db, command.key
        self.answer_with(
            party, command, code, self.levels(place), levels, self.values.get(place)
        )

    def answer_with(
        self,
        party: Party,
        command: LockCommand,
        code: int,
        lcount: int,
        levels: int,
        value: bytes | None,
    ) -> None:
        recipient = self.recipient(party)
        if recipient is None:
            return
        result = LockResult(
            command.type,
            command.request_id,
            code,
            0x20 if value is not None else 0,
            command.db,
            command.lock_id,
            command.key,
            lcount,
            command.max_count,
            levels,
            command.rcount,
            value,
        )
        self.out.append((recipient.number, result))

    # Running.

    def run(self, party: Party, command: LockCommand) -> None:
        self.run_one(party, command)
        self.run_todo()

    def run_todo(self) -> None:
        while self.todo:
            self.run_one(*self.todo.pop(0))

    def run_one(self, party: Party, command: LockCommand) -> None:
        place = command.db, command.key
        if self.ends.get(place, NEVER) <= self.now:
            self.forget_value(place)
        if command.type == LOCK:
            self.lock(party, command)
        else:
            self.unlock(party, command)
        self.forget_free(command, released=self.released)
        self.released = True

    def forget_free(self, command: LockCommand, *, released: bool = True) -> None:
        """The value of a key that was used stays for 2 s after its release."""
        place = command.db, command.key
        if self.holders.get(place) or self.waiters.get(place):
            return
        if place in self.used and released and place in self.values:
            self.ends[place] = self.now + 2000
        elif place in self.used or place not in self.values or place not in self.ends:
            self.forget_value(place)
        self.used.discard(place)

    def forget_value(self, place: tuple[int, bytes]) -> None:
        self.values.pop(place, None)
        self.ends.pop(place, None)

    def use(self, place: tuple[int, bytes]) -> None:
        self.used.add(place)
        self.ends.pop(place, None)

    # LOCK (3.4).

    def lock(self, party: Party, command: LockCommand) -> None:
        place = command.db, command.key
        if command.db == 255:
            self.answer_with(party, command, 3, 0, 0, None)
            return
        self.databases.add(command.db)
        total = self.levels(place)
        self.holders.setdefault(place, [])
        self.waiters.setdefault(place, [])
        if command.flag & 0x08 and command.timeout == 0:
            if command.max_count < 0xFFFF and total > command.max_count:
                self.answer(party, command, 8)
                return
            if total == 0 and command.timeout_flag & 0x0200:
                self.answer_with(party, command, 8, 0, 0, None)
                return
        if total:
            self.lock_held(party, command)
        elif not command.timeout_flag & 0x0200:
            self.lock_or_wait(party, command, blocked=False)
        elif self.waiters[place] and command.max_count == 0:
            self.answer(party, command, 7)
        else:
            self.lock_or_wait(party, command, blocked=True)

    def lock_held(self, party: Party, command: LockCommand) -> None:
        place = command.db, command.key
        holders = self.holders[place]
        if command.flag & 0x01:
            first = holders[0]
            command = command._replace(lock_id=first.command.lock_id)
            if not command.flag & 0x02:
                command = command._replace(
                    max_count=first.command.max_count, rcount=first.command.rcount
                )
                self.answer(party, command, 7, first.levels)
                return
        mine = [x for x in holders if x.command.lock_id == command.lock_id]
        if mine:
            self.lock_again(party, command, mine[0])
        else:
            blocked = bool(self.waiters[place])
            self.lock_or_wait(party, command, blocked=blocked)

    def lock_or_wait(
        self, party: Party, command: LockCommand, *, blocked: bool
    ) -> None:
        tf = command.timeout_flag
        place = command.db, command.key
        holders = self.holders[place]
        passes = tf & 0x10 and command.rcount > self.head_priority(place)
        if (not blocked or passes) and self.fits(command):
            acked = tf & 0x1000 and command.expiry and self.is_acked(command)
            self.grant(Request(party, command, start=self.now // 1000))
            if not acked:
                self.wake(place)
        elif tf & 0x4000 and holders and version(command) < version(holders[0].command):
            total = self.levels(place)
            before = self.values.get(place)
            self.apply(command, Request(party, command), first_or_last=total == 1)
            command = command._replace(lock_id=holders[0].command.lock_id)
            self.answer_with(party, command, 0, total, 0, before)
        elif command.timeout and not (tf & 0x0008 and place in self.values):
            self.wait(Request(party, command, start=self.now // 1000))
        else:
            self.answer(party, command, 8)

    def is_acked(self, command: LockCommand) -> bool:
        if command.flag & 0x04:
            return False
        holders = self.holders.get((command.db, command.key))
        decisive = holders[0].command if holders else command
        return decisive.expiry_flag & 0x1300 != 0x0200

    def lock_again(self, party: Party, command: LockCommand, mine: Request) -> None:
        place = command.db, command.key
        before = self.values.get(place)
        total = self.levels(place)
        if command.flag & 0x02:
            if command.data is not None:
                mine.entries = []
                self.apply(command, mine, first_or_last=total == 1)
            elif self.is_equal(command, mine):
                self.answer(party, command, 5, mine.levels)
                return
            self.replace(party, command, mine)
            if command.timeout_flag & 0x1000 and self.is_acked(command):
                before = self.values.get(place)
            self.answer_with(party, command, 5, total, mine.levels, before)
        elif (
            mine.levels <= command.rcount
            and mine.levels < 255
            and not command.timeout_flag & 0x10
        ):
            if command.expiry:
                self.apply(command, mine, first_or_last=False)
                mine.levels += 1
                self.replace(party, command, mine)
            total = self.levels(place)
            self.answer_with(party, command, 0, total, mine.levels, before)
        else:
            self.answer(party, command, 5, mine.levels)

    def is_equal(self, command: LockCommand, mine: Request) -> bool:
        old = mine.command
        if command.max_count != old.max_count or command.rcount != old.rcount:
            return False
        if command.timeout_flag & 0x10 != old.timeout_flag & 0x10:
            return False
        if command.expiry_flag & 0x4000:
            return command.expiry == 0xFFFF or mine.lease_second == NEVER
        if command.expiry_flag & 0x0400:
            return True
        now = self.now // 1000
        if command.expiry_flag & 0x0040:
            return abs(now + 60 * command.expiry + 1 - mine.lease_second) <= 60
        return abs(now + command.expiry + 1 - mine.lease_second) <= 1

    def replace(self, party: Party, command: LockCommand, mine: Request) -> None:
        mine.command = command._replace(data=None)
        mine.party = party
        if command.expiry_flag & 0x4000 and command.expiry == 0xFFFF:
            return
        mine.start = self.now // 1000
        mine.lease_second = self.lease_second(command, mine.start)
        if not mine.exact:
            self.arm_lease(mine)

    def fits(self, command: LockCommand) -> bool:
        place = command.db, command.key
        total = self.levels(place)
        if total == 0:
            return True
        if command.max_count == 0:
            return False
        first = self.holders[place][0].command
        if total >= 0xFFFF:
            if not first.max_count == command.max_count == 0xFFFF:
                return False
        elif total > first.max_count or total > command.max_count:
            return False
        return not (command.timeout_flag & 0x4000 and version(command) > version(first))

    def grant(self, request: Request) -> None:
        command = request.command
        place = command.db, command.key
        before = self.values.get(place)
        total = self.levels(place)
        if command.expiry == 0:
            self.apply(command, request, first_or_last=total == 1)
            self.answer_with(request.party, command, 0, total, 0, before)
            return
        self.apply(command, request, first_or_last=total == 0)
        request.command = command._replace(data=None)
        request.levels = 1
        self.holders[place].append(request)
        self.use(place)
        if not command.timeout_flag & 0x0100:
            request.start = self.now // 1000
        request.lease_second = self.lease_second(command, request.start)
        self.arm_lease(request)
        self.answer_with(request.party, command, 0, total + 1, 1, before)

    # Queue.

    def head_priority(self, place: tuple[int, bytes]) -> int:
        return max((priority(x.command) for x in self.waiters[place]), default=0)

    def head(self, place: tuple[int, bytes]) -> Request | None:
        highest = self.head_priority(place)
        for each in self.waiters[place]:
            if priority(each.command) == highest:
                return each
        return None

    def wait(self, request: Request) -> None:
        command = request.command
        self.waiters[command.db, command.key].append(request)
        self.use((command.db, command.key))
        value = command.timeout
        if command.timeout_flag & 0x0400:
            if value < 3000:
                request.exact = True
                self.arm(request, self.now + 1 + value)
                return
            value //= 1000
        elif command.timeout_flag & 0x0040:
            value *= 60
        self.arm(request, (self.now // 1000 + value + 1) * 1000)

    def wake(self, place: tuple[int, bytes]) -> None:
        while True:
            head = self.head(place)
            if head is None or not self.fits(head.command):
                return
            self.waiters[place].remove(head)
            head.exact = False
            head.end = NEVER
            self.grant(head)

    # UNLOCK (4.2).

    def unlock(self, party: Party, command: LockCommand) -> None:
        place = command.db, command.key
        if command.db not in self.databases:
            self.answer_with(party, command, 3, 0, 0, None)
            return
        holders = self.holders.setdefault(place, [])
        self.waiters.setdefault(place, [])
        if not holders:
            if command.flag & 0x02:
                self.cancel(party, command)
            else:
                self.answer(party, command, 6)
            return
        mine = [x for x in holders if x.command.lock_id == command.lock_id]
        if not mine and command.flag & 0x01:
            mine = holders[:1]
            held = mine[0].command
            command = command._replace(
                lock_id=held.lock_id,
                timeout=held.timeout,
                timeout_flag=held.timeout_flag,
                expiry=held.expiry,
                expiry_flag=held.expiry_flag,
                max_count=held.max_count,
                rcount=held.rcount,
            )
        elif not mine and command.flag & 0x02:
            self.cancel(party, command)
            return
        elif not mine:
            self.answer(party, command, 7)
            return
        self.release(party, command, mine[0])
        self.wake(place)

    def release(self, party: Party, command: LockCommand, mine: Request) -> None:
        place = command.db, command.key
        before = self.values.get(place)
        self.released = not mine.command.expiry_flag & 0x0100
        levels = mine.levels
        if levels > 1 and command.rcount > 0 and not command.timeout_flag & 0x10:
            self.apply(command, mine, first_or_last=False)
            mine.levels -= 1
            self.answer_with(party, command, 0, self.levels(place), mine.levels, before)
            return
        last = self.levels(place) == levels and not self.waiters[place]
        self.apply(command, mine, first_or_last=last)
        self.holders[place].remove(mine)
        held = mine.command
        if held.flag & 0x20:
            self.run_entries(mine, 1)
        if command.flag & 0x08 and levels == 1:
            lock_id = held.lock_id
            if held.timeout_flag & 0x4000:
                lock_id = newer(lock_id)
            again = held._replace(
                lock_id=lock_id,
                timeout=command.timeout,
                timeout_flag=command.timeout_flag,
                expiry=command.expiry,
                expiry_flag=command.expiry_flag,
                max_count=command.max_count,
                rcount=command.rcount,
            )
            command = command._replace(lock_id=lock_id)
            if again.timeout:
                self.wait(Request(party, again, start=self.now // 1000))
        elif command.flag & 0x10 and self.climb(party, command, held):
            return
        self.answer_with(party, command, 0, self.levels(place), 0, before)

    def climb(self, party: Party, command: LockCommand, held: LockCommand) -> bool:
        place = command.db, command.key
        value = self.values.get(place)
        total = self.levels(place)
        if total > 1:
            return False
        if total == 0:
            command = command._replace(key=held.lock_id, lock_id=held.key)
        else:
            first = self.holders[place][0].command
            if not first.flag & 0x10:
                return False
            command = command._replace(lock_id=first.lock_id)
        self.answer_with(party, command, 0, total, 0, value)
        self.ids += 1
        request_id = self.ids.to_bytes(16, "big")
        self.todo.append((party, command._replace(request_id=request_id, data=None)))
        return True

    def cancel(self, party: Party, command: LockCommand) -> None:
        place = command.db, command.key
        found = [
            each
            for each in self.waiters[place]
            if each.command.lock_id == command.lock_id
        ]
        if not found:
            self.answer(party, command, 6)
            return
        lowest = min(priority(each.command) for each in found)
        newest = [each for each in found if priority(each.command) == lowest][-1]
        self.waiters[place].remove(newest)
        self.answer(party, command, 5)
        self.answer(newest.party, newest.command, 6)

    # Time (3.6).

    def arm(self, request: Request, end: int) -> None:
        self.armings += 1
        request.end, request.armed = end, self.armings

    def arm_second(self, request: Request, second: int) -> None:
        self.arm(request, max(second, self.now // 1000 + 1) * 1000)

    @staticmethod
    def lease_second(command: LockCommand, start: int) -> int:
        value = command.expiry
        if command.expiry_flag & 0x4000:
            return NEVER
        if command.expiry_flag & 0x0400:
            return start + value // 1000 + 1
        if command.expiry_flag & 0x0040:
            return start + value * 60 + 1
        return start + value + 1

    def arm_lease(self, request: Request) -> None:
        command = request.command
        if command.expiry_flag & 0x0400:
            request.exact = True
            self.arm(request, self.now + 1 + command.expiry % 3000)
        elif request.lease_second == NEVER:
            request.end = NEVER
        else:
            self.arm_second(request, request.lease_second)

    def fire(self, request: Request) -> None:
        request.end = NEVER
        command = request.command
        if not request.levels:
            if command.timeout_flag & 0x8000 and self.is_alive(request.party):
                self.renew(request, command.timeout, command.timeout_flag)
            else:
                self.time_out(request)
        elif request.exact and command.expiry >= 3000:
            request.exact = False
            request.lease_second = request.start + command.expiry // 1000 + 1
            self.arm_second(request, request.lease_second)
        elif command.expiry_flag & 0x8000 and self.is_alive(request.party):
            self.renew(request, command.expiry, command.expiry_flag)
            request.lease_second = request.end // 1000
        else:
            self.expire(request)

    def renew(self, request: Request, value: int, flags: int) -> None:
        if flags & 0x0400:
            seconds = (value + 999) // 1000
        elif flags & 0x0040:
            seconds = 60 * value
        else:
            seconds = value
        request.exact = False
        self.arm_second(request, self.now // 1000 + seconds)

    def time_out(self, request: Request) -> None:
        command = request.command
        place = command.db, command.key
        self.waiters[place].remove(request)
        value = self.last_value(place, request)
        self.answer_with(request.party, command, 8, self.levels(place), 0, value)
        self.forget_free(command, released=request.exact)
        if command.timeout_flag & 0x0080:
            again = command._replace(timeout_flag=0, key=command.key[::-1], data=None)
            self.todo.append((request.party, again))

    def expire(self, request: Request) -> None:
        command = request.command
        place = command.db, command.key
        self.holders[place].remove(request)
        if command.flag & 0x20:
            self.run_entries(request, 3)
        value = self.last_value(place, request)
        self.answer_with(request.party, command, 9, self.levels(place), 0, value)
        self.wake(place)
        self.forget_free(command, released=request.exact)
        if command.expiry_flag & 0x0080:
            again = command._replace(
                expiry_flag=0, expiry=command.timeout, key=command.key[::-1]
            )
            self.todo.append((request.party, again))

    def last_value(self, place: tuple[int, bytes], request: Request) -> bytes | None:
        lives = self.holders.get(place) or self.waiters.get(place)
        return self.values.get(place) if lives or request.exact else None

    # Values (6).

    def apply(
        self, command: LockCommand, request: Request, *, first_or_last: bool
    ) -> None:
        if command.data is None:
            return
        place = command.db, command.key
        value, entries = operate(self.values.get(place), command.data, first_or_last)
        if value is None:
            self.values.pop(place, None)
        else:
            self.values[place] = value
        for stage, last_only, embedded in entries:
            if embedded.db != command.db:
                continue
            if stage == 0:
                self.todo.append((request.party, embedded))
            else:
                request.entries.append((stage, last_only, embedded))

    def run_entries(self, request: Request, stage: int) -> None:
        place = request.command.db, request.command.key
        for when, last_only, embedded in request.entries:
            in_use = self.holders.get(place) or self.waiters.get(place)
            if when == stage and not (last_only and in_use):
                self.todo.append((request.party, embedded))


def version(command: LockCommand) -> int:
    return int.from_bytes(command.lock_id[:8], "little")


def newer(lock_id: bytes) -> bytes:
    number = (int.from_bytes(lock_id[:8], "little") + 1) % 2**64
    return number.to_bytes(8, "little") + lock_id[8:]


def priority(command: LockCommand) -> int:
    return command.rcount if command.timeout_flag & 0x10 else 0


def frame(operation: int, flag: int, properties: bytes | None, raw: bytes) -> bytes:
    body = bytes([operation, flag])
    if properties is not None:
        body += len(properties).to_bytes(2, "little") + properties
    body += raw
    return len(body).to_bytes(4, "little") + body


def parse(data: bytes) -> tuple[int, int, bytes | None, bytes]:
    """Give operation byte, flag, properties and value."""
    operation, flag = data[4], data[5]
    if not flag & 0x10:
        return operation, flag, None, data[6:]
    size = int.from_bytes(data[6:8], "little")
    return operation, flag, data[8 : 8 + size], data[8 + size :]


def split(raw: bytes) -> list[bytes]:
    """Cut length-prefixed items, the prefixes cut off."""
    items = []
    while len(raw) >= 4:
        size = int.from_bytes(raw[:4], "little")
        items.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return items


def operate(
    value: bytes | None, data: bytes, first_or_last: bool
) -> tuple[bytes | None, list[tuple[int, bool, LockCommand]]]:
    code, flag, _, raw = parse(data)
    stage, operation = code >> 6, code & 0x3F
    if operation == 5:
        if stage == 0 and flag & 0x20 and not first_or_last:
            return value, []
        return value, [(stage, bool(flag & 0x20), embedded_command(raw))]
    if stage or (flag & 0x20 and not first_or_last):
        return value, []
    if operation == 6:
        after, entries = value, []
        for item in split(raw):
            part = len(item).to_bytes(4, "little") + item
            start = after if part[4] & 0x3F == 5 else value
            after, more = operate(start, part, first_or_last)
            entries += more
        return after, entries
    return operate_plainly(value, data), []


def operate_plainly(value: bytes | None, data: bytes) -> bytes | None:
    code, flag, properties, raw = parse(data)
    operation = code & 0x3F
    if operation == 0:
        return data
    if operation == 1:
        return None
    _, old_flag, old_properties, old = parse(value) if value else (0, 0, None, b"")
    if operation == 2:
        number = int.from_bytes(raw, "little") + int.from_bytes(old[:8], "little")
        return frame(0, flag | 1, properties, (number % 2**64).to_bytes(8, "little"))
    prefixed = len(raw).to_bytes(4, "little") + raw
    if operation == 3 and value is None:
        return frame(0, flag, properties, raw)
    if operation == 7 and not (value and old_flag & 2):
        return frame(0, flag & 0xF8 | 2, properties, prefixed)
    if value is None:
        return None
    if operation == 3:
        return frame(0, old_flag, old_properties, old + raw)
    if operation == 7:
        return frame(0, old_flag & 0xF8 | 2, old_properties, old + prefixed)
    count = int.from_bytes(raw[:4], "little")
    if operation == 4:
        return frame(0, old_flag, old_properties, old[count:])
    if operation == 8 and old_flag & 2:
        rest = split(old)[count:]
        joined = b"".join(len(x).to_bytes(4, "little") + x for x in rest)
        return frame(0, old_flag, old_properties, joined)
    return value


def embedded_command(raw: bytes) -> LockCommand:
    def number(place: int, size: int) -> int:
        return int.from_bytes(raw[place : place + size], "little")

    flag = raw[19]
    return LockCommand(
        type=raw[2],
        request_id=raw[3:19],
        flag=flag,
        db=raw[20],
        lock_id=raw[21:37],
        key=raw[37:53],
        timeout=number(53, 2),
        timeout_flag=number(55, 2),
        expiry=number(57, 2),
        expiry_flag=number(59, 2),
        max_count=number(61, 2),
        rcount=raw[63],
        data=raw[64:] if flag & 0x20 else None,
    )
