-- The functions of the module: what they give, what they raise, what they leave alone.
--
-- order: rejected 1000
-- ledger: rejected

local globals = {}
for name in pairs(_G) do
  globals[name] = true
end

local h = ...
local takings = require "takings"
local test, equal, holds, raises = h.test, h.equal, h.holds, h.raises
local client = h.client()
local UUID = "^%x%x%x%x%x%x%x%x%-%x%x%x%x%-(%x)%x%x%x%-[89ab]%x%x%x%-%x%x%x%x%x%x%x%x%x%x%x%x$"

test("requiring it makes no global and changes no metatable of strings", function()
  for name in pairs(_G) do
    assert(globals[name], "a new global " .. tostring(name))
  end
  equal(require("takings"), takings)
  equal(getmetatable("").__concat, nil)
end)

test("the version is the rock's", function()
  local rock = {}
  local name = "lua/takings-" .. takings._VERSION .. "-1.rockspec"
  if setfenv then -- luacheck: ignore
    local chunk = assert(loadfile(name))
    setfenv(chunk, rock)() -- luacheck: ignore
  else
    assert(loadfile(name, "t", rock))() -- luacheck: ignore
  end
  equal(rock.version, takings._VERSION .. "-1")
  equal(rock.package, "takings")
end)

test("null is the null that other modules use", function()
  equal(type(takings.null), "userdata")
  equal(getmetatable(takings.null), nil)
end)

test("keys are derived or fresh", function()
  local order_id = "f3392f8b-6116-4073-ab96-e330819e2c07"
  local derived = "e642b253-7331-5441-bb3d-c291abd550aa"
  equal(takings.idempotency_key(order_id, "parcel-1"), derived)
  equal(takings.idempotency_key(order_id, "parcel-1", nil), derived)
  equal(takings.idempotency_key(order_id, "parcel-1", "capture"), derived)
  for operation, said in pairs({reconcile = "takes no key", captures = "is not known", ["\255"] = "not UTF-8"}) do
    local key, err = takings.idempotency_key(order_id, "parcel-1", operation)
    equal(key, nil)
    holds(err, "operation is ", said)
  end
  local one, two = takings.new_idempotency_key(), takings.new_idempotency_key()
  assert(one ~= two)
  equal(one:match(UUID), "4")
  equal(select("#", takings.new_idempotency_key()), 1, "number of results")
  for _, given in ipairs({{"", "x"}, {"..", "x"}, {"o", ""}, {"o", "a\nb"}, {"o", "\255"}, {"\255", "x"}}) do
    local key, err = takings.idempotency_key(given[1], given[2])
    equal(key, nil)
    equal(err.kind, "invalid_input")
    holds(err, "; it must be")
  end
end)

test("misuse is raised, and names the argument", function()
  raises({"takings.idempotency_key: order_id is a number; it must be a string"}, takings.idempotency_key, 5, "x")
  raises({"takings.idempotency_key: name is nil; it must be a string"}, takings.idempotency_key, "o", nil)
  raises({"takings.idempotency_key", "arguments is 1; it must be 2 to 4 (order_id, name, operation, capture_id)"},
    takings.idempotency_key, "o")
  raises({"arguments is 5"}, takings.idempotency_key, "o", "n", "capture", "x", "y")
  raises({"takings.new_idempotency_key", "arguments is 1; it must be no arguments"}, takings.new_idempotency_key, 1)
  raises({"takings.client:", "arguments is 0; it must be 1 (config)"}, takings.client)
  raises({"takings.client:", "arguments is 2"}, takings.client, takings, {})
  raises({"takings.client_from_env", "arguments is 2"}, takings.client_from_env, {}, {})
  local names = "(order_id, request, idempotency_key)"
  raises({"client:capture: ", "arguments is 1; it must be 2 to 3 " .. names}, client.capture, client, "o")
  raises({"client:capture", "arguments is 4"}, client.capture, client, "o", {}, "k", 1)
  raises({"client:capture: order_id is a number"}, client.capture, client, 5, {})
  raises({"client:capture: order_id is nil"}, client.capture, client, nil, {})
  raises({"client:capture: order_id is a table"}, client.capture, client, {}, {})
  raises({"client:capture: idempotency_key is a number"}, client.capture, client, "o", {}, 5)
  raises({"client:capture: idempotency_key is a boolean"}, client.capture, client, "o", {}, true)
  local null = "idempotency_key is null (takings.null, cjson.null); it must be a string or nil"
  raises({null}, client.capture, client, "o", {}, takings.null)
  raises({"client:close", "arguments is 1"}, client.close, client, 1)
  names = "(order_id, reference, captured_amount, options)"
  raises({"client:reconcile: ", "arguments is 2; it must be 3 to 4 " .. names}, client.reconcile, client, "o", "r")
  raises({"client:reconcile: order_id is a table"}, client.reconcile, client, {}, "r", 1)
end)

