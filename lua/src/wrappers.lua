-- Functions around those from Rust, which give a message to raise and then values: an error raised from Rust would
-- reach Lua as a userdata without a position.

local cosockets, send = ...
local error, type = error, type

-- A call of a function that sends goes over cosockets here, in Lua: a cosocket waits by a yield, which no function from
-- Rust may do. Gives as many values as there are.
return function(run, sends)
  return function(...)
    local misuse, one, two, three
    if sends then
      misuse, one, two = run(cosockets(), ...)
    else
      misuse, one, two, three = run(...)
    end
    if misuse then
      error(misuse, 2)
    elseif sends and type(one) == "userdata" then
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
