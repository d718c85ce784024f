-- Captures with takings.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path
local common = require "common"
local takings = require "takings"

local task = common.task(arg)
local client = assert(takings.client {
  base_url = task.url,
  ca_file = task.ca_file,
  username = "bench",
  password = "bench-password",
})

common.run(task, function()
  return assert(client:capture(task.order_id, task.request)).capture_id
end)