test("a method without its client is misuse", function()
  for _, first in ipairs({"o", 5, {}, io.stdout, takings.null, print}) do
    local colon = "write client:capture(order_id, request, idempotency_key) with a colon"
    raises({"client:capture: self is ", colon}, client.capture, first, {})
    raises({"client:close: self is "}, client.close, first)
    raises({"client:reconcile: self is "}, client.reconcile, first, "o", "r")
  end
  raises({"client:capture: self is missing"}, client.capture)
  raises({"client:close: self is nil"}, client.close, nil)
end)

test("a raised error points at the caller's line", function()
  local message = raises({"surface_test.lua:"}, function()
    local nothing = client:capture(5, {}) -- the line
    return nothing
  end)
  local line = tonumber(message:match("surface_test.lua:(%d+):"))
  local number = 0
  for text in io.lines("lua/tests/surface_test.lua") do
    number = number + 1
    if text:find("-- the line", 1, true) then
      equal(line, number)
      return
    end
  end
end)

test("an error is a plain table that reads as its message", function()
  local capture, err = client:capture("rejected", {captured_amount = 1001, first_use = true}, "key-1")
  equal(capture, nil)
  equal(type(err), "table")
  equal(err.kind, "rejected")
  equal(err.http_status, 403)
  equal(err.error_code, "CAPTURE_NOT_ALLOWED")
  equal(type(err.error_messages), "table")
  equal(type(err.error_messages[1]), "string")
  equal(type(err.correlation_id), "string")
  equal(err.order_id, "rejected")
  equal(err.idempotency_key, "key-1")
  equal(err.attempts, 1)
  equal(err.retryable, false)
  equal(tostring(err), err.message)
  equal("not captured: " .. err, "not captured: " .. err.message)
  equal(err .. "\255", err.message .. "\255")
  equal(err .. err, err.message .. err.message)
  equal(err .. 5, err.message .. "5")
  local ok, raised = pcall(error, err)
  equal(ok, false)
  equal(raised, err)
  local _, other = client:capture("rejected", {})
  assert(getmetatable(other) == getmetatable(err) and other ~= err)
end)

test("what is absent is nil", function()
  local _, err = client:capture("o", {})
  equal(err.http_status, nil)
  equal(err.error_code, nil)
  equal(err.correlation_id, nil)
  equal(err.idempotency_key, nil)
  equal(#err.error_messages, 0)
  equal(err.attempts, 0)
end)

test("settings from the environment are asked for", function()
  local from_env, err = takings.client_from_env()
  equal(from_env, nil)
  equal(err.kind, "invalid_input")
  holds(err, "KLARNA_USERNAME")
end)

test("settings stand beside the environment, in place of its own", function()
  local pair = {username = "u", password = "p", base_url = "http://127.0.0.1:1", timeout_ms = 5}
  holds(tostring(takings.client_from_env(pair)), "http://127.0.0.1:1")
  pair.timeout_ms = 0
  local _, err = takings.client_from_env(pair)
  holds(err, "timeout_ms is 0")
end)
