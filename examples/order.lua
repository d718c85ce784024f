-- The life of an order: lua order.lua ORDER_ID, for an order over 100.00.
--
-- The order leaves in two parcels, gets a tracking number, one thing comes back, and the rest is released. Each step has
-- a name, so a second run moves no more money. The account comes from the environment: KLARNA_USERNAME and the like.

local takings = require "takings"

local function live(client, order_id)
  local captured = {}
  for _, each in ipairs {{"parcel-1", 6000}, {"parcel-2", 2500}} do
    local parcel, amount = each[1], each[2]
    local key = assert(takings.idempotency_key(order_id, parcel))
    local capture = assert(client:capture(order_id, {captured_amount = amount, reference = parcel}, key))
    captured[parcel] = capture.capture_id
    print("captured " .. capture.capture_id .. " " .. capture.attempts)
  end

  -- The carrier's number comes later than the parcel's capture.
  local capture_id = captured["parcel-1"]
  local key = assert(takings.idempotency_key(order_id, "parcel-1", "append_shipping_info", capture_id))
  local tracked = assert(client:append_shipping_info(order_id, {
    capture_id = capture_id,
    shipping_info = {{shipping_company = "DHL", tracking_number = "JD014600"}},
  }, key))
  print("tracked " .. capture_id .. " " .. tracked.attempts)

  key = assert(takings.idempotency_key(order_id, "return-1", "refund"))
  local refund = assert(client:refund(order_id, {refunded_amount = 2500, reference = "return-1"}, key))
  print("refunded " .. refund.refund_id .. " " .. refund.attempts)

  -- The order is over, so the customer gets back what is still reserved.
  key = assert(takings.idempotency_key(order_id, "end", "release_remaining_authorization"))
  local released = assert(client:release_remaining_authorization(order_id, {}, key))
  print("released " .. order_id .. " " .. released.attempts)
end

if #arg ~= 1 then
  io.stderr:write("usage: lua order.lua ORDER_ID\n")
  os.exit(1)
end
local done, why = pcall(function()
  live(assert(takings.client_from_env()), arg[1])
end)
if not done then
  io.stderr:write(tostring(why), "\n")
  os.exit(1)
end
