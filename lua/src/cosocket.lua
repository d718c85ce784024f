-- Sends calls over the cosockets of nginx (lua-nginx-module, OpenResty): while a call waits, the worker serves others.
-- Only Lua may wait for a cosocket, so this file connects, sends and receives, within the time of the step. The core
-- writes the bytes of the request, reads those of the answer, and says when the connection may be kept.

-- Two functions of Rust, in place of several methods of a call. `open` gives the bytes of the request, the host, its port,
-- whether it has TLS, and the times for a connection and for all, in milliseconds. `take` takes bytes of the answer and gives
-- how many are wanted next, whether the connection may be kept, and the time that is left.
local open, take = ...
local ngx = ngx
local coroutine, ipairs, math, pcall, tostring, type = coroutine, ipairs, math, pcall, tostring, type

-- The most bytes that are sent at once, since the deadline is checked only between two sends.
local PIECE = 16 * 1024
-- After so many pieces of an answer the worker serves others, even if the next piece is there already.
local TURN = 2
-- How long an idle connection is kept, in milliseconds.
local IDLE = 30 * 1000
-- How many idle connections are kept: as many as a second may have requests. The 30 of nginx's own choice would make
-- most of 64 calls in flight connect anew.
local MOST_IDLE = 200

-- Gives nil outside of nginx, true where cosockets work, or why they do not. A short wait is tried out, since waiting
-- fails in some places (a callback of string.gsub, a file that is being required). Once a request has left, such a
-- failure would leave its outcome unknown.
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

-- A name look-up by nginx lasts for up to its resolver_timeout, whatever the socket's time-out. So a second thread
-- watches the time. A connection that was kept is there at once, without it.
local function connect_within(milliseconds, socket, address, port, options)
  local connecting = ngx.thread.spawn(function() return true, socket:connect(address, port, options) end)
  if coroutine.status(connecting) == "zombie" then
    local ran, outcome, connected, why = ngx.thread.wait(connecting)
    if ran then
      return connected, why
    end
    return nil, outcome
  end
  local alarm = ngx.thread.spawn(function()
    ngx.sleep(milliseconds / 1000)
    return false
  end)
  local ran, in_time, connected, why = ngx.thread.wait(connecting, alarm)
  ngx.thread.kill(connecting)
  ngx.thread.kill(alarm)
  if ran and in_time then
    return connected, why
  end
  return nil, ran and "timeout" or in_time
end

-- Adds to a reason the directive that nginx.conf lacks.
local function explained(why, host)
  if why == "timeout" then
    local is_name = host:find("%a") and not host:find(":", 1, true)
    return "it took too long" .. (is_name and ", perhaps for nginx's resolver to look its name up" or "")
  elseif why:find("no resolver defined", 1, true) then
    return why .. "; nginx.conf has to name one: resolver ADDRESS;"
  end
  return why
end

-- Does the TLS handshake and checks the certificate. If a certificate fails in a handshake that ends at once,
-- lua-resty-core (seen in 0.1.25) raises an error without a reason. The session must be nil: with false, it would take
-- such a handshake for a good one.
local function handshake(socket, host)
  local ran, made, why = pcall(socket.sslhandshake, socket, nil, host, true)
  why = ran and tostring(why) or "certificate verify error"
  if ran and made then
    return made
  elseif why:find("^%d+: ") or why:find("certificate", 1, true) then
    return nil, ("the certificate shown for %s cannot be trusted (%s); trusted is what lua_ssl_trusted_certificate and "
      .. "lua_ssl_verify_depth in nginx.conf allow, for a host that is a name"):format(host, why)
  end
  return nil, "the TLS handshake " .. (why == "timeout" and "took too long" or ("failed (%s)"):format(why))
end

