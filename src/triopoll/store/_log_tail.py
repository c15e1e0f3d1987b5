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

# Keys: the epoch, the log and its meta, as in `_log_scripts`. Arguments: the number
# before which to begin, or ''; most entries, and most bytes of each.
# Returns nothing where there is no log; else epoch, number and tag of the last message,
# how many are stored, the number before which to go on, or '' at the beginning of the
# log; then for each message its number, tag, time (ms), beginning, size in bytes, and 1
# or '' for JSON.
# Numbers follow each other, so XRANGE finds the newest ones. XREVRANGE and XLEN would
# be rights that no user of the service needs otherwise.
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

local function number_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

local function id(number)
  return string.format('%.0f-0', number)
end

local last, most = tonumber(meta[1]), tonumber(ARGV[2])
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
local answer = {epoch, meta[1], meta[2], 0, ''}
if not oldest then
  return answer
end
local upto = ARGV[1] == '' and last or tonumber(ARGV[1]) - 1
local from = upto - most + 1
answer[4] = last - number_of(oldest) + 1
if from > number_of(oldest) then
  answer[5] = string.format('%.0f', from)
end
local entries = redis.call('XRANGE', KEYS[2], id(math.max(from, 0)), id(upto))
for place = #entries, 1, -1 do
  local number, fields = string.match(entries[place][1], '^%d+'), entries[place][2]
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
        stored: How many messages there are from the oldest that is stored to the last
            one, those between them included whose time is over.
        messages: The newest first.
        before: Where to go on backwards, though there may be no message; None at the
            beginning of the log.
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
