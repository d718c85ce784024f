-- POST /capture?order_id=…&amount=60.00&parcel=parcel-1: captures while the
-- customer waits, and the worker serves others.

local shop = require "shop"

local shipment = shop.asked_for()
if not shipment then
  return
end
local capture, err = shop.capture(shipment)
if capture then
  ngx.say("captured as ", capture.capture_id)
elseif err.retryable then
  ngx.log(ngx.WARN, "not known yet: ", err.message)
  shop.leave(shipment)
elseif err.kind == "rejected" or err.kind == "invalid_input" then
  ngx.status = 422
  ngx.say("not captured: ", err.message)
else
  ngx.status = 500
  ngx.say("it may have been captured, look at the order: ", err.message)
end
