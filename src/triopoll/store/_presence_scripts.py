"""What is done inside Redis to the reports of who waits on a key.

The reports of a key are one hash, which lies with the log of its changes, so both
change in one step. Its fields are the workers that have reported, each with its end
(ms), the number of anonymous waits, and a JSON list of subjects, a colon between them;
and '', while changes are recorded, with the time (ms) until which they are. A report
whose time is over stays until the next script runs, so that its end is recorded.
"""

from __future__ import annotations

from ._log_scripts import APPENDING
from ._scripts import Script

__all__ = ["MERGE"]

# Further keys: the hash. Further arguments: the worker that reports, or '' to look; its
# report without the end, or '' to remove it; how long (ms) it counts; how long (ms)
# changes are to be recorded, or '' for no change of that; a tag; how long (ms) a
# recorded change is kept.
# Returns whether a message was appended; for a look then the number of anonymous waits
# and the subjects.
MERGE = Script(
    "merge_presence",
    APPENDING
    + """
local reports, worker, report = KEYS[7], ARGV[8], ARGV[9]
local lease, record_for, tag, lifetime = ARGV[10], ARGV[11], ARGV[12], ARGV[13]
local found = redis.call('HGETALL', reports)
local recorded_until, over = 0, {}
for n = 1, #found, 2 do
  if found[n] == '' then
    recorded_until = tonumber(found[n + 1])
  end
end
local records = recorded_until > now
local before, after = {subjects = {}, anonymous = 0}, {subjects = {}, anonymous = 0}

-- The subjects are decoded only where they are needed.
local function add(merged, anonymous, subjects)
  if records or worker == '' then
    merged.anonymous = merged.anonymous + anonymous
    for _, subject in ipairs(cjson.decode(subjects)) do
      merged.subjects[subject] = true
    end
  end
end

for n = 1, #found, 2 do
  local name, value = found[n], found[n + 1]
  if name ~= '' then
    local ends, anonymous, subjects = string.match(value, '^(%d+):(%d+):(.*)$')
    if records then
      add(before, anonymous, subjects)
    end
    if tonumber(ends) <= now or (name == worker and report == '') then
      over[#over + 1] = name
    elseif name ~= worker then
      add(after, anonymous, subjects)
    end
  end
end
if report ~= '' then
  add(after, string.match(report, '^(%d+):(.*)$'))
  redis.call('HSET', reports, worker, text(now + lease) .. ':' .. report)
end
for _, name in ipairs(over) do
  if name ~= worker or report == '' then
    redis.call('HDEL', reports, name)
  end
end
if record_for ~= '' then
  recorded_until = now + record_for
  redis.call('HSET', reports, '', text(recorded_until))
end
-- What has ended is kept until its end is recorded.
if report ~= '' or record_for ~= '' then
  local kept = math.max(tonumber(lease), recorded_until - now)
  redis.call('PEXPIRE', reports, text(kept))
end

local function only_in(these, others)
  local texts = {}
  for subject in pairs(these) do
    if not others[subject] then
      texts[#texts + 1] = cjson.encode(subject)
    end
  end
  table.sort(texts)
  return texts
end

local message
if records then
  local joined = only_in(after.subjects, before.subjects)
  local left = only_in(before.subjects, after.subjects)
  if #joined + #left > 0 or before.anonymous ~= after.anonymous then
    local count = after.anonymous
    for _ in pairs(after.subjects) do
      count = count + 1
    end
    message = '{"joined":[' .. table.concat(joined, ',') .. '],"left":['
      .. table.concat(left, ',') .. '],"count":' .. text(count)
      .. ',"anonymous":' .. text(after.anonymous) .. '}'
  end
elseif record_for ~= '' then
  message = '{"reset":true}'
end
if message then
  append(message, lifetime, tag, '1')
  trim(1)
end

local answer = {message and 1 or 0}
if worker == '' then
  answer[2] = text(after.anonymous)
  for subject in pairs(after.subjects) do
    answer[#answer + 1] = subject
  end
end
return answer
""",
)
