--- A small JSON reader in plain Lua, for programs that have none at hand.
--
--     local value, problem = json.decode(text, null)
--
-- `null` is what stands for JSON's null (default: `json.null`, a table of its own). A whole number
-- without fraction or exponent becomes an integer where Lua has them and it fits. Objects and lists
-- both become tables. What is not JSON gives nil and a message with the position.

local json = {null = setmetatable({}, {__tostring = function() return "null" end})}

local ESCAPES = {['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}
local DEEPEST = 100

-- A code point as UTF-8; utf8.char is there from 5.3 on only.
local function utf8_char(code)
  if code < 0x80 then
    return string.char(code)
  end
  local tail = ""
  local first = 0x40
  repeat
    tail = string.char(0x80 + code % 0x40) .. tail
    code = math.floor(code / 0x40)
    first = first / 2
  until code < first
  return string.char(0x100 - first * 2 + code) .. tail
end

-- Raised as a table, so that no other error is taken for it.
local function fail(message, position)
  error({problem = message .. " at byte " .. position}, 0)
end

local function skip(text, position)
  return text:find("[^ \t\r\n]", position) or #text + 1
end

local function read_string(text, position)
  local parts = {}
  local from = position + 1
  while true do
    local stop = text:find('["\\%c]', from)
    if not stop then
      fail("a string without end", position)
    end
    parts[#parts + 1] = text:sub(from, stop - 1)
    local found = text:sub(stop, stop)
    if found == '"' then
      return table.concat(parts), stop + 1
    elseif found == "\\" then
      local letter = text:sub(stop + 1, stop + 1)
      local hex = letter == "u" and text:match("^%x%x%x%x", stop + 2)
      if hex then
        local code = tonumber(hex, 16)
        from = stop + 6
        local low = code >= 0xD800 and code < 0xDC00 and text:match("^\\u([dD][c-fC-F]%x%x)", from)
        if low then
          code = 0x10000 + (code - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00
          from = from + 6
        end
        parts[#parts + 1] = utf8_char(code)
      elseif ESCAPES[letter] then
        parts[#parts + 1] = ESCAPES[letter]
        from = stop + 2
      else
        fail("an unknown escape", stop)
      end
    elseif found == "\127" then -- the one control character that JSON allows
      parts[#parts + 1] = found
      from = stop + 1
    else
      fail("a control character in a string", stop)
    end
  end
end

local function read_number(text, position)
  local digits = text:match("^-?%d+", position)
  if not digits or digits:find("^-?0%d") then
    fail("not a value", position)
  end
  local stop = position + #digits
  local fraction = text:match("^%.%d+", stop) or ""
  stop = stop + #fraction
  local exponent = text:match("^[eE][+-]?%d+", stop) or ""
  return tonumber(digits .. fraction .. exponent), stop + #exponent
end

local read

local function read_list(text, position, null, depth)
  local list = {}
  position = skip(text, position + 1)
  if text:sub(position, position) == "]" then
    return list, position + 1
  end
  while true do
    list[#list + 1], position = read(text, position, null, depth)
    position = skip(text, position)
    local found = text:sub(position, position)
    if found == "]" then
      return list, position + 1
    elseif found ~= "," then
      fail("neither , nor ]", position)
    end
    position = skip(text, position + 1)
  end
end

local function read_object(text, position, null, depth)
  local object = {}
  position = skip(text, position + 1)
  if text:sub(position, position) == "}" then
    return object, position + 1
  end
  while true do
    if text:sub(position, position) ~= '"' then
      fail("not a name in quotes", position)
    end
    local name
    name, position = read_string(text, position)
    position = skip(text, position)
    if text:sub(position, position) ~= ":" then
      fail("no colon", position)
    end
    object[name], position = read(text, skip(text, position + 1), null, depth)
    position = skip(text, position)
    local found = text:sub(position, position)
    if found == "}" then
      return object, position + 1
    elseif found ~= "," then
      fail("neither , nor }", position)
    end
    position = skip(text, position + 1)
  end
end

function read(text, position, null, depth)
  if depth > DEEPEST then
    fail("nested too deeply", position)
  end
  local first = text:sub(position, position)
  if first == "{" then
    return read_object(text, position, null, depth + 1)
  elseif first == "[" then
    return read_list(text, position, null, depth + 1)
  elseif first == '"' then
    return read_string(text, position)
  end
  local word = text:match("^%a+", position)
  if word == "true" or word == "false" then
    return word == "true", position + #word
  elseif word == "null" then
    return null, position + 4
  end
  return read_number(text, position)
end

function json.decode(text, null)
  if null == nil then
    null = json.null
  end
  local ok, value = pcall(function()
    local whole, position = read(text, skip(text, 1), null, 0)
    position = skip(text, position)
    if position <= #text then
      fail("more text", position)
    end
    return whole
  end)
  if ok then
    return value
  elseif type(value) == "table" and value.problem then
    return nil, value.problem
  end
  error(value, 0)
end

return json
