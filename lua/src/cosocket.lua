-- Sends calls over the cosockets of nginx (lua-nginx-module, OpenResty): whoever waits lets the worker go on. It
-- decides nothing about a capture; it is an HTTP/1.1 client for one request, with the core's bounds: all of it within
-- the time of the step, certificates always checked, no redirect, a head and a body of limited size, and a connection
-- is kept only after a whole answer with nothing behind it.

local ngx = ngx
local error, ipairs, math, os, pairs, pcall, table, tonumber, tostring, type, unpack =
  error, ipairs, math, os, pairs, pcall, table, tonumber, tostring, type, unpack

-- The most bytes of heads of one answer, with those of 1xx before it, and what a text counts for beside its own (a line,
-- a piece of a line or of a body): it takes memory until it is collected, however short it is, and time to be found
-- among others (RFC 9113, 6.5.2, counts so too). All texts of an answer but the lines of its head may count for a
-- SHARE of the body's limit.
local MOST_HEAD, TEXT, SHARE = 64 * 1024, 128, 1 / 2
-- The longest list of captures: it is read at once, while the worker does nothing else.
local MOST_LIST = 8 * 1024 * 1024
-- The longest line with the size of a chunk.
local MOST_LINE = 4096
-- How much is read at once, sent at once, and worked off in all before others get their turn.
local PIECE, TURN = 16 * 1024, 256 * 1024
-- How many bytes of that a read and a line count for beside their own, since an answer may be made of next to nothing
-- else, and each letter of a line, which is looked at by itself.
local READ, LINE, LETTER = 256, 256, 16
-- After how many bytes the clock is looked at, and for how long, in seconds, all calls may work in one round of nginx's
-- events: what counts for little may still take long.
local GLANCE, ROUND = 4096, 0.02
-- How many pieces of a body are kept at most before they become one.
local MOST_PIECES = 256
-- How often a call is given an event at most.
local MOST_TRIES = 100
-- How long an idle connection is kept, in milliseconds.
local IDLE = 30 * 1000

-- Nothing outside of nginx, true where cosockets work, or why they do not. To wait is tried out, since in some places
-- (a callback of string.gsub, a file that is being required) it fails, and would once the request has left.
local function state()
  if type(ngx) ~= "table" or type(ngx.socket) ~= "table" then
    return nil
  end
  local able, why = pcall(ngx.socket.tcp)
  if able then
    able, why = pcall(ngx.sleep, 0.001)
  end
  return able or tostring(why)
end

-- A name is looked up for as long as nginx's resolver_timeout says, whatever the socket's time-out: so the time is
-- watched from outside.
local function connect_within(milliseconds, socket, ...)
  local target = {...}
  local connecting = ngx.thread.spawn(function() return true, socket:connect(unpack(target)) end)
  local alarm = ngx.thread.spawn(function()
    ngx.sleep(milliseconds / 1000)
    return false
  end)
  local ran, in_time, connected, why = ngx.thread.wait(connecting, alarm)
  if ran and in_time then
    ngx.thread.kill(alarm)
    return connected, why
  end
  ngx.thread.kill(connecting)
  ngx.thread.kill(alarm)
  return nil, ran and "timeout" or in_time
end

-- What nginx.conf has to say for it to work.
local function explained(why, request)
  if why == "timeout" then
    local is_name = request.host:find("%a") and not request.host:find(":", 1, true)
    return "it took too long" .. (is_name and ", perhaps for nginx's resolver to look its name up" or "")
  elseif why:find("no resolver defined", 1, true) then
    return why .. "; nginx.conf has to name one: resolver ADDRESS;"
  elseif why:find("^%d+: ") or why:find("certificate", 1, true) then
    return ("the certificate shown for %s cannot be trusted (%s); trusted is what lua_ssl_trusted_certificate and "
      .. "lua_ssl_verify_depth in nginx.conf allow, for a host that is a name"):format(request.host, why)
  end
  return why
end

