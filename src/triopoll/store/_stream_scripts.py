"""What is done to a stream inside Redis.

Keys: a stream's hash, named by its path; and beside it, named by its id, its entries (a
Redis stream), its producers (a hash from id to epoch and sequence number) and its forks
(a hash from id to path). An entry has the id NUMBER-0 and the fields g (tag) and d
(data). All four end together, and a path that is made again has another id, so nothing
of the old stream is found.

The fields of the hash: i (id), y (content type), k (its kind), b and bg (number and tag
at which it begins), n and g (of its end), z (its size), t (TTL, s), x and xm (when it
ends, text and ms), c (1 if it is closed), cp (the producer's append that closed it), s
(the last Stream-Seq), fp and fi (path and id of its source), fw and fs (the offset and
the sub-offset that its creator gave), d (1 if it is deleted and has forks).

A full Redis refuses the first write of a script if that would store, and no later one
(see `_log_scripts`). So what stores writes something first that is refused then.
"""

from __future__ import annotations

from ._scripts import Script

__all__ = [
    "APPEND_STREAM",
    "CREATE_STREAM",
    "DELETE_STREAM",
    "HOLD_SOURCE",
    "LIST_FORKS",
    "READ_STREAM",
    "RELEASE_SOURCE",
    "STAGE_FORK",
    "STREAM_HEADS",
]

# Key: the hash. First argument of each script: what the names of the other keys begin
# with. `VIEW` is what `_redis_streams` makes a view of.
_COMMON = """
local function text(number)
  return string.format('%.0f', number)
end

local function entries_of(id) return ARGV[1] .. 'entries:' .. id end
local function producers_of(id) return ARGV[1] .. 'producers:' .. id end
local function forks_of(id) return ARGV[1] .. 'forks:' .. id end

local fields = {'i', 'y', 'k', 'b', 'bg', 'n', 'g', 'z', 't', 'x', 'xm', 'c', 'cp', 's',
  'fp', 'fi', 'fw', 'fs', 'd'}

local function load_stream()
  local values = redis.call('HMGET', KEYS[1], unpack(fields))
  local stream = {}
  for place, field in ipairs(fields) do
    stream[field] = values[place] or ''
  end
  return stream
end

local function view_of(stream)
  return stream.i, stream.y, stream.n, stream.g, stream.c, stream.t, stream.x
end

-- The four keys end together. Refused by a Redis that takes no writes, which is read
-- all the same.
local function touch(stream)
  local id = stream.i
  local keys = {entries_of(id), producers_of(id), forks_of(id), KEYS[1]}
  for _, key in ipairs(keys) do
    if stream.t ~= '' then
      redis.pcall('PEXPIRE', key, text(math.max(1, stream.t * 1000)))
    elseif stream.xm ~= '' then
      redis.pcall('PEXPIREAT', key, stream.xm)
    end
  end
end

-- The number that an offset stands for; nil if this stream has not got it.
local function resolve(stream, number, tag)
  if tonumber(number) == 0 and tonumber(tag) == 0 then
    return stream.b, stream.bg
  end
  local is_base = tonumber(number) == tonumber(stream.b) and tag == stream.bg
  local is_tail = tonumber(number) == tonumber(stream.n) and tag == stream.g
  if is_base or is_tail then
    return number, tag
  end
  local id = text(tonumber(number)) .. '-0'
  local entry = redis.call('XRANGE', entries_of(stream.i), id, id, 'COUNT', 1)[1]
  if entry and entry[2][2] == tag then
    return number, tag
  end
  return nil
end
"""

