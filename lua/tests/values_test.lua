-- Which Lua values become which request: exactly, or not at all.
--
-- order: numbers 1000
-- sent: numbers {"captured_amount":1,"shipping_delay":9007199254740991}
-- order: zero 1000
-- sent: zero {"captured_amount":2,"order_lines":[],"shipping_info":[],"shipping_delay":0}
-- order: nested 1000
-- sent: nested {"captured_amount":3,"order_lines":[{"name":"Öl \"\\ 😀","quantity":0,"unit_price":-5,"total_amount":0,"product_identifiers":{}}]}
-- order: raw 1000
-- sent: raw {"captured_amount":4,"reference":"own"}

local h = ...
local takings = require "takings"
local test, equal, holds = h.test, h.equal, h.holds
local client = h.client()

local load = loadstring or load -- luacheck: ignore
local has_integers = math.type ~= nil -- luacheck: ignore

-- The message for a request that takings must refuse.
local function refused(request)
  local capture, err = client:capture("o", request)
  equal(capture, nil, "capture")
  equal(err.kind, "invalid_input", "kind")
  equal(err.attempts, 0, "attempts")
  return err.message
end

local function line(change)
  local whole = {name = "n", quantity = 1, unit_price = 1, total_amount = 1}
  for name, value in pairs(change) do
    whole[name] = value
  end
  return {captured_amount = 1, order_lines = {whole}}
end

test("amounts that are not whole numbers are refused", function()
  for _, case in ipairs({
    {100.7, "100.7, a float; write 6000 for 60.00"},
    {1.15 * 100, "114.99999999999999, a float"},
    {0.1 + 0.2, "0.30000000000000004, a float"},
    {6000.000000001, "6000.000000001, a float"},
    {"60.00", 'the string "60.00"'},
    {"6000", 'the string "6000"'},
    {"sixty", "a string"},
    {0 / 0, "the number NaN"},
    {1 / 0, "the number inf"},
    {-1 / 0, "the number -inf"},
    {true, "true"},
    {false, "false"},
    {{}, "a table"},
    {{1}, "a list"},
    {print, "a function"},
    {coroutine.create(function() end), "a coroutine"},
    {io.stdout, "a userdata"},
    {client, "a userdata"},
    {takings.null, "null (takings.null, cjson.null)"},
  }) do
    local message = refused({captured_amount = case[1]})
    holds(message, "captured_amount is " .. case[2], "; it must be a whole number")
  end
end)

test("floats beyond 2^53 are refused, since they skip whole numbers", function()
  for _, amount in ipairs({2 ^ 53, -2 ^ 53, 2 ^ 53 + 2, 2 ^ 63, 2 ^ 64, -2 ^ 63, 1e300, 9007199254740993.0}) do
    holds(refused({captured_amount = 1, shipping_delay = amount}), "shipping_delay is a float of 2^53 or more")
  end
end)

test("integers are exact", function()
  if has_integers then
    holds(refused({captured_amount = load("return 9007199254740993")()}), "captured_amount is 9007199254740993;")
    holds(refused({captured_amount = math.maxinteger}), "captured_amount is 9223372036854775807;") -- luacheck: ignore
    holds(refused({captured_amount = math.mininteger}), "captured_amount is -9223372036854775808;") -- luacheck: ignore
  else
    holds(refused({captured_amount = load("return 9007199254740993")()}), "captured_amount is a float of 2^53 or more")
  end
  holds(refused({captured_amount = 2 ^ 53 - 1}), "captured_amount is 9007199254740991;")
  holds(refused({captured_amount = 1 - 2 ^ 53}), "captured_amount is -9007199254740991;")
end)

test("a whole float is a whole number", function()
  assert(client:capture("numbers", {captured_amount = 10 / 10, shipping_delay = 2 ^ 53 - 1}))
  local empty = {captured_amount = 1e0 * 2, shipping_delay = -0.0, order_lines = {}, shipping_info = {}}
  assert(client:capture("zero", empty))
end)

test("LuaJIT's 64-bit numbers are refused with the way out", function()
  if rawget(_G, "jit") then
    for _, source in ipairs({"5000LL", "5000ULL", "5000i"}) do
      holds(refused({captured_amount = load("return " .. source)()}), "captured_amount is a cdata (tonumber")
      holds(refused(load("return " .. source)()), "the request is a cdata")
    end
    holds(h.raises({"order_id is a cdata"}, client.capture, client, load("return 5LL")(), {}), "must be a string")
  end
end)

