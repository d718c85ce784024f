-- Code that the handler and the timer share: one client for all requests of a
-- worker.

local takings = require "takings"

local client, problem = takings.client_from_env()
if not client then
  error(tostring(problem), 0)
end

local shop = {}

-- The arguments of a request: {order_id = …, amount = "60.00", parcel =
-- "parcel-1"}. If one is missing, gives nil and tells the customer: two parcels
-- without a name would share a key.
function shop.asked_for()
  local arguments, shipment = ngx.req.get_uri_args(), {}
  for _, name in ipairs {"order_id", "amount", "parcel"} do
    -- An argument without a value is true, and an argument that came twice is a
    -- table.
    if type(arguments[name]) ~= "string" then
      ngx.status = 400
      ngx.say(name, " is missing")
      return nil
    end
    shipment[name] = arguments[name]
  end
  return shipment
end

-- Captures a shipment.
function shop.capture(shipment)
  local amount, err = takings.minor(shipment.amount, "EUR")
  if not amount then
    return nil, err
  end
  -- the same for the same order and parcel, in every worker and after every
  -- crash
  local key
  key, err = takings.idempotency_key(shipment.order_id, shipment.parcel)
  if not key then
    return nil, err
  end
  return client:capture(shipment.order_id, {captured_amount = amount, reference = shipment.parcel}, key)
end

-- Leaves a shipment to the timer. A real shop has them in its database, where a
-- restart does not lose them.
function shop.leave(shipment)
  ngx.shared.shipments:rpush("waiting", ngx.encode_args(shipment))
  ngx.status = 202
  ngx.say("it will be captured")
end

return shop
