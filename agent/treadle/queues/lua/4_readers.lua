-- Readers: asking for a ring, claiming ranges, changing the number of slots.

-- 1 when nobody writes a queue any more.
local function writers_gone(q)
  return q.had and redis.call('SCARD', q.key .. ':open') == 0 and 1 or 0
end

-- ARGV: prefix host, then per queue: name, next number to read. Asks for a ring unless there is data.
-- Answers per queue {has data, tail, writers gone, drained, nmax}.
local function register(_, argv)
  local prefix, host = argv[1], argv[2]
  local answer = {'OK'}
  for i = 3, #argv, 2 do
    local q = load_queue(prefix, argv[i])
    if not q then
      answer[#answer + 1] = {-1, 0, 0, 0, 0}
    else
      -- A purge may have moved `next` past what an idle reader has seen.
      local at = q.mode == 'counted' and q.next or math.max(q.next, tonumber(argv[i + 1]))
      local has_data = q.tail > at
      if not has_data then
        if not has_word(q.bells, host) or not has_word(q.ends, host) then
          local ends = add_word(prune_hosts(prefix, q.ends), host)
          redis.call('HSET', q.meta, 'bells', add_word(q.bells, host), 'ends', ends)
        end
      end
      local drained = q.next == q.tail and q.held == 0
      answer[#answer + 1] = {has_data and 1 or 0, q.tail, writers_gone(q), drained and 1 or 0, q.nmax}
    end
  end
  return answer
end

-- The entries that hold the messages from..to.
local function entries_of(q, from, to)
  local first = math.max(1, from - q.nmax + 1)
  return redis.call('XRANGE', q.key, int(first) .. '-0', int(to) .. '-1')
end

-- ARGV: prefix loop epoch inc queue host last, last being the end of the last range that the caller knows (0: none).
-- Answers OK from to entries; the same again when the caller has missed an answer; or EMPTY, with a ring to come.
local function claim(_, argv)
  local prefix, loop, name, host, last = argv[1], argv[2], argv[5], argv[6], tonumber(argv[7])
  local stored = redis.pcall('HMGET', prefix .. 'l:' .. loop, 'epoch', 'inc')
  if stored.err then
    return {'BAD_TYPE', prefix .. 'l:' .. loop}
  end
  if stored[1] ~= argv[3] or stored[2] ~= argv[4] then
    return {'FENCED', tonumber(stored[1] or '') or 0, tonumber(stored[2] or '') or 0}
  end
  local q = load_queue(prefix, name)
  local text = q and redis.pcall('HGET', q.key .. ':c', loop)
  if not q or type(text) == 'table' then
    return {'BAD_TYPE', prefix .. 'q:' .. name}
  end
  if q.mode ~= 'counted' then
    return {'SHIFTED', name, q.next}
  end
  local claims = parse_ranges(text or '')
  for c = 1, #claims, 2 do
    if claims[c + 1] > last then
      -- Its answer was lost, or another incarnation made it: nothing new is taken.
      local from = math.max(claims[c], last + 1)
      return {'OK', from, claims[c + 1], entries_of(q, from, claims[c + 1])}
    end
  end
  local waiting = q.tail - q.next
  if waiting == 0 then
    redis.call('HSET', q.meta, 'bells', add_word(q.bells, host), 'ends', add_word(prune_hosts(prefix, q.ends), host))
    return {'EMPTY', q.tail, writers_gone(q), q.held == 0 and 1 or 0}
  end
  -- A share of what waits: few slow messages spread over the slots, a long queue is taken in large ranges.
  local take = math.min(1000, math.ceil(waiting / (2 * q.slots)))
  local from, to = q.next, q.next + take - 1
  local range = int(from) .. ' ' .. int(to)
  redis.call('HSET', q.key .. ':c', loop, (text and text ~= '') and (text .. ' ' .. range) or range)
  redis.call('HSET', q.meta, 'next', int(to + 1), 'held', int(q.held + take))
  return {'OK', from, to, entries_of(q, from, to)}
end

-- Gives the ranges of slots that go to the first of those that stay, in order; it works them off first.
local function hand_over(q, slots)
  local keep = {}
  for _, slot in ipairs(slots) do
    keep[slot] = true
  end
  local key = q.key .. ':c'
  local all = redis.call('HGETALL', key)
  local moved = {}
  for i = 1, #all, 2 do
    if not keep[all[i]] then
      local ranges = parse_ranges(all[i + 1])
      for r = 1, #ranges, 2 do
        moved[#moved + 1] = {ranges[r], ranges[r + 1]}
      end
      redis.call('HDEL', key, all[i])
    end
  end
  if #moved == 0 then
    return
  end
  local own = parse_ranges(redis.call('HGET', key, slots[1]) or '')
  for r = 1, #own, 2 do
    moved[#moved + 1] = {own[r], own[r + 1]}
  end
  table.sort(moved, function(a, b) return a[1] < b[1] end)
  local parts = {}
  for _, range in ipairs(moved) do
    parts[#parts + 1] = int(range[1]) .. ' ' .. int(range[2])
  end
  redis.call('HSET', key, slots[1], table.concat(parts, ' '))
end

-- ARGV: prefix term, count and (loop epoch life) to assign, count and per queue: name, count and slots.
-- New epochs for all slots of the queues and their new places, in one step.
local function scale(_, argv)
  local prefix, term = argv[1], tonumber(argv[2])
  local stored_term = tonumber(redis.call('HGET', prefix .. 'meta', 'term') or '') or 0
  if term < stored_term then
    return {'DEPOSED', stored_term}
  end
  local next_arg = reader(argv, 3)
  local loops = {}
  for l = 1, tonumber(next_arg()) do
    loops[l] = {next_arg(), tonumber(next_arg()), next_arg()}
    local stored = redis.call('HMGET', prefix .. 'l:' .. loops[l][1], 'epoch', 'assigned')
    local epoch = tonumber(stored[1] or '') or 0
    if loops[l][2] < epoch or (loops[l][2] == epoch and stored[2] ~= loops[l][3]) then
      return {'STALE', loops[l][1], epoch}
    end
  end
  redis.call('HSET', prefix .. 'meta', 'term', int(term))
  for _, loop in ipairs(loops) do
    local key = prefix .. 'l:' .. loop[1]
    redis.call('HSET', key, 'epoch', int(loop[2]), 'inc', '0', 'assigned', loop[3])
    redis.call('HSETNX', key, 'life', loop[3])
    redis.call('HSETNX', key, 'seq', '0')
  end
  for _ = 1, tonumber(next_arg()) do
    local q = load_queue(prefix, next_arg())
    local slots = {}
    for s = 1, tonumber(next_arg()) do
      slots[s] = next_arg()
    end
    if q and #slots > 0 then
      hand_over(q, slots)
      -- A queue stays counted while anything is claimed: an open claim can't stand for several ranges.
      local counted = #slots > 1 or q.full == 'drop-oldest' or q.held > 0
      redis.call('HSET', q.meta, 'slots', #slots, 'mode', counted and 'counted' or '', 'who', table.concat(slots, ' '))
      if q.bells ~= '' then
        ring(prefix, q.bells, 'q', q.name)
      end
    end
  end
  return {'OK'}
end

-- ARGV: prefix, queues. Answers queue and reader slots, in pairs, for those that SCALE was ever told.
local function slots(_, argv)
  local answer = {'OK'}
  for i = 2, #argv do
    local who = redis.pcall('HGET', argv[1] .. 'q:' .. argv[i] .. ':m', 'who')
    if type(who) == 'string' then
      answer[#answer + 1] = argv[i]
      answer[#answer + 1] = who
    end
  end
  return answer
end

redis.register_function{function_name = 'treadle_slots', callback = slots, flags = {'no-writes'}}
-- ARGV: prefix host seconds. Makes a host's doorbell that lasts for so long and answers where to listen from;
-- without seconds only wakes who listens.
local function bell(_, argv)
  local key = argv[1] .. 'h:' .. argv[2]
  if argv[3] == '' then
    redis.call('XADD', key, 'NOMKSTREAM', '*', 'w', '')
    return {'OK'}
  end
  local id = redis.call('XADD', key, '*', 'w', '')
  redis.call('EXPIRE', key, argv[3])
  return {'OK', id}
end

redis.register_function{function_name = 'treadle_bell', callback = bell, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_register', callback = register, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_claim', callback = claim, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_scale', callback = scale, flags = {'allow-oom'}}
