-- Functions around those from Rust, which give a message to raise and then values: an error raised from Rust would
-- reach Lua as a userdata without a position.

local cosockets, send = ...
local error, type = error, type

-- A call of a function that sends goes over cosockets here, in Lua: a cosocket waits by a yield, which no function from
-- Rust may do. Gives as many values as there are.
return function(run, sends)
  return function(...)
    local state, misuse, one, two, three
    if sends then
      state = cosockets()
      misuse, one, two = run(state, ...)
    else
      misuse, one, two, three = run(...)
    end
    if misuse then
      error(misuse, 2)
    -- In this order: outside of nginx `type` makes a string, and a finaliser's error could take an outcome's place.
    elseif state and type(one) == "userdata" then
      one, two = send(one)
    end
    if three ~= nil then
      return one, two, three
    elseif two ~= nil then
      return one, two
    end
    return one
  end
end
