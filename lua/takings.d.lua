---@meta takings

-- Types for editors (LuaCATS). Nothing here runs; lua/tests/annotations_test.lua compares it with the module.

---Captures Klarna orders. Amounts are whole numbers in minor units: 60.00 is 6000.
---@class takings
---@field _VERSION string
---@field null lightuserdata JSON's null, the same value as cjson.null; takings refuses it
local takings = {}

---Settings. Either `region` and `environment` or `base_url`; either `username` and `password` or `api_key`.
---@class takings.config
---@field region? takings.region where the merchant's account lives; default eu
---@field environment? takings.environment live captures move money
---@field base_url? string another host, with an optional path in front
---@field username? string
---@field password? string
---@field api_key? string
---@field auth? takings.auth how an API key is sent; default basic
---@field connect_timeout_ms? integer milliseconds; default 5000
---@field attempt_timeout_ms? integer milliseconds; default 10000
---@field timeout_ms? integer milliseconds for the whole call; default 25000
---@field max_attempts? integer default 3
---@field backoff_ms? integer the first pause in milliseconds; default 500
---@field max_backoff_ms? integer milliseconds; default 8000
---@field proxy? string
---@field ca_file? string PEM certificates to trust instead of the system's
---@field user_agent_suffix? string
---@field check_lines? takings.check_lines what to do about order lines that do not add up; default warn
---@field accept_unknown_values? boolean lets words pass that Klarna has added since; default false
---@field reconcile? boolean looks for an unclear capture by its reference, see client:reconcile; default false
---@field transport? takings.transport what calls are sent over; default auto: cosockets inside nginx, which block no
---worker, and connections of its own elsewhere, for which a call waits

---@alias takings.region "eu"|"na"|"oc"|"kustom"
---@alias takings.environment "live"|"playground"
---@alias takings.auth "basic"|"raw"
---@alias takings.check_lines "off"|"warn"|"refuse"
---@alias takings.transport "auto"|"blocking"|"cosocket"

---What is captured: the body of Klarna's capture call.
---@class takings.capture_request
---@field captured_amount integer minor units, tax included: 1 to 200000000
---@field reference? string your own name for this capture, at most 255 characters
---@field description? string shown to the customer, at most 255 characters
---@field order_lines? takings.order_line[] at most 1000
---@field shipping_info? takings.shipping_info[] at most 500
---@field shipping_delay? integer days until the goods are shipped

---`total_amount` is `quantity * unit_price - total_discount_amount`.
---@class takings.order_line
---@field type? takings.order_line_type
---@field reference? string article number, at most 255 characters
---@field name string at most 255 characters
---@field quantity integer whole units
---@field quantity_unit? string at most 10 characters
---@field unit_price integer minor units, tax included, before discount
---@field tax_rate? integer hundredths of a percent: 25 % is 2500
---@field total_amount integer minor units, tax and discount included
---@field total_discount_amount? integer minor units, tax included
---@field total_tax_amount? integer minor units
---@field merchant_data? string at most 1024 characters
---@field product_url? string at most 1024 characters
---@field image_url? string at most 1024 characters
---@field product_identifiers? takings.product_identifiers
---@field subscription? takings.subscription

---@class takings.product_identifiers
---@field brand? string at most 70 characters
---@field category_path? string joined by " > ", at most 750 characters
---@field global_trade_item_number? string EAN, GTIN, ISBN or UPC, at most 50 characters
---@field manufacturer_part_number? string at most 70 characters
---@field color? string at most 64 characters
---@field size? string at most 64 characters

---@class takings.subscription
---@field name string at most 255 characters
---@field interval takings.interval
---@field interval_count integer 1 or more

---@class takings.shipping_info
---@field shipping_company? string at most 100 characters
---@field shipping_method? takings.shipping_method
---@field tracking_number? string at most 100 characters
---@field tracking_uri? string at most 1024 characters
---@field return_shipping_company? string at most 100 characters
---@field return_tracking_number? string at most 100 characters
---@field return_tracking_uri? string at most 1024 characters

