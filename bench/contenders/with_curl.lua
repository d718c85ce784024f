-- Captures with lua-curl, libcurl's binding in Debian, on one handle.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path
local common = require "common"
local curl = require "curl"
local json = require "cjson"

local task = common.task(arg)
local easy = curl.easy_init()
local id
easy:setopt(curl.OPT_URL, task.captures_url)
easy:setopt(curl.OPT_CAINFO, task.ca_file)
easy:setopt(curl.OPT_PROXY, "")
easy:setopt(curl.OPT_WRITEFUNCTION, function(bytes)
  return #bytes
end)
easy:setopt(curl.OPT_HEADERFUNCTION, function(line)
  id = line:match("^[Cc]apture%-[Ii]d: *(%S+)") or id
  return #line
end)

common.run(task, function()
  local body = json.encode(task.request)
  id = nil
  easy:setopt(curl.OPT_HTTPHEADER, {
    "Authorization: " .. common.authorization,
    "Content-Type: application/json",
    "Accept: application/json",
    "Klarna-Idempotency-Key: " .. common.fresh_key(),
  })
  easy:setopt(curl.OPT_POSTFIELDS, body)
  easy:setopt(curl.OPT_POSTFIELDSIZE, #body)
  local code, message = easy:perform()
  assert(code == 0, message)
  return assert(id, "the answer was no capture")
end)
