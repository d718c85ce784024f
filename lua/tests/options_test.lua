-- Limits of a call, and of a client beside another; ids by position, and requests that need nothing.
--
-- order: limited 6000 [{"fault": "status", "status": 503}, {"fault": "status", "status": 503}]
-- ledger: limited 10
-- order: reads 6000 [{"fault": "status", "status": 503, "on": "get_order"}]
-- order: ids 6000
-- ledger: ids 10
-- order: empty 6000

local h = ...
local test, equal, holds, raises = h.test, h.equal, h.holds, h.raises

test("a client beside another shares the memory of keys", function()
  local client = h.client()
  local quick = assert(client:with_options({max_attempts = 1, timeout_ms = 5000}))
  local capture, err = quick:capture("limited", {captured_amount = 10}, "options-1")
  equal(capture, nil)
  equal(err.kind .. " " .. err.attempts, "outcome_unknown 1")
  capture, err = client:capture("limited", {captured_amount = 10, max_attempts = 1}, "options-1")
  equal(capture, nil)
  equal(err.attempts, 1)
  capture, err = client:capture("limited", {captured_amount = 11}, "options-1")
  equal(capture, nil)
  holds(err, "was used for another capture")
  equal(quick:close(), true)
  assert(client:capture("limited", {captured_amount = 10}, "options-1"))
  client:close()
  raises({"the client is closed"}, client.with_options, client, {})
end)

test("a read takes its options last", function()
  local client = h.client()
  local order, err = client:get_order("reads", {max_attempts = 1})
  equal(order, nil)
  equal(err.attempts, 1)
  assert(client:get_order("reads"))
  order, err = client:get_order("reads", {timeout = 3})
  equal(order, nil)
  holds(err, "timeout is not a field of ", "did you mean timeout_ms?")
end)

test("options are checked", function()
  local client = h.client()
  for says, options in pairs({
    ["max_attempts is 21"] = {max_attempts = 21},
    ["timeout_ms is 0"] = {timeout_ms = 0},
    ["did you mean timeout_ms?"] = {timeout_m = 1},
    ["the options is a number"] = 5,
  }) do
    local other, err = client:with_options(options)
    equal(other, nil)
    holds(err, says)
  end
end)

test("ids stand by position, and a request may be left out where nothing is required", function()
  local client = h.client()
  local capture = assert(client:capture("ids", {captured_amount = 10}))
  assert(client:get_capture("ids", capture.capture_id))
  assert(client:get_capture("ids", capture.capture_id, {timeout_ms = 5000}))
  assert(client:cancel("empty"))
end)
