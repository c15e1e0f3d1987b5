"""What is done to a log inside Redis.

Keys: the epoch (a string), the log (a stream), its meta (a hash), and what is known of
Redis's histories of writes (a hash, for all logs of the epoch). An entry of the
stream has the id N-0 and the fields d (data), t (when, ms), x (until when, ms) and g
(tag); where the data is the text of a JSON value, also j (1); where it follows a seam,
also s (1). The meta outlives the stream. All numbers stay below 2^53, so Lua's are
exact. The fields of the meta:

- base: the number before the first message's;
- last, tag: of the last message;
- t0 to t63: the tags of the latest 1,024 messages, 16 in each, by their numbers. They
  stay when a message goes, so they prove a cursor whose message is gone: after Redis
  has lost its last writes the same numbers have other tags;
- lacking: the number of histories that may lack writes, as of the last append;
- seam: the last message before a history that may lack writes. A reader that goes on
  from there or before may have missed something. The entry that follows a seam says so
  itself, since there may be several.

Redis has another history after each start and each failover. The fields of the
histories:

- name: of the latest one that an append or a read has found;
- since: when it was found (ms);
- lacking: how many may lack writes, those included in which a log was not written;
- mark: another one after each of these. It is the tag of a cursor that is given out
  where there is no log, so such a cursor is known to be of another history, too.

A primary that was replaced while it lives takes writes until its clients learn of it,
and loses them. The new one cannot know, but such a client says how long ago (ms) it
wrote to another history: if that was since this one was found, then this one lacks a
write that is later than its beginning, and counts once more. So those messages are
reported as a gap, which stands behind what the new primary has got in the meantime.

A full Redis refuses the first write of a script if that would store, and no later one.
So what stores writes something first that is refused then, and what must go on writes
something first that is not.
"""

from __future__ import annotations

from ._scripts import Script

__all__ = ["APPEND", "APPENDING", "COMMON", "HEADS", "READ"]

COMMON = """
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

-- How many histories may lack writes, the present one included, their mark, and the
-- history if the caller need not say again when it wrote elsewhere, else ''. That is
-- said as '' for never, or ms ago.
local function count_lacking(history, may_lack, wrote_elsewhere, write)
  local known = redis.call('HMGET', KEYS[4], 'name', 'lacking', 'mark', 'since')
  local name, lacking, mark = known[1], tonumber(known[2] or 0), known[3] or '0000'
  -- Unknown in data of an earlier version, which is taken for the future.
  local since, lacks = tonumber(known[4] or now + 1), false
  local is_new = history ~= '' and history ~= name
  if is_new then
    lacks = name and may_lack
  elseif history ~= '' and wrote_elsewhere ~= '' then
    -- A history that lacks nothing is known by other names while it goes on.
    lacks = may_lack and now - tonumber(wrote_elsewhere) >= since
  end
  local told = wrote_elsewhere ~= '' and history or ''
  if not (is_new or lacks) then
    return lacking, mark, told
  end
  local more, new_mark = lacking, mark
  if lacks then
    more = lacking + 1
    new_mark = string.sub(redis.sha1hex(history .. more), 1, 4)
  end
  local fields = {'name', history, 'since', text(now), 'mark', new_mark}
  local done = write('HSET', KEYS[4], 'lacking', more, unpack(fields))
  if type(done) ~= 'table' or not done.err then
    return more, new_mark, told
  elseif is_new then
    -- Each caller comes to the same until it can be written.
    return more, new_mark, ''
  end
  return lacking, mark, ''
end

local function range(first, last, count)
  return redis.call('XRANGE', KEYS[2], first, last, 'COUNT', count)
end

local function oldest()
  return range('-', '+', 1)[1]
end
"""

# What appends share. Further keys: the messages of the log that are not due yet (a
# hash), and when those of this place are due (a sorted set); see `_delayed_scripts`.
# Arguments: an epoch if there is none, the longest log, how long (ms) the meta and the
# publishers' ids are kept, Redis's history and whether that may lack writes, how long
# ago the caller wrote to another.
APPENDING = (
    COMMON
    + """
local longest, memory, seen_for = ARGV[2], ARGV[3], ARGV[4]
local history, may_lack, wrote_elsewhere = ARGV[5], ARGV[6] == '1', ARGV[7]
local epoch = current_epoch(ARGV[1])
local meta = redis.call('HMGET', KEYS[3], 'last', 'lacking', 'seam')
local last, known_lacking = tonumber(meta[1]), tonumber(meta[2])
local seam = tonumber(meta[3])
-- Also for messages that are known: the caller takes the answer for its last write.
local lacking = count_lacking(history, may_lack, wrote_elsewhere, redis.call)
local tags = {}

local function begin()
  redis.call('HSET', KEYS[3], 'base', text(micros))
  -- Entries without a meta are those of a log that is forgotten.
  redis.call('DEL', KEYS[2])
  return micros
end

local function note_history()
  if lacking == known_lacking then
    return
  end
  if known_lacking then
    seam = last
    redis.call('HSET', KEYS[3], 'seam', text(seam))
  end
  redis.call('HSET', KEYS[3], 'lacking', lacking)
  known_lacking = lacking
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

local function append(data, lifetime, tag, is_json, seen)
  if seen then
    -- Changes nothing. A user that may not SET is refused before the message is stored,
    -- or it would be stored with each attempt of its publisher.
    redis.call('SET', seen, '', 'XX', 'KEEPTTL')
    -- A message that is stored is not pending any more.
    if redis.call('HDEL', KEYS[5], seen) == 1 then
      redis.call('ZREM', KEYS[6], seen)
    end
  end
  if last then
    -- Changes nothing either. An entry whose number cannot be noted takes the number.
    redis.call('HSET', KEYS[3], 'last', text(last))
  else
    last = begin()
  end
  note_history()
  local follows_seam = seam == last
  last = last + 1
  local fields = {'d', data, 't', text(now), 'x', text(now + lifetime), 'g', tag}
  -- READ finds the other fields by position, so these are the last.
  if is_json ~= '' then
    fields[9], fields[10] = 'j', is_json
  end
  if follows_seam then
    fields[#fields + 1], fields[#fields + 2] = 's', '1'
  end
  redis.call('XADD', KEYS[2], text(last) .. '-0', unpack(fields))
  redis.call('HSET', KEYS[3], 'last', text(last), 'tag', tag, tags_with(last, tag))
  local id = epoch .. '.' .. text(last) .. '.' .. tag
  if seen then
    redis.call('SET', seen, id, 'PX', seen_for)
  end
  if redis.call('PTTL', KEYS[2]) < tonumber(lifetime) then
    redis.call('PEXPIRE', KEYS[2], lifetime)
  end
  return id
end

local function trim(messages)
  if last then
    redis.call('PEXPIRE', KEYS[3], memory)
    redis.call('XTRIM', KEYS[2], 'MINID', text(last - longest + 1) .. '-0')
  end
  -- A few each time: more go than come.
  for _ = 1, 1 + messages do
    local entry = oldest()
    if not entry or tonumber(entry[2][6]) > now then
      break
    end
    redis.call('XDEL', KEYS[2], entry[1])
  end
end
"""
)