-- TLS with the certificate checked. lua-resty-core up to 0.1.25 at least raises an error, without a reason, for a
-- certificate that fails in a handshake that is over at once; and asked for no session, in place of nil, it would take
-- that one for good.
local function handshake(socket, name)
  local ran, made, why = pcall(socket.sslhandshake, socket, nil, name, true)
  if not ran then
    return nil, "certificate verify error"
  end
  return made, why
end

-- An open connection, or nothing and why.
local function connected(call, request)
  local left = call:time_left()
  local reserve = left - math.min(left, call:connect_timeout())
  local pool = ("takings %s %s:%d"):format(request.tls and "tls" or "tcp", request.host, request.port)
  -- nginx asks its resolver even for this name
  local addresses = request.host == "localhost" and {"127.0.0.1", "[::1]"} or {request.host}
  local why
  for _, address in ipairs(addresses) do
    local socket = ngx.socket.tcp()
    local time = math.max(call:time_left() - reserve, 1)
    socket:settimeouts(time, time, time)
    local is_name = not address:find("^[%d.]+$") and not address:find("^%[")
    local made
    if is_name then
      made, why = connect_within(time, socket, address, request.port, {pool = pool})
    else
      made, why = socket:connect(address, request.port, {pool = pool})
    end
    if made then
      if request.tls and socket:getreusedtimes() == 0 then
        time = math.max(call:time_left() - reserve, 1)
        socket:settimeouts(time, time, time)
        made, why = handshake(socket, request.host)
      end
      if made then
        return socket
      end
      socket:close()
      break
    end
  end
  why = explained(tostring(why), request)
  return nil, ("no connection to %s:%d: %s"):format(request.host, request.port, why)
end

