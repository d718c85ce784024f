-- Sends operations over the cosockets of nginx (lua-nginx-module, OpenResty): whoever waits lets the worker go on. It
-- decides nothing about a capture; it is an HTTP/1.1 client for one request, with the core's bounds: all of it within
-- the time of the step, certificates always checked, no redirect, a head and a body of limited size, and a connection
-- is kept only after a whole answer with nothing behind it.

local ngx = ngx
local ipairs, math, pairs, pcall, table, tonumber, tostring, type, unpack =
  ipairs, math, pairs, pcall, table, tonumber, tostring, type, unpack

-- The most bytes of heads of one answer, with those of 1xx before it.
local MOST_HEAD = 64 * 1024
-- The longest line with the size of a chunk.
local MOST_LINE = 4096
-- How much is read at once, sent at once, and read in all before others get their turn.
local PIECE, TURN = 16 * 1024, 256 * 1024
-- How long an idle connection is kept, in milliseconds.
local IDLE = 30 * 1000

-- Nothing outside of nginx, true where cosockets work, or why they do not. To wait is tried out, since in some places
-- (a callback of string.gsub, a file that is being required) it fails, and would once the request has left.
local function host()
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
local function connected(operation, request)
  local left = operation:time_left()
  local reserve = left - math.min(left, operation:connect_timeout())
  local pool = ("takings %s %s:%d"):format(request.tls and "tls" or "tcp", request.host, request.port)
  -- nginx asks its resolver even for this name
  local addresses = request.host == "localhost" and {"127.0.0.1", "[::1]"} or {request.host}
  local why
  for _, address in ipairs(addresses) do
    local socket = ngx.socket.tcp()
    local time = math.max(operation:time_left() - reserve, 1)
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
        time = math.max(operation:time_left() - reserve, 1)
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
local function say(operation, socket, request)
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
    local left = operation:time_left()
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

