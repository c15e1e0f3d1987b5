"""What is done to a state inside Redis.

A state is one hash, so it lies in one slot of a cluster. Its fields: s (SHA-256 of the
secret), r (the record, JSON), v (its version), c (when it was created, ms), h (Redis's
history of writes as of the last change; see `_log_scripts`). What stores writes the
record first: a full Redis refuses that, and has changed nothing.
"""

from __future__ import annotations

from ._scripts import Script

__all__ = ["HEADS", "INSERT", "READ", "SWAP"]

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Arguments: digest, record, version, how long (ms) it is kept, Redis's history.
# Returns 0 if there is a state of this key.
INSERT = Script(
    "insert_state",
    _NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'r', ARGV[2], 's', ARGV[1], 'v', ARGV[3],
  'c', string.format('%.0f', now), 'h', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
""",
)

# Arguments: the digest that the reader has shown, or '' for a publisher; what stands
# for the digest of an unknown key; Redis's history and whether that may lack writes.
# Returns the digest; and, if it is the shown one, record, version, time of creation,
# present time, and 1 if changes may have been lost since the last one that is known.
# Lua compares strings by their place in memory, in constant time. The record is read
# only then, so that a long one does not tell a known key from an unknown one.
READ = Script(
    "read_state",
    _NOW
    + """
local digest = redis.call('HGET', KEYS[1], 's')
local stored = digest or ARGV[2]
if not digest or (ARGV[1] ~= '' and ARGV[1] ~= digest) then
  return {stored}
end
local found = redis.call('HMGET', KEYS[1], 'r', 'v', 'c', 'h')
local lacks = ARGV[3] ~= '' and found[4] ~= ARGV[3] and ARGV[4] == '1'
return {stored, found[1], found[2], found[3], string.format('%.0f', now),
  lacks and '1' or '0'}
""",
)

# Arguments: the version that is replaced, record, version, how long (ms) after its
# creation it is kept, age (ms) from which on nothing is replaced or '', Redis's
# history.
# Returns 1 if it was replaced.
SWAP = Script(
    "swap_state",
    _NOW
    + """
local found = redis.call('HMGET', KEYS[1], 'v', 'c')
if found[1] ~= ARGV[1] then
  return 0
end
local age = now - tonumber(found[2])
if ARGV[5] ~= '' and age >= tonumber(ARGV[5]) then
  return 0
end
redis.call('HSET', KEYS[1], 'r', ARGV[2], 'v', ARGV[3], 'h', ARGV[6])
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(1, ARGV[4] - age)))
return 1
""",
)

# Keys: any states. Argument: Redis's history. Returns a mark for each of them. A new
# history is a change, since versions may have been lost with the old one.
HEADS = Script(
    "state_heads",
    """
local heads = {}
for n, key in ipairs(KEYS) do
  heads[n] = (redis.call('HGET', key, 'v') or '') .. '.' .. ARGV[1]
end
return heads
""",
)