-- Says the whole request, or why not.
local function say(call, socket, request)
  local usual = request.tls and 443 or 80
  local lines = {("%s %s HTTP/1.1"):format(request.method, request.target)}
  lines[2] = "host: " .. request.host .. (request.port == usual and "" or ":" .. request.port)
  for name, value in pairs(request.headers) do
    lines[#lines + 1] = name .. ": " .. value
  end
  if request.method ~= "GET" then
    lines[#lines + 1] = "content-length: " .. #request.body
  end
  local bytes = table.concat(lines, "\r\n") .. "\r\n\r\n" .. request.body
  for from = 1, #bytes, PIECE do
    local left = call:time_left()
    if left == 0 then
      return nil, "timeout"
    end
    socket:settimeouts(left, left, left)
    local sent, why = socket:send(bytes:sub(from, from + PIECE - 1))
    if not sent then
      return nil, why
    end
  end
  return true
end

-- Bytes that come in pieces. Many of them become one, since a small one takes more memory than its bytes.
local function gathering()
  local self = {}
  local joined, pieces, count = {}, {}, 0

  function self.add(piece)
    if count == MOST_PIECES then
      joined[#joined + 1] = table.concat(pieces, "", 1, count)
      count = 0
    end
    count = count + 1
    pieces[count] = piece
  end

  function self.bytes()
    local rest = table.concat(pieces, "", 1, count)
    if not joined[1] then
      return rest
    end
    joined[#joined + 1] = rest
    return table.concat(joined)
  end

  function self.clear()
    joined, count = joined[1] and {} or joined, 0
  end

  return self
end

-- The round of nginx's events, which is when it looks at the clock, and the processor time at which work in it began.
local round, began

-- Reads an answer whose texts may count for so many bytes. What came last of it and was not used yet is `kept` from `at`
-- on: to cut it would copy it each time.
local function reader(call, socket, spendable)
  local self = {}
  local kept, at = "", 1
  local work, glance = 0, 0
  local cut = gathering()

  -- Says whether the answer's texts may still count for so much.
  function self.spend(bytes)
    spendable = spendable - bytes
    return spendable >= 0
  end

  -- Counts work, in bytes; after much of it others get their turn. Says whether there is time for more.
  local function goes_on(bytes)
    work, glance = work + bytes, glance + bytes
    if glance < GLANCE then
      return true
    end
    glance = 0
    if ngx.now() ~= round then
      round, began = ngx.now(), os.clock()
    end
    if work < TURN and os.clock() - began < ROUND then
      return true
    end
    work = 0
    ngx.sleep(0.001)
    return call:time_left() > 0
  end

  -- Reads more once all is used, at most so many bytes, or says why it cannot.
  local function more(most)
    goes_on(#kept + READ)
    local left = call:time_left()
    if left == 0 then
      return nil, "timeout"
    end
    socket:settimeouts(left, left, left)
    local bytes, why = socket:receiveany(math.min(most, PIECE))
    if not bytes then
      return nil, why
    end
    kept, at = bytes, 1
    return true
  end

  -- The next line, without its end, with which it is at most so long; or nothing and why.
  function self.line(most)
    local stop = kept:find("\n", at, true)
    local pieces
    while not stop do
      -- mostly nothing is left, and the line comes as a whole
      if at <= #kept then
        if not pieces then
          pieces = cut
          pieces.clear()
        end
        pieces.add(kept:sub(at))
        if not self.spend(TEXT) then
          return nil, "it comes in too many pieces"
        end
        most = most - (#kept - at + 1)
      end
      if most <= 0 then
        return nil, "it is too long"
      end
      local read, why = more(most)
      if not read then
        return nil, why
      end
      stop = kept:find("\n", 1, true)
    end
    if stop - at + 1 > most then
      return nil, "it is too long"
    end
    local line
    if pieces then
      pieces.add(kept:sub(at, stop))
      line = pieces.bytes():gsub("\r?\n$", "")
    else
      local has_return = stop > at and kept:byte(stop - 1) == 13
      line = kept:sub(at, stop - (has_return and 2 or 1))
    end
    at = stop + 1
    if not goes_on(LINE + LETTER * #line) then
      return nil, "timeout"
    end
    return line
  end

  -- Adds so many bytes to a body, and says whether they all came.
  function self.take(count, body)
    while count > 0 do
      if at > #kept and not more(count) then
        return false
      end
      local piece = kept:sub(at, at + count - 1)
      at = at + #piece
      count = count - #piece
      body.add(piece)
      if not self.spend(TEXT) then
        return false
      end
    end
    return true
  end

  -- Whether all that came was used.
  function self.is_empty()
    return at > #kept
  end

  return self
end

-- A header's name in lower case and its value, or nothing for nonsense.
local function field(line)
  local name, rest = line:match("^([%w!#$%%&'*+%-.^_`|~]+):[ \t]*(.*)$")
  if not name or rest:find("[%z\1-\8\10-\31\127]") then
    return nil
  end
  -- not with the name: what is matched both as little as can be and up to blanks is searched once for each blank
  return name:lower(), rest:match("^.*[^ \t]") or ""
end

-- The status of the first head that is an answer's, its headers as lists by their names, and whether it is HTTP/1.1;
-- or nothing and why.
local function read_head(input)
  local room = MOST_HEAD
  local function next_line()
    local line, why = input.line(room)
    room = room - #(line or "") - TEXT
    return line, why
  end
  while true do
    local line, why = next_line()
    local minor, status, reason = (line or ""):match("^HTTP/1%.([01]) ([1-9]%d%d)([^\r]*)$")
    if line and (not minor or reason ~= "" and reason:sub(1, 1) ~= " ") then
      return nil, "it is not HTTP"
    end
    local headers = {}
    while line do
      line, why = next_line()
      if not line or line == "" then
        break
      end
      local name, value = field(line)
      if not name then
        return nil, "it is not HTTP"
      end
      headers[name] = headers[name] or {}
      table.insert(headers[name], value)
    end
    if not line then
      return nil, why
    end
    status = tonumber(status)
    if status >= 200 or status == 101 then
      return status, headers, minor == "1"
    end
  end
end

-- Its length, nothing where there is none, or false where several contradict each other.
local function length(headers)
  local values, found = table.concat(headers["content-length"] or {}, ",")
  if #values > MOST_LINE then
    return false
  end
  for value in values:gmatch("[^,]+") do
    local digits = value:match("^[ \t]*(%d+)[ \t]*$")
    local number = digits and #digits <= 15 and tonumber(digits)
    if not number or found and found ~= number then
      return false
    end
    found = number
  end
  return found
end

local function read_chunks(input, body, most)
  while true do
    local line = input.line(MOST_LINE)
    local digits = line and line:match("^(%x+)[ \t]*$") or line and line:match("^(%x+)[ \t]*;[^\r]*$")
    if not digits or #digits > 12 then
      return false
    end
    if not input.spend(TEXT + #line) then
      return false
    end
    local size = tonumber(digits, 16)
    if size == 0 then
      -- trailers tell us nothing
      local room, trailer = MOST_HEAD
      repeat
        trailer = input.line(room)
        room = room - #(trailer or "") - TEXT
      until not trailer or trailer == ""
      return trailer ~= nil
    elseif not input.take(math.min(size, most), body) or size > most then
      return false
    end
    most = most - size
    if input.line(2) ~= "" then
      return false
    end
  end
end

-- Adds what came of the body, and says whether it was all of it, with nothing behind it.
local function read_body(input, status, headers, modern, size, body, most)
  local coding = headers["transfer-encoding"]
  local whole
  if status == 101 then
    whole = false
  elseif status == 204 or status == 304 then
    whole = true
  elseif coding then
    local chunked = modern and #coding == 1 and coding[1]:lower() == "chunked"
    -- with a length as well it is one that somebody may read otherwise (RFC 9112, 6.3)
    whole = chunked and read_chunks(input, body, most) and not size
  elseif size then
    whole = input.take(math.min(size, most), body) and size <= most
  else
    input.take(most, body)
    whole = false
  end
  return whole and input.is_empty()
end

local function stays_open(headers, modern)
  local connection = table.concat(headers.connection or {}, ","):lower()
  return modern and not connection:find("close", 1, true)
end

-- Sends the request once, and gives the event of it.
local function exchange(call, timeout)
  local request = call:request()
  local socket, unconnected = connected(call, request)
  if not socket then
    return call.not_sent, unconnected
  end
  local function lost(why)
    socket:close()
    if why == "timeout" then
      return call.maybe_sent, ("no answer within %.1fs"):format(timeout / 1000)
    end
    return call.maybe_sent, ("the answer was lost (%s)"):format(tostring(why))
  end
  local said, why = say(call, socket, request)
  if not said then
    return lost(why)
  end
  local most = math.min(request.most_answer, MOST_LIST)
  local input = reader(call, socket, most * SHARE)
  local status, headers, modern = read_head(input)
  if not status then
    return lost(headers)
  end
  local size = length(headers)
  if size == false then
    return lost("its lengths contradict each other")
  end
  local body = gathering()
  local whole = read_body(input, status, headers, modern, size, body, most)
  if not (whole and stays_open(headers, modern) and socket:setkeepalive(IDLE)) then
    socket:close()
  end
  return call.answered, status, headers, body.bytes()
end

-- The step that a call gives after an event. Before Lua 5.4 that may raise the error of a finaliser of the program's
-- own, when the collector gets to it: asked again, the call gives what nobody would learn otherwise.
local function stepped(call, event, ...)
  local ran, step, value, err
  for _ = 1, MOST_TRIES do
    ran, step, value, err = pcall(event, call, ...)
    if ran then
      return step, value, err
    end
  end
  error(step, 0)
end

-- Sends a call to its end.
local function send(call)
  local step, value, err = stepped(call, call.start)
  while step ~= "done" do
    if step == "send" then
      local ran, event, one, two, three = pcall(exchange, call, value)
      if not ran then
        local named, why = pcall(tostring, event)
        event, one = call.maybe_sent, named and why or "an error without a text"
      end
      if event == call.answered then
        step, value, err = stepped(call, event, one, two, three)
      else
        step, value, err = stepped(call, event, one)
      end
    else
      ngx.sleep(value / 1000)
      step, value, err = stepped(call, call.waited)
    end
  end
  if value == nil then
    return nil, err
  end
  return value
end

return state, send
