"""What a store of states does: one record for each key, replaced only if it is known.

The store knows no rules about states. A record is read, a new one is made of it
elsewhere (`core.state_rules`), and it is swapped in if the record is still the one that
was read and its time is not over. So the rules exist once, and two writers cannot both
succeed from the same state.

All times in a record are seconds since its creation, by the clock of the store, which
returns the age of a record with it. So the clocks of workers do not matter.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
from msgspec import Raw

__all__ = [
    "DIGEST_BYTES",
    "NO_DIGEST",
    "FoundState",
    "StateRecord",
    "StateStore",
    "decode_record",
    "encode_record",
    "is_secret",
]

# SHA-256.
DIGEST_BYTES = 32
# What stands for the digest of a key that does not exist. No secret is known for it.
NO_DIGEST = bytes(DIGEST_BYTES)
# How far a version jumps where the store may have lost the latest changes: a client
# that has seen one of these knows a lower number then.
_VERSIONS_LOST = 1000


class StateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A state, and what is needed to change it.

    Attributes:
        version: One more with each change.
        state: Its name.
        data: JSON text; `null` without data.
        is_final: Nothing changes it any more.
        is_acked: Its reader has it; the data is deleted.
        expires: Age in seconds at which it expires if it is not final.
        confirm_until: Age at which it expires unless it was confirmed; None where no
            confirmation is waited for.
        kept: Age until which the record is kept.
        confirm_within: Seconds from the move to `scanned` until `confirm_until`.
        moves: The moves that are allowed, by state; None: all.
        numbers: Those that the page shows; None without number matching.
        number: The right one of them.
        address: From where it was created; None where that is not known.
        user_agent: What its creator calls itself.
    """

    version: int
    state: str
    data: Raw = Raw(b"null")
    is_final: bool = False
    is_acked: bool = False
    expires: float
    confirm_until: float | None = None
    kept: float
    confirm_within: float
    moves: Mapping[str, Sequence[str]] | None = None
    numbers: tuple[int, int, int] | None = None
    number: int | None = None
    address: str | None = None
    user_agent: str = ""

    def __repr__(self) -> str:
        # Not the data: what is printed ends in logs.
        return f"<StateRecord: {self.state!r}, version {self.version}>"


class FoundState(NamedTuple):
    """A record as it was read.

    Attributes:
        record: With the version that its readers see.
        mark: The version in the store, for `StateStore.swap`.
        created_at: In Unix seconds.
        age: In seconds, when it was read.
    """

    record: StateRecord
    mark: int
    created_at: float
    age: float


class StateStore(Protocol):
    """Records of states by key."""

    async def insert(self, key: str, digest: bytes, record: StateRecord) -> None:
        """Store the record of a new key.

        Args:
            key: Random.
            digest: SHA-256 of the secret with which it is read.
            record: Its times are counted from now on.

        Raises:
            StoreUnreachable: It may be stored.
            StoreFailed: It is not stored; `StoreFull`: for want of room.

        Cancellation:
            It may be stored.
        """
        ...

    async def read(self, key: str, digest: bytes | None = None) -> FoundState | None:
        """Return a record.

        An unknown key and a wrong digest take the same steps: a reply of the same size
        comes from the store, and one comparison in constant time is made of it.

        Args:
            key: Any text.
            digest: Of the secret that the reader has shown; None for a publisher.

        Returns:
            None if the key is unknown or the digest is another one.

        Raises:
            StoreError: It could not be read.

        Cancellation:
            Nothing is left behind.
        """
        ...

    async def swap(
        self, key: str, found: FoundState, record: StateRecord, before: float | None
    ) -> bool:
        """Replace a record, if it is still the one that was found.

        Args:
            key: Of the record.
            found: As `read` has returned it.
            record: In its place.
            before: Age from which on it is not replaced any more; None: at any age.

        Returns:
            False if it was not replaced: it has changed, or its time is over.

        Raises:
            StoreUnreachable: It may have been replaced.
            StoreFailed: It was not replaced; `StoreFull`: for want of room.

        Cancellation:
            It may have been replaced.
        """
        ...

    async def heads(self, keys: Sequence[str]) -> list[str]:
        """Return a mark for each state, which is another one after each change.

        Raises:
            StoreError: The states could not be looked at.

        Cancellation:
            Nothing is left behind.
        """
        ...


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(StateRecord)


def encode_record(record: StateRecord) -> bytes:
    """Return a record as it is stored."""
    return _ENCODER.encode(record)


def decode_record(text: bytes, *, may_lack: bool = False) -> StateRecord:
    """Return a stored record.

    Args:
        text: From `encode_record`, of this version or of an older one.
        may_lack: The store may have lost the latest changes.
    """
    record = _DECODER.decode(text)
    if may_lack:
        version = record.version + _VERSIONS_LOST
        return msgspec.structs.replace(record, version=version)
    return record


def is_secret(digest: bytes | None, stored: bytes) -> bool:
    """Return whether a digest is the stored one, in constant time.

    Args:
        digest: None for a publisher, who needs no secret.
        stored: `NO_DIGEST` for an unknown key.
    """
    # Both are compared in any case: `and` would skip one for an unknown key.
    is_known = not hmac.compare_digest(NO_DIGEST, stored)
    is_same = hmac.compare_digest(stored if digest is None else digest, stored)
    return is_known & is_same
