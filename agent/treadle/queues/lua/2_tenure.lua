-- Who may commit: assign by the controller, incarnate by whoever holds the epoch.

-- ARGV: prefix term nonce, then per loop: name epoch life. Answers per loop 0, or the epoch stored.
local function assign(_, argv)
  local prefix, term, nonce = argv[1], tonumber(argv[2]), argv[3]
  local meta = prefix .. 'meta'
  local stored_term = tonumber(redis.call('HGET', meta, 'term') or '') or 0
  if term < stored_term then
    return {'DEPOSED', stored_term}
  end
  redis.call('HSET', meta, 'term', int(term))
  local answer = {'OK'}
  for i = 4, #argv, 3 do
    local key, epoch = prefix .. 'l:' .. argv[i], tonumber(argv[i + 1])
    local stored = redis.call('HMGET', key, 'epoch', 'assigned', 'life', 'seq')
    local stored_epoch = tonumber(stored[1] or '') or 0
    if epoch > stored_epoch then
      -- Thousands are assigned at once, and a call takes longer than all else here: those two stay as they are.
      redis.call('HSET', key, 'epoch', int(epoch), 'inc', '0', 'assigned', nonce,
        'life', stored[3] or argv[i + 2], 'seq', stored[4] or '0')
      answer[#answer + 1] = 0
    elseif epoch == stored_epoch and stored[2] == nonce then
      answer[#answer + 1] = 0
    else
      answer[#answer + 1] = stored_epoch
    end
  end
  return answer
end

-- ARGV: prefix loop epoch inc nonce host, count and reads, count and (queue lim_n lim_b full) written.
local function incarnate(_, argv)
  local prefix, loop, epoch, inc, nonce, host = argv[1], argv[2], argv[3], tonumber(argv[4]), argv[5], argv[6]
  local key = prefix .. 'l:' .. loop
  local v = redis.pcall('HMGET', key, 'epoch', 'inc', 'fence', 'seq', 'nonce', 'life', 'iteration', 'completed',
    'open')
  if v.err then
    return {'BAD_TYPE', key}
  end
  local stored_inc = tonumber(v[2] or '') or 0
  if v[1] ~= epoch then
    return {'FENCED', tonumber(v[1] or '') or 0, stored_inc}
  end
  if stored_inc == inc then
    stored_inc = inc + 1
    redis.call('HSET', key, 'inc', int(stored_inc), 'fence', nonce, 'owner', host, 'open', '1')
  elseif v[3] ~= nonce or stored_inc ~= inc + 1 then
    return {'FENCED', tonumber(v[1]), stored_inc}
  end
  local reads = {}
  local i = 8
  for _ = 1, tonumber(argv[7]) do
    local q = load_queue(prefix, argv[i])
    if not q then
      return {'BAD_TYPE', prefix .. 'q:' .. argv[i] .. ':m'}
    end
    redis.call('HSET', q.meta, 'ends', add_word(prune_hosts(prefix, q.ends), host))
    mend(q) -- what a hand has put in may be what the incarnation before failed at
    redis.call('HDEL', q.meta, 'mended') -- and whatever that one holds, it is fenced
    local claims = q.mode == 'counted' and redis.call('HGET', q.key .. ':c', loop) or ''
    reads[#reads + 1] = {q.next, q.tail, q.nmax, q.mode, claims or ''}
    i = i + 1
  end
  local writes = tonumber(argv[i])
  for w = i + 1, i + 4 * writes, 4 do
    local meta = prefix .. 'q:' .. argv[w] .. ':m'
    -- The controller's limits win; these are for queues that it has not set.
    if redis.call('HEXISTS', meta, 'full') == 0 then
      redis.call('HSET', meta, 'lim_n', argv[w + 1], 'lim_b', argv[w + 2], 'full', argv[w + 3])
      if argv[w + 3] == 'drop-oldest' then
        redis.call('HSET', meta, 'mode', 'counted')
      end
    end
  end
  return {'OK', stored_inc, tonumber(v[4] or '') or 0, v[5] or '', v[6] or '', tonumber(v[7] or '') or 0,
    v[8] == '1' and 1 or 0, reads, v[9] == '1' and 1 or 0}
end

local function holds(key, epoch, inc)
  local stored = redis.pcall('HMGET', key, 'epoch', 'inc')
  return not stored.err and stored[1] == epoch and stored[2] == inc
end

-- ARGV: prefix loop epoch inc. The loop ended in order: whoever comes next has nothing to suspect.
local function let_go(_, argv)
  local key = argv[1] .. 'l:' .. argv[2]
  if not holds(key, argv[3], argv[4]) then
    return {'FENCED'}
  end
  redis.call('HDEL', key, 'open')
  return {'OK'}
end

-- ARGV: prefix loop epoch inc queue number. Counts that a suspected message is about to run, once an incarnation;
-- all before it has committed, so it is the first to come again. With number 0 what was counted is forgotten.
local function deliver(_, argv)
  local key, inc, queue, number = argv[1] .. 'l:' .. argv[2], argv[4], argv[5], argv[6]
  if not holds(key, argv[3], inc) then
    return {'FENCED'}
  end
  if number == '0' then
    redis.call('HDEL', key, 'suspect')
    return {'OK', 0}
  end
  local last_queue, last_number, count, by =
    string.match(redis.call('HGET', key, 'suspect') or '', '^(%S+) (%d+) (%d+) (%d+)$')
  local times = 0
  if last_queue == queue and last_number == number then
    times = tonumber(count)
  end
  if times == 0 or by ~= inc then
    times = times + 1
    redis.call('HSET', key, 'suspect', queue .. ' ' .. number .. ' ' .. int(times) .. ' ' .. inc)
  end
  return {'OK', times}
end

-- ARGV: prefix loop life keep_state. A new life for --fresh, or only open again after it had completed.
local function forget(_, argv)
  local prefix, loop = argv[1], argv[2]
  local key = prefix .. 'l:' .. loop
  redis.call('HDEL', key, 'completed')
  if argv[4] == '1' then
    return {'OK'}
  end
  for node in string.gmatch(redis.call('HGET', key, 'nodes') or '', '%S+') do
    redis.call('DEL', prefix .. 's:' .. loop .. '/' .. node)
  end
  redis.call('HSET', key, 'life', argv[3], 'iteration', '0')
  redis.call('HDEL', key, 'nodes')
  return {'OK'}
end

redis.register_function{function_name = 'treadle_assign', callback = assign, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_incarnate', callback = incarnate, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_let_go', callback = let_go, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_deliver', callback = deliver, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_forget', callback = forget, flags = {'allow-oom'}}
