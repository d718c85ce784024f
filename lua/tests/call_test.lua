-- A call that its host sends step by step, the list of its attempts, amounts.
--
-- order: log 6000 [{"fault": "lost_answer"}]
-- ledger: log 6000

local h = ...
local takings = require "takings"
local test, equal, holds, raises = h.test, h.equal, h.holds, h.raises

local client = h.client({attempt_timeout_ms = 3000, connect_timeout_ms = 1000})
local ID = "4ba29b50-be7b-44f5-a492-113e6a865e22"

local function prepared(key)
  return assert(client:prepare("driven", {captured_amount = 6000}, key))
end

test("a host sends, waits, and gets the end", function()
  local call = prepared("a-key")
  equal(call:idempotency_key(), "a-key")
  equal(call:time_left(), 0)
  local step, milliseconds = call:start()
  equal(step, "send")
  equal(milliseconds, 3000)
  equal(call:connect_timeout(), 1000)
  assert(call:time_left() > 2000 and call:time_left() <= 3000)
  local request = call:request()
  equal(request.method, "POST")
  equal(request.tls, false)
  equal(request.url, ("http://%s:%d%s"):format(request.host, request.port, request.target))
  equal(request.target, "/ordermanagement/v1/orders/driven/captures")
  equal(request.body, '{"captured_amount":6000}')
  equal(request.headers["klarna-idempotency-key"], "a-key")
  equal(request.headers["content-type"], "application/json")
  holds(request.headers.authorization, "Basic ")
  step, milliseconds = call:maybe_sent("the answer was lost \255")
  equal(step, "wait")
  assert(milliseconds >= 1 and milliseconds <= 10)
  equal(call:time_left(), 0)
  equal(call:waited(), "send")
  local capture, err
  step, capture, err = call:answered(201, {["Capture-Id"] = {ID}})
  equal(step, "done")
  equal(err, nil)
  equal(capture.capture_id, ID)
  equal(capture.idempotency_key, "a-key")
  equal(capture.attempts, 2)
  holds(capture.attempt_log[1].came_back, "the answer was lost")
  assert(capture.attempt_log[1].wait_ms >= 1)
  equal(capture.attempt_log[2].http_status, 201)
  equal(tostring(call), "takings.call (done)")
  raises({"call:waited: the call is done"}, call.waited, call)
  raises({"call:request: the call is done"}, call.request, call)
end)

