#!lua name=treadle
--[[
The queues of treadle: everything that must happen in Redis as one step.

Loaded by the controller only. Agents may FCALL; every function names the keys it touches by the namespace's
prefix, which ends in a hash tag of its own, so all of them live in one slot.

  {ns}:q:<queue>        stream  record batches; id "<number of the first message>-1"; fields n (count), d (array)
  {ns}:q:<queue>:m      hash    next   first message that is neither committed nor claimed
                                tail   next message to be pushed
                                nmax   messages of the largest entry since the queue was last empty
                                mode   absent: one reader, who claims nothing; "counted": ranges are claimed
                                slots  reader slots of a counted queue
                                held   messages claimed and not committed
                                bytes  bytes of the messages in the queue
                                lim_n, lim_b, full    limits ("" is unbounded) and "block" or "drop-oldest"
                                done, dropped, dead, dead_b     totals: committed, dropped, in the dead letters
                                had    1 once a writer was entered
                                bells, room, ends     hosts to ring on data, on room, on the end of the queue
                                mark_n, mark_t        a message number and when it was pushed (ms)
                                mended                a number that was given away again after a hand had used it
                                who    reader slots as SCALE was told them last, apart by spaces
  {ns}:q:<queue>:c      hash    reader slot -> "from to from to ...", ranges claimed and not committed
  {ns}:q:<queue>:open   set     writers (loop replicas) that have not completed
  {ns}:q:<queue>:dlq    stream  dead letters: n (number), i (item), r (reason, JSON), k (iteration id),
                                w (the queues of the iteration's letters, where they are several)
  {ns}:l:<wf>/<loop>/<replica>         hash  life epoch inc owner seq nonce iteration completed nodes
                                open     1 while an incarnation has it and has not let go
                                suspect  queue, number, deliveries and inc of a message that may kill
  {ns}:s:<wf>/<loop>/<replica>/<node>  hash  state of a node, a field per key
  {ns}:x:<producer>     hash    seq, first: last push of a program outside, and its first number; kept 7 days
  {ns}:h:<host>         stream  doorbell: q (data), r (room) or e (end) with the name of a queue
  {ns}:meta             hash    id, term, beat, format
  {ns}:queues           hash    the controller's dictionary: queue -> JSON, for programs outside to read

Answers are arrays whose first item is a code. Checks come first, writes that may fail next, the rest last:
Lua does not roll back.
]]

-- VERSION is raised with every release that changes a function; SERVES is the oldest version whose callers
-- these functions still understand. A controller never replaces a newer library, see library.py.
local VERSION = 2
local SERVES = 1

local DLQ_MESSAGES = 100000
local DLQ_BYTES = 64 * 1024 * 1024
local PRODUCER_TTL_S = 7 * 24 * 3600
local PUSH_TTL_S = 600

-- Lua prints large numbers in scientific notation unless told otherwise.
local function int(number)
  return string.format('%.0f', number)
end

local function has_word(words, word)
  return string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) ~= nil
end

local function add_word(words, word)
  if words == '' then
    return word
  end
  if has_word(words, word) then
    return words
  end
  return words .. ' ' .. word
end

-- Rings the doorbells of hosts; returns those that still have one.
local function ring(prefix, hosts, kind, queue)
  local alive = ''
  for host in string.gmatch(hosts, '%S+') do
    local id = redis.pcall('XADD', prefix .. 'h:' .. host, 'NOMKSTREAM', '*', kind, queue)
    if type(id) == 'string' then
      alive = add_word(alive, host)
    end
  end
  return alive
end

-- Hosts that died without a word would pile up in a list that is rung once in a lifetime.
local function prune_hosts(prefix, hosts)
  if #hosts < 400 then
    return hosts
  end
  local alive = ''
  for host in string.gmatch(hosts, '%S+') do
    if redis.call('EXISTS', prefix .. 'h:' .. host) == 1 then
      alive = add_word(alive, host)
    end
  end
  return alive
end

