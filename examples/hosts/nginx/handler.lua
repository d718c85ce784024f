-- POST /capture?order_id=…&amount=60.00&parcel=parcel-1: captures while the customer waits, and the worker serves others.

local shop = require "shop"

local shipment = ngx.req.get_uri_args()
local capture, err = shop.capture(shipment)
if capture then
  ngx.say("captured as ", capture.capture_id)
elseif err.kind == "outcome_unknown" or err.kind == "not_sent" or err.retryable then
  ngx.log(ngx.WARN, "not known yet: ", err.message)
  shop.leave(shipment)
else
  ngx.status = 422
  ngx.say("not captured: ", err.message)
end
