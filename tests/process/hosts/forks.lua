-- A client in a family of processes; for LuaJIT, which can call fork by itself.
--
--     luajit forks.lua BASE_URL ORDER OUTCOMES

local ffi = require "ffi"
local takings = require "takings"

ffi.cdef [[
int fork(void); int waitpid(int, int *, int); int getpid(void); void _exit(int); unsigned alarm(unsigned);
]]

local url, order_id, outcomes = arg[1], arg[2], arg[3]
local file = assert(io.open(outcomes, "a"))
file:setvbuf("no")
ffi.C.alarm(60)
local client = assert(takings.client {username = "sandbox", password = "sandbox", base_url = url, backoff_ms = 10})

local function capture()
  local made, err = client:capture(order_id, {captured_amount = 1})
  if not made then
    error(tostring(err))
  end
  file:write(("%d %s %s\n"):format(ffi.C.getpid(), made.idempotency_key, made.capture_id))
end

local function child(work)
  local process = ffi.C.fork()
  if process == 0 then
    ffi.C.alarm(60)
    local ok, why = pcall(work)
    if not ok then
      io.stderr:write(tostring(why), "\n")
    end
    ffi.C._exit(ok and 0 or 1)
  end
  return process
end

local function ends_well(process)
  local status = ffi.new("int[1]")
  assert(ffi.C.waitpid(process, status, 0) == process)
  assert(status[0] == 0, "a child failed or hung")
end

local function drop()
  client = nil
  collectgarbage()
  collectgarbage()
end

local function family()
  capture()
  ends_well(child(capture))
  capture()
  ends_well(child(drop))
  client:close()
end

ends_well(child(capture))
ends_well(child(drop))
capture()
for _ = 1, 4 do
  local children = {child(family), child(drop), child(capture), child(family)}
  capture()
  for _, process in ipairs(children) do
    ends_well(process)
  end
end
capture()
drop()
print("done")