# Further keys: for each message that has one, where its publisher's id is kept.
# Further arguments: for each message data, lifetime (ms), tag; 1 or '' for a JSON value
# or none, and for a publisher's id or none.
# Returns for each message its id and whether it is a duplicate.
APPEND = Script(
    "append",
    APPENDING
    + """
local answers = {}
local seen_keys = 6
for message = 1, (#ARGV - 7) / 5 do
  local data, lifetime, tag, is_json, has_id =
    unpack(ARGV, 3 + 5 * message, 7 + 5 * message)
  local seen, id
  if has_id == '1' then
    seen_keys = seen_keys + 1
    seen = KEYS[seen_keys]
    id = redis.call('GET', seen)
  end
  answers[2 * message] = id and 1 or 0
  if not id then
    id = append(data, lifetime, tag, is_json, seen)
  end
  answers[2 * message - 1] = id
end

trim(#answers / 2)
return answers
""",
)

# Arguments: an epoch if there is none; new, all or at; most messages and bytes of a
# page; how long (ms) the meta is kept; 1 if reading trims; epoch, number and tag of
# the cursor; Redis's history and whether that may lack writes, how long ago the caller
# wrote to another. The rules are those of `MemoryLog`.
# Returns epoch, number and tag of the next cursor, how many are lost or '?', the
# history if what was written to another is known now or ''; then for each message its
# number, tag, time (ms), data, and 1 or '' for a JSON value or none.
READ = Script(
    "read",
    COMMON
    + """
local how, most, most_bytes = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local memory, trims = tonumber(ARGV[5]), ARGV[6] == '1'
local c_epoch, c_n, c_tag = ARGV[7], tonumber(ARGV[8]), ARGV[9]
if redis.call('EXISTS', KEYS[1]) == 0 then
  -- Changes nothing, but a full Redis lets the script write after it.
  redis.call('DEL', KEYS[1])
end
local epoch = current_epoch(ARGV[1])
-- A Redis that takes no writes is read all the same.
local _, mark, told = count_lacking(ARGV[10], ARGV[11] == '1', ARGV[12], redis.pcall)
local meta = redis.call('HMGET', KEYS[3], 'base', 'last', 'tag', 'seam')
local base, last, tag = tonumber(meta[1]), tonumber(meta[2]), meta[3]
local seam = tonumber(meta[4])

local function is_fresh(at)
  return c_epoch == epoch and c_tag == mark and at - c_n < memory * 1000
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

local function number_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

local function before_oldest()
  local entry = oldest()
  return entry and number_of(entry) - 1 or last
end

if not last then
  local lost = (how ~= 'at' or is_fresh(micros)) and '0' or '?'
  -- Rounded down, see `empty_number`.
  local step = math.min(10000000, memory * 125)
  return {epoch, text(micros - micros % step), mark, lost, told}
end
-- This and other housekeeping may be refused: a Redis that cannot save is still read.
if redis.call('PTTL', KEYS[3]) < memory / 2 then
  redis.pcall('PEXPIRE', KEYS[3], memory)
end
if how == 'new' then
  return {epoch, text(last), tag, '0', told}
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

-- The fields of an entry that not every entry has.
local function marks_of(fields)
  local marks = {}
  for place = 9, #fields, 2 do
    marks[fields[place]] = fields[place + 1]
  end
  return marks
end

local answer = {epoch, '', '', '?', told}
local at, at_tag, count, size = start, tag, 0, 0
local is_full, follows_seam = false, false
repeat
  local entries = range(text(at + 1) .. '-0', '+', math.min(64, most - count))
  for _, entry in ipairs(entries) do
    local fields = entry[2]
    local marks = marks_of(fields)
    if marks.s and count > 0 then
      -- The next page begins here, so the gap is reported where it is.
      is_full = true
      break
    end
    follows_seam = follows_seam or marks.s
    at, at_tag = number_of(entry), fields[8]
    if tonumber(fields[6]) <= now then
      redis.pcall('XDEL', KEYS[2], entry[1])
    else
      local json = marks.j or ''
      for _, value in ipairs({text(at), at_tag, fields[4], fields[2], json}) do
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
  -- The entry with the mark may be gone.
  local crosses = seam and start <= seam and at > seam
  if not (follows_seam or crosses) then
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
