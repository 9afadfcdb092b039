"""What Redis does in one step. Each script is whole: it checks everything before it writes anything.

Where memory is full Redis refuses the first write that needs more, unless the script wrote something before. So a plan
that saves begins with such a write, and one that only removes begins with a removal, which is always permitted.
"""

from __future__ import annotations

from typing import Final

from trunklined.redis.script import Script

COMMIT: Final = Script("""
-- KEYS: store heads bodies ends bound log touches outbox done ids...
local store, heads, bodies, ends, bound = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local log, touches, outbox, done = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local plan = cmsgpack.unpack(ARGV[1])
local commit, floor, exact, max_changes, max_bytes = plan[1], plan[2], plan[3], plan[4], plan[5]
local fields, begins, ended, leases = plan[6], plan[7], plan[8], plan[9]
local changes, touched, messages, name = plan[10], plan[11], plan[12], plan[13]

-- The answer to this very call may have been lost; a call that comes after a later one was given up.
local last = redis.call('GET', done)
if last then
  local number, first = string.match(last, '^(%d+) (%d+)$')
  if tonumber(number) == commit then
    return {1, tonumber(first), tonumber(redis.call('HGET', store, 'oldest') or '0')}
  end
  if tonumber(number) > commit then return {3} end
end

local counts = redis.call('HMGET', store, 'revision', 'oldest', 'bytes', 'outbox_last', 'outbox', 'outbox_bytes')
local revision = tonumber(counts[1] or '0')
if revision < floor then return {2, revision} end
if exact >= 0 and revision ~= exact then return {4, revision} end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local current, wrong, members, early = {}, {}, {}, {}
for start = 1, #fields, 1000 do
  local stop = math.min(start + 999, #fields)
  local found = redis.call('HMGET', heads, unpack(fields, start, stop))
  for i = start, stop do current[fields[i]] = found[i - start + 1] end
end
for i, field in ipairs(fields) do
  local head, begin = current[field], begins[i]
  local same = begin == ''
  if head then same = begin ~= '' and string.sub(head, 1, #begin) == begin end
  if not same then
    wrong[#wrong + 1] = field
    wrong[#wrong + 1] = head or ''
  end
end
for _, lease in ipairs(leases) do
  if redis.call('ZCOUNT', bound, lease[1], lease[1]) ~= lease[2] then
    local all = redis.call('ZRANGEBYSCORE', bound, lease[1], lease[1])
    members[#members + 1] = string.format('%.0f', lease[1])
    members[#members + 1] = all
    for _, field in ipairs(all) do
      wrong[#wrong + 1] = field
      wrong[#wrong + 1] = redis.call('HGET', heads, field) or ''
    end
  end
end
for _, field in ipairs(ended) do
  local at = redis.call('ZSCORE', ends, field)
  if at and tonumber(at) > now then
    early[#early + 1] = field
    early[#early + 1] = string.format('%.0f', tonumber(at) - now)
  end
end
if #wrong > 0 or #members > 0 or #early > 0 then return {0, wrong, members, early} end

local first, added = revision + 1, 0
local text = function(number) return string.format('%.0f', number) end
for _, change in ipairs(changes) do
  if change[2] then
    redis.call('HSET', store, 'revision', text(revision + #changes))
    break
  end
end
local kinds = {}
for index, change in ipairs(changes) do
  local field, body, tail, ttl, lease, reason, mark = unpack(change)
  local kind, id, before = tonumber(string.sub(field, 1, 1)), string.sub(field, 3), current[field]
  local head = false
  revision = revision + 1
  if body then
    head = text(revision) .. ' ' .. tail
    redis.call('HSET', heads, field, head)
    redis.call('HSET', bodies, field, text(revision) .. ':' .. mark .. body)
    added = added + #body
    if not before then
      redis.call('ZADD', KEYS[9 + kind], 0, id)
      kinds[kind] = (kinds[kind] or 0) + 1
    end
  else
    redis.call('HDEL', heads, field)
    redis.call('HDEL', bodies, field)
    redis.call('ZREM', KEYS[9 + kind], id)
    kinds[kind] = (kinds[kind] or 0) - 1
  end
  local old_lease, old_ttl = '0', '0'
  if before then old_lease, old_ttl = string.match(before, '^%d+ (%d+) (%d+) ') end
  if body and ttl > 0 then
    redis.call('ZADD', ends, now + ttl, field)
  elseif old_ttl ~= '0' then
    redis.call('ZREM', ends, field)
  end
  if body and lease > 0 then
    redis.call('ZADD', bound, lease, field)
  elseif old_lease ~= '0' then
    redis.call('ZREM', bound, field)
  end
  local published = index == #changes and #messages > 0 and '1' or '0'
  redis.call('XADD', log, text(revision) .. '-0', 'k', field, 'p', before or '', 'c', name,
    'w', reason .. ':' .. published .. ':' .. mark, 'h', head or '', 'b', body or '')
  current[field] = head
end
for _, touch in ipairs(touched) do
  local field, ttl = unpack(touch)
  local at, lease, facets = string.match(current[field], '^(%d+) (%d+) %d+ (.*)$')
  local head = at .. ' ' .. lease .. ' ' .. text(ttl) .. ' ' .. facets
  redis.call('HSET', heads, field, head)
  redis.call('ZADD', ends, now + ttl, field)
  redis.call('XADD', touches, 'MAXLEN', '~', 10000, '*', 'k', field, 'h', head)
end

local size, oldest = tonumber(counts[3] or '0') + added, tonumber(counts[2] or '0')
local by_count = revision - max_changes
if by_count - oldest < math.max(1, math.min(256, math.floor(max_changes / 4))) then by_count = oldest end
local before_trim = oldest
while #changes > 0 and (oldest < by_count or (size > max_bytes and oldest < revision)) do
  local entries = redis.call('XRANGE', log, text(oldest + 1), '+', 'COUNT', 64)
  if #entries == 0 then break end
  for _, entry in ipairs(entries) do
    local at = tonumber(string.match(entry[1], '^%d+'))
    if at > by_count and size <= max_bytes then break end
    oldest, size = at, size - #entry[2][#entry[2]]
  end
end
if oldest > before_trim then redis.call('XTRIM', log, 'MINID', text(oldest + 1)) end

local number, held, held_bytes = tonumber(counts[4] or '0'), tonumber(counts[5] or '0'), tonumber(counts[6] or '0')
for _, message in ipairs(messages) do
  number = number + 1
  redis.call('XADD', outbox, text(number) .. '-0', 'm', message[1], 's', message[2])
  held, held_bytes = held + 1, held_bytes + message[2]
end
if #changes > 0 then
  redis.call('HSET', store, 'revision', text(revision), 'oldest', text(oldest), 'bytes', text(size),
    'outbox_last', text(number), 'outbox', text(held), 'outbox_bytes', text(held_bytes))
  for kind, count in pairs(kinds) do redis.call('HINCRBY', store, 'count:' .. kind, count) end
end
if #changes > 0 or #touched > 0 then redis.call('SET', done, text(commit) .. ' ' .. text(first), 'PX', 3600000) end
return {1, first, oldest}
""")
"""Writes a plan, if all that it relied on is so.

`plan`: the number of the commit among those of this engine; the lowest revision that the store may have, and the only
one (-1: any); the bounds of the log; the records that it relied on, and how their heads must begin; the records that it
ends because their TTL has passed; the leases that it ends, with the number of records that are bound to each; the
changes; what it touches; the messages; what the log calls the commit.

Answers {1, first revision, oldest revision}; {0, heads that are others, what is bound to leases, what is not due}:
nothing was written; {2, revision}: the store has lost revisions; {3}: it was given up before; {4, revision}: it has
another revision.
"""

