"""The end of a log, as an operator looks at it: nothing is changed by that.

Readers go forward from a cursor. Here the newest messages come first, and only the
beginning of each is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._scripts import Script

__all__ = ["TAIL", "EMPTY_TAIL", "LogTail", "TailMessage", "tail_from"]

# Keys: the epoch, the log and its meta, as in `_log_scripts`. Arguments: where to
# begin, as XREVRANGE takes it; most entries, and most bytes of each.
# Returns nothing where there is no log; else epoch, number and tag of the last message,
# how many are stored, the number of the last entry that was looked at, or '' at the
# beginning of the log; then for each message its number, tag, time (ms), beginning,
# size in bytes, and 1 or '' for JSON.
TAIL = Script(
    "tail",
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('GET', KEYS[1])
local meta = redis.call('HMGET', KEYS[3], 'last', 'tag')
if not (epoch and meta[1]) then
  return {}
end
local most = tonumber(ARGV[2])
local entries = redis.call('XREVRANGE', KEYS[2], ARGV[1], '-', 'COUNT', most)
local stored = redis.call('XLEN', KEYS[2])
local answer = {epoch, meta[1], meta[2], stored, ''}
for place, entry in ipairs(entries) do
  local number = string.match(entry[1], '^%d+')
  if place == most then
    answer[5] = number
  end
  local fields = entry[2]
  if tonumber(fields[6]) > now then
    local json = fields[9] == 'j' and fields[10] or ''
    local data = string.sub(fields[2], 1, tonumber(ARGV[3]))
    for _, value in ipairs({number, fields[8], fields[4], data, #fields[2], json}) do
      answer[#answer + 1] = value
    end
  end
end
return answer
""",
)


@dataclass(frozen=True, slots=True)
class TailMessage:
    """A message, or the beginning of a long one.

    Attributes:
        id: Its id, which is the cursor after it.
        data: Its first bytes.
        size: How many it has.
        ts: When it was appended, in Unix seconds.
        is_json: The data is the text of a JSON value.
    """

    id: str
    data: bytes
    size: int
    ts: float
    is_json: bool


@dataclass(frozen=True, slots=True)
class LogTail:
    """The end of a log.

    Attributes:
        head: The cursor after its last message; None where there is no log.
        stored: How many messages are stored, those included whose time is over and
            that have not been removed yet.
        messages: The newest first.
        before: Where to go on backwards; None at the beginning of the log.
    """

    head: str | None
    stored: int
    messages: Sequence[TailMessage]
    before: int | None


EMPTY_TAIL = LogTail(None, 0, (), None)


def tail_from(answer: Sequence[Any]) -> LogTail:
    """Return what the script has answered."""
    if not answer:
        return EMPTY_TAIL
    epoch, last, tag, stored, before, *flat = answer
    prefix = epoch.decode()
    messages = [
        TailMessage(
            f"{prefix}.{number.decode()}.{of.decode()}",
            data,
            int(size),
            int(written) / 1000,
            json == b"1",
        )
        for number, of, written, data, size, json in zip(*[iter(flat)] * 6, strict=True)
    ]
    head = f"{prefix}.{last.decode()}.{tag.decode()}"
    return LogTail(head, int(stored), messages, int(before) if before else None)