test("strings must be UTF-8", function()
  for _, bytes in ipairs({"\255", "caf\233", "\237\160\128", "\192\128", "\0\255"}) do
    holds(refused({captured_amount = 1, reference = bytes}), "reference is a string that is not UTF-8; it must be")
    holds(refused(line({name = bytes})), "order_lines[0].name is a string that is not UTF-8")
    holds(refused({[bytes] = 1}), "the request has a string that is not UTF-8 as a key")
    local _, err = client:capture(bytes, {captured_amount = 1})
    equal(err.kind, "invalid_input")
    holds(err, "order_id is a string that is not UTF-8")
    _, err = client:capture("o", {captured_amount = 1}, bytes)
    equal(err.kind, "invalid_input")
    holds(err, "idempotency_key is a string that is not UTF-8")
  end
  holds(refused({captured_amount = 1, reference = "a\0b"}), "is a string that holds U+0000 at position 2")
end)

test("texts are not numbers or booleans", function()
  holds(refused({captured_amount = 1, reference = 5}), "reference is a number; ", ": tostring(…)")
  holds(refused({captured_amount = 1, reference = 5.5}), "reference is a number")
  holds(refused({captured_amount = 1, reference = true}), "reference is true")
  local null = "reference is null (takings.null, cjson.null); leave an optional field out"
  holds(refused({captured_amount = 1, reference = takings.null}), null)
end)

test("a list is 1 to n and nothing else", function()
  local entry = line({}).order_lines[1]
  for _, lines in ipairs({
    {[1] = entry, [3] = entry}, {[2] = entry}, {[0] = entry, [1] = entry}, {entry, n = 1}, {entry, [1.5] = entry},
    {entry, [true] = entry}, {[-1] = entry, [1] = entry}, {entry, [2 ^ 53] = entry},
  }) do
    holds(refused({captured_amount = 1, order_lines = lines}), "order_lines is a table with holes, or with other keys")
  end
  local table_for_list = refused({captured_amount = 1, order_lines = entry})
  holds(table_for_list, "order_lines is a table; it must be a list", "with the keys 1, 2, 3: {…}")
  holds(refused({captured_amount = 1, order_lines = "x"}), "order_lines is a string; it must be a list")
  holds(refused({captured_amount = 1, order_lines = 5}), "order_lines is a number; it must be a list")
  holds(refused({captured_amount = 1, order_lines = takings.null}), "order_lines is null")
  holds(refused({captured_amount = 1, order_lines = {entry, false}}), "order_lines[1] is a boolean; it must be")
  holds(refused({captured_amount = 1, order_lines = {entry, {}}}), "order_lines[1].name is missing")
  local list_for_table = refused({captured_amount = 1, order_lines = {{entry}}})
  holds(list_for_table, "order_lines[0] is a list; it must be a table", "names for keys")
end)

test("an object has field names and nothing else", function()
  holds(refused({captured_amount = 1, 5}), "the request has a number as a key; its keys must be field names")
  holds(refused({captured_amount = 1, [1.5] = 5}), "the request has a number as a key")
  holds(refused({captured_amount = 1, [1 / 0] = 5}), "the request has a number as a key")
  holds(refused({captured_amount = 1, inf = 5}), "inf is not a field")
  holds(refused({captured_amount = 1, Reference = 5}), "Reference is not a field")
  holds(refused({captured_amount = 1, [true] = 5}), "the request has a boolean as a key")
  holds(refused({captured_amount = 1, [{}] = 5}), "the request has a table as a key")
  holds(refused({captured_amount = 1, [print] = 5}), "the request has a function as a key")
  local mixed = refused(line({product_identifiers = {brand = "b", "x"}}))
  holds(mixed, "order_lines[0].product_identifiers has a number as a key")
  holds(refused(line({subscription = {"x"}})), "order_lines[0].subscription is a list; it must be a table")
  holds(refused({{captured_amount = 1}}), "the request is a list; it must be a table")
  holds(refused({captured_amonut = 1}), "did you mean captured_amount?")
end)

test("a request that is no table", function()
  for _, case in ipairs({
    {"captured_amount", "a string"}, {6000, "a number"}, {60.5, "a number"}, {2 ^ 60, "a "}, {true, "a boolean"},
    {print, "a function"}, {takings.null, "null"}, {client, "a userdata"},
  }) do
    holds(refused(case[1]), "the request is " .. case[2])
  end
  holds(refused(nil), "the request is nil; it must be a table")
  holds(refused({}), "captured_amount is missing")
end)

