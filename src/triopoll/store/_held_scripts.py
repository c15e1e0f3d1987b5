"""What is done to lists, and to messages that are held, inside Redis.

Keys: a list; what a worker holds (a hash: ticket to place, name of the list, message);
the workers who may hold something (a set); the sign that a worker is alive (a string
that expires); the places (a counter: who takes a message gets the next one).
"""

from __future__ import annotations

from ._scripts import Script

__all__ = ["GIVE_BACK", "RECOVER", "TAKE"]

# Keys: the list, held, workers, alive, places.
# Arguments: ticket, worker, for how long (ms) it counts as alive.
# Returns the message, or nothing.
TAKE = Script(
    "take",
    """
local message = redis.call('LPOP', KEYS[1])
if message then
  local place = redis.call('INCR', KEYS[5])
  redis.call('HSET', KEYS[2], ARGV[1], cmsgpack.pack(place, KEYS[1], message))
  -- With the message, in case Redis has been emptied since the worker last said so.
  redis.call('SADD', KEYS[3], ARGV[2])
  redis.call('SET', KEYS[4], '', 'PX', ARGV[3])
end
return message
""",
)

# Keys: the list, for messages about it; held. Argument: ticket.
# A key that is not a list any more is an error, and the message stays held.
GIVE_BACK = Script(
    "give back",
    """
local held = redis.call('HGET', KEYS[2], ARGV[1])
if held then
  local _, list, message = cmsgpack.unpack(held)
  redis.call('LPUSH', list, message)
  redis.call('HDEL', KEYS[2], ARGV[1])
end
""",
)

# Key: workers. Arguments: what the names of signs of life, and of what is held, begin
# with. Gives back what dead workers held, all of them together for the sake of order;
# that is at most what as many workers had in hand at once.
# Returns how many messages were given back, and how many could not be.
RECOVER = Script(
    "recover",
    """
local dead, found = {}, {}
for _, worker in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if redis.call('EXISTS', ARGV[1] .. worker) == 0 then
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
  local _, list, message, name, ticket = unpack(entry)
  local length = redis.pcall('LPUSH', list, message)
  if type(length) == 'number' then
    redis.call('HDEL', name, ticket)
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
