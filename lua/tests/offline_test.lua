-- Functions about captures and refunds that need no client: reasons against one, and rows for a ledger.
--
-- order: looked 10000
-- ledger: looked 6000

local h = ...
local takings = require "takings"
local test, equal, holds, raises = h.test, h.equal, h.holds, h.raises
local client = h.client()
local unpack = table.unpack or unpack -- luacheck: ignore
local ORDER = "f3392f8b-6116-4073-ab96-e330819e2c07"

test("an order tells why a capture is likely to be refused", function()
  assert(client:capture("looked", {captured_amount = 6000, reference = "parcel-1"}))
  local order = assert(client:get_order("looked"))
  equal(#takings.check_capture(order, {captured_amount = 4000, reference = "parcel-2"}), 0)
  local reasons = takings.check_capture(order, {captured_amount = 4001, reference = "parcel-1", timeout_ms = 5000})
  equal(#reasons, 2)
  holds(reasons[1], "captured_amount is 4001, and 4000 is left to capture")
  holds(reasons[2], 'reference is "parcel-1"')
  holds(takings.check_refund(order, {refunded_amount = 6001})[1], "6000 is captured and not refunded yet")
  equal(select("#", takings.check_capture(order, {captured_amount = 1})), 1)
end)

test("the text of an order is enough, and its time comes with the table alone", function()
  local raw = '{"status":"AUTHORIZED","order_amount":6000,"expires_at":"2026-12-24T00:00:00Z"}'
  local request = {captured_amount = 6000}
  equal(#takings.check_capture(raw, request), 0)
  equal(#takings.check_capture({raw = raw}, request), 0)
  holds(takings.check_capture({raw = raw, answered_at = 1800000000.5}, request)[1], "expires_at is 2026-12-24")
  for _, time in ipairs({1780000000, -1, 0 / 0, 1 / 0, "late"}) do
    equal(#takings.check_capture({raw = raw, answered_at = time}, request), 0, tostring(time))
  end
  local quiet = setmetatable({}, {__index = function() error("a metamethod ran") end})
  for _, order in ipairs({"[", "", {}, {raw = 5}, true, quiet}) do
    local reasons, err = takings.check_refund(order, {refunded_amount = 1})
    equal(reasons, nil)
    equal(err.kind, "invalid_input")
    holds(err, "order is not an order's JSON text")
  end
end)

test("a request that no call takes is a reason", function()
  local requests = {{captured_amount = 60.5}, {captured_amount = "60.00"}, {captured_amount = 1, q = 1}, {}, 5}
  for _, request in ipairs(requests) do
    equal(#takings.check_capture("{}", request), 1, tostring(request))
  end
  raises({"the number of arguments is 1"}, takings.check_capture, "{}")
end)

test("the row of a capture or a refund", function()
  local intent = assert(takings.intent(ORDER:upper(), {captured_amount = 6000, reference = "parcel-1", account = "se"}))
  equal(intent.operation, "capture")
  equal(intent.table, "takings_capture")
  equal(intent.account, "se")
  equal(intent.order_id, ORDER)
  equal(intent.captured_amount, 6000)
  equal(intent.refunded_amount, nil)
  equal(intent.idempotency_key, "e642b253-7331-5441-bb3d-c291abd550aa")
  if math.type then -- luacheck: ignore
    equal(math.type(intent.captured_amount), "integer") -- luacheck: ignore
  end
  local refund = {refunded_amount = 100, reference = "return-1", description = "x"}
  intent = assert(takings.intent(ORDER, refund, "refund"))
  equal(intent.table, "takings_refund")
  equal(intent.request, '{"description":"x"}')
  for message, request in pairs({
    ["reference is missing"] = {captured_amount = 6000},
    ["captured_amount is 60.5"] = {captured_amount = 60.5, reference = "p"},
    ["timeout_ms is no field"] = {captured_amount = 1, reference = "p", timeout_ms = 5},
  }) do
    local none, err = takings.intent(ORDER, request)
    equal(none, nil)
    equal(err.kind, "invalid_input")
    holds(err, message:match("^%S+ is"))
  end
  holds(select(2, takings.intent(ORDER, refund, "cancel")), 'operation is "cancel"')
end)

test("its INSERT and the values", function()
  local intent = assert(takings.intent(ORDER, {captured_amount = 6000, reference = "parcel-1"}))
  local styles = {["?"] = "(?, ?, ?, ?, ?)", ["%s"] = "(%s, %s, %s, %s, %s)", ["$1"] = "($1, $2, $3, $4, $5)"}
  for style, places in pairs(styles) do
    local sql, values = takings.insert(intent, style)
    holds(sql, places)
    equal(values.n, 5)
    equal(select("#", unpack(values, 1, values.n)), 5)
    equal(values[1] .. values[2] .. values[3], "default" .. ORDER .. "parcel-1")
    equal(values[4], 6000)
    equal(values[5], nil)
  end
  local sql, values = takings.insert(intent, ":name")
  holds(sql, "(:account, :order_id, :reference, :captured_amount, :request)")
  equal(values.reference, "parcel-1")
  equal(values.captured_amount, 6000)
  equal(values.n, nil)
  local none, err = takings.insert(intent, "@p1")
  equal(none, nil)
  holds(err, 'style is "@p1"')
  holds(select(2, takings.insert({}, "?")), 'operation is ""')
  raises({"intent is a string"}, takings.insert, "capture", "?")
end)
