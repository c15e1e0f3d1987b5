"""What is done to a log inside Redis.

Keys: the epoch (a string), the log (a stream), its meta (a hash). An entry of the
stream has the id N-0 and the fields d (data), t (when, ms), x (until when, ms) and g
(tag); where the data is the text of a JSON value, also j (1). The meta outlives the
stream. All numbers stay below 2^53, so Lua's are exact. The fields of the meta:

- base: the number before the first message's;
- last, tag: of the last message;
- t0 to t63: the tags of the latest 1,024 messages, 16 in each, by their numbers. They
  stay when a message goes, so they prove a cursor whose message is gone: after Redis
  has lost its last writes the same numbers have other tags;
- history: names Redis's history of writes as of the last append, which is another one
  after each start and each failover;
- seam: the last message before a history that may lack writes. A reader who goes on
  from there or before may have missed something.

A full Redis refuses the first write of a script if that would store, and no later one.
So what stores writes something first that is refused then, and what must go on writes
something first that is not.
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

-- The field with the tag of a number, and the tag's place in it.
local function tag_field(number)
  return 't' .. math.floor(number / 16) % 64, number % 16
end

local function range(first, last, count)
  return redis.call('XRANGE', KEYS[2], first, last, 'COUNT', count)
end

local function oldest()
  return range('-', '+', 1)[1]
end

local function number_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end
"""

# Further keys: for each message that has one, where its publisher's id is kept.
# Arguments: an epoch if there is none, the longest log, how long (ms) the meta and the
# publishers' ids are kept, Redis's history and whether that may lack writes; for each
# message data, lifetime (ms), tag; 1 or '' for a JSON value or none, and for a
# publisher's id or none.
# Returns for each message its id and whether it is a duplicate.
APPEND = Script(
    "append",
    _COMMON
    + """
local longest, memory, seen_for = ARGV[2], ARGV[3], ARGV[4]
local history, may_lack = ARGV[5], ARGV[6] == '1'
local epoch = current_epoch(ARGV[1])
local meta = redis.call('HMGET', KEYS[3], 'last', 'history')
local last, known_history = tonumber(meta[1]), meta[2]
local answers, tags = {}, {}

local function begin()
  redis.call('HSET', KEYS[3], 'base', text(micros))
  -- Entries without a meta are those of a log that is forgotten.
  redis.call('DEL', KEYS[2])
  return micros
end

local function note_history()
  if history == '' or history == known_history then
    return
  end
  if known_history and may_lack then
    redis.call('HSET', KEYS[3], 'seam', text(last))
  end
  redis.call('HSET', KEYS[3], 'history', history)
  known_history = history
end

-- The tags of a block of 16 numbers, with a new one at its place. What is left of an
-- older block, or of one with holes, matches no cursor.
local function tags_with(number, tag)
  local name, place = tag_field(number)
  local block = tags[name] or redis.call('HGET', KEYS[3], name) or ''
  if #block ~= 4 * place then
    block = string.rep('0000', place)
  end
  tags[name] = block .. tag
  return name, tags[name]
end

local function add(fields)
  local added = redis.pcall('XADD', KEYS[2], text(last) .. '-0', unpack(fields))
  if type(added) ~= 'table' then
    return
  end
  -- An access list that allows XADD and not HSET lets a script add an entry and then
  -- refuses to note its number. Its publisher was told that it was not stored. The
  -- stream takes no number twice, so this one is skipped and counts as lost.
  for _, entry in ipairs(range(text(last) .. '-0', '+', 1000)) do
    last = number_of(entry) + 1
    redis.call('XDEL', KEYS[2], entry[1])
  end
  redis.call('XADD', KEYS[2], text(last) .. '-0', unpack(fields))
end

local function append(data, lifetime, tag, is_json)
  last = last or begin()
  note_history()
  last = last + 1
  local fields = {'d', data, 't', text(now), 'x', text(now + lifetime), 'g', tag}
  -- READ finds the other fields by position, so this one is the last.
  if is_json ~= '' then
    fields[9], fields[10] = 'j', is_json
  end
  add(fields)
  redis.call('HSET', KEYS[3], 'last', text(last), 'tag', tag, tags_with(last, tag))
  if redis.call('PTTL', KEYS[2]) < tonumber(lifetime) then
    redis.call('PEXPIRE', KEYS[2], lifetime)
  end
  return epoch .. '.' .. text(last) .. '.' .. tag
end

local seen_keys = 3
for message = 1, (#ARGV - 6) / 5 do
  local data, lifetime, tag, is_json, has_id =
    unpack(ARGV, 2 + 5 * message, 6 + 5 * message)
  local seen, id
  if has_id == '1' then
    seen_keys = seen_keys + 1
    seen = KEYS[seen_keys]
    id = redis.call('GET', seen)
  end
  answers[2 * message] = id and 1 or 0
  if not id then
    id = append(data, lifetime, tag, is_json)
    if seen then
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
for _ = 1, 1 + #answers / 2 do
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
if redis.call('EXISTS', KEYS[1]) == 0 then
  -- Changes nothing, but a full Redis lets the script write after it.
  redis.call('DEL', KEYS[1])
end
local epoch = current_epoch(ARGV[1])
local meta = redis.call('HMGET', KEYS[3], 'base', 'last', 'tag', 'seam')
local base, last, tag = tonumber(meta[1]), tonumber(meta[2]), meta[3]
local seam = tonumber(meta[4])

local function is_fresh(at)
  return c_epoch == epoch and c_tag == '0000' and at - c_n < memory * 1000
end

local function tag_of(number)
  if number == last then
    return tag
  end
  local id = text(number) .. '-0'
  local entry = range(id, id, 1)[1]
  if entry then
    return entry[2][8]
  end
  local name, place = tag_field(number)
  local block = redis.call('HGET', KEYS[3], name) or ''
  return string.sub(block, 4 * place + 1, 4 * place + 4)
end

-- A cursor that cannot be proven to be of this log is not honoured: Redis may have lost
-- its last writes, and given out their numbers again.
local function gave_out_cursor()
  return c_epoch == epoch and c_n <= last and c_tag ~= '0000' and c_tag == tag_of(c_n)
end

local function before_oldest()
  local entry = oldest()
  return entry and number_of(entry) - 1 or last
end

if not last then
  local lost = (how ~= 'at' or is_fresh(micros)) and '0' or '?'
  return {epoch, text(micros), '0000', lost}
end
-- This and other housekeeping may be refused: a Redis that cannot save is still read.
if redis.call('PTTL', KEYS[3]) < memory / 2 then
  redis.pcall('PEXPIRE', KEYS[3], memory)
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
  -- Not beyond what is noted: see `add` in APPEND.
  local last_id = text(last) .. '-0'
  local entries = range(text(at + 1) .. '-0', last_id, math.min(64, most - count))
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    at, at_tag = number_of(entry), fields[8]
    if tonumber(fields[6]) <= now then
      redis.pcall('XDEL', KEYS[2], entry[1])
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
  if not (seam and start <= seam and at > seam) then
    answer[4] = text(at - start - count)
  end
  if trims then
    redis.pcall('XTRIM', KEYS[2], 'MINID', text(c_n + 1) .. '-0')
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
