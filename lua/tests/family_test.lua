-- Every function with every kind of value: it gives the module's own errors, returned or raised, and no others.

local h = ...
local takings = require "takings"
local test, holds = h.test, h.holds
-- The port has no listener, so no request is sent.
local client = assert(takings.client{base_url = "http://127.0.0.1:1", username = "u", password = "p", max_attempts = 1})

local function never()
  error("a metamethod ran")
end
local traps = setmetatable({}, {
  __index = never, __newindex = never, __pairs = never, __ipairs = never, __len = never, __tostring = never,
  __eq = never, __lt = never, __call = never, __concat = never, __unm = never, __name = "trap",
})
local circle = {}
circle[1], circle.order_lines, circle.base_url = circle, circle, circle

-- As many kinds as there are. "absent" is nil.
local values = {
  zero = 0, minus_zero = -0.0, one = 1, fraction = 1.5, huge = 1e308, nan = 0 / 0, inf = 1 / 0, minus_inf = -1 / 0,
  beyond_floats = 2 ^ 53, yes = true, no = false, empty = "", text = "o", nul = "a\0b", not_utf8 = "\255",
  long = ("x"):rep(1000000), table = {}, list = {1, 2}, holes = {1, nil, 3}, circle = circle, traps = traps,
  odd_name = setmetatable({}, {__name = 5}), odd_index = setmetatable({}, {__index = "x"}),
  call = print, coroutine = coroutine.create(never), file = io.stdout, null = takings.null, client = client,
  request = {captured_amount = 1},
}
local names = {"absent"}
for name in pairs(values) do
  names[#names + 1] = name
end
table.sort(names)

local kinds = {invalid_input = true, not_sent = true, outcome_unknown = true, rejected = true}

-- Checks that a call gives a value, or an error of the module's.
local function own(label, prefix, act, ...)
  local ran, value, err = pcall(act, ...)
  if not ran then
    assert(type(value) == "string" and value:find(prefix, 1, true) == 1, label .. " raised " .. tostring(value))
    holds(value, ": ")
  elseif value == nil and err ~= nil then
    assert(type(err) == "table" and kinds[err.kind], label .. " gave " .. tostring(err))
    holds(err.message, err.kind == "invalid_input" and ";" or "")
    assert(err.attempts <= 1 and not tostring(err):find("metamethod", 1, true), label .. " gave " .. tostring(err))
  end
end

local function each(prefix, functions, self, before)
  for _, name in ipairs(functions) do
    local act = (self or takings)[name]
    for _, kind in ipairs(names) do
      local label, value = ("%s%s with %s"):format(prefix, name, kind), values[kind]
      own(label, prefix .. name .. ": ", act, value)
      for count = 0, #before do
        local given = {}
        for index = 1, count do
          given[index] = before[index]
        end
        given[count + 1] = value
        if self then
          own(label, prefix .. name .. ": ", act, self, (table.unpack or unpack)(given, 1, count + 1)) -- luacheck: ignore
        else
          own(label, prefix .. name .. ": ", act, (table.unpack or unpack)(given, 1, count + 1)) -- luacheck: ignore
        end
      end
    end
  end
end

test("functions", function()
  local functions = {"client", "client_from_env", "idempotency_key", "new_idempotency_key", "minor"}
  each("takings.", functions, nil, {"o", "n", "c"})
end)

test("methods of a client, with a colon and with a dot", function()
  local methods = {"capture", "prepare", "reconcile", "prepare_reconcile", "call", "prepare_call"}
  each("client:", methods, client, {"o", {}, "k"})
  each("client:", methods, client, {"o", "r", {}})
end)

test("methods of a call, in any order", function()
  local call = assert(client:prepare("o", {captured_amount = 1}))
  local methods = {"request", "idempotency_key", "connect_timeout", "time_left", "attempt_log", "abandoned", "received",
    "bytes", "received", "answered", "start", "not_sent", "waited", "maybe_sent", "closed", "answered"}
  each("call:", methods, call, {201, {}})
end)

test("fields of settings and of a request", function()
  local function captured(label, request)
    own(label, "client:capture: ", client.capture, client, "o", request)
  end
  for _, kind in ipairs(names) do
    local value = values[kind]
    for _, field in ipairs({"base_url", "username", "timeout_ms", "reconcile", "region", "transport", "x"}) do
      local settings = {base_url = "http://127.0.0.1:1", username = "u", password = "p"}
      settings[field] = value
      own(field .. " is " .. kind, "takings.client: ", takings.client, settings)
    end
    for _, field in ipairs({"captured_amount", "reference", "order_lines", "first_use", "first_used", "x"}) do
      captured(field .. " is " .. kind, {captured_amount = 1, [field] = value})
    end
    captured("a line is " .. kind, {captured_amount = 1, order_lines = {value}})
    if value ~= nil and value == value then
      captured("a key is " .. kind, {captured_amount = 1, [value] = 1})
    end
  end
end)

test("an error joins with every value", function()
  local _, err = client:capture("o", {})
  for _, kind in ipairs(names) do
    holds(err .. values[kind], err.message)
    -- On the left the trap's own __concat runs.
    holds(kind == "traps" and err.message or values[kind] .. err, err.message)
  end
  local silent = setmetatable({}, {__tostring = never})
  holds(err .. silent, err.message .. "table")
end)

test("a closed client and a call that is done", function()
  local closed = assert(takings.client(h.settings()))
  closed:close()
  own("a closed client", "client:capture: the client is closed", closed.capture, closed, "o", {captured_amount = 1})
end)
