-- Captures with luasocket and luasec, over one connection that is kept: LuaSocket's own `http.request` would make a
-- new one for each.
local here = arg[0]:match("^(.*)/") or "."
package.path = here .. "/?.lua;" .. package.path
local common = require "common"
local json = require "cjson"
local ltn12 = require "ltn12"
local http = require "socket.http"
local socket = require "socket"
local ssl = require "ssl"
local url = require "socket.url"

local task = common.task(arg)
local parts = url.parse(task.captures_url)

-- LuaSocket's HTTP over a socket that speaks TLS.
local function connect()
  local tcp = assert(socket.tcp())
  if parts.scheme ~= "https" then
    return tcp
  end
  local tls = {}
  function tls.settimeout(_, ...)
    return tcp:settimeout(...)
  end
  function tls.connect(_, host, port)
    assert(tcp:connect(host, port))
    tcp:setoption("tcp-nodelay", true)
    tcp = assert(ssl.wrap(tcp, {
      mode = "client",
      protocol = "any",
      options = { "all", "no_sslv2", "no_sslv3" },
      verify = "peer",
      cafile = task.ca_file,
    }))
    return assert(tcp:dohandshake())
  end
  for _, name in ipairs { "send", "receive", "close" } do
    tls[name] = function(_, ...)
      return tcp[name](tcp, ...)
    end
  end
  return tls
end

local connection
common.run(task, function()
  connection = connection or http.open(parts.host, parts.port, connect)
  local body = json.encode(task.request)
  connection:sendrequestline("POST", parts.path)
  local headers = {
    ["host"] = parts.authority,
    ["authorization"] = common.authorization,
    ["content-type"] = "application/json",
    ["content-length"] = tostring(#body),
    ["accept"] = "application/json",
    ["klarna-idempotency-key"] = common.fresh_key(),
  }
  connection:sendheaders(headers)
  connection:sendbody(headers, ltn12.source.string(body))
  local status = connection:receivestatusline()
  local answer = connection:receiveheaders()
  assert(status == 201 and answer["content-length"] == "0", status)
  return assert(answer["capture-id"])
end)
