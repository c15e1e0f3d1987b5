"""Compare the cost of one LOCK result with the cost of a dataclass.

Run: ``python bench/protocol.py``. Baseline: a frozen, slotted dataclass of the same
twelve fields, made from the same ``struct.unpack_from``.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import dataclass
from struct import Struct

from trioslock.protocol import (
    ClientSide,
    CommandType,
    LockCommand,
    LockResult,
    decode_lock_result,
    encode_lock,
    encode_result,
)

_ID = bytes(range(16))
_FIELDS = Struct("<2xB16sBBB16s16sHHBB4x")


@dataclass(frozen=True, slots=True)
class _DataclassResult:
    type: int
    request_id: bytes
    result: int
    flag: int
    db: int
    lock_id: bytes
    key: bytes
    lcount: int
    max_count: int
    lrcount: int
    rcount: int
    data: bytes | None


def _microseconds(work: Callable[[], object], number: int = 100_000) -> float:
    return min(timeit.repeat(work, number=number, repeat=5)) / number * 1e6


def main() -> None:
    """Print microseconds per operation, and the ratio to the baseline."""
    command = LockCommand(CommandType.LOCK, _ID, 0, 0, _ID, _ID, 5, 0, 5, 0, 0, 0)
    result = LockResult(CommandType.LOCK, _ID, 0, 0, 0, _ID, _ID, 1, 0, 1, 0)
    frame = encode_result(result)
    side = ClientSide()

    def batch() -> None:
        side.receive_data(frame * 100)
        side.results()

    baseline = _microseconds(
        lambda: _DataclassResult(*_FIELDS.unpack_from(frame, 0), None)
    )
    print(f"dataclass from a frame (baseline)  {baseline:6.2f} us")
    for name, cost in (
        (
            "named tuple from a frame",
            _microseconds(lambda: decode_lock_result(frame, 0)),
        ),
        ("LOCK to a frame", _microseconds(lambda: encode_lock(command))),
        ("ClientSide, batches of 100", _microseconds(batch, 1000) / 100),
    ):
        print(f"{name:34} {cost:6.2f} us   {cost / baseline:5.2f} of the baseline")


if __name__ == "__main__":
    main()
