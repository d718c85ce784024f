-- The life of a client: closing, collection, the end of the state.
--
-- order: closed 6000
-- ledger: closed 10
-- order: collected 6000
-- ledger: collected 10
-- order: scope 6000
-- order: last 6000
-- ledger: last 10

local h = ...
local takings = require "takings"
local test, equal, holds, raises = h.test, h.equal, h.holds, h.raises
local load = loadstring or load -- luacheck: ignore

-- A client that has been used keeps its connection.
local function connections()
  local file = assert(io.open("/proc/self/stat"))
  local process = file:read("*a"):match("^%d+")
  file:close()
  -- ls complains about a descriptor that is closed while it lists them
  local listing = assert(io.popen("ls -l /proc/" .. process .. "/fd 2>/dev/null"))
  local _, number = listing:read("*a"):gsub("socket:", "")
  listing:close()
  return number
end

-- Waits until at most the expected connections are open. The thread of a call may end, and close its own, a moment
-- later.
local function fewer_connections(expected)
  local deadline = os.time() + 20
  while connections() > expected and os.time() < deadline do
    collectgarbage("step")
  end
  return connections()
end

local function collect()
  collectgarbage()
  collectgarbage()
end

test("closing ends the connections; closing again does nothing", function()
  local before = connections()
  local client = h.client()
  equal(connections(), before, "before the first call")
  assert(client:capture("closed", {captured_amount = 10}))
  equal(connections(), before + 1, "while it is open")
  equal(client:close(), true)
  equal(fewer_connections(before), before, "once it is closed")
  equal(client:close(), true)
  equal(tostring(client), "takings.client (closed)")
  raises({"client:capture: the client is closed"}, client.capture, client, "closed", {captured_amount = 10})
  raises({"client:reconcile: the client is closed"}, client.reconcile, client, "closed", "r", 10)
end)

test("a client is collected with its connections", function()
  collect()
  local before = connections()
  local client = h.client()
  assert(client:capture("collected", {captured_amount = 10}))
  equal(connections(), before + 1, "while it is held")
  client = nil -- luacheck: ignore
  collect()
  equal(fewer_connections(before), before, "once it is collected")
end)

test("a method keeps no client alive", function()
  local weak = setmetatable({h.client()}, {__mode = "v"})
  local capture = weak[1].capture
  collect()
  equal(weak[1], nil)
  raises({"self is missing"}, capture)
end)

test("many clients come and go", function()
  collect()
  local before = collectgarbage("count")
  for _ = 1, 500 do
    h.client()
  end
  for _ = 1, 500 do
    h.client():close()
  end
  collect()
  local grown = collectgarbage("count") - before
  assert(grown < 100, "grown by " .. grown .. " KB")
end)

test("refusals leave nothing behind", function()
  local client = h.client()
  local function refuse()
    client:capture("o", {captured_amount = 1, order_lines = {{name = "n", quantity = {}}, {}}})
    pcall(client.capture, client, "o")
    takings.client({username = print})
  end
  refuse()
  collect()
  local before = collectgarbage("count")
  for _ = 1, 5000 do
    refuse()
  end
  collect()
  local grown = collectgarbage("count") - before
  assert(grown < 100, "grown by " .. grown .. " KB")
end)

test("it shows its host and nothing else", function()
  local client = assert(takings.client({environment = "playground", username = "u", password = "hush"}))
  equal(tostring(client), "takings.client (https://api.playground.klarna.com/)")
  equal(getmetatable(client), false)
  equal(client.password, nil)
  equal(client.base_url, nil)
  equal(pcall(function() client.password = "x" end), false)
  equal(type(client), "userdata")
  equal(client, client)
end)

test("a scope closes it, from 5.4 on", function()
  local scoped = load([[
    local client, outside = ...
    do
      local scoped <close> = client
      outside(scoped)
    end
  ]])
  if _VERSION < "Lua 5.4" then
    equal(scoped, nil)
    return
  end
  local client = h.client()
  scoped(client, function(inside) holds(inside, "http://127.0.0.1:") end)
  raises({"the client is closed"}, client.capture, client, "scope", {})
  scoped(client, function() end)
  client = h.client()
  equal(pcall(scoped, client, function() error("inside") end), false)
  raises({"the client is closed"}, client.capture, client, "scope", {})
end)

test("a finalizer may use and close a client", function()
  local client, said = h.client(), nil
  local finalizer
  local function finalize()
    local _, err = client:capture("o", {})
    said = err.kind
    client:close()
  end
  if newproxy then -- luacheck: ignore
    finalizer = newproxy(true) -- luacheck: ignore
    getmetatable(finalizer).__gc = finalize
  else
    finalizer = setmetatable({}, {__gc = finalize})
  end
  equal(type(finalizer), newproxy and "userdata" or "table") -- luacheck: ignore
  finalizer = nil -- luacheck: ignore
  collect()
  equal(said, "invalid_input")
end)

-- This client is open when the state closes; lua/tests/run checks the exit code.
local last = h.client()
assert(last:capture("last", {captured_amount = 10}))
_G.last = last -- luacheck: ignore
