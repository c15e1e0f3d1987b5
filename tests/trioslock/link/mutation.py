"""Change a server's bytes into those of a broken or hostile one."""

from __future__ import annotations

import random
from collections.abc import Callable

from trioslock.protocol import FRAME_SIZE

_DATA_FLAG = 0x20
_TYPE, _RESULT, _FLAG = 2, 19, 20


class Mutator:
    """Mutations of one stream, all drawn from one seed.

    Args:
        seed: The same seed and the same input give the same output.
        rate: Share of the chunks that are mutated.
    """

    def __init__(self, seed: int | str, rate: float = 0.3) -> None:
        self.random = random.Random(seed)
        self._rate = rate
        self._past = bytearray()
        self._kept = b""

    def __call__(self, data: bytes) -> bytes:
        """Return what arrives in the place of ``data``."""
        self._past = (self._past + data)[-4096:]
        if self.random.random() < self._rate:
            return self.random.choice(_MUTATIONS)(self, data)
        return data

    def frame(self) -> bytes:
        """Return a frame of random content that the protocol may allow."""
        kind = self.random.choice([0, 1, 2, 3, 5, 7, 9, 10, 12, 13, 14, 99])
        frame = bytearray(self.random.randbytes(FRAME_SIZE))
        frame[:3] = bytes((0x56, 1, kind))
        if self.random.random() < 0.5:
            frame[_FLAG] &= ~_DATA_FLAG
        return bytes(frame)

    def flip_bits(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            changed[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        return bytes(changed)

    def change_result(self, data: bytes) -> bytes:
        return self._change(data, _RESULT, self.random.randrange(256))

    def change_type(self, data: bytes) -> bytes:
        return self._change(data, _TYPE, self.random.randrange(16))

    def change_id(self, data: bytes) -> bytes:
        return self._change(data, self.random.randrange(3, 19), 0xAA)

    def announce_data(self, data: bytes) -> bytes:
        if len(data) <= _FLAG:
            return data
        return self._change(data, _FLAG, data[_FLAG] | _DATA_FLAG)

    def add_data(self, data: bytes) -> bytes:
        length = self.random.choice([0, 1, 2, 3, 9, 40, 0x10_0000, 0xFFFF_FFFF])
        body = self.random.randbytes(min(length, 64))
        flagged = self.announce_data(data[:FRAME_SIZE])
        return flagged + length.to_bytes(4, "little") + body + data[FRAME_SIZE:]

    def truncate(self, data: bytes) -> bytes:
        return data[: self.random.randrange(len(data))]

    def cut_out(self, data: bytes) -> bytes:
        start = self.random.randrange(len(data))
        return data[:start] + data[start + self.random.randint(1, 70) :]

    def insert_garbage(self, data: bytes) -> bytes:
        start = self.random.randrange(len(data) + 1)
        garbage = self.random.randbytes(self.random.randint(1, 200))
        return data[:start] + garbage + data[start:]

    def insert_frames(self, data: bytes) -> bytes:
        frames = b"".join(self.frame() for _ in range(self.random.randint(1, 5)))
        return frames + data if self.random.random() < 0.5 else data + frames

    def duplicate(self, data: bytes) -> bytes:
        return data * self.random.randint(2, 4)

    def repeat_past(self, data: bytes) -> bytes:
        frames = len(self._past) // FRAME_SIZE
        start = self.random.randrange(frames) * FRAME_SIZE if frames else 0
        return data + bytes(self._past[start : start + FRAME_SIZE])

    def reorder(self, data: bytes) -> bytes:
        frames = [
            data[start : start + FRAME_SIZE]
            for start in range(0, len(data), FRAME_SIZE)
        ]
        self.random.shuffle(frames)
        return b"".join(frames)

    def hold_back(self, data: bytes) -> bytes:
        kept, self._kept = self._kept, data
        return kept

    def _change(self, data: bytes, offset: int, value: int) -> bytes:
        frame = self.random.randrange(max(1, len(data) // FRAME_SIZE))
        offset += frame * FRAME_SIZE
        return data[:offset] + bytes((value,)) + data[offset + 1 :]


_MUTATIONS: list[Callable[[Mutator, bytes], bytes]] = [
    Mutator.flip_bits,
    Mutator.change_result,
    Mutator.change_type,
    Mutator.change_id,
    Mutator.announce_data,
    Mutator.add_data,
    Mutator.truncate,
    Mutator.cut_out,
    Mutator.insert_garbage,
    Mutator.insert_frames,
    Mutator.duplicate,
    Mutator.repeat_past,
    Mutator.reorder,
    Mutator.hold_back,
]
