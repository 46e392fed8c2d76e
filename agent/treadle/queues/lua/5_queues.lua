-- What the controller and programs outside do to queues.

-- ARGV: prefix id format. Answers the id of this namespace in this Redis, made once.
local function found(_, argv)
  local meta = argv[1] .. 'meta'
  redis.call('HSETNX', meta, 'id', argv[2])
  redis.call('HSETNX', meta, 'format', argv[3])
  return {'OK', redis.call('HGET', meta, 'id'), redis.call('HGET', meta, 'format')}
end

-- ARGV: prefix term. Answers the raised beat and the id.
local function beat(_, argv)
  local meta = argv[1] .. 'meta'
  local stored = redis.call('HMGET', meta, 'term', 'id')
  local term = tonumber(stored[1] or '') or 0
  if tonumber(argv[2]) < term then
    return {'DEPOSED', term}
  end
  redis.call('HSET', meta, 'term', argv[2])
  return {'OK', redis.call('HINCRBY', meta, 'beat', 1), stored[2] or ''}
end

-- ARGV: prefix, per queue: name, count and writers that come, count and writers that go.
local function enter(_, argv)
  local prefix = argv[1]
  local next_arg = reader(argv, 2)
  local name = next_arg()
  while name do
    local key = prefix .. 'q:' .. name
    for _ = 1, tonumber(next_arg()) do
      local writer = next_arg()
      -- A writer that has completed stays out: the same document applied again changes nothing.
      if redis.call('HGET', prefix .. 'l:' .. writer, 'completed') ~= '1' then
        redis.call('SADD', key .. ':open', writer)
      end
      redis.call('HSET', key .. ':m', 'had', '1')
    end
    for _ = 1, tonumber(next_arg()) do
      close_writer(prefix, name, next_arg())
    end
    name = next_arg()
  end
  return {'OK'}
end

-- ARGV: prefix, per queue: name lim_n lim_b full.
local function limit(_, argv)
  local prefix = argv[1]
  for i = 2, #argv, 4 do
    local q = load_queue(prefix, argv[i])
    if not q then
      return {'BAD_TYPE', argv[i]}
    end
    redis.call('HSET', q.meta, 'lim_n', argv[i + 1], 'lim_b', argv[i + 2], 'full', argv[i + 3])
    if argv[i + 3] == 'drop-oldest' then
      redis.call('HSET', q.meta, 'mode', 'counted')
    end
    -- Whoever waits for room looks again at the new limits.
    ring(prefix, q.room, 'r', q.name)
    redis.call('HSET', q.meta, 'room', '')
  end
  return {'OK'}
end

-- ARGV: prefix queue producer sequence messages bytes, count and entries (count data). Producer "" means no memory.
local function push(_, argv)
  local prefix, name, producer, sequence = argv[1], argv[2], argv[3], tonumber(argv[4])
  local messages, bytes = tonumber(argv[5]), tonumber(argv[6])
  local memory = prefix .. 'x:' .. producer
  if producer ~= '' then
    local last = redis.pcall('HGET', memory, 'seq')
    if type(last) == 'table' then
      return {'BAD_TYPE', memory}
    end
    if last and sequence <= tonumber(last) then
      return {'DUPLICATE', tonumber(last), tonumber(redis.call('HGET', memory, 'first') or '') or 0}
    end
  end
  local q = load_queue(prefix, name)
  if not q then
    return {'BAD_TYPE', name}
  end
  if is_full(q, messages, bytes, messages, bytes) then
    local room_n, room_b = room_of(q)
    return {'FULL', name, room_n, room_b}
  end
  local entries = {}
  for e = 1, tonumber(argv[7]) do
    entries[e] = {argv[6 + 2 * e], argv[7 + 2 * e]}
  end
  local out = {q = q, entries = entries}
  local refused = write_outputs({out}, {})
  if refused then
    return refused
  end
  local first = q.tail
  count_pushed(prefix, q, messages, bytes, out.largest)
  save_queue(q)
  if producer ~= '' then
    redis.call('HSET', memory, 'seq', argv[4], 'first', int(first))
    -- A name that begins with ~ was made for one push: it is only remembered while that may be sent again.
    redis.call('EXPIRE', memory, string.sub(producer, 1, 1) == '~' and PUSH_TTL_S or PRODUCER_TTL_S)
  end
  return {'OK', first}
end

-- ARGV: prefix queue. Drops what waits and is not claimed; answers how many.
local function purge(_, argv)
  local q = load_queue(argv[1], argv[2])
  if not q then
    return {'BAD_TYPE', argv[2]}
  end
  local dropped = q.tail - q.next
  if depth_of(q) > 0 then
    q.bytes = math.floor(q.bytes * q.held / depth_of(q))
  end
  q.next = q.tail
  q.dropped = q.dropped + dropped
  q.lost = true
  trim(q)
  ring_room(argv[1], q)
  ring(argv[1], q.ends, 'e', q.name)
  save_queue(q)
  return {'OK', dropped}
end

-- ARGV: prefix queue. For foreign entries that a reader has met; answers how many became dead letters.
local function repair(_, argv)
  local q = load_queue(argv[1], argv[2])
  if not q then
    return {'BAD_TYPE', argv[2]}
  end
  return {'OK', mend(q)}
end

-- ARGV: prefix whole, queue and JSON in pairs ("" takes a queue out). With whole = 1 they are all that there are.
local function mirror(_, argv)
  local key = argv[1] .. 'queues'
  if argv[2] == '1' then
    redis.call('DEL', key)
  end
  for i = 3, #argv, 2 do
    if argv[i + 1] == '' then
      redis.call('HDEL', key, argv[i])
    else
      redis.call('HSET', key, argv[i], argv[i + 1])
    end
  end
  return {'OK'}
end

-- ARGV: prefix queue. Removes everything of a queue that nobody uses.
local function delete(_, argv)
  local key = argv[1] .. 'q:' .. argv[2]
  return {'OK', redis.call('DEL', key, key .. ':m', key .. ':c', key .. ':open', key .. ':dlq')}
end

redis.register_function{function_name = 'treadle_found', callback = found, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_beat', callback = beat, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_enter', callback = enter, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_limit', callback = limit, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_push', callback = push}
redis.register_function{function_name = 'treadle_purge', callback = purge, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_repair', callback = repair, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_mirror', callback = mirror, flags = {'allow-oom'}}
redis.register_function{function_name = 'treadle_delete', callback = delete, flags = {'allow-oom'}}