# Arguments: prefix; 1 if it is only looked for; id, type, kind, TTL, end as text and in
# ms, 1 if it is closed; number and tag at which it begins and ends, '' for now; size;
# data, its tag, the longest stream, the cost of an entry; of a fork path and id of its
# source ('' if it is not known yet), offset, sub-offset.
# Returns made, same, conflict, free or full; and the view.
CREATE_STREAM = Script(
    "create_stream",
    _COMMON
    + """
local only_find, id, type, kind = ARGV[2] == '1', ARGV[3], ARGV[4], ARGV[5]
local ttl, ends, ends_at, closed = ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local data, tag = ARGV[15], ARGV[16]
local source, source_id, offset, sub = ARGV[19], ARGV[20], ARGV[21], ARGV[22]

local found = load_stream()
if found.d ~= '' then
  return {'deleted'}
elseif found.i ~= '' then
  local is_fork = source ~= ''
  local same_end = found.t == ttl and found.xm == ends_at
  local inherits = is_fork and ttl == '' and ends_at == ''
  local is_same = found.c == closed and (kind == '' or kind == found.k)
    and (same_end or inherits)
    and found.fp == source and found.fw == offset and found.fs == sub
  if not is_same then
    return {'conflict'}
  end
  return {'same', view_of(found)}
end
if only_find then
  return {'free'}
end

local number, number_tag, last, last_tag = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
if number == '' then
  local time = redis.call('TIME')
  number = text(time[1] * 1000000 + time[2])
  last, last_tag = number, number_tag
end
local size = tonumber(ARGV[14])
local entries = entries_of(id)
if size > 0 and redis.call('EXISTS', entries) == 0 then
  -- What was staged has ended.
  return {'conflict'}
end
if data ~= '' then
  size = size + #data + ARGV[18]
  last, last_tag = text(last + 1), tag
end
if size > tonumber(ARGV[17]) then
  return {'stream_full'}
end
redis.call('HSET', KEYS[1], 'i', id, 'y', type, 'k', kind, 'b', number,
  'bg', number_tag, 'n', last, 'g', last_tag, 'z', text(size), 't', ttl, 'x', ends,
  'xm', ends_at, 'c', closed, 'fp', source, 'fi', source_id, 'fw', offset, 'fs', sub)
redis.call('PERSIST', entries)
if data ~= '' then
  redis.call('XADD', entries, last .. '-0', 'g', tag, 'd', data)
end
local stream = load_stream()
touch(stream)
return {'made', view_of(stream)}
""",
)

