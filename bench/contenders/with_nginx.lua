-- Runs inside nginx (with_nginx.sh): captures with takings, or by hand over a plain cosocket, from light threads.
local common = require "common"
local ffi = require "ffi"
local json = require "cjson"

ffi.cdef "int kill(int pid, int signal);"
local SIGQUIT = 3

local function with_takings(task)
  local client = assert(require("takings").client {
    base_url = task.url,
    username = "bench",
    password = "bench-password",
  })
  return function()
    return assert(client:capture(task.order_id, task.request)).capture_id
  end
end

local function with_cosocket(task)
  local scheme, port, prefix = task.url:match "^(%w+)://localhost:(%d+)(.*)$"
  local head = "POST " .. prefix .. "/ordermanagement/v1/orders/" .. task.order_id .. "/captures HTTP/1.1\r\n"
    .. "Host: localhost:" .. port .. "\r\nAuthorization: " .. common.authorization
    .. "\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
  return function()
    local body = json.encode(task.request)
    local socket = ngx.socket.tcp()
    assert(socket:connect("127.0.0.1", tonumber(port), { pool_size = task.concurrency }))
    if scheme == "https" and socket:getreusedtimes() == 0 then
      assert(socket:sslhandshake(nil, "localhost", true))
    end
    assert(socket:send {
      head, "Klarna-Idempotency-Key: ", common.fresh_key(), "\r\nContent-Length: ", #body, "\r\n\r\n", body,
    })
    local status = assert(socket:receive "*l")
    local id, length
    while true do
      local line = assert(socket:receive "*l")
      if line == "" then
        break
      end
      local name, value = line:match "^([^:]+): *(.*)$"
      name = name:lower()
      if name == "capture-id" then
        id = value
      elseif name == "content-length" then
        length = tonumber(value)
      end
    end
    if length and length > 0 then
      assert(socket:receive(length))
    end
    assert(socket:setkeepalive(60000, task.concurrency))
    assert(status:match "^HTTP/1.1 201", status)
    return assert(id, "the answer was no capture")
  end
end

local function run()
  local file = assert(io.open(os.getenv "REQUEST_FILE", "rb"))
  local text = file:read "*a"
  file:close()
  local task = {
    url = os.getenv "URL",
    order_id = os.getenv "ORDER_ID",
    request = json.decode(text),
    concurrency = tonumber(os.getenv "CONCURRENCY"),
  }
  local capture = (os.getenv "WAY" == "takings" and with_takings or with_cosocket)(task)
  local count = tonumber(os.getenv "COUNT")
  local begun, last = 0, ""
  local threads = {}
  for number = 1, task.concurrency do
    threads[number] = ngx.thread.spawn(function()
      while begun < count do
        begun = begun + 1
        last = capture()
      end
    end)
  end
  for _, thread in ipairs(threads) do
    local well, why = ngx.thread.wait(thread)
    assert(well, why)
  end
  io.stdout:write(json.encode { captured = count, last = last }, "\n")
  io.stdout:flush()
end

return function()
  assert(ngx.timer.at(0, function()
    local well, why = pcall(run)
    if not well then
      io.stderr:write(tostring(why), "\n")
    end
    ffi.C.kill(ngx.worker.pid(), SIGQUIT)
  end))
end
