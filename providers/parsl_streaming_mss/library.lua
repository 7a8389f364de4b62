-- What must happen in the broker at once. Payloads never pass through here: XRANGE
-- copies an entry into Lua only where that is rare (a check at the end, a seek).
local LAST = '18446744073709551615-18446744073709551615'

local function fields(flat)
  local map = {}
  for i = 1, #flat, 2 do map[flat[i]] = flat[i + 1] end
  return map
end

local function millis(id) return tonumber(string.match(id, '^(%d+)%-')) end
local function number(id) return tonumber(string.match(id, '%-(%d+)$')) end

local function gone(streams, from)
  for i = from, #streams do
    if redis.call('EXISTS', streams[i]) == 0 then
      return redis.error_reply('NOGROUP the stream ' .. streams[i] .. ' is gone')
    end
  end
end

local function owned(stream, group, id, consumer)
  return #redis.call('XPENDING', stream, group, id, id, 1, consumer) > 0
end

-- The lowest number that some group has not settled, and the id to trim below.
local function floor_of(stream)
  local lowest, id
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group = fields(flat)
    local at, first
    if group['pending'] > 0 then
      first = redis.call('XPENDING', stream, group['name'])[2]
      at = number(first)
    else
      local last = group['last-delivered-id']
      at = number(last) + 1
      first = string.match(last, '^%d+') .. '-' .. string.format('%.0f', at)
    end
    if lowest == nil or at < lowest then lowest, id = at, first end
  end
  return lowest, id
end

-- What every group has settled is deleted; never by a bare length, which would lose unread data.
local function delete(stream, ids)
  if #redis.call('XINFO', 'GROUPS', stream) == 1 then
    redis.call('XDEL', stream, unpack(ids))
  else
    local lowest, id = floor_of(stream)
    if lowest < 2 ^ 53 then redis.call('XTRIM', stream, 'MINID', '=', id) end
  end
end

-- keys: stream, marks, counters; args: group, consumer, keep, then id, messages, bytes of each.
-- A late settlement by a consumer that lost the entry is refused: only owned ids count.
local function settle(keys, args)
  local stream, group = keys[1], args[1]
  local missing = gone({stream}, 1)
  if missing then return missing end
  local ids, marks, messages, bytes = {}, {}, 0, 0
  for i = 4, #args, 3 do
    if owned(stream, group, args[i], args[2]) then
      ids[#ids + 1] = args[i]
      marks[#marks + 1] = stream .. '|' .. args[i]
      messages = messages + tonumber(args[i + 1])
      bytes = bytes + tonumber(args[i + 2])
    end
  end
  if #ids == 0 then return 0 end
  redis.call('XACK', stream, group, unpack(ids))
  if args[3] == '0' then delete(stream, ids) end
  redis.call('HDEL', keys[2], unpack(marks))
  redis.call('HINCRBY', keys[3], 'n:' .. group, #ids)
  redis.call('HINCRBY', keys[3], 'm:' .. group, messages)
  redis.call('HINCRBY', keys[3], 'b:' .. group, bytes)
  return #ids
end

-- keys: stream; args: group, consumer, ids. Returns the ids that are not owned any more.
local function renew(keys, args)
  local missing = gone(keys, 1)
  if missing then return missing end
  local lost = {}
  for i = 3, #args do
    if owned(keys[1], args[1], args[i], args[2]) then
      redis.call('XCLAIM', keys[1], args[1], args[2], 0, args[i], 'JUSTID')
    else
      lost[#lost + 1] = args[i]
    end
  end
  return lost
end

-- keys: stream, marks, released where readers share; args: group, consumer, id, deliveries,
-- settled, idle.
local function release(keys, args)
  local missing = gone({keys[1]}, 1)
  if missing then return missing end
  if not owned(keys[1], args[1], args[3], args[2]) then return 0 end
  redis.call('XCLAIM', keys[1], args[1], 'released', 0, args[3],
    'IDLE', args[6], 'RETRYCOUNT', args[4], 'JUSTID')
  local entry = keys[1] .. '|' .. args[3]
  if args[5] ~= '0' then redis.call('HSET', keys[2], entry, args[5]) end
  if keys[3] then redis.call('RPUSH', keys[3], entry) end
  return 1
end

-- keys: stream; args: group, consumer. A reader with nothing of the stream will ask for no more.
local function leave(keys, args)
  if #redis.call('XPENDING', keys[1], args[1], '-', '+', 1, args[2]) > 0 then return 0 end
  redis.call('XGROUP', 'DELCONSUMER', keys[1], args[1], args[2])
  return 1
end

-- keys: a stream of the producer, ends; args: field, value.
local function finish(keys, args)
  local missing = gone({keys[1]}, 1)
  if missing then return missing end
  if fields(redis.call('XINFO', 'STREAM', keys[1]))['last-generated-id'] == LAST then
    return redis.error_reply('FENCED a newer writer is open')
  end
  redis.call('HSET', keys[2], args[1], args[2])
  return 1
end

-- keys: counters, streams. Returns the counters, then the lowest unsettled number of each stream.
local function state(keys, args)
  local missing = gone(keys, 2)
  if missing then return missing end
  local result = {redis.call('HGETALL', keys[1])}
  for i = 2, #keys do
    result[i] = math.min(floor_of(keys[i]) or 0, 2 ^ 53)
  end
  return result
end

-- keys: streams; args: group. Whether the group has settled every entry.
local function drained(keys, args)
  local missing = gone(keys, 1)
  if missing then return missing end
  for _, stream in ipairs(keys) do
    local last
    for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local group = fields(flat)
      if group['name'] == args[1] then
        if group['pending'] > 0 then return 0 end
        last = group['last-delivered-id']
      end
    end
    if last == nil then return 0 end
    if #redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1) > 0 then return 0 end
  end
  return 1
end

-- keys: stream; args: group, number. Makes the group continue at that batch number.
-- Ids rise in time and in number alike, so a bisection over time finds the place.
local function seek(keys, args)
  local stream, wanted = keys[1], tonumber(args[2])
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)
  if #first == 0 then return 0 end
  local low = millis(first[1][1])
  local high = millis(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1][1]) + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call('XRANGE', stream, string.format('%.0f', middle), '+', 'COUNT', 1)
    if #entry == 0 or number(entry[1][1]) >= wanted then high = middle else low = middle + 1 end
  end
  local id = string.format('%.0f-%.0f', low - 1, math.max(wanted - 1, 0))
  redis.call('XGROUP', 'SETID', stream, args[1], id)
  return 1
end