---@alias takings.order_line_type
---| "physical"
---| "discount"
---| "shipping_fee"
---| "sales_tax"
---| "store_credit"
---| "gift_card"
---| "digital"
---| "surcharge"
---| "return_fee"

---@alias takings.shipping_method
---| "PickUpStore"
---| "Home"
---| "BoxReg"
---| "BoxUnreg"
---| "PickUpPoint"
---| "Own"
---| "Postal"
---| "DHLPackstation"
---| "Digital"
---| "Undefined"
---| "PickUpWarehouse"
---| "ClickCollect"
---| "PalletDelivery"

---@alias takings.interval "DAY"|"WEEK"|"MONTH"|"YEAR"

---Klarna captured it: ship.
---@class takings.capture
---@field capture_id string
---@field order_id string
---@field idempotency_key string the key the call used, given or made
---@field correlation_id? string Klarna's name for the answered request
---@field attempts integer how many requests it took
---@field attempt_log takings.attempt[] each of them, in order
---@field warnings string[] what did not add up in the order lines, and that the key was answered with another capture before

---What a look into an order's captures found. `never` says so only of the moment: a capture whose answer was lost may
---still be on its way.
---@class takings.reconciliation
---@field found takings.found
---@field capture_id? string the capture, if it was found once
---@field capture_ids string[] every capture with the reference and the amount
---@field order_id string
---@field correlation_id? string Klarna's name for the answered request
---@field attempts integer how many requests it took
---@field attempt_log takings.attempt[] each of them, in order

---@alias takings.found "once"|"never"|"several"

---Why there is no capture. `tostring(err)` is the message.
---@class takings.error
---@field kind takings.error_kind what it means for the money
---@field message string one line: what, where, how to mend
---@field http_status? integer
---@field error_code? string Klarna's, such as CAPTURE_NOT_ALLOWED
---@field error_messages string[] Klarna's texts for the developer
---@field correlation_id? string quote it to Klarna's support
---@field order_id? string
---@field idempotency_key? string keep it: after outcome_unknown, call again with it
---@field attempts integer how many requests were begun
---@field attempt_log takings.attempt[] those that ended, in order
---@field retryable boolean whether the same call can end differently later

---@alias takings.error_kind "invalid_input"|"not_sent"|"rejected"|"outcome_unknown"|"internal"

---One request of a call, for whoever has to see afterwards what happened. It holds no credential.
---@class takings.attempt
---@field started number seconds since 1970, with a fraction
---@field sent string method and URL
---@field took_ms integer
---@field came_back string for people: "201", "503 INTERNAL_ERROR", "no answer within 10.0s", "not_sent: no connection …"
---@field http_status? integer
---@field error_code? string
---@field correlation_id? string
---@field wait_ms? integer the pause after it, where another attempt followed

---Captures orders of one merchant account. Make one and keep it: it reuses its connections.
---@class takings.client
local client = {}

---Captures the order, in full or in part, and waits for the outcome, at most `timeout_ms`.
---Without a key a fresh one is made; it is in the capture and in every error.
---@param order_id string
---@param request takings.capture_request
---@param idempotency_key? string the same key for the same capture, also after a crash; nil makes a fresh one
---@return takings.capture? capture nil if it was not captured, or nobody knows
---@return takings.error? err
function client:capture(order_id, request, idempotency_key) end

---Looks into the order's captures for the one with this reference and amount. Sound only when each capture of an order
---has a reference of its own.
---@param order_id string
---@param reference string
---@param captured_amount integer minor units
---@return takings.reconciliation? reconciliation nil if the captures could not be read
---@return takings.error? err
function client:reconcile(order_id, reference, captured_amount) end

---A capture that has been checked and has its key, to be sent by yourself with an HTTP client of your own.
---@param order_id string
---@param request takings.capture_request
---@param idempotency_key? string
---@return takings.operation? operation
---@return takings.error? err
function client:prepare(order_id, request, idempotency_key) end

---The same for a look into the order's captures.
---@param order_id string
---@param reference string
---@param captured_amount integer
---@return takings.operation? operation
---@return takings.error? err
function client:prepare_reconcile(order_id, reference, captured_amount) end

