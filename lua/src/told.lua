-- What captures, reconciliations, errors and their attempts look like. A table is made here, of values in order: one
-- that is filled from Rust takes a protected call for each of its fields, and another for each field's name.

local rawget, select, setmetatable, tostring = rawget, select, setmetatable, tostring

-- The values of one attempt after those of another.
local function attempt_log(...)
  local log = {}
  for at = 1, select("#", ...), 8 do
    local started, sent, took_ms, came_back, http_status, error_code, correlation_id, wait_ms = select(at, ...)
    log[#log + 1] = {
      started = started,
      sent = sent,
      took_ms = took_ms,
      came_back = came_back,
      http_status = http_status,
      error_code = error_code,
      correlation_id = correlation_id,
      wait_ms = wait_ms,
    }
  end
  return log
end

local function capture(capture_id, order_id, idempotency_key, correlation_id, attempts, warnings, ...)
  return {
    capture_id = capture_id,
    order_id = order_id,
    idempotency_key = idempotency_key,
    correlation_id = correlation_id,
    attempts = attempts,
    attempt_log = attempt_log(...),
    warnings = warnings or {},
  }
end

local function reconciliation(found, capture_id, capture_ids, order_id, correlation_id, attempts, ...)
  return {
    found = found,
    capture_id = capture_id,
    capture_ids = capture_ids,
    order_id = order_id,
    correlation_id = correlation_id,
    attempts = attempts,
    attempt_log = attempt_log(...),
  }
end

-- That `"not captured: " .. err` is a text too is on purpose: a mistake in a shop's error path would hide
-- what happened to the money.
local error_metatable = {
  __name = "takings.error",
  __tostring = function(err) return tostring(rawget(err, "message")) end,
  __concat = function(left, right) return tostring(left) .. tostring(right) end,
}

local function error(kind, message, http_status, error_code, error_messages, correlation_id, order_id, idempotency_key,
                     attempts, retryable, ...)
  return setmetatable({
    kind = kind,
    message = message,
    http_status = http_status,
    error_code = error_code,
    error_messages = error_messages,
    correlation_id = correlation_id,
    order_id = order_id,
    idempotency_key = idempotency_key,
    attempts = attempts,
    attempt_log = attempt_log(...),
    retryable = retryable,
  }, error_metatable)
end

return attempt_log, capture, reconciliation, error