-- Reads what commits need of a queue; nil when the key holds something else.
local function load_queue(prefix, name)
  local key = prefix .. 'q:' .. name
  local v = redis.pcall('HMGET', key .. ':m', 'next', 'tail', 'nmax', 'mode', 'held', 'bytes', 'lim_n', 'lim_b',
    'full', 'bells', 'room', 'done', 'dropped', 'mark_n', 'dead', 'dead_b', 'slots', 'ends', 'had', 'mended')
  if v.err then
    return nil
  end
  return {
    name = name, key = key, meta = key .. ':m',
    next = tonumber(v[1]) or 1, tail = tonumber(v[2]) or 1, nmax = tonumber(v[3]) or 0, mode = v[4] or '',
    held = tonumber(v[5]) or 0, bytes = tonumber(v[6]) or 0, lim_n = tonumber(v[7] or ''), lim_b = tonumber(v[8] or ''),
    full = v[9] or 'block', bells = v[10] or '', room = v[11] or '', done = tonumber(v[12]) or 0,
    dropped = tonumber(v[13]) or 0, mark_n = tonumber(v[14]) or 0, dead = tonumber(v[15]) or 0,
    dead_b = tonumber(v[16]) or 0, slots = tonumber(v[17]) or 1, ends = v[18] or '', had = v[19] == '1',
    mended = tonumber(v[20] or ''),
  }
end

local function save_queue(q)
  redis.call('HSET', q.meta, 'next', int(q.next), 'tail', int(q.tail), 'nmax', int(q.nmax), 'held', int(q.held),
    'bytes', int(q.bytes), 'done', int(q.done), 'bells', q.bells, 'room', q.room)
  if q.mark_t then
    redis.call('HSET', q.meta, 'mark_n', int(q.mark_n), 'mark_t', q.mark_t)
  end
  if q.lost then
    redis.call('HSET', q.meta, 'dropped', int(q.dropped))
  end
end

local function depth_of(q)
  return q.tail - q.next + q.held
end

-- Messages and bytes that still fit, -1 for no limit.
local function room_of(q)
  local messages, bytes = -1, -1
  if q.full ~= 'drop-oldest' then
    if q.lim_n then
      messages = math.max(0, q.lim_n - depth_of(q))
    end
    if q.lim_b then
      bytes = math.max(0, q.lim_b - q.bytes)
    end
  end
  return messages, bytes
end

-- Whether the last of the pushed iterations still found room: it alone may overshoot a limit.
local function is_full(q, messages, bytes, last_messages, last_bytes)
  local room_n, room_b = room_of(q)
  return (room_n >= 0 and messages - last_messages >= room_n and messages > 0)
    or (room_b >= 0 and bytes - last_bytes >= room_b and messages > 0)
end

-- The least number that somebody may still read.
local function least_of(q)
  local least = q.next
  if q.held > 0 then
    for _, ranges in ipairs(redis.call('HVALS', q.key .. ':c')) do
      local from = tonumber(string.match(ranges, '^%d+') or '')
      if from and from < least then
        least = from
      end
    end
  end
  return least
end

local function trim(q)
  if q.held == 0 and q.next == q.tail then
    -- Not everything: what a hand has put in lies above, and becomes a dead letter.
    redis.pcall('XTRIM', q.key, 'MINID', '=', int(q.tail) .. '-0')
    q.nmax = 0
    q.bytes = 0
    return
  end
  local least = least_of(q) - q.nmax + 1
  if least > 1 then
    redis.pcall('XTRIM', q.key, 'MINID', '~', int(least) .. '-1')
  end
end

-- Moves `next` past what is over the limits of a drop-oldest queue; only what nobody has claimed.
local function drop_oldest(q)
  if q.full ~= 'drop-oldest' then
    return
  end
  local waiting = q.tail - q.next
  local excess = 0
  if q.lim_n then
    excess = depth_of(q) - q.lim_n
  end
  if q.lim_b and q.bytes > q.lim_b then
    -- Entries don't say where their messages lie: the average size stands for each of them.
    excess = math.max(excess, math.ceil((q.bytes - q.lim_b) * depth_of(q) / q.bytes))
  end
  excess = math.min(excess, waiting - 1)
  if excess > 0 then
    q.bytes = q.bytes - math.floor(q.bytes * excess / depth_of(q))
    q.next = q.next + excess
    q.dropped = q.dropped + excess
    q.lost = true
    trim(q)
  end
end