-- Gives an open connection and the time that is left, or nil and why there is none.
local function connected(call, host, port, is_tls, limit, left)
  local reserve = left - math.min(left, limit)
  local pool = (is_tls and "takings tls " or "takings tcp ") .. host .. ":" .. port
  -- nginx asks its resolver even for this name.
  local addresses = host == "localhost" and {"127.0.0.1", "[::1]"} or {host}
  local why
  for _, address in ipairs(addresses) do
    local socket = ngx.socket.tcp()
    local time = math.max(left - reserve, 1)
    socket:settimeouts(time, time, time)
    local options = {pool = pool, pool_size = MOST_IDLE}
    local made
    if address:find("^%d+%.%d+%.%d+%.%d+$") or address:find("^%[") then
      -- An address needs no look-up, so the socket's own time-out is enough.
      local ran
      ran, made, why = pcall(socket.connect, socket, address, port, options)
      if not ran then
        made, why = nil, made
      end
    else
      made, why = connect_within(time, socket, address, port, options)
    end
    if made then
      if socket:getreusedtimes() > 0 then
        return socket, left
      end
      left = call:time_left()
      if is_tls then
        time = math.max(left - reserve, 1)
        socket:settimeouts(time, time, time)
        made, why = handshake(socket, host)
        left = call:time_left()
      end
      if made then
        return socket, left
      end
      socket:close()
      break
    end
    left = call:time_left()
  end
  why = explained(tostring(why), host)
  return nil, ("no connection to %s:%d: %s"):format(host, port, why)
end

-- Sends the bytes of the request and receives the answer. Gives whether the connection may be kept, why the answer
-- broke off, and the lack of a time-out where that is not the answer.
local function converse(call, socket, bytes, left)
  local function in_time(act, ...)
    if left == 0 then
      return nil, "timeout"
    end
    socket:settimeouts(left, left, left)
    return act(socket, ...)
  end
  local wanted, is_reusable
  for from = 1, #bytes, PIECE do
    local sent, why = in_time(socket.send, bytes:sub(from, from + PIECE - 1))
    if not sent then
      return false, why, "the request was not sent whole"
    end
    wanted, is_reusable, left = take(call, "")
  end
  local pieces = 0
  while wanted do
    local piece, why = in_time(socket.receiveany, wanted)
    if not piece then
      return false, why
    end
    wanted, is_reusable, left = take(call, piece)
    pieces = pieces + 1
    if pieces % TURN == 0 then
      ngx.sleep(0.001)
      left = call:time_left()
    end
  end
  return is_reusable
end

-- Sends the request once. Gives the event for the call, which is a method of it, and a reason.
local function exchange(call, timeout)
  local bytes, host, port, is_tls, limit, left = open(call)
  local socket, rest = connected(call, host, port, is_tls, limit, left)
  if not socket then
    return call.not_sent, rest
  end
  local ran, is_reusable, why, lack = pcall(converse, call, socket, bytes, rest)
  if not (ran and is_reusable and socket:setkeepalive(IDLE)) then
    socket:close()
  end
  why = tostring(ran and why or is_reusable)
  return call.closed, why == "timeout" and ("%s within %.1fs"):format(lack or "no answer", timeout / 1000)
    or why == "closed" and "the connection was closed before an answer came"
    or ("the connection was broken off before an answer came (%s)"):format(why)
end

-- Reports an event to a call and gives its next step. Before Lua 5.4 a finaliser of the program's own may raise its
-- error there, in place of an outcome. So the call is asked once more.
local function stepped(call, event, ...)
  local ran, step, value, err = pcall(event, call, ...)
  if ran then
    return step, value, err
  end
  return event(call, ...)
end

-- Sends a call to its end.
local function send(call)
  local step, value, err = stepped(call, call.start)
  while step ~= "done" do
    if step == "send" then
      local ran, event, why = pcall(exchange, call, value)
      if not ran then
        event, why = call.closed, "an error was raised: " .. tostring(event)
      end
      step, value, err = stepped(call, event, why)
    else
      ngx.sleep(value / 1000)
      step, value, err = stepped(call, call.waited)
    end
  end
  return value, err
end

return state, send
