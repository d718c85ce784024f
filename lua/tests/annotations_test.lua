-- lua/takings.d.lua names exactly what the module knows, and says rightly what may be left out.
--
-- order: annotations 6000

local h = ...
local takings = require "takings"
local test, equal = h.test, h.equal

-- class -> list of {name, optional}; alias -> list of words; functions
local classes, aliases, functions = {}, {}, {}
local class, alias
for line in io.lines("lua/takings.d.lua") do
  local name, words = line:match("^%-%-%-@alias takings%.([%w_]+)(.*)")
  if name then
    alias = {}
    aliases[name] = alias
    line = words
  end
  if name or line:find('^%-%-%-| "') then
    for word in line:gmatch('"(%w[%w_]*)"') do
      alias[#alias + 1] = word
    end
  end
  name = line:match("^%-%-%-@class takings%.([%w_]+)$") or line:match("^%-%-%-@class (takings)$")
  if name then
    class = {}
    classes[name] = class
  end
  local field, optional = line:match("^%-%-%-@field ([%w_]+)(%??) ")
  if field then
    class[#class + 1] = {name = field, optional = optional == "?"}
  end
  name = line:match("^function ([%w_.:]+)%(")
  if name then
    functions[name] = true
  end
end

local function sorted(list)
  table.sort(list)
  return table.concat(list, " ")
end

local function names(fields)
  local list = {}
  for index, field in ipairs(fields) do
    list[index] = field.name
  end
  return sorted(list)
end

local function keys(values)
  local list = {}
  for name in pairs(values) do
    list[#list + 1] = name
  end
  return sorted(list)
end

local function sorted_words(text)
  local list = {}
  for word in text:gmatch("%S+") do
    list[#list + 1] = word
  end
  return sorted(list)
end

-- The words behind "its fields are" or "it must be one of" in a message.
local function listed(err, before)
  local text = assert(tostring(err):match(before .. " ([%w_, ]+)"), tostring(err))
  local list = {}
  for word in text:gmatch("[%w_]+") do
    list[#list + 1] = word
  end
  return sorted(list)
end

local client = h.client()

local function capture(request)
  local captured, err = client:capture("annotations", request)
  return err or assert(captured)
end

local LINE = {name = "n", quantity = 1, unit_price = 1, total_amount = 1}

local function line_with(field, value)
  local line = {[field] = value}
  for name, content in pairs(LINE) do
    line[name] = content
  end
  return capture({captured_amount = 1, order_lines = {line}})
end

-- How to ask about each class: `ask` hands over one object of it, `least` is one with the required fields.
local objects = {
  options = {ask = function(object) return select(2, client:with_options(object)) end},
  config = {ask = function(object) return select(2, takings.client(object)) end},
  capture_request = {ask = capture, least = {captured_amount = 10}},
  order_line = {ask = function(object) return capture({captured_amount = 1, order_lines = {object}}) end, least = LINE},
  product_identifiers = {ask = function(object) return line_with("product_identifiers", object) end, least = {}},
  subscription = {
    ask = function(object) return line_with("subscription", object) end,
    least = {name = "n", interval = "DAY", interval_count = 1},
  },
  shipping_info = {
    ask = function(object) return capture({captured_amount = 1, shipping_info = {object}}) end,
    least = {},
  },
}

-- The arguments of the other operations: each is asked for by a call.
local function arguments_of(operation, least)
  return {
    ask = function(object)
      local reply, err = client:call(operation, "annotations", object)
      return err or reply
    end,
    least = least,
  }
end
local SHIPPING = {{shipping_company = "DHL", tracking_number = "1"}}
objects.order_arguments = arguments_of("get_order", {})
objects.capture_arguments = arguments_of("get_capture", {capture_id = "c"})
objects.refund_request = arguments_of("refund", {refunded_amount = 1})
objects.authorization_request = arguments_of("update_authorization", {order_amount = 50000, order_lines = {}})
objects.customer_details_request = arguments_of("update_customer_details", {shipping_address = {city = "Berlin"}})
objects.merchant_references_request = arguments_of("update_merchant_references", {})
objects.order_shipping_request = arguments_of("append_order_shipping_info", {shipping_info = SHIPPING})
objects.capture_shipping_request = arguments_of("append_shipping_info", {capture_id = "c", shipping_info = SHIPPING})
objects.due_date_request = arguments_of("extend_due_date", {capture_id = "c", number_of_days = 10})
objects.address = {
  ask = function(object) return objects.customer_details_request.ask({shipping_address = object}) end,
  least = {},
}

for name, object in pairs(objects) do
  test("the fields of " .. name, function()
    local unknown = object.ask({qqqqqqqqqqqqqqq = 1})
    local known = tostring(unknown):find("which has none", 1, true) and "" or listed(unknown, "its fields are")
    if name == "config" then
      -- the one setting that is the module's and not the core's
      known = known .. " transport"
    else
      -- the options of a call stand beside the fields of its request
      for _, field in ipairs(classes[name]) do
        if not (" " .. known .. " "):find(" " .. field.name .. " ", 1, true) then
          local asked = {[field.name] = {}}
          for least, value in pairs(object.least) do
            asked[least] = value
          end
          h.holds(object.ask(asked), field.name .. " is a table; it must be")
          known = known .. " " .. field.name
        end
      end
    end
    equal(names(classes[name]), sorted_words(known))
  end)
  test("what may be left out of " .. name, function()
    for _, field in ipairs(classes[name]) do
      if object.least then
        equal(field.optional, object.least[field.name] == nil, field.name .. " is optional")
      else
        equal(field.optional, true, field.name .. " is optional")
      end
    end
    if object.least then
      local kind = object.ask(object.least).kind
      -- Klarna may refuse it for the order's state.
      local is_empty = name == "address" or name == "merchant_references_request"
      assert((kind == "invalid_input") == is_empty, "the required fields are not enough")
    end
    for left_out in pairs(object.least or {}) do
      local rest = {}
      for field, value in pairs(object.least) do
        rest[field] = field ~= left_out and value or nil
      end
      h.holds(object.ask(rest).message, left_out .. " is missing")
    end
  end)
end

test("the words", function()
  local function of(word, err)
    equal(sorted(aliases[word]), listed(err, "one of"))
  end
  of("order_line_type", line_with("type", "qqqqqqqqqqqq"))
  of("shipping_method", capture({captured_amount = 1, shipping_info = {{shipping_method = "qqqqqqqqqqqq"}}}))
  of("interval", line_with("subscription", {name = "n", interval = "qqqqqqqqqqqq", interval_count = 1}))
  for _, word in ipairs({"region", "environment", "auth", "check_lines", "transport"}) do
    of(word, select(2, takings.client({[word] = "qqqqqqqqqqqq"})))
  end
end)

test("the operations are those of the core's table, and have methods", function()
  local _, err = client:call("qqqqqqqqqqqqqqq", "annotations", {})
  equal(sorted(aliases.operation), listed(err, "one of"))
  for _, name in ipairs(aliases.operation) do
    equal(type(client[name]), "function", name)
    equal(functions["client:" .. name], true, name)
    local half = name == "capture" and "prepare" or "prepare_" .. name
    equal(type(client[half]), "function", half)
  end
end)

test("replies and an error", function()
  equal(names(classes.capture), keys(capture({captured_amount = 10})))
  assert(client:capture("annotations", {captured_amount = 10, reference = "annotated"}))
  equal(names(classes.reconciliation), keys(client:reconcile("annotations", "annotated", 10)))
  equal(names(classes.refund), keys(client:refund("annotations", {refunded_amount = 1, reference = "returned"})))
  equal(names(classes.refund_reconciliation), keys(client:reconcile_refund("annotations", "returned", 1)))
  local known = {}
  for name in names(classes.order):gmatch("%S+") do
    known[name:gsub("%?$", "")] = true
  end
  for name in keys(client:get_order("annotations")):gmatch("%S+") do
    equal(known[name], true, name)
  end
  local confirmed = client:update_merchant_references("annotations", {merchant_reference1 = "A"})
  equal(names(classes.confirmation), keys(confirmed))
  local row = takings.intent("annotations", {captured_amount = 1, reference = "r", description = "d"})
  row.refunded_amount = takings.intent("annotations", {refunded_amount = 1, reference = "r"}, "refund").refunded_amount
  equal(names(classes.intent), keys(row))
  local err = capture({captured_amount = 100000})
  equal(err.kind, "rejected")
  equal(names(classes.error), keys(err))
  for _, field in ipairs(classes.error) do
    if not field.optional then
      assert(capture({})[field.name] ~= nil, field.name .. " is absent")
    end
  end
end)

test("an attempt and a request", function()
  local call = assert(client:prepare("annotations", {captured_amount = 10}))
  equal(call:start(), "send")
  equal(names(classes.http_request), keys(call:request()))
  local step = call:answered(503, {["klarna-correlation-id"] = "c", ["retry-after"] = "1"}, '{"error_code": "E"}')
  equal(step, "wait")
  equal(names(classes.attempt), keys(call:attempt_log()[1]))
end)

test("the functions", function()
  local there = {}
  local call = assert(client:prepare("annotations", {captured_amount = 10}))
  local operations = {}
  for _, name in ipairs(aliases.operation) do
    operations[#operations + 1] = name .. " " .. (name == "capture" and "prepare" or "prepare_" .. name)
  end
  -- userdata hide what they have
  for receiver, methods in pairs({
    client = "call close prepare_call with_options " .. table.concat(operations, " "),
    call = "abandoned address answered attempt_log bytes closed connect_timeout idempotency_key maybe_sent not_sent "
      .. "received request start time_left waited",
  }) do
    for name in methods:gmatch("%S+") do
      there[receiver .. ":" .. name] = (receiver == "client" and client or call)[name]
    end
  end
  for name, value in pairs(takings) do
    if type(value) == "function" then
      there["takings." .. name] = value
    end
  end
  equal(keys(functions), keys(there))
  equal(names(classes.takings), "_VERSION null")
  equal(type(takings._VERSION), "string")
end)

test("every class and word was asked about", function()
  local asked = {takings = true, capture = true, reconciliation = true, error = true, client = true}
  asked.refund, asked.refund_reconciliation, asked.confirmation, asked.order = true, true, true, true
  for _, name in ipairs {
    "capture_details", "captures", "refund_details", "due_date_options", "due_date_option", "customer",
    "initial_payment_method", "selected_shipping_option", "order_end", "extension", "intent",
  } do
    asked[name] = true
  end
  asked.attempt, asked.http_request, asked.call = true, true, true
  for name in pairs(objects) do
    asked[name] = true
  end
  equal(keys(classes), keys(asked))
  equal(
    keys(aliases),
    "auth check_lines environment error_kind found interval operation order_line_type region shipping_method step "
      .. "transport"
  )
end)