EXTEND: Final = Script("""#!lua flags=allow-oom
local head = redis.call('HGET', KEYS[1], ARGV[1])
if not head then return -1 end
local revision, ttl = string.match(head, '^(%d+) %d+ (%d+) ')
if revision ~= ARGV[2] or ttl == '0' then return -1 end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ttl), ARGV[1])
redis.call('XADD', KEYS[3], 'MAXLEN', '~', 10000, '*', 'k', ARGV[1], 'h', head)
return tonumber(ttl)
""")
"""Begins a TTL anew. KEYS: heads ends touches; ARGV: field, revision. Answers the TTL in milliseconds; -1: there is no
such record. Permitted where memory is full: what is held stays held."""

TERMS: Final = Script("""
local found, seen = {}, {}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local take = function(field, left)
  local head = redis.call('HGET', KEYS[1], field)
  if head and not seen[field] then
    seen[field] = true
    found[#found + 1] = field
    found[#found + 1] = head
    found[#found + 1] = left
  end
end
local ends = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #ends, 2 do take(ends[i], string.format('%.0f', tonumber(ends[i + 1]) - now)) end
for _, field in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do take(field, '0') end
return found
""")
"""Returns what ends by itself: field, head and the milliseconds that are left, of each. KEYS: heads ends bound."""

RENUMBER: Final = Script("""
local revision = tonumber(redis.call('HGET', KEYS[1], 'revision') or '0')
local next = tonumber(ARGV[1]) + 1
if revision >= next then return revision end
local text = string.format('%.0f', next)
redis.call('HSET', KEYS[1], 'revision', text, 'oldest', text, 'bytes', '0')
redis.call('DEL', KEYS[2])
redis.call('SET', KEYS[3], ARGV[2])
return next
""")
"""Lets revisions go on above what somebody heard, where Redis lost some: none is ever used twice, and whoever resumes
after one from before is told so. KEYS: store log format; ARGV: the revision that was heard, the format."""
