"""What is done inside Redis to messages that are not due yet.

All that one script touches lies with the log (see `_names`), so a message moves from
there into its log in one step, and a Redis that loses its last writes loses both halves
of a move or none. A pending message is named by the key under which its log will keep
its publisher's id (`seen`, see `_log_scripts`). The keys:

- pending, a hash for each log: by name, lifetime (ms) and 1 or 0 for a JSON value or
  none, each before a colon, and the data;
- due, a sorted set for all logs of a place: the names by when they are due (us). The
  clock of Redis counts, so those of the workers need not agree.

In a cluster there are many places. Which of them were changed is kept in one of them:
the sorted set due-places has the tag of each place by the number of its last change,
and the hash due-counts how many are pending there (`tTAG`), all together (`total`), and
the number of the last change (`changes`). Both may be behind, or lost in a failover:
all places are looked at as well where that may be, and from time to time.
"""

from __future__ import annotations

from ._log_scripts import APPENDING
from ._scripts import Script

__all__ = [
    "CANCEL",
    "CHANGED",
    "COUNTED",
    "DELIVER",
    "LOOK",
    "NOTE",
    "POSTPONE",
    "SCHEDULE",
]

_NOW = """
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]

local function text(number)
  return string.format('%.0f', number)
end
"""

_EPOCH = """
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[1]
  redis.call('SET', KEYS[1], epoch)
end
"""

# Keys: epoch, pending, due; for each message where its publisher's id is kept.
# Arguments: an epoch if there is none, how many messages may be pending of the log and
# of the place; for each message what is stored, 'in' or 'at', and us.
# Returns for each message what became of it, and when it is due (us) or its id; then
# how many are pending in the place.
SCHEDULE = Script(
    "schedule",
    _NOW
    + _EPOCH
    + """
local answers = {}
for n = 1, #KEYS - 3 do
  local name = KEYS[3 + n]
  local record, how, due = unpack(ARGV, 3 * n + 1, 3 * n + 3)
  local id = redis.call('GET', name)
  local is_known = redis.call('HEXISTS', KEYS[2], name) == 1
  local what, answer
  if id then
    what, answer = 'stored', id
  elseif not is_known and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[2]) then
    what, answer = 'full', 'key'
  elseif not is_known and redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[3]) then
    what, answer = 'full', 'total'
  else
    local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')[2]
    -- Those of one request with the same time are delivered in its order.
    due = tonumber(due) + (how == 'in' and micros or 0) + n - 1
    -- The data first: a full Redis refuses that, and has changed nothing.
    redis.call('HSET', KEYS[2], name, record)
    redis.call('ZADD', KEYS[3], text(due), name)
    what, answer = is_known and 'replaced' or 'new', text(due)
    if not first or due < tonumber(first) then
      what = what .. ' first'
    end
  end
  answers[2 * n - 1], answers[2 * n] = what, answer
end
answers[#answers + 1] = redis.call('ZCARD', KEYS[3])
return answers
""",
)

# Keys: pending, due, where the publisher's id is kept.
# Returns whether it was pending, the id of the message in the log or '', and how many
# are pending in the place.
CANCEL = Script(
    "cancel",
    """
local was_pending = redis.call('HDEL', KEYS[1], KEYS[3])
if was_pending == 1 then
  redis.call('ZREM', KEYS[2], KEYS[3])
end
local id = redis.call('GET', KEYS[3]) or ''
return {was_pending, id, redis.call('ZCARD', KEYS[2])}
""",
)

# Keys: epoch, due. Argument: how many names at most.
# Returns the epoch or '', how many are pending, us until the next one is due or -1, and
# the names of those that are due.
LOOK = Script(
    "look",
    _NOW
    + """
local names = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', text(micros),
  'LIMIT', 0, ARGV[1])
local after = '(' .. text(micros)
local next_one = redis.call('ZRANGEBYSCORE', KEYS[2], after, '+inf',
  'WITHSCORES', 'LIMIT', 0, 1)[2]
local pause = -1
if #names >= tonumber(ARGV[1]) then
  pause = 0
elseif next_one then
  pause = text(tonumber(next_one) - micros)
end
local epoch = redis.call('GET', KEYS[1]) or ''
return {epoch, redis.call('ZCARD', KEYS[2]), pause, unpack(names)}
""",
)

# Further keys: the names to deliver. Further arguments: a tag for each of them.
# Returns how many are pending in the place, and for each message that was moved how
# late it is (us).
DELIVER = Script(
    "deliver",
    APPENDING
    + """
local answers = {0}
for n = 7, #KEYS do
  local name = KEYS[n]
  local due = redis.call('ZSCORE', KEYS[6], name)
  local record = redis.call('HGET', KEYS[5], name)
  if due and not record then
    redis.call('ZREM', KEYS[6], name)
  elseif due and tonumber(due) <= micros then
    local lifetime, is_json, start = string.match(record, '^(%d+):(%d):()')
    append(string.sub(record, start), lifetime, ARGV[n + 1],
      is_json == '1' and '1' or '', name)
    answers[#answers + 1] = text(micros - tonumber(due))
  end
end
trim(#answers)
answers[1] = redis.call('ZCARD', KEYS[6])
return answers
""",
)

# Keys: due; names that cannot be delivered. Argument: us for which they are put off.
POSTPONE = Script(
    "postpone",
    _NOW
    + """
for n = 2, #KEYS do
  redis.call('ZADD', KEYS[1], 'XX', text(micros + tonumber(ARGV[1])), KEYS[n])
end
return 1
""",
)

# Keys: epoch, due-places, due-counts. Arguments: an epoch if there is none, the tag of
# a place, how many are pending there, and 1 if it is to be looked at.
# Returns the epoch and how many are pending in all places.
NOTE = Script(
    "note_place",
    _EPOCH
    + """
local field = 't' .. ARGV[2]
local before = redis.call('HGET', KEYS[3], field) or 0
redis.call('HSET', KEYS[3], field, ARGV[3])
local total = redis.call('HINCRBY', KEYS[3], 'total', ARGV[3] - before)
if ARGV[4] == '1' then
  local change = redis.call('HINCRBY', KEYS[3], 'changes', 1)
  redis.call('ZADD', KEYS[2], change, ARGV[2])
end
return {epoch, total}
""",
)

# Keys: as for NOTE. Arguments: the number of the last change that is known, Redis's
# history. Returns the epoch or '', the history, the number of the last change, how many
# are pending in all places, and the tags of the places that were changed since.
CHANGED = Script(
    "changed_places",
    """
local known = redis.call('HMGET', KEYS[3], 'changes', 'total')
local tags = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf')
return {redis.call('GET', KEYS[1]) or '', ARGV[2], known[1] or '0', known[2] or '0',
  unpack(tags)}
""",
)

# Keys: due-counts. Arguments: tag and number for each place in which some are pending;
# all places were looked at.
COUNTED = Script(
    "count_places",
    """
local changes, total = redis.call('HGET', KEYS[1], 'changes') or 0, 0
redis.call('DEL', KEYS[1])
for n = 1, #ARGV, 2 do
  redis.call('HSET', KEYS[1], 't' .. ARGV[n], ARGV[n + 1])
  total = total + ARGV[n + 1]
end
redis.call('HSET', KEYS[1], 'changes', changes, 'total', total)
return total
""",
)