test("an empty table is what is asked for", function()
  client:capture("nested", {captured_amount = 3, order_lines = {
    {name = 'Öl "\\ 😀', quantity = 0, unit_price = -5, total_amount = 0, product_identifiers = {}},
  }})
end)

test("tables that hold themselves", function()
  local request = {captured_amount = 1}
  request.order_lines = request
  holds(refused(request), "order_lines is a table")
  request.order_lines = {request}
  holds(refused(request), "order_lines[0].")
  local list = {}
  list[1] = list
  holds(refused({captured_amount = 1, shipping_info = list}), "shipping_info[0] is a list")
  local key = {captured_amount = 1}
  key[key] = key
  holds(refused(key), "a table as a key")
  local deep = {}
  for _ = 1, 100000 do
    deep = {deep}
  end
  holds(refused({captured_amount = deep}), "captured_amount is a list")
end)

test("metamethods are not asked", function()
  local function never()
    error("a metamethod ran")
  end
  local traps = {
    __index = never, __newindex = never, __pairs = never, __ipairs = never, __len = never, __tostring = never,
    __eq = never, __call = never,
  }
  assert(client:capture("raw", setmetatable({captured_amount = 4, reference = "own"}, traps)))
  local inherited = setmetatable({reference = "own"}, {__index = {captured_amount = 4}})
  holds(refused(inherited), "captured_amount is missing")
end)

test("large tables end in a refusal", function()
  local lines = {}
  for index = 1, 200000 do
    lines[index] = {}
  end
  holds(refused({captured_amount = 1, order_lines = lines}), "order_lines[0].name is missing")
  for index = 1, 1001 do
    lines[index] = line({}).order_lines[1]
  end
  holds(refused({captured_amount = 1, order_lines = lines}), "order_lines is a list of more than 1000")
  local request = {}
  for index = 1, 200000 do
    request["field " .. index] = index
  end
  holds(refused(request), "is not a field of a capture request")
  holds(refused({captured_amount = 1, reference = ("x"):rep(5000000)}), "reference is a string of 5000000 characters")
end)

test("what is looked for is read as strictly", function()
  local function look(reference, amount)
    local found, err = client:reconcile("o", reference, amount)
    equal(found, nil, "found")
    equal(err.kind, "invalid_input", "kind")
    equal(err.attempts, 0, "attempts")
    return err.message
  end
  holds(look(nil, 1), "reference is missing")
  holds(look("r", nil), "captured_amount is missing")
  holds(look("r", 1.15 * 100), "captured_amount is 114.99999999999999, a float")
  holds(look("r", "6000"), 'captured_amount is the string "6000"', "takings.minor(…, currency)")
  holds(refused({captured_amount = 1, shipping_delay = "5"}), 'shipping_delay is the string "5"', "tonumber(…)")
  holds(look("r", 2 ^ 53), "captured_amount is a float of 2^53 or more")
  holds(look(5, 1), "reference is a number")
  holds(look("\255", 1), "reference is a string that is not UTF-8")
  holds(look(takings.null, 1), "reference is null")
end)

test("settings are read as strictly", function()
  for _, case in ipairs({
    {{timeout_ms = 1.5}, "timeout_ms is 1.5, a float; it must be"},
    {{timeout_ms = "5000"}, 'timeout_ms is the string "5000"'},
    {{max_attempts = true}, "max_attempts is true"},
    {{accept_unknown_values = 1}, "accept_unknown_values is a number"},
    {{passwort = "geheim"}, "did you mean password?"},
    {{password = 123456}, "password is a number"},
    {{password = "\255"}, "password is a string that is not UTF-8"},
    {{username = takings.null}, "username is null"},
    {{5}, "the configuration has a number as a key"},
  }) do
    local made, err = takings.client(h.settings(case[1]))
    equal(made, nil, "client")
    equal(err.kind, "invalid_input", "kind")
    holds(err.message, case[2])
    assert(not err.message:find("123456", 1, true) and not err.message:find("geheim", 1, true), err.message)
  end
  for _, case in ipairs({
    {{1}, "a list"}, {"x", "a string"}, {5, "a number"}, {print, "a function"}, {client, "a userdata"}, {nil, "nil"},
    {takings.null, "null (takings.null, cjson.null)"},
  }) do
    local made, err = takings.client(case[1])
    equal(made, nil, "client")
    holds(err, "the configuration is " .. case[2])
  end
end)
