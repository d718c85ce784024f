-- The conformance adapter of the Lua module: one JSON object a line in, one out. Run it with the
-- interpreter that the module in LUA_CPATH was built for, in any folder:
--
--     LUA_CPATH=target/lua/5.4/?.so lua5.4 tests/adapters/adapter.lua
--
-- Inside nginx (nginx.py) it is a module: the function that answers a line.
--
-- null arrives at the module as takings.null, [] and {} both as an empty table.

local here = arg and (arg[0]:match("^(.*)[/\\]") or ".")
package.path = here and here .. "/../../examples/?.lua;" .. package.path or package.path

local json = require "json"
local takings = require "takings"

local STRING, NUMBER, BOOLEAN, LIST = {}, {}, {}, {}

local ERROR = {
  {"kind", STRING}, {"message", STRING}, {"http_status", NUMBER}, {"error_code", STRING}, {"error_messages", LIST},
  {"correlation_id", STRING}, {"order_id", STRING}, {"idempotency_key", STRING}, {"attempts", NUMBER},
  {"retryable", BOOLEAN},
}

local CAPTURE = {
  {"capture_id", STRING}, {"order_id", STRING}, {"idempotency_key", STRING}, {"correlation_id", STRING},
  {"attempts", NUMBER}, {"warnings", LIST},
}

local RECONCILIATION = {
  {"found", STRING}, {"capture_id", STRING}, {"capture_ids", LIST}, {"order_id", STRING}, {"correlation_id", STRING},
  {"attempts", NUMBER},
}

local function quote(text)
  assert(type(text) == "string")
  return '"' .. text:gsub('[%c"\\]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

local WRITE = {
  [STRING] = quote,
  [NUMBER] = function(number) return ("%d"):format(number) end,
  [BOOLEAN] = function(boolean)
    assert(type(boolean) == "boolean")
    return tostring(boolean)
  end,
  [LIST] = function(list)
    local items = {}
    for index, item in ipairs(list) do
      items[index] = quote(item)
    end
    return "[" .. table.concat(items, ",") .. "]"
  end,
}

local function object(fields, values)
  local written = {}
  for index, field in ipairs(fields) do
    local name, kind = field[1], field[2]
    local value = values[name]
    written[index] = quote(name) .. ":" .. (value == nil and "null" or WRITE[kind](value))
  end
  return "{" .. table.concat(written, ",") .. "}"
end

local function decode(text)
  local value, problem = json.decode(text, takings.null)
  if problem then
    error("the adapter cannot read this JSON: " .. problem, 0)
  end
  return value
end

-- JSON's null stands for an argument that is left out.
local function given(value)
  if value ~= takings.null then
    return value
  end
end

-- What a field says, or what its _text twin says in raw JSON.
local function field(line, name)
  local text = line[name .. "_text"]
  if text then
    return decode(text), true
  end
  return line[name], line[name] ~= nil
end

local client

local function answer(line)
  if line.derive then
    local key, err = takings.idempotency_key(line.derive[1], line.derive[2])
    if not key then
      return '{"error":' .. object(ERROR, err) .. "}"
    end
    return '{"key":' .. quote(key) .. "}"
  end
  local config, is_new = field(line, "config")
  if is_new then
    local err
    client, err = takings.client(config)
    if not client then
      return '{"error":' .. object(ERROR, err) .. "}"
    end
  end
  local wanted = line.reconcile
  if wanted then
    local found, err = client:reconcile(line.order_id, wanted.reference, wanted.captured_amount)
    if not found then
      return '{"error":' .. object(ERROR, err) .. "}"
    end
    return '{"reconciliation":' .. object(RECONCILIATION, found) .. "}"
  end
  local request = field(line, "request")
  local capture, err = client:capture(line.order_id, request, given(line.idempotency_key))
  if not capture then
    return '{"error":' .. object(ERROR, err) .. "}"
  end
  return '{"capture":' .. object(CAPTURE, capture) .. "}"
end

local function answered(line)
  local ok, text = pcall(answer, line)
  if not ok then -- the runner expects none of these
    text = '{"error":' .. object(ERROR, {kind = "raised", message = tostring(text)}) .. "}"
  end
  return text
end

if not here then
  return function(text) return answered(decode(text)) end
end

for text in io.lines() do
  local line = decode(text)
  if line.quit then
    break
  end
  io.write(answered(line), "\n")
  io.flush()
end
