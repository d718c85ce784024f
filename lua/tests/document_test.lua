-- Klarna's documents as Lua tables.

local h = ...
local test, equal = h.test, h.equal

local client = h.client({max_attempts = 1})
local BODY = '{"order_id":"an order","status":"AUTHORIZED","order_amount":6000.5,"captured_amount":9007199254740991,'
  .. '"locale":"","merchant_data":null,"expires_at":"2026-12-24T00:00:00Z","attempts":"klarna","new_member":[1,true],'
  .. '"captures":[{"capture_id":"c-1","order_lines":[{"name":"n","quantity":1,"unit_price":2,"total_amount":2,'
  .. '"new_member":1}]}]}'

test("an order is a plain table with the facts beside its members", function()
  local call = assert(client:prepare_get_order("an order"))
  equal(call:start(), "send")
  local step, order = call:answered(200, {}, BODY)
  equal(step, "done")
  equal(order.status, "AUTHORIZED")
  equal(order.order_amount, nil)
  equal(#order.warnings, 1)
  assert(order.warnings[1]:find("order_amount", 1, true), order.warnings[1])
  equal(("%d"):format(order.captured_amount), "9007199254740991")
  local type_of = rawget(math, "type") -- Lua 5.3 and newer
  if type_of then
    equal(type_of(order.captured_amount), "integer")
  end
  equal(order.locale, "")
  equal(order.merchant_data, nil)
  equal(order.expires_at, "2026-12-24T00:00:00Z")
  equal(order.expires_at_time, 1798070400)
  equal(#order.refunds + #order.order_lines + #order.shipping_info, 0)
  equal(order.attempts, 1)
  equal(order.new_member[2], true)
  equal(order.raw, BODY)
  local lines = order.captures[1].order_lines
  equal(#order.captures[1].shipping_info, 0)
  assert(client:prepare_refund("an order", {refunded_amount = 2, order_lines = lines}))
end)

test("a text of any length comes whole, beside the others", function()
  for _, length in ipairs {0, 1, 900, 5000} do
    local body = '{"order_id":"an order","description":"' .. ("é"):rep(length) .. '"}'
    local call = assert(client:prepare_get_order("an order"))
    call:start()
    local _, order = call:answered(200, {["klarna-correlation-id"] = "c-1"}, body)
    equal(order.raw, body)
    equal(order.order_id, "an order")
    equal(order.correlation_id, "c-1")
    equal(order.attempt_log[1].correlation_id, "c-1")
    equal(order.attempt_log[1].error_code, nil)
    assert(order.attempt_log[1].sent:find("^GET https?://"), order.attempt_log[1].sent)
  end
end)
