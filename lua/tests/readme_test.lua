-- The snippets of lua/README.md, as they stand.
--
-- order: readme 6000 [{"fault": "lost_answer"}]
-- ledger: readme 6000

local h = ...
local takings = require "takings"
local test, equal = h.test, h.equal

local snippets = {}
do
  local file = assert(io.open("lua/README.md", "rb"))
  for snippet in file:read("*a"):gmatch("```lua\n(.-)```") do
    snippets[#snippets + 1] = snippet
  end
  file:close()
end

-- Runs a snippet with these globals beside the usual ones, and returns those that it made.
local function run(snippet, globals)
  setmetatable(globals, {__index = _G})
  local chunk
  if setfenv then -- luacheck: ignore
    chunk = setfenv(assert(loadstring(snippet)), globals) -- luacheck: ignore
  else
    chunk = assert(load(snippet, "snippet", "t", globals)) -- luacheck: ignore
  end
  chunk()
end

test("the first program", function()
  local shipped
  local module = setmetatable({client_from_env = h.client}, {__index = takings})
  run(snippets[1], {
    require = function() return module end,
    order_id = "readme",
    ship = function(capture_id) shipped = capture_id end,
  })
  assert(shipped, "it did not capture")
end)

test("a transport of one's own", function()
  local answers = {
    function() return nil, "no connection", false end,
    function() return nil, "the answer was lost", true end,
    function() return {status = 201, headers = {["Capture-Id"] = "an-id"}, body = ""} end,
  }
  local asked, slept = 0, 0
  run(snippets[2] .. "\nresult(value, err)", {
    client = h.client(),
    order_id = "driven",
    key = "a-key",
    exchange = function(request, milliseconds)
      asked = asked + 1
      equal(request.headers["klarna-idempotency-key"], "a-key")
      assert(milliseconds > 1)
      return answers[asked]()
    end,
    sleep = function(seconds)
      slept = slept + 1
      assert(seconds < 1)
    end,
    result = function(value, err)
      equal(err, nil)
      equal(value.capture_id, "an-id")
      equal(value.attempts, 3)
    end,
  })
  equal(asked, 3)
  equal(slept, 2)
end)

test("a host with bytes alone", function()
  local call = assert(h.client():prepare("driven", {captured_amount = 6000}, "another-key"))
  call:start()
  local sent
  local pieces = {"HTTP/1.1 201 Created\r\n", "Capture-Id: another-id\r\nContent-Length: 2\r\n\r\n{"}
  run(snippets[3] .. "\nresult(is_reusable, step, value, err)", {
    call = call,
    send = function(bytes) sent = bytes end,
    receive = function(wanted)
      assert(wanted >= 1)
      return table.remove(pieces, 1)
    end,
    result = function(is_reusable, step, value, err)
      equal(is_reusable, false)
      equal(step, "done")
      equal(err, nil)
      equal(value.capture_id, "another-id")
    end,
  })
  h.holds(sent, "klarna-idempotency-key: another-key\r\n")
end)

test("there is no other", function()
  equal(#snippets, 3)
end)
