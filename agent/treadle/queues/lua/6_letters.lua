-- Dead letters: back to their queue, or away. What one iteration had popped goes together, whatever queues it is in.

local function letter_of(name, entry)
  local letter = {queue = name, id = entry[1], n = '0', i = '', r = '', k = '', w = ''}
  for f = 1, #entry[2], 2 do
    if #entry[2][f] == 1 then
      letter[entry[2][f]] = entry[2][f + 1]
    end
  end
  return letter
end

-- Letters of one iteration in one queue: one commit wrote them side by side, `letter` is any of them.
local function beside(key, letter)
  local found, at = {letter}, letter.id
  local function walk(command, edge, place)
    at = letter.id
    while true do
      local part = redis.call(command, key, '(' .. at, edge, 'COUNT', 100)
      for _, entry in ipairs(part) do
        local other = letter_of(letter.queue, entry)
        if other.k ~= letter.k then
          return
        end
        table.insert(found, place or #found + 1, other)
        at = other.id
      end
      if #part == 0 then
        return
      end
    end
  end
  if letter.k ~= '' then
    walk('XREVRANGE', '-', 1)
    walk('XRANGE', '+')
  end
  return found
end

-- Some letter of an iteration in another queue. The commit gave all of them the same time; if a clock was set
-- back in between, only a look at all of them finds it.
local function find_kin(key, name, letter)
  local time = string.match(letter.id, '^%d+')
  local from, edge = time, time
  for _ = 1, 2 do
    repeat
      local part = redis.call('XRANGE', key, from, edge, 'COUNT', 500)
      for _, entry in ipairs(part) do
        local other = letter_of(name, entry)
        if other.k == letter.k then
          return other
        end
        from = '(' .. other.id
      end
    until #part == 0
    from, edge = '-', '+'
  end
  return nil
end

-- All letters of the iteration of one letter.
local function family(prefix, letter)
  local found = beside(prefix .. 'q:' .. letter.queue .. ':dlq', letter)
  for name in string.gmatch(letter.w, '%S+') do
    if name ~= letter.queue and letter.k ~= '' then
      local key = prefix .. 'q:' .. name .. ':dlq'
      local other = redis.call('TYPE', key).ok == 'stream' and find_kin(key, name, letter)
      for _, one in ipairs(other and beside(key, other) or {}) do
        found[#found + 1] = one
      end
    end
  end
  return found
end

-- Calls `take` for each iteration with letters in a range of a queue: from one id to another, at most so many.
-- `take` answers how many it took, or nil and why not. Answers the code, how many, and the last id looked at.
local function for_each_family(prefix, name, from, to, most, take)
  local key = prefix .. 'q:' .. name .. ':dlq'
  local range = redis.pcall('XRANGE', key, from, to, 'COUNT', most)
  if range.err then
    return {'BAD_TYPE', key}
  end
  local taken, at, seen = 0, '', {}
  for _, entry in ipairs(range) do
    if not seen[entry[1]] then
      local letters = family(prefix, letter_of(name, entry))
      for _, letter in ipairs(letters) do
        seen[letter.queue == name and letter.id or ''] = true
      end
      local count, refused = take(letters)
      if not count then
        if taken == 0 then
          return refused
        end
        break
      end
      taken = taken + count
    end
    at = entry[1]
  end
  return {'OK', taken, at}
end

local function remove(queue_of, letters)
  for _, letter in ipairs(letters) do
    local q = queue_of(letter.queue)
    if redis.call('XDEL', q.key .. ':dlq', letter.id) == 1 then
      q.dead = math.max(0, q.dead - 1)
      q.dead_b = math.max(0, q.dead_b - weight_of(letter.i, letter.r))
      redis.call('HSET', q.meta, 'dead', int(q.dead), 'dead_b', int(q.dead_b))
    end
  end
end

-- What a family comes to in each of its queues; nil and the reason when there is no room.
local function outputs_of(queue_of, letters)
  local outputs, by_name = {}, {}
  for _, letter in ipairs(letters) do
    local q = queue_of(letter.queue)
    if not q then
      return nil, {'BAD_TYPE', letter.queue}
    end
    local out = by_name[letter.queue]
    if not out then
      out = {q = q, entries = {}, messages = 0, bytes = 0}
      by_name[letter.queue] = out
      outputs[#outputs + 1] = out
    end
    out.entries[#out.entries + 1] = {'1', '\145' .. letter.i}
    out.messages = out.messages + 1
    out.bytes = out.bytes + #letter.i
  end
  for _, out in ipairs(outputs) do
    if is_full(out.q, out.messages, out.bytes, out.messages, out.bytes) then
      local room_n, room_b = room_of(out.q)
      return nil, {'FULL', out.q.name, room_n, room_b}
    end
  end
  return outputs
end

-- ARGV: prefix queue from to most. Puts letters back at the tail of their queues, an iteration's in one step.
-- Entries of strangers stay: they are no messages.
local function replay(_, argv)
  local prefix = argv[1]
  local queue_of = queue_cache(prefix)
  return for_each_family(prefix, argv[2], argv[3], argv[4], argv[5], function(letters)
    if letters[1].n == '0' then
      return 0
    end
    local outputs, refused = outputs_of(queue_of, letters)
    refused = refused or write_outputs(outputs, {})
    if refused then
      return nil, refused
    end
    for _, out in ipairs(outputs) do
      count_pushed(prefix, out.q, out.messages, out.bytes, out.largest)
      save_queue(out.q)
    end
    remove(queue_of, letters)
    return #letters
  end)
end

-- ARGV: prefix queue from to most. Drops letters, with all of their iterations.
local function drop(_, argv)
  local queue_of = queue_cache(argv[1])
  return for_each_family(argv[1], argv[2], argv[3], argv[4], argv[5], function(letters)
    for _, letter in ipairs(letters) do
      if not queue_of(letter.queue) then
        return nil, {'BAD_TYPE', letter.queue}
      end
    end
    remove(queue_of, letters)
    return #letters
  end)
end

redis.register_function{function_name = 'treadle_replay', callback = replay}
redis.register_function{function_name = 'treadle_drop', callback = drop, flags = {'allow-oom'}}