test("an end that is no capture", function()
  local call = prepared()
  call:start()
  local step, value, err = call:answered(403, {}, '{"error_code": "NOT_ALLOWED", "error_messages": ["no"]}')
  equal(step, "done")
  equal(value, nil)
  equal(err.kind, "rejected")
  equal(err.error_code, "NOT_ALLOWED")
  equal(err.attempt_log[1].came_back, "403 NOT_ALLOWED")
  call = prepared()
  equal(call:abandoned().kind, "outcome_unknown")
  equal(call:abandoned().idempotency_key, call:idempotency_key())
  equal(call:start(), "send")
  repeat
    step, value, err = call:not_sent("no connection")
    assert(step == "wait" or value == nil)
    if step == "wait" then
      step = call:waited()
    end
  until step == "done"
  equal(err.kind, "not_sent")
  equal(#err.attempt_log, 3)
  holds(err.attempt_log[3].came_back, "not_sent: no connection")
end)

test("a host with bytes alone sends and receives those", function()
  local call = prepared("a-key")
  raises({"call:received: nothing was sent; call:bytes() gives what to send first"}, call.received, call, "")
  call:start()
  local host, port, is_tls = call:address()
  local request = call:request()
  equal(host, request.host)
  equal(port, request.port)
  equal(is_tls, request.tls)
  local bytes = call:bytes()
  holds(bytes, "POST /ordermanagement/v1/orders/driven/captures HTTP/1.1\r\nhost: ")
  holds(bytes, "\r\ncontent-length: 24\r\n\r\n{\"captured_amount\":6000}")
  local wanted, is_reusable = call:received("")
  assert(wanted > 1000 and is_reusable == false)
  wanted = call:received("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 20")
  assert(wanted)
  wanted = call:received("1 Created\r\nCapture-Id: " .. ID .. "\r\nContent-Length: 5\r\n\r\n")
  equal(wanted, 5)
  wanted, is_reusable = call:received("12345")
  equal(wanted, nil)
  equal(is_reusable, true)
  local step, capture = call:closed("unused")
  equal(step, "done")
  equal(capture.capture_id, ID)
  raises({"call:bytes: the call is done"}, call.bytes, call)
end)

test("bytes that are no answer leave the outcome open", function()
  local call = prepared()
  call:start()
  for number, bytes in ipairs({"", "HTTP/1.1 201 Created\r\nCapture-Id: " .. ID .. "\r\n", "SSH-2.0 server\r\n"}) do
    call:bytes()
    equal(call:received(bytes) == nil, number == 3)
    local step, _, err = call:closed("the connection broke off")
    if number == 3 then
      equal(err.kind, "outcome_unknown")
      holds(err.attempt_log[2].came_back, "the connection broke off")
      holds(err.attempt_log[3].came_back, "the answer's head makes no sense")
    else
      equal(step, "wait")
      equal(call:waited(), "send")
      raises({"call:received: nothing was sent"}, call.received, call, "")
    end
  end
end)

test("a look is sent too", function()
  local call = assert(client:prepare_reconcile("driven", "r", 10))
  equal(call:idempotency_key(), nil)
  equal(call:start(), "send")
  equal(call:request().method, "GET")
  equal(call:request().body, "")
  local step, found = call:answered(200, {}, "[]")
  equal(step, "done")
  equal(found.found, "never")
  equal(#found.attempt_log, 1)
end)

test("what is refused is refused before there is a call", function()
  local call, err = client:prepare("driven", {captured_amount = 1.5})
  equal(call, nil)
  equal(err.kind, "invalid_input")
  call, err = client:prepare_reconcile("driven", "", 1)
  equal(call, nil)
  holds(err, "reference")
end)

test("misuse of a call is raised", function()
  local call = prepared()
  raises({"client:prepare: order_id is a number"}, client.prepare, client, 5, {})
  raises({"self is a string; it must be a call: write call:start() with a colon"}, call.start, "x")
  raises({"self is a userdata; it must be a call"}, call.waited, client)
  raises({"self is a userdata; it must be a client"}, client.close, call)
  raises({"arguments is 1; it must be 2 to 3 (status, headers, body)"}, call.answered, call, 201)
  raises({"status is a string; it must be the number of an HTTP status"}, call.answered, call, "201", {})
  raises({"status is a number; it must be"}, call.answered, call, 1e9, {})
  raises({"headers is nil; it must be a table"}, call.answered, call, 201, nil)
  raises({"headers has a number for a name"}, call.answered, call, 201, {"Capture-Id: x"})
  raises({'headers has a boolean for "x"; it must be a string'}, call.answered, call, 201, {x = true})
  raises({'headers has a table for "x"; it must be a string'}, call.answered, call, 201, {x = {{}}})
  raises({"body is a table; it must be a string"}, call.answered, call, 201, {}, {})
  raises({"why is nil; it must be a string"}, call.not_sent, call, nil)
  raises({"call_test.lua:"}, function()
    local nothing = call:maybe_sent({})
    return nothing
  end)
  equal(call:start(), "send")
end)

test("a call that is given up gives its key back", function()
  local call = prepared("given-up")
  equal(call:idempotency_key(), "given-up")
  call = nil -- luacheck: ignore
  collectgarbage()
  collectgarbage()
  assert(client:prepare("driven", {captured_amount = 1}, "given-up"))
end)

test("a call tells of its attempts", function()
  local capture = assert(client:capture("log", {captured_amount = 6000}))
  equal(#capture.attempt_log, 2)
  local first, second = capture.attempt_log[1], capture.attempt_log[2]
  assert(math.abs(first.started - os.time()) < 60)
  holds(first.sent, "POST http://", "/orders/log/captures")
  holds(first.came_back, "the connection was closed before an answer came")
  equal(first.http_status, nil)
  equal(type(first.wait_ms), "number")
  equal(second.came_back, "201")
  equal(second.correlation_id, capture.correlation_id)
  equal(second.wait_ms, nil)
  local _, err = client:capture("log", {})
  equal(#err.attempt_log, 0)
end)

test("amounts are exact or refused", function()
  equal(takings.minor("60.00", "EUR"), 6000)
  equal(takings.minor("-4.5", "eur"), -450)
  equal(takings.minor("60", "JPY"), 60)
  equal(tostring(takings.minor("60.00", "EUR")), "6000")
  for _, given in ipairs({{"60.001", "EUR"}, {"60,00", "EUR"}, {"6e3", "EUR"}, {"60", "EURO"}, {"", "EUR"}}) do
    local minor, err = takings.minor(given[1], given[2])
    equal(minor, nil)
    equal(err.kind, "invalid_input")
    holds(err, "; it must be")
  end
  raises({"takings.minor: amount is a number; it must be a string"}, takings.minor, 60.0, "EUR")
  local big, err = takings.minor("90071992547409.92", "EUR")
  if math.type then -- luacheck: ignore
    equal(big, 9007199254740992)
  else
    equal(big, nil)
    holds(err, "amount is", "numbers skip some")
  end
  equal(takings.minor("90071992547409.91", "EUR"), 9007199254740991)
end)

test("what a client sends over can be chosen", function()
  for _, transport in ipairs({"auto", "blocking"}) do
    local found = h.client({transport = transport}):reconcile("log", "r", 1)
    equal(found.found, "never")
  end
  local found, err = h.client({transport = "cosocket"}):reconcile("log", "r", 1)
  equal(found, nil)
  holds(err, "transport is cosocket outside of nginx; it must be auto or blocking there")
  for _, bad in ipairs({"curl", 5, {}, true}) do
    local made
    made, err = takings.client(h.settings({transport = bad}))
    equal(made, nil)
    holds(err, "transport is ", "; it must be one of auto, blocking, cosocket")
  end
end)
