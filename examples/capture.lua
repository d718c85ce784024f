-- Captures an order: lua capture.lua ORDER_ID FILE [KEY]
--
-- FILE has the request as JSON, in Klarna's field names (examples/capture.json). The address and the account come from
-- the environment: KLARNA_USERNAME and the like. Without KEY a key is derived from the order and the name "parcel-1", so
-- that a second run gets the first run's capture. On failure the message says what happened to the money.

local here = arg[0]:match("^(.*)[/\\]") or "."
package.path = here .. "/?.lua;" .. package.path -- for json.lua beside this file

local json = require "json"
local takings = require "takings"

local function read(name)
  local file, problem = io.open(name, "rb")
  if not file then
    return nil, problem
  end
  local text = file:read("*a")
  file:close()
  local request
  request, problem = json.decode(text, takings.null)
  if request == nil then
    return nil, name .. ": " .. problem
  end
  return request
end

local function capture(order_id, name, key)
  local request, problem = read(name)
  if request == nil then
    return nil, problem
  end
  local client, err = takings.client_from_env()
  if not client then
    return nil, err
  end
  if not key then
    key, err = takings.idempotency_key(order_id, "parcel-1")
    if not key then
      return nil, err
    end
  end
  return client:capture(order_id, request, key)
end

if #arg < 2 or #arg > 3 then
  io.stderr:write("usage: lua capture.lua ORDER_ID FILE [KEY]\n")
  os.exit(1)
end
local captured, err = capture(arg[1], arg[2], arg[3])
if not captured then
  io.stderr:write(tostring(err), "\n")
  os.exit(1)
end
print("capture " .. captured.capture_id)
print("key " .. captured.idempotency_key)
