-- Code that the contenders in Lua share: the command line, a fresh key, the output.
local json = require "cjson"

local common = {}

common.authorization = "Basic YmVuY2g6YmVuY2gtcGFzc3dvcmQ="

-- URL ORDER_ID CA_FILE REQUEST_FILE COUNT CONCURRENCY: plain Lua captures one after another
function common.task(arguments)
  assert(#arguments == 6, "wanted URL ORDER_ID CA_FILE REQUEST_FILE COUNT CONCURRENCY")
  assert(arguments[6] == "1", "plain Lua captures one after another")
  local file = assert(io.open(arguments[4], "rb"))
  local text = file:read("*a")
  file:close()
  return {
    url = arguments[1],
    order_id = arguments[2],
    ca_file = arguments[3],
    request = json.decode(text),
    count = tonumber(arguments[5]),
    captures_url = arguments[1] .. "/ordermanagement/v1/orders/" .. arguments[2] .. "/captures",
  }
end

local random = assert(io.open("/dev/urandom", "rb"))
random:setvbuf("full", 4096)

local function uuid(a, b, c, d, e, f, g, h, i, ...)
  local pattern = "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x"
  return pattern:format(a, b, c, d, e, f, g % 16 + 64, h, i % 64 + 128, ...)
end

-- A random UUID.
function common.fresh_key()
  return uuid(random:read(16):byte(1, 16))
end

-- Captures as often as the task says. `capture` captures once and returns the id.
function common.run(task, capture)
  local last = ""
  for _ = 1, task.count do
    last = capture()
  end
  print(json.encode({ captured = task.count, last = last }))
end

return common