# Arguments: prefix; data, its tag, its kind; Stream-Seq with = in front, or ''; 1 if it
# closes; the producer's id, epoch and number, or ''; the longest stream, the cost of
# an entry. The rules are those of `_stream_rules`.
# Returns the word for what came of it; number and tag of the end, 1 if it is closed,
# and a number that belongs to the word.
APPEND_STREAM = Script(
    "append_to_stream",
    _COMMON
    + """
local data, tag, kind, seq, closes = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6] == '1'
local producer, epoch, number = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9])
local longest, cost = tonumber(ARGV[10]), tonumber(ARGV[11])
local stream = load_stream()
if stream.i == '' then
  return {'not_found'}
elseif stream.d ~= '' then
  return {'deleted'}
end

local function answer(word, extra)
  return {word, stream.n, stream.g, stream.c, extra and text(extra) or ''}
end

local function duplicate(last)
  touch(stream)
  return answer('duplicate', last)
end

-- Redis compares strings in the order of its locale.
local function is_above(one, other)
  for place = 1, math.min(#one, #other) do
    local a, b = string.byte(one, place), string.byte(other, place)
    if a ~= b then
      return a > b
    end
  end
  return #one > #other
end

local tuple, known, known_epoch, last = '', false, epoch, -1
if producer ~= '' then
  tuple = ARGV[8] .. ' ' .. ARGV[9] .. ' ' .. producer
  known = redis.call('HGET', producers_of(stream.i), producer)
  if known then
    local known_text, last_text = string.match(known, '^(%d+) (%d+)$')
    known_epoch, last = tonumber(known_text), tonumber(last_text)
  end
  if epoch < known_epoch then
    return answer('stale_epoch', known_epoch)
  end
end
if stream.c ~= '' then
  if tuple ~= '' and tuple == stream.cp then
    return duplicate(last)
  elseif tuple == '' and closes and data == '' then
    return duplicate()
  end
  return answer('closed')
end
if data ~= '' and kind ~= stream.k then
  return answer('content_type')
end
if producer ~= '' then
  if epoch > known_epoch then
    if number ~= 0 then
      return answer('epoch_start')
    end
  elseif number <= last then
    return duplicate(last)
  elseif number > last + 1 then
    return answer('sequence_gap', last + 1)
  end
end
if seq ~= '' and stream.s ~= '' and not is_above(seq, stream.s) then
  return answer('sequence')
end

local size = tonumber(stream.z)
if data ~= '' then
  size = size + cost + #data
end
if producer ~= '' and not known then
  size = size + cost + #producer
end
if size > longest and size > tonumber(stream.z) then
  return answer('stream_full')
end
-- Changes nothing, and is refused by a full Redis and to a user who may not write.
redis.call('HSET', KEYS[1], 'n', stream.n)
if data ~= '' then
  stream.n, stream.g = text(stream.n + 1), tag
  redis.call('XADD', entries_of(stream.i), stream.n .. '-0', 'g', tag, 'd', data)
end
if producer ~= '' then
  redis.call('HSET', producers_of(stream.i), producer, ARGV[8] .. ' ' .. ARGV[9])
end
if closes then
  stream.c = '1'
  redis.call('HSET', KEYS[1], 'c', '1', 'cp', tuple)
end
if seq ~= '' then
  redis.call('HSET', KEYS[1], 's', seq)
end
redis.call('HSET', KEYS[1], 'n', stream.n, 'g', stream.g, 'z', text(size))
touch(stream)
return answer('done', number)
""",
)

# Arguments: prefix; number and tag of an offset, '' for the end; the bytes of a page; 1
# if the stream's time begins anew; of a page for a fork the id that the stream must
# have, and the number at which the page ends at the latest, '' for none.
# Returns page and the view; number and tag of the start; then number, tag and data of
# each entry.
READ_STREAM = Script(
    "read_stream",
    _COMMON
    + """
local number, tag, most_bytes = ARGV[2], ARGV[3], tonumber(ARGV[4])
local stream = load_stream()
if stream.i == '' or (ARGV[6] ~= '' and ARGV[6] ~= stream.i) then
  return {'not_found'}
elseif stream.d ~= '' then
  return {'deleted'}
end
if ARGV[5] == '1' then
  touch(stream)
end
local start, start_tag = stream.n, stream.g
if number ~= '' then
  start, start_tag = resolve(stream, number, tag)
  if not start then
    return {'offset_gone'}
  end
end
local page = {'page', view_of(stream)}
page[#page + 1], page[#page + 2] = text(tonumber(start)), start_tag
local at, size = tonumber(start), 0
local until_number = ARGV[7] ~= '' and tonumber(ARGV[7]) or tonumber(stream.n)
-- As many as fill the page if all are alike.
local average = tonumber(stream.z) / math.max(1, stream.n - stream.b)
local count = math.max(1, math.min(1000, math.ceil(most_bytes / math.max(1, average))))
while at < until_number and size < most_bytes do
  local found = redis.call('XRANGE', entries_of(stream.i), text(at + 1) .. '-0',
    text(until_number) .. '-0', 'COUNT', count)
  if #found == 0 then
    break
  end
  for _, entry in ipairs(found) do
    at = tonumber(string.match(entry[1], '^%d+'))
    local tag, data = entry[2][2], entry[2][4]
    page[#page + 1], page[#page + 2], page[#page + 3] = text(at), tag, data
    size = size + #data
    if size >= most_bytes then
      break
    end
  end
end
return page
""",
)

