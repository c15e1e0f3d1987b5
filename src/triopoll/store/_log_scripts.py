"""What is done to a log inside Redis.

Keys: the epoch (a string), the log (a stream), its meta (a hash). An entry of the
stream has the id N-0 and the fields d (data), t (when, ms), x (until when, ms) and g
(tag); where the data is the text of a JSON value, also j (1). The meta has base (the
number before the first message's), last and tag (of the last message); it outlives the
stream. All numbers stay below 2^53, so Lua's are exact.
"""

from __future__ import annotations

from ._scripts import Script

__all__ = ["APPEND", "HEADS", "READ"]

_COMMON = """
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local now = math.floor(micros / 1000)

-- Lua writes large numbers with an exponent.
local function text(number)
  return string.format('%.0f', number)
end

local function current_epoch(proposed)
  local epoch = redis.call('GET', KEYS[1])
  if not epoch then
    epoch = proposed
    redis.call('SET', KEYS[1], epoch)
  end
  return epoch
end

local function range(first, last, count)
  return redis.call('XRANGE', KEYS[2], first, last, 'COUNT', count)
end

local function oldest()
  return range('-', '+', 1)[1]
end
"""

# Further keys: for each message where its publisher's id is kept, or ''.
# Arguments: an epoch if there is none, the longest log, how long (ms) the meta and the
# publishers' ids are kept; for each message data, lifetime (ms), tag, and 1 or '' for a
# JSON value or none.
# Returns for each message its id and whether it is a duplicate.
APPEND = Script(
    "append",
    _COMMON
    + """
local longest, memory, seen_for = ARGV[2], ARGV[3], ARGV[4]
local epoch = current_epoch(ARGV[1])
local last = tonumber(redis.call('HGET', KEYS[3], 'last'))
local answers = {}

local function begin()
  -- Entries without a meta are those of a log that is forgotten.
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[3], 'base', text(micros))
  return micros
end

local function append(data, lifetime, tag, is_json)
  last = (last or begin()) + 1
  local fields = {'d', data, 't', text(now), 'x', text(now + lifetime), 'g', tag}
  -- READ finds the other fields by position, so this one is the last.
  if is_json ~= '' then
    fields[9], fields[10] = 'j', is_json
  end
  redis.call('XADD', KEYS[2], text(last) .. '-0', unpack(fields))
  redis.call('HSET', KEYS[3], 'last', text(last), 'tag', tag)
  if redis.call('PTTL', KEYS[2]) < tonumber(lifetime) then
    redis.call('PEXPIRE', KEYS[2], lifetime)
  end
  return epoch .. '.' .. text(last) .. '.' .. tag
end

for message = 1, #KEYS - 3 do
  local seen = KEYS[3 + message]
  local id = seen ~= '' and redis.call('GET', seen)
  answers[2 * message] = id and 1 or 0
  if not id then
    id = append(unpack(ARGV, 1 + 4 * message, 4 + 4 * message))
    if seen ~= '' then
      redis.call('SET', seen, id, 'PX', seen_for)
    end
  end
  answers[2 * message - 1] = id
end

if last then
  redis.call('PEXPIRE', KEYS[3], memory)
  redis.call('XTRIM', KEYS[2], 'MINID', text(last - longest + 1) .. '-0')
end
-- A few each time: more go than come.
for _ = 1, #KEYS do
  local entry = oldest()
  if not entry or tonumber(entry[2][6]) > now then
    break
  end
  redis.call('XDEL', KEYS[2], entry[1])
end
return answers
""",
)

# Arguments: an epoch if there is none; new, all or at; most messages and bytes of a
# page; how long (ms) the meta is kept; 1 if reading trims; epoch, number and tag of
# the cursor. The rules are those of `MemoryLog`.
# Returns epoch, number and tag of the next cursor, how many are lost or '?'; then for
# each message its number, tag, time (ms), data, and 1 or '' for a JSON value or none.
READ = Script(
    "read",
    _COMMON
    + """
local how, most, most_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local memory, trims = tonumber(ARGV[5]), ARGV[6] == '1'
local c_epoch, c_n, c_tag = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local epoch = current_epoch(ARGV[1])
local meta = redis.call('HMGET', KEYS[3], 'base', 'last', 'tag')
local base, last, tag = tonumber(meta[1]), tonumber(meta[2]), meta[3]

local function is_fresh(at)
  return c_epoch == epoch and c_tag == '0000' and at - c_n < memory * 1000
end

local function gave_out_cursor()
  if c_epoch ~= epoch or c_n > last or c_tag == '0000' then
    return false
  end
  if c_n == last then
    return c_tag == tag
  end
  local id = text(c_n) .. '-0'
  local entry = range(id, id, 1)[1]
  return not entry or entry[2][8] == c_tag
end

local function number_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

local function before_oldest()
  local entry = oldest()
  return entry and number_of(entry) - 1 or last
end

if not last then
  local lost = (how ~= 'at' or is_fresh(micros)) and '0' or '?'
  return {epoch, text(micros), '0000', lost}
end
if redis.call('PTTL', KEYS[3]) < memory / 2 then
  redis.call('PEXPIRE', KEYS[3], memory)
end
if how == 'new' then
  return {epoch, text(last), tag, '0'}
end

local start
if how == 'at' then
  if c_n <= base then
    start = is_fresh(base) and base
  else
    start = gave_out_cursor() and c_n
  end
end
local is_sure = start
start = start or before_oldest()

local answer = {epoch, '', '', '?'}
local at, at_tag, count, size = start, tag, 0, 0
local is_full = false
repeat
  local entries = range(text(at + 1) .. '-0', '+', math.min(64, most - count))
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    at, at_tag = number_of(entry), fields[8]
    if tonumber(fields[6]) <= now then
      redis.call('XDEL', KEYS[2], entry[1])
    else
      local is_json = fields[10] or ''
      for _, value in ipairs({text(at), at_tag, fields[4], fields[2], is_json}) do
        answer[#answer + 1] = value
      end
      count, size = count + 1, size + #fields[2]
      is_full = count >= most or size >= most_bytes
      if is_full then
        break
      end
    end
  end
until is_full or #entries == 0
if not is_full then
  at, at_tag = last, tag
end

answer[2], answer[3] = text(at), at_tag
if how == 'all' then
  answer[4] = '0'
elseif is_sure then
  answer[4] = text(at - start - count)
  if trims then
    redis.call('XTRIM', KEYS[2], 'MINID', text(c_n + 1) .. '-0')
  end
end
return answer
""",
)

# Keys: the metas of any logs. Returns for each of them last and tag.
HEADS = Script(
    "heads",
    """
local heads = {}
for n, key in ipairs(KEYS) do
  local meta = redis.call('HMGET', key, 'last', 'tag')
  heads[n] = meta[1] and meta[1] .. '.' .. meta[2] or ''
end
return heads
""",
)
