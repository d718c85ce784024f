-- The conformance adapter of the Lua module: one JSON object a line in, one out. Run it with the
-- interpreter that the module in LUA_CPATH was built for, in any folder:
--
--     LUA_CPATH=target/lua/5.4/?.so lua5.4 tests/adapters/adapter.lua
--
-- Inside nginx (nginx.py) it is a module: the function that answers a line.
--
-- null arrives at the module as takings.null, [] and {} both as an empty table. The fields of an answer are those that
-- lua/takings.d.lua declares; one that is nil is written as null.

local is_program = arg ~= nil
local here = debug.getinfo(1, "S").source:match("^@(.*)[/\\]") or "."
package.path = here .. "/../../examples/?.lua;" .. package.path

local json = require "json"
local takings = require "takings"

-- The fields of each class, in order: {name, type}.
local classes = {}
do
  local class
  for line in io.lines(here .. "/../../lua/takings.d.lua") do
    local name = line:match("^%-%-%-@class ([%w_.]+)")
    if name then
      class = {}
      classes[name] = class
    end
    local field, kind = line:match("^%-%-%-@field ([%w_]+)%?? (%S+)")
    if field then
      class[#class + 1] = {field, kind}
    end
  end
end

local function quote(text)
  return '"' .. text:gsub('[%c"\\]', function(char) return ("\\u%04x"):format(char:byte()) end) .. '"'
end

local write

local function write_list(list, kind)
  local items = {}
  for index, item in ipairs(list) do
    items[index] = write(item, kind)
  end
  return "[" .. table.concat(items, ",") .. "]"
end

local function write_object(object, fields)
  local members = {}
  for index, field in ipairs(fields) do
    members[index] = quote(field[1]) .. ":" .. write(object[field[1]], field[2])
  end
  return "{" .. table.concat(members, ",") .. "}"
end

-- A value of the declared type as JSON.
function write(value, kind)
  if value == nil then
    return "null"
  elseif kind:find("%[%]$") then
    return write_list(value, kind:sub(1, -3))
  elseif classes[kind] then
    return write_object(value, classes[kind])
  elseif kind == "integer" then
    return ("%d"):format(value)
  elseif kind == "number" or kind == "boolean" then
    assert(type(value) == kind)
    return tostring(value)
  end
  assert(type(value) == "string", kind)
  return quote(value)
end

-- A value of any type as JSON. Nothing of a reply is an empty table but a list. A numeric key makes a list.
local function write_any(value)
  if type(value) == "string" then
    return quote(value)
  elseif type(value) == "number" then
    return value % 1 == 0 and ("%d"):format(value) or tostring(value)
  elseif type(value) ~= "table" then
    return value == takings.null and "null" or tostring(value)
  end
  local members = {}
  if next(value) == nil or value[1] ~= nil then
    for index, item in ipairs(value) do
      members[index] = write_any(item)
    end
    return "[" .. table.concat(members, ",") .. "]"
  end
  for name, member in pairs(value) do
    members[#members + 1] = quote(name) .. ":" .. write_any(member)
  end
  return "{" .. table.concat(members, ",") .. "}"
end

local function outcome(kind, value, err)
  if value == nil then
    kind, value = "error", err
  end
  return ("{%s:%s}"):format(quote(kind), write(value, "takings." .. kind))
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

-- The value of a field, or that of its _text twin, which is raw JSON.
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
    return outcome("key", takings.idempotency_key(line.derive[1], line.derive[2]))
  end
  if line.intent then
    local row, err = takings.intent(line.order_id, (field(line, "request")), line.intent[1])
    local sql, values
    if row then
      sql, values = takings.insert(row, line.intent[2])
      err = values
    end
    if not sql then
      return outcome("error", err)
    end
    local list = {}
    for name in sql:match("%((.*)%) VALUES"):gmatch("[%w_]+") do
      local value = values[name]
      if values.n then
        value = values[#list + 1]
      end
      list[#list + 1] = value == nil and "null" or write_any(value)
    end
    local shown = {write(row, "takings.intent"), quote(sql), table.concat(list, ",")}
    return ('{"intent":{"row":%s,"sql":%s,"values":[%s]}}'):format(shown[1], shown[2], shown[3])
  end
  local config, is_new = field(line, "config")
  if is_new then
    local err
    client, err = takings.client(config)
    if not client then
      return outcome("error", err)
    end
  end
  if line.options then
    local other, err = client:with_options(line.options)
    client = other or client
    return other and '{"options":{}}' or outcome("error", err)
  end
  if line.check then
    local order, err = client:get_order(line.order_id)
    local reasons = order
    if order then
      reasons, err = takings["check_" .. line.check](order, (field(line, "request")))
    end
    if not reasons then
      return outcome("error", err)
    end
    return ('{"check":{"reasons":%s}}'):format(write_list(reasons, "string"))
  end
  local wanted = line.reconcile
  if wanted then
    return outcome("reconciliation", client:reconcile(line.order_id, wanted.reference, wanted.captured_amount))
  end
  if line.operation then
    local reply, err = client:call(line.operation, line.order_id, (field(line, "request")), given(line.idempotency_key))
    if not reply then
      return outcome("error", err)
    end
    reply.operation = line.operation
    return ("{\"reply\":%s}"):format(write_any(reply))
  end
  return outcome("capture", client:capture(line.order_id, (field(line, "request")), given(line.idempotency_key)))
end

local function answered(line)
  local ok, text = pcall(answer, line)
  if not ok then -- the runner expects none of these
    text = outcome("error", {kind = "raised", message = tostring(text)})
  end
  return text
end

if not is_program then
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
