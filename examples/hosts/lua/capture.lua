-- Captures orders from plain Lua: 5.1, 5.2, 5.3, 5.4 or LuaJIT.
--
--     lua capture.lua < orders
--
-- orders has a line for each capture: ORDER_ID AMOUNT NAME, such as
-- f3392f8b-6116-4073-ab96-e330819e2c07 6000 parcel-1. A line is printed for
-- each: ORDER_ID NAME captured CAPTURE_ID, or ORDER_ID NAME and the error. Ends
-- with 75 when an outcome is unknown: run it again with the same lines, what
-- was captured is not captured twice. The account comes from KLARNA_USERNAME,
-- KLARNA_PASSWORD and KLARNA_ENVIRONMENT.

local takings = require "takings"

local TRY_AGAIN = 75

local client, problem = takings.client_from_env()
if not client then
  io.stderr:write(tostring(problem), "\n")
  os.exit(1)
end

local function capture(order_id, amount, name)
  -- the same for the same order and name, in every run
  local key, err = takings.idempotency_key(order_id, name)
  if not key then
    return nil, err
  end
  return client:capture(order_id, {captured_amount = amount, reference = name}, key)
end

local status = 0
for line in io.lines() do
  -- "60.00" is no whole number, and "parcel 1" would be the key of "parcel 2"
  -- without its second word
  local order_id, amount, name = line:match("^(%S+) (%-?%d+) (%S+)$")
  if not order_id then
    print("no ORDER_ID AMOUNT NAME: " .. line)
    status = status == 0 and 1 or status
  else
    local captured, err = capture(order_id, tonumber(amount), name)
    if captured then
      print(order_id .. " " .. name .. " captured " .. captured.capture_id)
    else
      print(order_id .. " " .. name .. " " .. err.kind .. ": " .. err)
      if err.kind == "rejected" or err.kind == "invalid_input" then
        status = status == 0 and 1 or status
      else
        status = TRY_AGAIN
      end
    end
  end
end
client:close()
os.exit(status)
