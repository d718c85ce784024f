-- Captures the shipments that wait, once a second, and asks again for those
-- whose outcome is not known.

local shop = require "shop"

local function capture_waiting(is_ending)
  local shipments = ngx.shared.shipments
  -- those that come back wait for the next second
  for _ = 1, is_ending and 0 or shipments:llen("waiting") do
    local shipment = shipments:lpop("waiting")
    if not shipment then
      return
    end
    local capture, err = shop.capture(ngx.decode_args(shipment))
    if capture then
      ngx.log(ngx.NOTICE, "captured as ", capture.capture_id)
    elseif err.retryable then
      ngx.log(ngx.WARN, "asked again in a second: ", err.message)
      shipments:rpush("waiting", shipment)
    elseif err.kind == "rejected" or err.kind == "invalid_input" then
      ngx.log(ngx.ERR, "not captured: ", err.message)
    else
      ngx.log(ngx.ERR, "it may have been captured, look at the order: ", err.message)
    end
  end
end

-- A single worker is enough.
if ngx.worker.id() == 0 then
  assert(ngx.timer.every(1, capture_waiting))
end
