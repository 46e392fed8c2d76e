-- Test build only: what a call did is written down inside the same call, so it can't disagree with the act.
-- {ns}:witness is a stream of JSON records in the order of their effects, {ns}:tally counts answers by function.

local function witness_fence(prefix, loop)
  local stored = redis.pcall('HMGET', prefix .. 'l:' .. loop, 'epoch', 'inc')
  if stored.err then
    return -1, -1
  end
  return tonumber(stored[1] or '') or 0, tonumber(stored[2] or '') or 0
end

local function witness_record(prefix, queue)
  local v = redis.pcall('HMGET', prefix .. 'q:' .. queue .. ':m', 'next', 'tail', 'held', 'lim_n')
  if v.err then
    return {next = 1, tail = 1, held = 0}
  end
  return {next = tonumber(v[1] or '') or 1, tail = tonumber(v[2] or '') or 1, held = tonumber(v[3] or '') or 0,
    limit = tonumber(v[4] or '')}
end

-- Reads the arguments by itself: it shares no code with the commit that it watches.
local function witness_before_commit(prefix, argv)
  local epoch, inc = witness_fence(prefix, argv[2])
  local record = {k = 'commit', l = argv[2], e = tonumber(argv[3]), i = tonumber(argv[4]), se = epoch, si = inc,
    s = tonumber(argv[5]), n = argv[6], x = tonumber(argv[8]), r = {}, o = {}}
  local at = 11
  for _ = 1, tonumber(argv[10]) do
    local ranges = {argv[at]}
    for r = 1, 2 * tonumber(argv[at + 2]) do
      ranges[#ranges + 1] = tonumber(argv[at + 2 + r])
    end
    record.r[#record.r + 1] = ranges
    at = at + 3 + 2 * tonumber(argv[at + 2])
  end
  at = at + 1 + 4 * tonumber(argv[at])
  local outputs = tonumber(argv[at])
  at = at + 1
  for _ = 1, outputs do
    local queue = witness_record(prefix, argv[at])
    record.o[#record.o + 1] = {argv[at], queue.tail, tonumber(argv[at + 1]), tonumber(argv[at + 3])}
    at = at + 6 + 2 * tonumber(argv[at + 5])
  end
  return record
end

local function witness_after_commit(prefix, record)
  for _, out in ipairs(record.o) do
    local queue = witness_record(prefix, out[1])
    out[5] = queue.tail - queue.next + queue.held
    out[6] = queue.limit or -1
    out[7] = queue.tail - out[2]
  end
end

local function witness_before_claim(prefix, argv)
  local epoch, inc = witness_fence(prefix, argv[2])
  return {k = 'claim', l = argv[2], e = tonumber(argv[3]), i = tonumber(argv[4]), se = epoch, si = inc, q = argv[5]}
end

local function witness_before_purge(prefix, argv)
  local queue = witness_record(prefix, argv[2])
  return {k = 'purge', q = argv[2], from = queue.next, to = queue.tail - 1}
end

local witness_before = {commit = witness_before_commit, claim = witness_before_claim, purge = witness_before_purge}

local function witnessed(what, callback)
  return function(keys, argv)
    local prefix = argv[1]
    local record = witness_before[what](prefix, argv)
    local answer = callback(keys, argv)
    redis.call('HINCRBY', prefix .. 'tally', what .. ' ' .. answer[1], 1)
    if answer[1] == 'OK' then
      if what == 'commit' then
        witness_after_commit(prefix, record)
      elseif what == 'claim' then
        record.from, record.to = answer[2], answer[3]
      end
      redis.call('XADD', prefix .. 'witness', '*', 'j', cjson.encode(record))
    end
    return answer
  end
end