-- What was read of an answer and not used yet is `kept`.
local function reader(operation, socket)
  local self = {kept = ""}
  local turn = 0

  -- Reads more, at most so many bytes, or says why it cannot.
  function self.more(most)
    if turn >= TURN then
      turn = 0
      ngx.sleep(0.001)
    end
    local left = operation:time_left()
    if left == 0 then
      return nil, "timeout"
    end
    socket:settimeouts(left, left, left)
    local bytes, why = socket:receiveany(math.min(most, PIECE))
    if not bytes then
      return nil, why
    end
    turn = turn + #bytes
    self.kept = self.kept .. bytes
    return true
  end

  -- Takes everything up to the end of what matches, or says why it cannot.
  function self.up_to(pattern, most)
    local from = 1
    while true do
      local _, stop = self.kept:find(pattern, from)
      if stop then
        local taken = self.kept:sub(1, stop)
        self.kept = self.kept:sub(stop + 1)
        return taken
      elseif #self.kept >= most then
        return nil, "it is too long"
      end
      -- an end is four bytes at most, and may be there in part
      from = math.max(#self.kept - 2, 1)
      local read, why = self.more(most - #self.kept)
      if not read then
        return nil, why
      end
    end
  end

  -- Adds so many bytes to `pieces`, and says whether they all came.
  function self.take(count, pieces)
    while count > 0 do
      if self.kept == "" and not self.more(count) then
        return false
      end
      local taken = self.kept:sub(1, count)
      self.kept = self.kept:sub(#taken + 1)
      pieces[#pieces + 1] = taken
      count = count - #taken
    end
    return true
  end

  return self
end

-- The status, the headers as lists by their names in lower case, and whether it is HTTP/1.1; nothing for nonsense.
local function parsed(head)
  local minor, status, reason, rest = head:match("^HTTP/1%.([01]) ([1-9]%d%d)([^\r\n]*)\r?\n(.*)$")
  if not minor or reason ~= "" and reason:sub(1, 1) ~= " " then
    return nil
  end
  local headers = {}
  for line in rest:gmatch("([^\n]*)\n") do
    line = line:gsub("\r$", "")
    if line ~= "" then
      local name, value = line:match("^([%w!#$%%&'*+%-.^_`|~]+):[ \t]*(.-)[ \t]*$")
      if not name or value:find("[%z\1-\8\10-\31\127]") then
        return nil
      end
      name = name:lower()
      headers[name] = headers[name] or {}
      table.insert(headers[name], value)
    end
  end
  return tonumber(status), headers, minor == "1"
end

-- The first head that is an answer's, and whether it is HTTP/1.1; or nothing and why.
local function read_head(input)
  local room = MOST_HEAD
  while true do
    local head, why = input.up_to("\n\r?\n", room)
    if not head then
      return nil, why
    end
    room = room - #head
    local status, headers, modern = parsed(head)
    if not status then
      return nil, "it is not HTTP"
    elseif status >= 200 or status == 101 then
      return status, headers, modern
    end
  end
end

-- Its length, nothing where there is none, or false where several contradict each other.
local function length(headers)
  local found
  for value in table.concat(headers["content-length"] or {}, ","):gmatch("[^,]+") do
    local digits = value:match("^[ \t]*(%d+)[ \t]*$")
    local number = digits and #digits <= 15 and tonumber(digits)
    if not number or found and found ~= number then
      return false
    end
    found = number
  end
  return found
end

local function read_chunks(input, pieces, most)
  while true do
    local line = input.up_to("\n", MOST_LINE)
    local digits = line and line:match("^(%x+)[ \t]*\r?\n$") or line and line:match("^(%x+)[ \t]*;[^\r\n]*\r?\n$")
    if not digits or #digits > 12 then
      return false
    end
    local size = tonumber(digits, 16)
    if size == 0 then
      -- trailers tell us nothing
      local room, trailer = MOST_HEAD
      repeat
        trailer = input.up_to("\n", room)
        room = room - #(trailer or "")
      until not trailer or trailer == "\n" or trailer == "\r\n"
      return trailer ~= nil
    elseif not input.take(math.min(size, most), pieces) or size > most then
      return false
    end
    most = most - size
    local stop = input.up_to("\n", 2)
    if stop ~= "\r\n" and stop ~= "\n" then
      return false
    end
  end
end

-- Adds what came of the body, and says whether it was all of it, with nothing behind it.
local function read_body(input, status, headers, modern, size, pieces, most)
  local coding = headers["transfer-encoding"]
  local whole
  if status == 204 or status == 304 then
    whole = true
  elseif coding then
    local chunked = modern and #coding == 1 and coding[1]:lower() == "chunked"
    whole = chunked and read_chunks(input, pieces, most)
  elseif size then
    whole = input.take(math.min(size, most), pieces) and size <= most
  else
    input.take(most, pieces)
    whole = false
  end
  return whole and input.kept == ""
end

local function stays_open(headers, modern)
  local connection = table.concat(headers.connection or {}, ","):lower()
  return modern and not connection:find("close", 1, true)
end

-- Sends the request once and tells the operation how it went.
local function exchange(operation, timeout)
  local request = operation:request()
  local socket, unconnected = connected(operation, request)
  if not socket then
    return operation.not_sent, unconnected
  end
  local function lost(why)
    socket:close()
    if why == "timeout" then
      return operation.maybe_sent, ("no answer within %.1fs"):format(timeout / 1000)
    end
    return operation.maybe_sent, ("the answer was lost (%s)"):format(tostring(why))
  end
  local said, why = say(operation, socket, request)
  if not said then
    return lost(why)
  end
  local input = reader(operation, socket)
  local status, headers, modern = read_head(input)
  if not status then
    return lost(headers)
  end
  local size = length(headers)
  if size == false then
    return lost("its lengths contradict each other")
  end
  local pieces = {}
  local whole = read_body(input, status, headers, modern, size, pieces, request.most_answer)
  if not (whole and stays_open(headers, modern) and socket:setkeepalive(IDLE)) then
    socket:close()
  end
  return operation.answered, status, headers, table.concat(pieces)
end

-- Sends an operation to its end.
local function drive(operation)
  local step, value, err = operation:start()
  while step ~= "done" do
    if step == "send" then
      local ran, event, one, two, three = pcall(exchange, operation, value)
      if not ran then
        event, one = operation.maybe_sent, tostring(event)
      end
      if event == operation.answered then
        step, value, err = event(operation, one, two, three)
      else
        step, value, err = event(operation, one)
      end
    else
      ngx.sleep(value / 1000)
      step, value, err = operation:waited()
    end
  end
  if value == nil then
    return nil, err
  end
  return value
end

return host, drive
