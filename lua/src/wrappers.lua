-- Functions around those from Rust. The Rust functions give a message to raise, then values. An error raised from Rust
-- itself would reach Lua as a userdata without a position.

local cosockets, send = ...
local error, type = error, type

-- Returns the function that a program calls, which returns no trailing nils. If `sends` is set, calls are sent over
-- cosockets from Lua: a cosocket waits by a yield, which no function from Rust may do.
return function(run, sends)
  return function(...)
    local state = sends and cosockets()
    local misuse, one, two, three = run(state, ...)
    if misuse then
      error(misuse, 2)
    -- `state` is tested first. Outside of nginx `type` would make a string, whose allocation may run a finaliser; its
    -- error could take the place of an outcome.
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