# Argument: prefix. Returns not_found or deleted, or done with path and id of the source
# of what is gone, '' if it has none or is kept for its forks.
DELETE_STREAM = Script(
    "delete_stream",
    _COMMON
    + """
local stream = load_stream()
if stream.i == '' then
  return {'not_found'}
elseif stream.d ~= '' then
  return {'deleted'}
end
redis.call('UNLINK', KEYS[1], entries_of(stream.i), producers_of(stream.i))
local forks = forks_of(stream.i)
if redis.call('HLEN', forks) == 0 then
  return {'done', stream.i, stream.fp, stream.fi}
end
redis.call('PERSIST', forks)
redis.call('HSET', KEYS[1], 'i', stream.i, 'd', '1', 'n', stream.n, 'g', stream.g,
  'fp', stream.fp, 'fi', stream.fi)
return {'done', stream.i, '', ''}
""",
)

# Arguments: prefix; id and path of the fork; its kind or ''; number and tag of its
# offset, '' for the end; the most forks.
# Returns held; id, type, TTL, end as text and in ms of the source; number and tag of
# its beginning and of the fork's offset.
HOLD_SOURCE = Script(
    "hold_source",
    _COMMON
    + """
local stream = load_stream()
if stream.i == '' then
  return {'source_not_found'}
elseif stream.d ~= '' then
  return {'source_deleted'}
elseif ARGV[4] ~= '' and ARGV[4] ~= stream.k then
  return {'content_type'}
end
local number, tag = stream.n, stream.g
if ARGV[5] ~= '' then
  number, tag = resolve(stream, ARGV[5], ARGV[6])
  if not number then
    return {'fork_offset'}
  end
end
local forks = forks_of(stream.i)
if redis.call('HLEN', forks) >= tonumber(ARGV[7]) then
  return {'too_many_forks'}
end
redis.call('HSET', forks, ARGV[2], ARGV[3])
local left = redis.call('PTTL', KEYS[1])
if left > 0 then
  redis.call('PEXPIRE', forks, left)
end
return {'held', stream.i, stream.y, stream.t, stream.x, stream.xm, stream.b, stream.bg,
  text(tonumber(number)), tag}
""",
)

# Key: the entries of a fork that is not there yet. Arguments: how long (ms) they are
# kept; number, tag and data of each.
STAGE_FORK = Script(
    "stage_fork",
    """
for place = 2, #ARGV, 3 do
  redis.call('XADD', KEYS[1], ARGV[place] .. '-0', 'g', ARGV[place + 1],
    'd', ARGV[place + 2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return 1
""",
)

# Arguments: prefix; the id that the source must have; the id of the fork. Returns path
# and id of the source's own source if the source is gone now.
RELEASE_SOURCE = Script(
    "release_source",
    _COMMON
    + """
local stream = load_stream()
if stream.i ~= ARGV[2] then
  return {}
end
local forks = forks_of(stream.i)
redis.call('HDEL', forks, ARGV[3])
if stream.d == '' or redis.call('HLEN', forks) > 0 then
  return {}
end
redis.call('UNLINK', KEYS[1])
return {stream.fp, stream.fi}
""",
)

# Argument: prefix. Returns, for a deleted stream, its id and then id and path of each
# of its forks.
LIST_FORKS = Script(
    "list_forks",
    _COMMON
    + """
local stream = load_stream()
if stream.d == '' then
  return {}
end
return {stream.i, unpack(redis.call('HGETALL', forks_of(stream.i)))}
""",
)

# Keys: the hashes of any streams. Returns a mark for each of them.
STREAM_HEADS = Script(
    "stream_heads",
    """
local heads = {}
for place, key in ipairs(KEYS) do
  local found = redis.call('HMGET', key, 'i', 'n', 'g', 'c', 'd')
  for n = 1, 5 do
    found[n] = found[n] or ''
  end
  heads[place] = table.concat(found, '.')
end
return heads
""",
)