---Ends its connections. Closing again does nothing; so does the collector for a client that is not closed.
---@return true
function client:close() end

---A call that you drive: takings decides, you send and wait. Begin with `start` and do what each step says, until
---"done". No redirect is followed, nothing is sent twice behind its back, and certificates are checked.
---@class takings.operation
local operation = {}

---What a step gives: "send" and the milliseconds it may take: send the request once, then tell `answered`, `not_sent` or
---`maybe_sent`. "wait" and milliseconds: pause, then tell `waited`. "done" and a capture or a reconciliation, or "done",
---nil and an error.
---@alias takings.step "send"|"wait"|"done"

---@return takings.step step
---@return integer|takings.capture|takings.reconciliation|nil value
---@return takings.error? err
function operation:start() end

---An answer, whatever its status; not one of 1xx.
---@param status integer
---@param headers table<string, string|string[]> each with its value or, where it came several times, its values
---@param body? string as far as it came
---@return takings.step step
---@return integer|takings.capture|takings.reconciliation|nil value
---@return takings.error? err
function operation:answered(status, headers, body) end

---Nothing of the request can have left, since no connection was made. When in doubt, tell `maybe_sent`.
---@param why string for people
---@return takings.step step
---@return integer|takings.capture|takings.reconciliation|nil value
---@return takings.error? err
function operation:not_sent(why) end

---The request may have left and no answer came.
---@param why string for people
---@return takings.step step
---@return integer|takings.capture|takings.reconciliation|nil value
---@return takings.error? err
function operation:maybe_sent(why) end

---The pause is over.
---@return takings.step step
---@return integer|takings.capture|takings.reconciliation|nil value
---@return takings.error? err
function operation:waited() end

---What "send" asks to send; to be read for each, since it can change.
---@return takings.http_request
function operation:request() end

---The key it is sent with; nil for a look.
---@return string? key
function operation:idempotency_key() end

---How long a connection may take to be made, in milliseconds, within the time of "send".
---@return integer milliseconds
function operation:connect_timeout() end

---What is left of the time of the last "send", in milliseconds, for a client that reads an answer piece by piece.
---@return integer milliseconds
function operation:time_left() end

---The requests that ended so far.
---@return takings.attempt[]
function operation:attempt_log() end

---The error for a caller that stops waiting: outcome_unknown, with the key.
---@return takings.error
function operation:abandoned() end

---What is sent over HTTP. `host` and `content-length` are the HTTP client's to add.
---@class takings.http_request
---@field method string POST, or GET for a look
---@field url string
---@field tls boolean whether it is https
---@field host string a name or an address, of IPv6 in brackets
---@field port integer
---@field target string what stands in the request line: the path
---@field headers table<string, string> names in lower case; authorization is the credential
---@field body string empty for a GET
---@field most_answer integer how many bytes of the answer's body are worth reading

---@param config takings.config
---@return takings.client? client
---@return takings.error? err
function takings.client(config) end

---A client from KLARNA_USERNAME and KLARNA_PASSWORD or KLARNA_API_KEY, and KLARNA_REGION with
---KLARNA_ENVIRONMENT or KLARNA_BASE_URL.
---@return takings.client? client
---@return takings.error? err
function takings.client_from_env() end

---The key of the capture called `name` of an order: the same after a crash, on any host, in every language.
---Two parcels need two names.
---@param order_id string
---@param name string such as "parcel-1"
---@return string? key
---@return takings.error? err
function takings.idempotency_key(order_id, name) end

---An amount in the minor units that Klarna counts in: minor("60.00", "EUR") is 6000. Nothing is rounded.
---@param amount string a decimal number with a point, such as "60", "-4.5" or "60.00"
---@param currency string of ISO 4217, such as "EUR"
---@return integer? minor
---@return takings.error? err
function takings.minor(amount, currency) end

---A fresh key, to be stored before the call.
---@return string? key
---@return takings.error? err
function takings.new_idempotency_key() end

return takings
