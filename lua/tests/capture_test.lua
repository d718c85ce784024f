-- Captures at the sandbox.
--
-- order: full 6000
-- sent: full {"captured_amount":6000,"reference":"r","order_lines":[{"type":"physical","name":"Tomatoes","quantity":10,"unit_price":600,"total_amount":5900}]}
-- ledger: full 6000
-- order: parts 6000
-- ledger: parts 1000 5000
-- order: lost 6000 [{"fault": "lost_answer"}]
-- ledger: lost 6000
-- order: again 6000 [{"fault": "lost_answer"}, {"fault": "lost_answer"}]
-- ledger: again 6000
-- order: slow 6000 [{"fault": "stall", "when": "before_commit", "seconds": 5}]
-- ledger: slow
-- order: coroutine 6000
-- ledger: coroutine 6000
-- order: find 6000
-- ledger: find 1000 1000
-- order: settled 6000 [{"fault": "lost_answer"}, {"fault": "status", "status": 401}]
-- ledger: settled 1000
-- order: key 6000
-- ledger: key 1000
-- order: any 6000
-- ledger: any 1000
-- order: credentials 6000 [{"fault": "status", "status": 401}, {"fault": "status", "status": 401}]
-- ledger: credentials
-- order: used 6000
-- ledger: used

local h = ...
local test, equal, holds = h.test, h.equal, h.holds

