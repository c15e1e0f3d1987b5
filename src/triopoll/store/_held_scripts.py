"""What is done to lists, and to messages that are held, inside Redis.

Keys: a list; what a worker holds (a hash: tag to place, name of the list, message);
the workers who may hold something (a set); the sign that a worker is alive (a string
that expires); the places (a counter: who takes a message gets the next one).
"""

from __future__ import annotations

from ._scripts import Script

__all__ = ["DEAD", "ENROL", "FORGET", "GIVE_BACK", "RECOVER", "SIGN", "TAKE"]

# Keys: the list, held, workers, alive, places.
# Arguments: tag, worker, for how long (ms) it counts as alive.
# Returns the message, or nothing.
# A full Redis lets a script store that has removed something before. Where the message
# cannot be held, for want of a permission, it goes back at once.
TAKE = Script(
    "take",
    """
local message = redis.call('LPOP', KEYS[1])
if message then
  local place = redis.pcall('INCR', KEYS[5])
  local held = place
  if type(place) == 'number' then
    held = redis.pcall('HSET', KEYS[2], ARGV[1], cmsgpack.pack(place, KEYS[1], message))
  end
  if type(held) ~= 'number' then
    redis.call('LPUSH', KEYS[1], message)
    return held
  end
  -- With the message, in case Redis has been emptied since the worker last said so.
  redis.call('SADD', KEYS[3], ARGV[2])
  redis.call('SET', KEYS[4], '', 'PX', ARGV[3])
end
return message
""",
)

# Keys: the list, where it is known, for messages about it; held. Argument: tag.
# A key that is not a list any more is an error, and the message stays held.
# Redis refuses a script that would store when it is full, unless the script has written
# before: so the entry is removed first, and a message goes back to a full Redis too.
GIVE_BACK = Script(
    "give back",
    """
local holder = KEYS[#KEYS]
local held = redis.call('HGET', holder, ARGV[1])
if held then
  local _, list, message = cmsgpack.unpack(held)
  local kind = redis.call('TYPE', list).ok
  if kind ~= 'list' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE the key is no list any more, but a ' .. kind)
  end
  redis.call('HDEL', holder, ARGV[1])
  redis.call('LPUSH', list, message)
end
""",
)

# Keys: the sign of life. Argument: for how long (ms) it counts.
# Not a SET alone, which a full Redis refuses: its workers would count as dead.
SIGN = Script(
    "sign of life",
    """
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then
  redis.call('SET', KEYS[1], '', 'PX', ARGV[1])
end
""",
)

# Key: workers. Arguments: what the names of signs of life, and of what is held, begin
# with; then, if not all workers without a sign of life here are meant, those that are.
# Gives back what dead workers held, all of them together for the sake of order; that is
# at most what as many workers had in hand at once. As above, it removes first.
# Returns how many messages were given back, and how many could not be.
RECOVER = Script(
    "recover",
    """
local meant = {}
for n = 3, #ARGV do
  meant[ARGV[n]] = true
end

local dead, found = {}, {}
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local is_meant = #ARGV < 3 or meant[worker]
  if is_meant and redis.call('EXISTS', ARGV[1] .. worker) == 0 then
    local name = ARGV[2] .. worker
    local held = redis.call('HGETALL', name)
    dead[worker] = name
    for n = 1, #held, 2 do
      local place, list, message = cmsgpack.unpack(held[n + 1])
      found[#found + 1] = {place, list, message, name, held[n]}
    end
  end
end

table.sort(found, function(a, b) return a[1] > b[1] end)
local stuck = 0
for _, entry in ipairs(found) do
  local _, list, message, name, tag = unpack(entry)
  local kind = redis.call('TYPE', list).ok
  if kind == 'list' or kind == 'none' then
    redis.call('HDEL', name, tag)
    redis.call('LPUSH', list, message)
  else
    stuck = stuck + 1
  end
end

for worker, name in pairs(dead) do
  if redis.call('EXISTS', name) == 0 then
    redis.call('SREM', KEYS[1], worker)
  end
end
return {#found - stuck, stuck}
""",
)

# Keys: workers, the tags of one of them, its sign of life. Arguments: worker, tag, for
# how long (ms) it counts as alive. For a cluster: says where this worker may hold
# something, before it does.
ENROL = Script(
    "enrol",
    """
if redis.call('PEXPIRE', KEYS[3], ARGV[3]) == 0 then
  redis.call('SET', KEYS[3], '', 'PX', ARGV[3])
end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('SADD', KEYS[2], ARGV[2])
""",
)

# Key: workers. Arguments: what the names of signs of life, and of sets of tags, begin
# with. Returns the workers without a sign of life, each with its tags.
DEAD = Script(
    "dead",
    """
local dead = {}
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. worker) == 0 then
    dead[#dead + 1] = {worker, redis.call('SMEMBERS', ARGV[2] .. worker)}
  end
end
return dead
""",
)

# Keys: workers, the tags of one of them, its sign of life. Argument: the worker.
# Forgets one that holds nothing any more, unless it lives again.
FORGET = Script(
    "forget",
    """
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('SREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[2])
end
""",
)
