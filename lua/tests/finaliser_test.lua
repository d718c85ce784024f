-- Finalisers of the program's own that raise errors. Before Lua 5.4 such an error comes out of the code that makes a
-- value while the collector runs. That code may be about to return a capture.
--
-- order: finalised 1000000

local h = ...
local equal = h.equal

-- LuaJIT 2.1.0-beta3 itself crashes, without any module, when such an error is raised in code that it compiled.
local jit = rawget(_G, "jit")
if jit then
  jit.off()
end

local function raise()
  error("a finaliser of the program's own", 0)
end

-- Makes an object with a finaliser. In Lua 5.1 only userdata have finalisers, and only Lua 5.1 has `newproxy`.
local newproxy = rawget(_G, "newproxy")
local function litter()
  if newproxy then
    getmetatable(newproxy(true)).__gc = raise
  else
    setmetatable({}, {__gc = raise})
  end
end

local function collect()
  while not pcall(collectgarbage) do -- luacheck: ignore
  end
end

-- Calls a function while the collector runs such finalisers, at another moment for each `at`. Gives pcall's results.
local function among_finalisers(at, body)
  collectgarbage("stop")
  for _ = 1, 40 do
    litter()
  end
  collectgarbage("setstepmul", 100 + at % 50 * 8)
  collectgarbage("restart")
  local ran, problem = pcall(body)
  collectgarbage("stop")
  -- seldom, so that a call finds the collector anywhere in its round
  if at % 20 == 0 then
    collect()
  end
  return ran, problem
end

-- Calls a function while the collector is stopped. takings starts the collector again in Lua 5.1 and LuaJIT, which do
-- not say that it was stopped.
local function quietly(method, ...)
  local one, two, three = method(...)
  collectgarbage("stop")
  return one, two, three
end

-- A test that leaves no such object behind and the collector running, even if it fails.
local function test(name, body)
  h.test(name, function()
    local ran, problem = pcall(body)
    collect()
    collectgarbage("restart")
    if not ran then
      error(problem, 0)
    end
  end)
end

test("a capture that was made is returned", function()
  local client = h.client()
  local returned = 0
  for at = 1, 400 do
    local request = {captured_amount = 1, reference = "r" .. at}
    local capture, err
    local _, problem = among_finalisers(at, function() capture, err = client:capture("finalised", request) end)
    if capture then
      assert(capture.capture_id)
      returned = returned + 1
    else
      -- raised or found before the request is sent, such an error stays as it is
      equal(quietly(client.reconcile, client, "finalised", "r" .. at, 1).found, "never", tostring(problem or err))
    end
  end
  assert(returned > 100, "returned " .. returned .. " times")
end)

test("the meaning of an answer is returned", function()
  local client = h.client({max_attempts = 1})
  local headers = {}
  for at = 1, 50 do
    headers["x-" .. at] = {"x", "y"}
  end
  local answers = {
    {201, headers},
    {403, headers, '{"error_code": "NOT_ALLOWED", "error_messages": ["no"]}'},
    {503, headers},
  }
  local ends = {"capture", "rejected", "outcome_unknown"}
  for at = 1, 1200 do
    local call = assert(quietly(client.prepare, client, "driven", {captured_amount = 1}))
    quietly(call.start, call)
    local id = ("4ba29b50-be7b-44f5-a492-%012d"):format(at)
    headers["capture-id"] = {id}
    local which = at % 3 + 1
    local status, fields, body = answers[which][1], answers[which][2], answers[which][3]
    local step, capture, err
    local _, problem = among_finalisers(at, function()
      step, capture, err = call:answered(status, fields, body)
    end)
    equal(step, "done", tostring(problem))
    equal(capture and capture.capture_id == id and "capture" or err.kind, ends[which], tostring(err))
  end
end)

-- The sending over cosockets without nginx: it needs only a call.
test("an event that is met by such an error is told once more", function()
  local function open()
    error("it cannot be sent", 0)
  end
  local _, send = assert(loadfile("lua/src/cosocket.lua"))(open)
  local heard = {}
  local function heard_at_last(event, ...)
    local said = {...}
    return function(_, why)
      heard[#heard + 1] = why or event
      if #heard % 2 ~= 0 then
        raise()
      end
      return said[1], said[2], said[3]
    end
  end
  local call = {
    start = heard_at_last("start", "send", 1000),
    closed = heard_at_last("closed", "done", nil, "nobody knows"),
  }
  local capture, err = send(call)
  equal(capture, nil)
  equal(err, "nobody knows")
  local unsent = "an error was raised: it cannot be sent"
  equal(table.concat(heard, ","), table.concat({"start", "start", unsent, unsent}, ","))
  -- An error that comes both times is raised.
  call.start = raise
  h.raises({"a finaliser of the program's own"}, send, call)
end)

test("the collector is left as it was", function()
  -- Lua 5.1 and LuaJIT do not say whether the collector runs.
  if _VERSION ~= "Lua 5.1" then
    local client = h.client()
    collectgarbage("stop")
    equal(client:capture("finalised", {captured_amount = -1}), nil)
    equal(collectgarbage("isrunning"), false)
    collectgarbage("restart")
    equal(client:capture("finalised", {captured_amount = -1}), nil)
    equal(collectgarbage("isrunning"), true)
  end
end)
