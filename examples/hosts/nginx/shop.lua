-- What the handler and the timer have in common: one client for all requests of a worker.

local takings = require "takings"

local client, problem = takings.client_from_env()
if not client then
  error(tostring(problem), 0)
end

local shop = {}

-- Captures what a shipment says: {order_id = …, amount = "60.00", parcel = "parcel-1"}.
function shop.capture(shipment)
  local amount, err = takings.minor(tostring(shipment.amount), "EUR")
  if not amount then
    return nil, err
  end
  -- the same for the same order and parcel, in every worker and after every crash
  local key
  key, err = takings.idempotency_key(tostring(shipment.order_id), tostring(shipment.parcel))
  if not key then
    return nil, err
  end
  return client:capture(tostring(shipment.order_id), {captured_amount = amount, reference = shipment.parcel}, key)
end

-- Leaves a shipment to the timer. A real shop has them in its database, where a restart does not lose them.
function shop.leave(shipment)
  ngx.shared.shipments:rpush("waiting", ngx.encode_args(shipment))
  ngx.status = 202
  ngx.say("it will be captured")
end

return shop
