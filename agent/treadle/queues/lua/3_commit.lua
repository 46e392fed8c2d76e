-- The commit of a group of iterations, whole or not at all.

local function parse_ranges(text)
  local numbers = {}
  for number in string.gmatch(text, '%d+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  return numbers
end

-- What is left of a slot's claims after `done`, or nil when `done` doesn't head them in turn.
local function advance_claims(claims, done)
  local c = 1
  for d = 1, #done, 2 do
    local from, to = done[d], done[d + 1]
    while from <= to do
      if claims[c] ~= from then
        return nil
      end
      if claims[c + 1] <= to then
        from = claims[c + 1] + 1
        c = c + 2
      else
        claims[c] = to + 1
        from = to + 1
      end
    end
  end
  local left = {}
  for i = c, #claims do
    left[#left + 1] = int(claims[i])
  end
  return table.concat(left, ' ')
end

local function reader(argv, at)
  local i = at
  return function()
    i = i + 1
    return argv[i - 1]
  end
end

-- Reads the queue once, whatever its part in the commit.
local function queue_cache(prefix)
  local cache = {}
  return function(name)
    local q = cache[name]
    if q == nil then
      q = load_queue(prefix, name) or false
      cache[name] = q
    end
    return q
  end, cache
end

-- CHECK of the inputs: every range is what comes next for this reader.
local function check_inputs(next_arg, queue_of, loop)
  local inputs = {}
  for _ = 1, tonumber(next_arg()) do
    local name, bytes, ranges = next_arg(), tonumber(next_arg()), {}
    local messages = 0
    for _ = 1, tonumber(next_arg()) do
      local from, to = tonumber(next_arg()), tonumber(next_arg())
      ranges[#ranges + 1] = from
      ranges[#ranges + 1] = to
      messages = messages + to - from + 1
    end
    local q = queue_of(name)
    if not q then
      return nil, {'BAD_TYPE', name}
    end
    local input = {q = q, bytes = bytes, messages = messages, to = ranges[#ranges]}
    if q.mode == 'counted' then
      local claims = redis.pcall('HGET', q.key .. ':c', loop)
      if type(claims) == 'table' then
        return nil, {'BAD_TYPE', q.key .. ':c'}
      end
      input.claims = advance_claims(parse_ranges(claims or ''), ranges)
      if not input.claims then
        return nil, {'SHIFTED', name, q.next}
      end
    elseif #ranges ~= 2 or ranges[1] ~= q.next or ranges[2] >= q.tail then
      if ranges[#ranges] >= q.tail then
        -- Read, but never pushed: somebody wrote into the stream by hand.
        mend(q)
      end
      return nil, {'SHIFTED', name, q.next}
    elseif q.mended and ranges[1] <= q.mended and q.mended <= ranges[2] then
      redis.call('HDEL', q.meta, 'mended') -- refused once: what is read next time is what was pushed
      return nil, {'SHIFTED', name, q.next}
    end
    inputs[#inputs + 1] = input
  end
  return inputs
end

local function check_states(next_arg, prefix, loop)
  local states = {}
  for _ = 1, tonumber(next_arg()) do
    local node, field, op, value = next_arg(), next_arg(), next_arg(), next_arg()
    local key = prefix .. 's:' .. loop .. '/' .. node
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'hash' and kind ~= 'none' then
      return nil, {'BAD_TYPE', key}
    end
    states[#states + 1] = {node = node, key = key, field = field, op = op, value = value}
  end
  return states
end

-- CHECK of the outputs: room for each. Asks for a ring when there is none.
local function check_outputs(next_arg, queue_of, host)
  local outputs = {}
  for _ = 1, tonumber(next_arg()) do
    local out = {q = queue_of(next_arg()), messages = tonumber(next_arg()), bytes = tonumber(next_arg()), entries = {}}
    local last_messages, last_bytes = tonumber(next_arg()), tonumber(next_arg())
    for e = 1, tonumber(next_arg()) do
      out.entries[e] = {next_arg(), next_arg()}
    end
    local q = out.q
    if not q then
      return nil, {'BAD_TYPE', 'output'}
    end
    if is_full(q, out.messages, out.bytes, last_messages, last_bytes) then
      redis.call('HSET', q.meta, 'room', add_word(q.room, host))
      local room_n, room_b = room_of(q)
      return nil, {'FULL', q.name, room_n, room_b}
    end
    outputs[#outputs + 1] = out
  end
  return outputs
end

local function check_dead(next_arg, queue_of)
  local dead, kins = {}, {}
  for _ = 1, tonumber(next_arg()) do
    local letter = {q = queue_of(next_arg()), number = next_arg(), item = next_arg(), reason = next_arg(), kin = next_arg()}
    local q = letter.q
    if not q then
      return nil, {'BAD_TYPE', 'dead letters'}
    end
    local weight = weight_of(letter.item, letter.reason)
    if q.dead + 1 > DLQ_MESSAGES or q.dead_b + weight > DLQ_BYTES then
      return nil, {'DLQ_FULL', q.name}
    end
    q.dead = q.dead + 1
    q.dead_b = q.dead_b + weight
    kins[letter.kin] = add_word(kins[letter.kin] or '', q.name)
    dead[#dead + 1] = letter
  end
  for _, letter in ipairs(dead) do
    letter.queues = kins[letter.kin]
  end
  return dead
end

-- WRITE: the only step that Redis may refuse, so it comes before every other write and undoes itself.
local function write_outputs(outputs, dead)
  local added = {}
  local function undo(key, why)
    for _, one in ipairs(added) do
      redis.pcall('XDEL', one[1], one[2])
    end
    return {'BAD_TYPE', key, why}
  end
  for _, out in ipairs(outputs) do
    local number = out.q.tail
    out.largest = 0
    for _, entry in ipairs(out.entries) do
      local id, why = add_entry(out.q, number, entry[1], entry[2])
      if not id then
        return undo(out.q.key, why)
      end
      added[#added + 1] = {out.q.key, id}
      local count = tonumber(entry[1])
      number = number + count
      out.largest = math.max(out.largest, count)
    end
  end
  for _, letter in ipairs(dead) do
    local key = letter.q.key .. ':dlq'
    local fields = {'n', letter.number, 'i', letter.item, 'r', letter.reason, 'k', letter.kin}
    if letter.queues ~= letter.q.name then
      fields[9], fields[10] = 'w', letter.queues
    end
    local id = redis.pcall('XADD', key, '*', unpack(fields))
    if type(id) == 'table' then
      return undo(key, id.err)
    end
    added[#added + 1] = {key, id}
  end
  return nil
end

local function acknowledge_input(prefix, input, loop)
  local q = input.q
  if input.claims then
    q.held = q.held - input.messages
    if input.claims == '' then
      redis.call('HDEL', q.key .. ':c', loop)
    else
      redis.call('HSET', q.key .. ':c', loop, input.claims)
    end
  else
    q.next = input.to + 1
  end
  q.bytes = math.max(0, q.bytes - input.bytes)
  q.done = q.done + input.messages
  trim(q)
  ring_room(prefix, q)
  -- The other slots of a queue that nobody writes any more wait for the last claim to go.
  if input.claims and q.held == 0 and q.next == q.tail and q.had
    and redis.call('SCARD', q.key .. ':open') == 0 then
    ring(prefix, q.ends, 'e', q.name)
  end
end

local function store_states(states, prefix, loop, nodes)
  local known = nodes
  for _, s in ipairs(states) do
    if s.op == 'S' then
      redis.call('HSET', s.key, s.field, s.value)
    else
      redis.call('HDEL', s.key, s.field)
    end
    known = add_word(known, s.node)
  end
  if known ~= nodes then
    redis.call('HSET', prefix .. 'l:' .. loop, 'nodes', known)
  end
end

local function close_writer(prefix, queue, writer)
  local key = prefix .. 'q:' .. queue
  redis.call('SREM', key .. ':open', writer)
  if redis.call('SCARD', key .. ':open') == 0 then
    local hosts = redis.call('HMGET', key .. ':m', 'ends', 'had')
    if hosts[2] == '1' and hosts[1] then
      ring(prefix, hosts[1], 'e', queue)
    end
  end
end

-- Answers nil when the tenure may commit this sequence number.
local function check_tenure(stored, epoch, inc, seq, nonce)
  if stored[1] ~= epoch or stored[2] ~= inc then
    return {'FENCED', tonumber(stored[1] or '') or 0, tonumber(stored[2] or '') or 0}
  end
  local last = tonumber(stored[3] or '') or 0
  if seq == last then
    if stored[4] == nonce then
      return {'DUPLICATE', last}
    end
    return {'CONFLICT', last}
  end
  if seq ~= last + 1 then
    return {'GAP', last}
  end
  return nil
end

-- ARGV: prefix loop epoch inc seq nonce iterations completes host,
--   count of inputs (queue bytes, count of ranges (from to)),
--   count of states (node key S|D value),
--   count of outputs (queue messages bytes last_messages last_bytes, count of entries (count data)),
--   count of dead letters (queue number item reason iteration),
--   count of queues (that a completing writer closes).
local function commit(_, argv)
  local prefix, loop, epoch, inc, seq, nonce = argv[1], argv[2], argv[3], argv[4], tonumber(argv[5]), argv[6]
  local key = prefix .. 'l:' .. loop
  local stored = redis.pcall('HMGET', key, 'epoch', 'inc', 'seq', 'nonce', 'iteration', 'nodes')
  if stored.err then
    return {'BAD_TYPE', key}
  end
  local refused = check_tenure(stored, epoch, inc, seq, nonce)
  if refused then
    return refused
  end
  local queue_of, cache = queue_cache(prefix)
  local next_arg = reader(argv, 10)
  local inputs, states, outputs, dead
  inputs, refused = check_inputs(next_arg, queue_of, loop)
  if not inputs then
    return refused
  end
  states, refused = check_states(next_arg, prefix, loop)
  if not states then
    return refused
  end
  outputs, refused = check_outputs(next_arg, queue_of, argv[9])
  if not outputs then
    return refused
  end
  dead, refused = check_dead(next_arg, queue_of)
  if not dead then
    return refused
  end

  refused = write_outputs(outputs, dead)
  if refused then
    return refused
  end
  for _, out in ipairs(outputs) do
    count_pushed(prefix, out.q, out.messages, out.bytes, out.largest)
  end

  for _, input in ipairs(inputs) do
    acknowledge_input(prefix, input, loop)
  end
  for _, q in pairs(cache) do
    save_queue(q)
  end
  for _, letter in ipairs(dead) do
    redis.call('HSET', letter.q.meta, 'dead', int(letter.q.dead), 'dead_b', int(letter.q.dead_b))
  end
  store_states(states, prefix, loop, stored[6] or '')
  local iteration = (tonumber(stored[5] or '') or 0) + tonumber(argv[7])
  redis.call('HSET', key, 'seq', argv[5], 'nonce', nonce, 'iteration', int(iteration))
  if argv[8] == '1' then
    redis.call('HSET', key, 'completed', '1')
    for _ = 1, tonumber(next_arg()) do
      close_writer(prefix, next_arg(), loop)
    end
  end
  local answer = {'OK', iteration}
  for _, out in ipairs(outputs) do
    local room_n, room_b = room_of(out.q)
    answer[#answer + 1] = {out.q.name, room_n, room_b}
  end
  return answer
end

redis.register_function{function_name = 'treadle_commit', callback = commit}
-- The same for commits that push nothing: consumers drain a server that is out of memory.
redis.register_function{function_name = 'treadle_acknowledge', callback = commit, flags = {'allow-oom'}}
