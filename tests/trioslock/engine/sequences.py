"""Random conversations, small enough that everything meets everything.

``make_step`` draws one step from anything with ``choice`` and ``random``, so that a
seeded generator makes thousands of sequences and hypothesis can shrink the same
ones. Few keys, few lock ids, few durations: collisions are the point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from tests.trioslock.engine.model import LOCK, UNLOCK, WILL_LOCK, WILL_UNLOCK, frame

from trioslock.protocol import InitCommand, LockCommand, encode_command

T = TypeVar("T")

KEYS = (b"A" + b"\0" * 14 + b"B", b"B" + b"\0" * 14 + b"A", b"C" * 16)
LOCK_IDS = (
    *(number.to_bytes(8, "little") + b"\xff" * 8 for number in (1, 2, 3)),
    KEYS[0],
    KEYS[2],
)
CLIENT_IDS = (b"client-1" * 2, b"client-2" * 2)


class Dice(Protocol):
    def choice(self, options: Sequence[T], /) -> T: ...

    def random(self) -> float: ...


class Submit(NamedTuple):
    connection: int
    command: LockCommand | InitCommand


class Pass(NamedTuple):
    """Let time pass, in milliseconds."""

    ms: int


class Reconnect(NamedTuple):
    connection: int


Step = Submit | Pass | Reconnect


class Profile(NamedTuple):
    """What a sequence may contain."""

    waits: tuple[tuple[int, int], ...]
    leases: tuple[tuple[int, int], ...]
    passes: tuple[int, ...]
    lock_flags: tuple[int, ...]
    unlock_flags: tuple[int, ...]
    timeout_flags: tuple[int, ...]
    expiry_flags: tuple[int, ...]
    data: float
    operations: tuple[int, ...]
    executes: bool
    sessions: float
    wills: bool


MS, MINUTES, UNLIMITED, KEEPALIVE = 0x0400, 0x0040, 0x4000, 0x8000

EVERYTHING = Profile(
    waits=((0, 0), (0, 0), (1, 0), (3, 0), (40, MS), (3500, MS), (1, MINUTES)),
    leases=(
        *((0, 0), (1, 0), (4, 0), (4, 0), (60, MS), (3500, MS), (1, MINUTES)),
        *((5, UNLIMITED), (0xFFFF, UNLIMITED), (700, MS | UNLIMITED)),
    ),
    passes=(0, 30, 50, 700, 1000, 3400, 61_000),
    lock_flags=(0, 0, 0, 0, 0x01, 0x02, 0x02, 0x03, 0x04, 0x08, 0x10, 0xC0),
    unlock_flags=(0, 0, 0, 0x01, 0x02, 0x02, 0x03, 0x04, 0x08, 0x09, 0x0A, 0x10, 0x11),
    timeout_flags=(
        *(0, 0, 0, 0x08, 0x10, 0x10, 0x80, 0x0100, 0x0200, 0x0200, 0x0800),
        *(0x1000, 0x2000, 0x4000, KEEPALIVE),
    ),
    expiry_flags=(0, 0, 0, 0, 0x80, 0x0100, 0x0200, 0x0800, 0x1000, KEEPALIVE),
    data=0.25,
    operations=(),
    executes=True,
    sessions=0.08,
    wills=True,
)

TIMELESS = EVERYTHING._replace(
    waits=((0, 0), (0, 0), (600, 0), (1, MINUTES)),
    leases=((0, 0), (600, 0), (600, 0), (10, MINUTES), (5, UNLIMITED)),
    passes=(0,),
    lock_flags=(0, 0, 0, 0, 0x01, 0x02, 0x02, 0x03, 0x08, 0x10, 0xC0),
    unlock_flags=(0, 0, 0, 0x01, 0x02, 0x02, 0x03, 0x08, 0x09, 0x0A),
    timeout_flags=(0, 0, 0, 0x08, 0x10, 0x10, 0x0100, 0x0200, 0x0200, 0x4000),
    expiry_flags=(0,),
    executes=False,
    sessions=0.0,
    wills=False,
)
"""What has the same outcome however slow the server is."""

ASYNCHRONOUS = TIMELESS._replace(
    waits=((0, 0), (600, 0), (40, MS)),
    leases=((0, 0), (600, 0), (60, MS), (10, MINUTES)),
    lock_flags=(0, 0, 0, 0, 0x01, 0x08, 0x10, 0x10),
    unlock_flags=(0, 0, 0x01, 0x02, 0x02, 0x08, 0x09, 0x10, 0x10, 0x11),
    timeout_flags=(0, 0, 0, 0x10, 0x80, 0x80, 0x0200, 0x1000, 0x1000, 0x4000),
    # Not 0x0200: an acknowledged lock that is never logged stays unacknowledged.
    expiry_flags=(0, 0, 0, 0x80),
    executes=True,
)
"""What a server needs some milliseconds for, its order not fixed."""

CONNECTIONS = 3

# The real server ends when it pops from an array that APPEND or SHIFT has torn, so
# a sequence has either these or those.
OPERATIONS = ((0, 0, 1, 2, 3, 3, 4, 9), (0, 1, 2, 7, 7, 7, 8, 9))


def make_sequence(dice: Dice, profile: Profile, length: int) -> list[Step]:
    profile = with_operations(dice, profile)
    return [make_step(dice, profile, number + 1) for number in range(length)]


def with_operations(dice: Dice, profile: Profile) -> Profile:
    """Draw the operations on data that a sequence may contain."""
    return profile._replace(operations=dice.choice(OPERATIONS))


def make_step(dice: Dice, profile: Profile, number: int) -> Step:
    """Draw one step; ``number`` makes its request id."""
    connection = dice.choice(range(CONNECTIONS))
    kind = dice.random()
    if kind < profile.sessions:
        if dice.random() < 0.5:
            return Reconnect(connection)
        return Submit(connection, InitCommand(_id(number), dice.choice(CLIENT_IDS)))
    if kind > 0.85 and len(profile.passes) > 1:
        return Pass(dice.choice(profile.passes))
    if dice.random() < 0.6:
        return Submit(connection, make_lock(dice, profile, number))
    return Submit(connection, make_unlock(dice, profile, number))


def upsets_the_real_server(command: LockCommand) -> bool:
    """Say whether a real server ends on a command, or answers it by chance.

    - Versions with "wait when unlocked": it ends if a newer version waits.
    - Priority with "wait when unlocked": what it answers on a key never waited for
      depends on what the memory of the key was used for before.
    - A lease made shorter: it looks at the lock up to some seconds later.
    - Re-entry of an acknowledged lock: it answers twice, with 0 and with 5.
    """
    timeout_flag = command.timeout_flag
    shortens = not command.expiry or command.expiry_flag & MS
    return bool(
        (timeout_flag & 0x1000 and command.rcount > 0)
        or timeout_flag & 0x4200 == 0x4200
        or timeout_flag & 0x0210 == 0x0210
        or (command.type == LOCK and command.flag & 0x02 and shortens)
        or (command.type == LOCK and command.rcount and command.expiry_flag & MS)
    )


def _id(number: int) -> bytes:
    return b"request\0" + number.to_bytes(8, "big")


def make_lock(dice: Dice, profile: Profile, number: int) -> LockCommand:
    timeout, timeout_unit = dice.choice(profile.waits)
    expiry, expiry_unit = dice.choice(profile.leases)
    timeout_flag = timeout_unit | dice.choice(profile.timeout_flags)
    if dice.random() < 0.1:
        timeout_flag |= dice.choice(profile.timeout_flags)
    will = profile.wills and dice.random() < 0.03
    data = make_data(dice, profile, number)
    return LockCommand(
        type=WILL_LOCK if will else LOCK,
        request_id=_id(number),
        flag=dice.choice(profile.lock_flags) | (0x20 if data is not None else 0),
        db=_db(dice),
        lock_id=dice.choice(LOCK_IDS),
        key=dice.choice(KEYS),
        timeout=timeout,
        timeout_flag=timeout_flag,
        expiry=expiry,
        expiry_flag=expiry_unit | dice.choice(profile.expiry_flags),
        max_count=dice.choice((0, 0, 0, 1, 1, 2, 0xFFFF)),
        rcount=dice.choice((0, 0, 1, 2, 0xFF)),
        data=data,
    )


def make_unlock(dice: Dice, profile: Profile, number: int) -> LockCommand:
    flag = dice.choice(profile.unlock_flags)
    requeues = flag & 0x08
    timeout, timeout_unit = dice.choice(profile.waits) if requeues else (0, 0)
    expiry, expiry_unit = dice.choice(profile.leases) if requeues else (0, 0)
    will = profile.wills and dice.random() < 0.03
    data = make_data(dice, profile, number)
    return LockCommand(
        type=WILL_UNLOCK if will else UNLOCK,
        request_id=_id(number),
        flag=flag | (0x20 if data is not None else 0),
        db=_db(dice),
        lock_id=dice.choice(LOCK_IDS),
        key=dice.choice(KEYS),
        timeout=timeout,
        timeout_flag=timeout_unit | dice.choice((0, 0, 0, 0x10)),
        expiry=expiry,
        expiry_flag=expiry_unit,
        max_count=dice.choice((0, 0, 1, 0xFFFF)),
        rcount=dice.choice((0, 0, 1)),
        data=data,
    )


def _db(dice: Dice) -> int:
    rare = dice.random()
    return 255 if rare < 0.01 else 1 if rare < 0.02 else 0


def make_data(dice: Dice, profile: Profile, number: int) -> bytes | None:
    if dice.random() >= profile.data:
        return None
    if profile.executes and dice.random() < 0.2:
        return _execute(dice, profile, number)
    if dice.random() < 0.1:
        parts = [_plain(dice, profile) for _ in range(dice.choice((1, 2)))]
        if profile.executes and dice.random() < 0.5:
            parts.insert(0, _execute(dice, profile, number))
        return frame(6, 0, None, b"".join(parts))
    return _plain(dice, profile)


def _plain(dice: Dice, profile: Profile) -> bytes:
    operation = dice.choice(profile.operations)
    if operation == 2:
        raw = dice.choice((1, 2**64 - 1, 7 << 60)).to_bytes(8, "little")
    elif operation in (4, 8):
        raw = dice.choice((0, 1)).to_bytes(4, "little")
    else:
        raw = dice.choice((b"one", b"twotwo"))
    flag = dice.choice((0, 0, 0, 0x20))
    properties = dice.choice((None, None, None, b"\x01\x03\x00key"))
    stage = dice.choice((0, 0, 0, 0, 0, 0, 0, 0, 1)) << 6
    if properties is not None:
        flag |= 0x10
    return frame(operation | stage, flag, properties, raw)


def _execute(dice: Dice, profile: Profile, number: int) -> bytes:
    calm = profile._replace(data=0.2, executes=False, wills=False)
    make = dice.choice((make_lock, make_unlock))
    inner = make(dice, calm, number + 1_000_000)._replace(db=dice.choice((0, 0, 0, 1)))
    stage = dice.choice((0, 0, 1, 2, 3)) << 6
    return frame(5 | stage, dice.choice((0, 0, 0x20)), None, encode_command(inner))