test("a full capture", function()
  local capture, err = h.client():capture("full", {
    captured_amount = 6000,
    reference = "r",
    order_lines = {{type = "physical", name = "Tomatoes", quantity = 10, unit_price = 600, total_amount = 5900}},
  }, "full-key")
  equal(err, nil)
  assert(#capture.capture_id > 0)
  equal(capture.order_id, "full")
  equal(capture.idempotency_key, "full-key")
  equal(type(capture.correlation_id), "string")
  equal(capture.attempts, 1)
  equal(#capture.warnings, 2)
  holds(capture.warnings[1], "order_lines[0].total_amount is 5900")
  equal(getmetatable(capture), nil)
end)

test("captures in parts on one client, each with a fresh key", function()
  local client = h.client()
  local one = assert(client:capture("parts", {captured_amount = 1000}))
  local two = assert(client:capture("parts", {captured_amount = 5000}, nil))
  assert(one.idempotency_key ~= two.idempotency_key)
  assert(one.capture_id ~= two.capture_id)
  equal(#one.warnings, 0)
  local three, err = client:capture("parts", {captured_amount = 1})
  equal(three, nil)
  equal(err.kind, "rejected")
end)

test("a lost answer is asked for again with the same key", function()
  local capture = assert(h.client():capture("lost", {captured_amount = 6000}))
  equal(capture.attempts, 2)
end)

test("a capture is looked for by reference and amount", function()
  local client = h.client()
  equal(client:reconcile("find", "r", 1000).found, "never")
  local one = assert(client:capture("find", {captured_amount = 1000, reference = "r"}))
  local found = client:reconcile("find", "r", 1000)
  equal(found.found, "once")
  equal(found.capture_id, one.capture_id)
  assert(client:capture("find", {captured_amount = 1000, reference = "r"}))
  found = client:reconcile("find", "r", 1000.0)
  equal(found.found, "several")
  equal(found.capture_id, nil)
  equal(#found.capture_ids, 2)
  local nothing, err = client:reconcile("find", "r", 10.5)
  equal(nothing, nil)
  holds(err, "captured_amount is 10.5, a float")
  nothing, err = client:reconcile("nowhere", "r", 1)
  equal(nothing, nil)
  equal(err.error_code, "NO_SUCH_ORDER")
end)

test("a look settles an unclear capture where that is asked for", function()
  local capture = assert(h.client({reconcile = true}):capture("settled", {captured_amount = 1000, reference = "r"}))
  equal(capture.attempts, 2)
end)

test("an unknown outcome, and the call that settles it", function()
  local client = h.client({max_attempts = 2})
  local capture, err = client:capture("again", {captured_amount = 6000})
  equal(capture, nil)
  equal(err.kind, "outcome_unknown")
  equal(err.retryable, true)
  equal(err.attempts, 2)
  capture = assert(client:capture("again", {captured_amount = 6000}, err.idempotency_key))
  equal(capture.attempts, 1)
  equal(capture.idempotency_key, err.idempotency_key)
end)

test("the time-out is in milliseconds", function()
  local began = os.time()
  local capture, err = h.client({timeout_ms = 300}):capture("slow", {captured_amount = 6000})
  equal(capture, nil)
  equal(err.kind, "outcome_unknown")
  assert(os.time() - began < 4)
end)

test("nothing listens", function()
  local capture, err = h.client({base_url = "http://127.0.0.1:1", max_attempts = 1}):capture("o", {captured_amount = 1})
  equal(capture, nil)
  equal(err.kind, "not_sent")
  equal(err.retryable, true)
end)

test("from a coroutine", function()
  local client = h.client()
  local capture = coroutine.wrap(function()
    coroutine.yield()
    return client:capture("coroutine", {captured_amount = 6000})
  end)
  capture()
  equal(assert(capture()).order_id, "coroutine")
end)

test("one key does not serve two captures", function()
  local client = h.client()
  assert(client:capture("key", {captured_amount = 1000}, "k"))
  local capture, err = client:capture("key", {captured_amount = 2000}, "k")
  equal(capture, nil)
  equal(err.kind, "invalid_input")
  holds(err, "idempotency_key k was used for another capture")
end)


test("any operation by its name", function()
  local client = h.client()
  local capture = assert(client:call("capture", "any", {captured_amount = 1000, reference = "r"}, "any-key"))
  equal(capture.idempotency_key, "any-key")
  equal(client:call("reconcile", "any", {reference = "r", captured_amount = 1000}).capture_id, capture.capture_id)
  local call = assert(client:prepare_call("reconcile", "any", {reference = "r", captured_amount = 1000}))
  equal(call:start(), "send")
  equal(call:request().method, "GET")
  local nothing, err = client:call("captur", "any", {captured_amount = 1000}, "k")
  equal(nothing, nil)
  holds(err, 'operation is "captur"', 'did you mean "capture"?')
  equal(err.order_id, "any")
  equal(err.idempotency_key, "k")
  nothing, err = client:call("reconcile", "any", {reference = "r", captured_amount = 1000}, "k")
  equal(nothing, nil)
  holds(err, "idempotency_key is given to reconcile")
  h.raises({"client:call: operation is nil; it must be a string"}, client.call, client, nil, "any", {})
  local takes = "it must be 3 to 4 (operation, order_id, arguments, idempotency_key)"
  h.raises({"client:call: ", takes}, client.call, client)
end)

test("a refusal of a key that was given may not be the whole truth", function()
  local capture, err = h.client():capture("credentials", {captured_amount = 1000}, "a-key")
  equal(capture, nil)
  equal(err.kind, "outcome_unknown")
  equal(err.http_status, 401)
  holds(err, "Klarna refused the credentials (401)", "same key")
  capture, err = h.client():capture("credentials", {captured_amount = 1000, first_use = true}, "a-key")
  equal(capture, nil)
  equal(err.kind, "rejected")
end)

test("a key past its 24 hours is not sent", function()
  local client = h.client()
  local request = {captured_amount = 1000, first_used = os.time() - 25 * 3600}
  local capture, err = client:capture("used", request, "an-old-key")
  equal(capture, nil)
  equal(err.kind, "outcome_unknown")
  equal(err.attempts, 0)
  for _, case in ipairs({
    {{captured_amount = 1, first_use = 1}, "first_use is a number"},
    {{captured_amount = 1, first_used = 1.5}, "first_used is 1.5, a float"},
    {{captured_amount = 1, first_use = true, first_used = 1}, "first_use and first_used are both given"},
  }) do
    capture, err = client:capture("used", case[1], "another-key")
    equal(capture, nil)
    equal(err.kind, "invalid_input")
    holds(err, case[2])
  end
end)
