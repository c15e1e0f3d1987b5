"""By which rules an append to a stream is refused; the script `append` has the same.

The order of the checks is that of the protocol: closed, type, producer, sequence.
"""

from __future__ import annotations

from ._streams_base import (
    NewAppend,
    Offset,
    Producer,
    Refused,
    StreamAppended,
    StreamRefusal,
)

__all__ = ["refuse_append"]


def refuse_append(
    new: NewAppend,
    *,
    kind: str,
    tail: Offset,
    closing: Producer | None,
    is_closed: bool,
    seq: bytes | None,
    known: tuple[int, int] | None,
) -> StreamAppended | Refused | None:
    """Return what becomes of an append that changes nothing; None for the others.

    Args:
        new: The append.
        kind: Of the stream.
        tail: The end of the stream.
        closing: The producer's append that closed it.
        is_closed: Whether it is closed.
        seq: The last one that was accepted.
        known: Epoch and sequence number of the producer's last append.
    """
    stale = _refuse_stale(new.producer, known)
    if is_closed:
        return stale or _refuse_closed(new, tail, closing, known)
    if new.data and new.kind != kind:
        return Refused(reason=StreamRefusal.WRONG_TYPE)
    if new.producer is not None:
        outcome = stale or _refuse_number(new.producer, tail, known)
        if outcome is not None:
            return outcome
    if new.seq is not None and seq is not None and new.seq <= seq:
        return Refused(reason=StreamRefusal.OLD_SEQ)
    return None


def _refuse_stale(
    producer: Producer | None, known: tuple[int, int] | None
) -> Refused | None:
    if producer is not None and known is not None and producer.epoch < known[0]:
        return Refused(reason=StreamRefusal.STALE_EPOCH, epoch=known[0])
    return None


def _refuse_closed(
    new: NewAppend,
    tail: Offset,
    closing: Producer | None,
    known: tuple[int, int] | None,
) -> StreamAppended | Refused:
    producer = new.producer
    if producer is not None and producer == closing:
        seq = known[1] if known else producer.seq
        return StreamAppended(tail=tail, closed=True, duplicate=True, seq=seq)
    if producer is None and new.closes and not new.data:
        return StreamAppended(tail=tail, closed=True, duplicate=True)
    return Refused(reason=StreamRefusal.CLOSED, tail=tail)


def _refuse_number(
    producer: Producer, tail: Offset, known: tuple[int, int] | None
) -> StreamAppended | Refused | None:
    epoch, last = known or (producer.epoch, -1)
    if producer.epoch > epoch:
        if producer.seq:
            return Refused(reason=StreamRefusal.NEW_EPOCH)
        return None
    if producer.seq <= last:
        return StreamAppended(tail=tail, closed=False, duplicate=True, seq=last)
    if producer.seq > last + 1:
        return Refused(reason=StreamRefusal.SEQ_GAP, expected=last + 1)
    return None
