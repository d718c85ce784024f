-- Functions around those from Rust, which give a message to raise and then values: an error raised from Rust would
-- reach Lua as a userdata without a position.

local cosockets, send = ...
local error, type = error, type

-- Gives as many values as there are.
local function plain(run)
  return function(...)
    local misuse, one, two, three = run(...)
    if misuse then
      error(misuse, 2)
    elseif three ~= nil then
      return one, two, three
    elseif two ~= nil then
      return one, two
    end
    return one
  end
end

-- A call is sent over cosockets here, in Lua: a cosocket waits by a yield, which no function from Rust may do.
local function sending(run)
  return function(...)
    local misuse, value, err = run(cosockets(), ...)
    if misuse then
      error(misuse, 2)
    elseif type(value) == "userdata" then
      value, err = send(value)
    end
    if value == nil then
      return nil, err
    end
    return value
  end
end

return plain, sending