-- Tells producers that wait for room, once half of it is there.
local function ring_room(prefix, q)
  if q.room == '' then
    return
  end
  if (not q.lim_n or depth_of(q) <= q.lim_n / 2) and (not q.lim_b or q.bytes <= q.lim_b / 2) then
    ring(prefix, q.room, 'r', q.name)
    q.room = ''
  end
end

-- Sets a stream's last id back to the last entry that is there. Valkey doesn't let XSETID go below a deleted
-- entry, so there the stream is copied; it happens once per hand that wrote into it.
local function lower_last_id(q)
  local last = redis.call('XREVRANGE', q.key, '+', '-', 'COUNT', 1)
  if #last == 0 then
    redis.call('DEL', q.key)
    return
  end
  local length = redis.call('XLEN', q.key)
  local set = redis.pcall('XSETID', q.key, last[1][1], 'ENTRIESADDED', length, 'MAXDELETEDID', '0-0')
  if not set.err then
    return
  end
  local copy, from = q.key .. ':copy', '-'
  redis.call('DEL', copy)
  repeat
    local part = redis.call('XRANGE', q.key, from, '+', 'COUNT', 100)
    for _, entry in ipairs(part) do
      redis.call('XADD', copy, entry[1], unpack(entry[2]))
      from = '(' .. entry[1]
    end
  until #part == 0
  redis.call('RENAME', copy, q.key)
end

-- What a dead letter counts for among the bytes that a queue may keep of them.
local function weight_of(item, reason)
  return #item + #reason
end

-- Entries that the functions did not write lie at or above `tail`; a commit trips over them. They become
-- dead letters, and the stream's last id goes back to where it was. Returns how many there were.
local function mend(q)
  local found = redis.pcall('XRANGE', q.key, int(q.tail) .. '-0', '+', 'COUNT', 100)
  if found.err then
    return 0
  end
  for _, entry in ipairs(found) do
    local raw = cmsgpack.pack(entry[2])
    local item, reason = string.sub(raw, 1, 1048576), '{"error":"foreign-entry","entry":' .. cjson.encode(entry[1]) .. '}'
    redis.pcall('XADD', q.key .. ':dlq', '*', 'n', '0', 'i', item, 'r', reason, 'k', '')
    redis.call('XDEL', q.key, entry[1])
    q.dead = q.dead + 1
    q.dead_b = q.dead_b + weight_of(item, reason)
  end
  if #found > 0 then
    redis.call('HSET', q.meta, 'dead', int(q.dead), 'dead_b', int(q.dead_b))
    -- A reader may hold the entry that had the number which is pushed next. Once it reloads all is well, so the first
    -- such number that it has not come to is the one to remember.
    if found[1][1] == int(q.tail) .. '-1' and (not q.mended or q.mended < q.next) then
      q.mended = q.tail
      redis.call('HSET', q.meta, 'mended', int(q.mended))
    end
    lower_last_id(q)
  end
  return #found
end

-- Adds one entry; on a refusal looks for foreign entries once. Returns its id, or nil and the error.
local function add_entry(q, number, count, data)
  local id = int(number) .. '-1'
  local added = redis.pcall('XADD', q.key, id, 'n', count, 'd', data)
  if type(added) == 'table' and added.err and redis.call('TYPE', q.key).ok == 'stream' then
    if mend(q) == 0 then
      lower_last_id(q) -- whoever added an entry has deleted it as well
    end
    while mend(q) > 0 do
      -- as many as somebody has put there, some at a time
    end
    added = redis.pcall('XADD', q.key, id, 'n', count, 'd', data)
  end
  if type(added) == 'table' then
    return nil, added.err
  end
  return id
end

-- Counts what was added, and rings.
local function count_pushed(prefix, q, messages, bytes, largest)
  if messages == 0 then
    return
  end
  if q.mark_n < q.next then
    local now = redis.call('TIME')
    q.mark_n = q.tail
    q.mark_t = now[1] .. string.format('%03d', math.floor(tonumber(now[2]) / 1000))
  end
  q.tail = q.tail + messages
  q.bytes = q.bytes + bytes
  q.nmax = math.max(q.nmax, largest)
  if q.bells ~= '' then
    ring(prefix, q.bells, 'q', q.name)
    q.bells = ''
  end
  drop_oldest(q)
end
