-- Runs one test file: lua harness.lua FILE. The file gets this table and calls `test(name, body)`;
-- the first failed check ends a test, and a failed test fails the file.

local harness = {}
local passed, failures = 0, {}

function harness.test(name, body)
  local ok, problem = xpcall(body, function(message) return debug.traceback(tostring(message), 2) end)
  if ok then
    passed = passed + 1
  else
    failures[#failures + 1] = name .. ": " .. problem
  end
end

local function show(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

function harness.equal(got, expected, what)
  if got ~= expected then
    error((what or "value") .. " is " .. show(got) .. ", expected " .. show(expected), 2)
  end
end

-- Checks that `text` contains each of the plain texts.
function harness.holds(text, ...)
  for _, part in ipairs({...}) do
    if not tostring(text):find(part, 1, true) then
      error(show(tostring(text)) .. " does not hold " .. show(part), 2)
    end
  end
end

-- Checks that the call raises a message: a plain string that contains each of the texts.
function harness.raises(texts, call, ...)
  local ok, message = pcall(call, ...)
  if ok or type(message) ~= "string" then
    error("expected an error message, got " .. show(message), 2)
  end
  for _, part in ipairs(texts) do
    if not message:find(part, 1, true) then
      error(show(message) .. " does not hold " .. show(part), 2)
    end
  end
  return message
end

-- A client of the sandbox. More settings may be given.
function harness.settings(more)
  local url = os.getenv("TAKINGS_SANDBOX")
  local settings = {base_url = url, username = "sandbox", password = "sandbox", backoff_ms = 10}
  for name, value in pairs(more or {}) do
    settings[name] = value
  end
  return settings
end

function harness.client(more)
  return assert(require("takings").client(harness.settings(more)))
end

assert(loadfile(arg[1]))(harness)
if #failures > 0 then
  error(table.concat(failures, "\n"), 0)
end
-- lua/tests/run expects this line: a file without tests, or a file that ends the program, is no success.
-- The state is closed in the ordinary way, so that the collector's last run is part of the test.
print(("%d tests passed"):format(passed))
