-- Functions from others that give what to raise, then values: an error raised from Rust would reach Lua as
-- a userdata without a position.

local host, drive = ...
local error, type = error, type

local function raising(call)
  return function(...)
    local misuse, value, err = call(...)
    if misuse then
      error(misuse, 2)
    end
    if value == nil then
      return nil, err
    end
    return value
  end
end

local function stepping(call)
  return function(...)
    local misuse, step, value, err = call(...)
    if misuse then
      error(misuse, 2)
    end
    return step, value, err
  end
end

-- An operation is sent here, in Lua: a cosocket waits by a yield, which no call from Rust may do.
local function sending(call)
  return function(...)
    local misuse, value, err = call(host(), ...)
    if misuse then
      error(misuse, 2)
    end
    if value == nil then
      return nil, err
    end
    if type(value) == "userdata" then
      return drive(value)
    end
    return value
  end
end

return raising, stepping, sending
