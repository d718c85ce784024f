/*
 * Every function of takings.h, with good arguments, with NULL for each argument, and with bytes
 * that are not UTF-8.
 *
 *     functions BASE_URL ORDER LOST_ORDER
 *
 * The answer to the first capture of LOST_ORDER gets lost. KLARNA_BASE_URL, KLARNA_USERNAME and
 * KLARNA_PASSWORD name the same sandbox.
 */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

static const char BAD_UTF8[] = "\xc3\x28";

/* Stands where an error would be written: it must stay on success, and must not be touched as an
 * error when one is written over it. */
static char untouched;
#define UNTOUCHED ((takings_error_t *)(void *)&untouched)

static bool is(const char *text, const char *expected) {
    return text && strcmp(text, expected) == 0;
}

/* The error says that an argument was refused, and which, and of which call it was. */
static void refused_of(takings_error_t *error, const char *beginning, const char *order_id, const char *key) {
    CHECK(error && error != UNTOUCHED);
    if (strncmp(takings_error_message(error), beginning, strlen(beginning)) != 0) {
        fprintf(stderr, "%s\n", takings_error_message(error));
        CHECK(!"the message begins as expected");
    }
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_INVALID_INPUT);
    CHECK(is(takings_error_kind_name(error), "invalid_input"));
    CHECK(takings_error_attempts(error) == 0);
    CHECK(!takings_error_retryable(error));
    CHECK(takings_error_attempt_log_count(error) == 0 && !takings_error_attempt_log(error, 0));
    CHECK(order_id ? is(takings_error_order_id(error), order_id) : !takings_error_order_id(error));
    CHECK(key ? is(takings_error_idempotency_key(error), key) : !takings_error_idempotency_key(error));
    takings_error_free(error);
}

static void refused(takings_error_t *error, const char *beginning) {
    refused_of(error, beginning, NULL, NULL);
}

/* A request that was answered with this status, the only one of its call. */
static void one_attempt(const takings_attempt_t *attempt, unsigned status) {
    CHECK(takings_attempt_started_ms(attempt) > 1577836800000); /* 2020 */
    CHECK(takings_attempt_took_ms(attempt) >= 0 && takings_attempt_took_ms(attempt) < 20000);
    CHECK(strstr(takings_attempt_sent(attempt), "/ordermanagement/v1/orders/"));
    CHECK((unsigned)strtoul(takings_attempt_came_back(attempt), NULL, 10) == status);
    CHECK(takings_attempt_http_status(attempt) == status);
    CHECK((takings_attempt_error_code(attempt) != NULL) == (status >= 400));
    CHECK(strlen(takings_attempt_correlation_id(attempt)) > 0);
    CHECK(takings_attempt_wait_ms(attempt) == -1);
    CHECK(takings_attempt_asked_to_wait_ms(attempt) == -1);
}

static void versions(void) {
    char text[64];
    CHECK(is(takings_version(), TAKINGS_VERSION));
    snprintf(text, sizeof text, "%d.%d.%d", TAKINGS_VERSION_MAJOR, TAKINGS_VERSION_MINOR, TAKINGS_VERSION_PATCH);
    CHECK(strncmp(TAKINGS_VERSION, text, strlen(text)) == 0);
}

static void clients(const char *base_url) {
    takings_error_t *error = UNTOUCHED;
    takings_client_t *client = sandbox_client(base_url, 3);
    CHECK(strncmp(takings_client_base_url(client), base_url, strlen(base_url)) == 0);
    takings_client_free(client);

    client = takings_client_from_env(NULL, &error);
    CHECK(client && error == UNTOUCHED);
    CHECK(strncmp(takings_client_base_url(client), base_url, strlen(base_url)) == 0);
    takings_client_free(client);
    client = takings_client_from_env(NULL, NULL);
    CHECK(client);
    takings_client_free(client);
    client = takings_client_from_env("{\"base_url\": \"http://127.0.0.1:1/\", \"timeout_ms\": 10000}", &error);
    CHECK(is(takings_client_base_url(client), "http://127.0.0.1:1/") && error == UNTOUCHED);
    takings_client_free(client);
    CHECK(!takings_client_from_env("{\"timeout\": 10}", &error));
    refused(error, "timeout is not a field of a setting; did you mean timeout_ms?");
    CHECK(!takings_client_from_env("{} x", &error));
    refused(error, "the configuration is not valid JSON");
    CHECK(!takings_client_from_env(BAD_UTF8, &error));
    refused(error, "config_json is not valid UTF-8; ");
    CHECK(setenv("KLARNA_TIMEOUT", "soon", 1) == 0);
    CHECK(!takings_client_from_env(NULL, &error));
    refused(error, "KLARNA_TIMEOUT is ");
    CHECK(unsetenv("KLARNA_TIMEOUT") == 0);

    CHECK(!takings_client_new(NULL, &error));
    refused(error, "config_json is NULL; ");
    error = UNTOUCHED;
    CHECK(!takings_client_new(BAD_UTF8, &error));
    refused(error, "config_json is not valid UTF-8; ");
    CHECK(!takings_client_new("{\"regoin\": \"eu\"}", &error));
    refused(error, "regoin is not a field");
    CHECK(!takings_client_new(NULL, NULL));
    CHECK(!takings_client_new("{", NULL));

    CHECK(!takings_client_base_url(NULL));
    takings_client_free(NULL);
}

static void captures(const char *base_url, const char *order_id) {
    static const char REQUEST[] = "{\"captured_amount\": 10, \"order_lines\": "
                                  "[{\"name\": \"a\", \"quantity\": 1, \"unit_price\": 9, \"total_amount\": 10}]}";
    takings_client_t *client = sandbox_client(base_url, 3);
    takings_error_t *error = UNTOUCHED;
    takings_capture_t *capture, *again;

    capture = takings_client_capture(client, order_id, REQUEST, "functions-1", &error);
    CHECK(capture && error == UNTOUCHED);
    CHECK(strlen(takings_capture_capture_id(capture)) > 0);
    CHECK(is(takings_capture_order_id(capture), order_id));
    CHECK(is(takings_capture_idempotency_key(capture), "functions-1"));
    CHECK(strlen(takings_capture_correlation_id(capture)) > 0);
    CHECK(takings_capture_attempts(capture) == 1);
    CHECK(takings_capture_attempt_log_count(capture) == 1 && !takings_capture_attempt_log(capture, 1));
    one_attempt(takings_capture_attempt_log(capture, 0), 201);
    CHECK(takings_capture_warning_count(capture) == 1);
    CHECK(strstr(takings_capture_warning(capture, 0), "order_lines[0].total_amount"));
    CHECK(!takings_capture_warning(capture, 1));
    CHECK(!takings_capture_warning(capture, (size_t)-1));

    again = takings_client_capture(client, order_id, REQUEST, "functions-1", NULL);
    CHECK(is(takings_capture_capture_id(again), takings_capture_capture_id(capture)));
    takings_capture_free(again);

    again = takings_client_capture(client, order_id, "{\"captured_amount\": 10}", NULL, NULL);
    CHECK(again && !is(takings_capture_capture_id(again), takings_capture_capture_id(capture)));
    CHECK(strlen(takings_capture_idempotency_key(again)) == 36);
    CHECK(takings_capture_warning_count(again) == 0 && !takings_capture_warning(again, 0));
    takings_capture_free(again);

    CHECK(!takings_client_capture(NULL, order_id, REQUEST, NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_capture(client, NULL, REQUEST, "key", &error));
    refused_of(error, "order_id is NULL; ", NULL, "key");
    CHECK(!takings_client_capture(client, order_id, NULL, "key", &error));
    refused_of(error, "request_json is NULL; ", order_id, "key");
    CHECK(!takings_client_capture(NULL, NULL, NULL, NULL, NULL));
    CHECK(!takings_client_capture(client, BAD_UTF8, REQUEST, NULL, &error));
    refused(error, "order_id is not valid UTF-8; ");
    CHECK(!takings_client_capture(client, order_id, BAD_UTF8, NULL, &error));
    refused_of(error, "request_json is not valid UTF-8; ", order_id, NULL);
    CHECK(!takings_client_capture(client, order_id, REQUEST, BAD_UTF8, &error));
    refused_of(error, "idempotency_key is not valid UTF-8; ", order_id, NULL);
    CHECK(!takings_client_capture(client, order_id, "{\"captured_amount\": 10.5}", NULL, &error));
    refused_of(error, "captured_amount is ", order_id, NULL);
    CHECK(!takings_client_capture(client, order_id, "{\"captured_amount\": 11}", "functions-1", &error));
    refused_of(error, "idempotency_key functions-1 was used for another capture", order_id, "functions-1");

    /* Returned objects do not need the client. */
    takings_client_free(client);
    CHECK(is(takings_capture_order_id(capture), order_id));
    takings_capture_free(capture);

    CHECK(!takings_capture_capture_id(NULL));
    CHECK(!takings_capture_order_id(NULL));
    CHECK(!takings_capture_idempotency_key(NULL));
    CHECK(!takings_capture_correlation_id(NULL));
    CHECK(takings_capture_attempts(NULL) == 0);
    CHECK(takings_capture_attempt_log_count(NULL) == 0 && !takings_capture_attempt_log(NULL, 0));
    CHECK(takings_capture_warning_count(NULL) == 0);
    CHECK(!takings_capture_warning(NULL, 0));
    takings_capture_free(NULL);
}

static void reconciliations(const char *base_url, const char *order_id) {
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_error_t *error = UNTOUCHED;
    takings_reconciliation_t *found;
    takings_capture_t *capture;

    found = takings_client_reconcile(client, order_id, "find-me", 7, &error);
    CHECK(found && error == UNTOUCHED);
    CHECK(takings_reconciliation_found(found) == TAKINGS_FOUND_NEVER);
    CHECK(!takings_reconciliation_capture_id(found));
    CHECK(takings_reconciliation_capture_id_count(found) == 0);
    takings_reconciliation_free(found);

    capture = takings_client_capture(client, order_id, "{\"captured_amount\": 7, \"reference\": \"find-me\"}", NULL, NULL);
    found = takings_client_reconcile(client, order_id, "find-me", 7, NULL);
    CHECK(takings_reconciliation_found(found) == TAKINGS_FOUND_ONCE);
    CHECK(is(takings_reconciliation_capture_id(found), takings_capture_capture_id(capture)));
    CHECK(is(takings_reconciliation_capture_id_at(found, 0), takings_capture_capture_id(capture)));
    CHECK(!takings_reconciliation_capture_id_at(found, 1));
    CHECK(takings_reconciliation_other_capture_id_count(found) == 0);
    CHECK(!takings_reconciliation_other_capture_id(found, 0));
    CHECK(is(takings_reconciliation_order_id(found), order_id));
    CHECK(strlen(takings_reconciliation_correlation_id(found)) > 0);
    CHECK(takings_reconciliation_attempts(found) == 1);
    CHECK(takings_reconciliation_attempt_log_count(found) == 1 && !takings_reconciliation_attempt_log(found, 1));
    one_attempt(takings_reconciliation_attempt_log(found, 0), 200);
    takings_reconciliation_free(found);
    takings_capture_free(capture);

    CHECK(!takings_client_reconcile(NULL, order_id, "r", 1, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_reconcile(client, NULL, "r", 1, &error));
    refused(error, "order_id is NULL; ");
    CHECK(!takings_client_reconcile(client, order_id, NULL, 1, &error));
    refused_of(error, "reference is NULL; ", order_id, NULL);
    CHECK(!takings_client_reconcile(client, order_id, "r", 0, &error));
    refused_of(error, "captured_amount is 0; ", order_id, NULL);
    CHECK(!takings_client_reconcile(client, order_id, BAD_UTF8, 1, NULL));
    takings_client_free(client);

    CHECK(takings_reconciliation_found(NULL) == TAKINGS_FOUND_NOTHING);
    CHECK(!takings_reconciliation_capture_id(NULL));
    CHECK(takings_reconciliation_capture_id_count(NULL) == 0);
    CHECK(!takings_reconciliation_capture_id_at(NULL, 0));
    CHECK(takings_reconciliation_other_capture_id_count(NULL) == 0);
    CHECK(!takings_reconciliation_other_capture_id(NULL, 0));
    CHECK(!takings_reconciliation_order_id(NULL));
    CHECK(!takings_reconciliation_correlation_id(NULL));
    CHECK(takings_reconciliation_attempts(NULL) == 0);
    CHECK(takings_reconciliation_attempt_log_count(NULL) == 0 && !takings_reconciliation_attempt_log(NULL, 0));
    takings_reconciliation_free(NULL);
}

static void errors(const char *base_url, const char *lost_order_id) {
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_client_t *nobody = sandbox_client("http://127.0.0.1:1", 1);
    takings_error_t *error = UNTOUCHED;
    takings_capture_t *capture;

    CHECK(!takings_client_capture(client, "no-such-order", "{\"captured_amount\": 1, \"first_use\": true}", "functions-2",
                                  &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_REJECTED);
    CHECK(is(takings_error_kind_name(error), "rejected"));
    CHECK(strstr(takings_error_message(error), "no-such-order"));
    CHECK(takings_error_http_status(error) == 404);
    CHECK(is(takings_error_error_code(error), "NO_SUCH_ORDER"));
    CHECK(takings_error_error_message_count(error) == 1);
    CHECK(strlen(takings_error_error_message(error, 0)) > 0);
    CHECK(!takings_error_error_message(error, 1));
    CHECK(strlen(takings_error_correlation_id(error)) > 0);
    CHECK(is(takings_error_order_id(error), "no-such-order"));
    CHECK(is(takings_error_idempotency_key(error), "functions-2"));
    CHECK(takings_error_attempts(error) == 1);
    CHECK(takings_error_attempt_log_count(error) == 1);
    one_attempt(takings_error_attempt_log(error, 0), 404);
    CHECK(!takings_error_retryable(error));
    takings_error_free(error);

    CHECK(!takings_client_capture(nobody, "order", "{\"captured_amount\": 1}", NULL, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_NOT_SENT);
    CHECK(is(takings_error_kind_name(error), "not_sent"));
    CHECK(takings_error_http_status(error) == 0);
    CHECK(!takings_error_error_code(error));
    CHECK(takings_error_error_message_count(error) == 0 && !takings_error_error_message(error, 0));
    CHECK(!takings_error_correlation_id(error));
    CHECK(strlen(takings_error_idempotency_key(error)) == 36);
    CHECK(takings_error_retryable(error));
    takings_error_free(error);

    CHECK(!takings_client_capture(client, lost_order_id, "{\"captured_amount\": 7}", NULL, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_OUTCOME_UNKNOWN);
    CHECK(is(takings_error_kind_name(error), "outcome_unknown"));
    CHECK(takings_error_retryable(error));
    /* The error's own key, asked again with: the money moved once. */
    capture = takings_client_capture(client, lost_order_id, "{\"captured_amount\": 7}",
                                     takings_error_idempotency_key(error), NULL);
    CHECK(capture);
    takings_capture_free(capture);
    /* Returned objects do not need the client. */
    takings_client_free(client);
    CHECK(is(takings_error_order_id(error), lost_order_id));
    takings_error_free(error);
    takings_client_free(nobody);

    CHECK(takings_error_kind(NULL) == TAKINGS_ERROR_NONE);
    CHECK(!takings_error_kind_name(NULL));
    CHECK(!takings_error_message(NULL));
    CHECK(takings_error_http_status(NULL) == 0);
    CHECK(!takings_error_error_code(NULL));
    CHECK(takings_error_error_message_count(NULL) == 0);
    CHECK(!takings_error_error_message(NULL, 0));
    CHECK(!takings_error_correlation_id(NULL));
    CHECK(!takings_error_order_id(NULL));
    CHECK(!takings_error_idempotency_key(NULL));
    CHECK(takings_error_attempts(NULL) == 0);
    CHECK(!takings_error_retryable(NULL));
    CHECK(takings_error_attempt_log_count(NULL) == 0 && !takings_error_attempt_log(NULL, 0));
    takings_error_free(NULL);

    CHECK(takings_attempt_started_ms(NULL) == 0 && takings_attempt_took_ms(NULL) == 0);
    CHECK(!takings_attempt_sent(NULL) && !takings_attempt_came_back(NULL));
    CHECK(takings_attempt_http_status(NULL) == 0);
    CHECK(!takings_attempt_error_code(NULL) && !takings_attempt_correlation_id(NULL));
    CHECK(takings_attempt_wait_ms(NULL) == -1 && takings_attempt_asked_to_wait_ms(NULL) == -1);
}

/* Every operation by its name, and what it gave by the names of its fields. */
static void replies(const char *base_url, const char *order_id) {
    static const char ARGUMENTS[] = "{\"captured_amount\": 9, \"reference\": \"by-name\", \"first_use\": true}";
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_error_t *error = UNTOUCHED;
    takings_reply_t *reply, *found;
    takings_call_t *call;
    int64_t number = -7;

    reply = takings_client_call(client, "capture", order_id, ARGUMENTS, "functions-3", &error);
    CHECK(reply && error == UNTOUCHED);
    CHECK(is(takings_reply_operation(reply), "capture"));
    CHECK(is(takings_reply_text(reply, "order_id"), order_id));
    CHECK(is(takings_reply_text(reply, "idempotency_key"), "functions-3"));
    CHECK(takings_reply_integer(reply, "attempts", &number) && number == 1);
    CHECK(takings_reply_count(reply, "warnings") == 0 && !takings_reply_text_at(reply, "warnings", 0));
    CHECK(takings_reply_count(reply, "attempt_log") == 1 && !takings_reply_text_at(reply, "attempt_log", 0));
    CHECK(strncmp(takings_reply_json(reply), "{", 1) == 0 && strstr(takings_reply_json(reply), "\"functions-3\""));
    /* neither another type of field nor a field of another name */
    number = -7;
    CHECK(!takings_reply_integer(reply, "order_id", &number) && !takings_reply_integer(reply, "found", &number));
    CHECK(!takings_reply_integer(reply, "attempts", NULL) && !takings_reply_integer(reply, NULL, &number));
    CHECK(!takings_reply_integer(reply, BAD_UTF8, &number) && number == -7);
    CHECK(!takings_reply_text(reply, "attempts") && !takings_reply_text(reply, "") && !takings_reply_text(reply, NULL));
    CHECK(!takings_reply_text(reply, BAD_UTF8) && takings_reply_count(reply, "order_id") == 0);
    CHECK(takings_reply_count(reply, NULL) == 0 && !takings_reply_text_at(reply, NULL, 0));

    found = takings_client_call(client, "reconcile", order_id,
                                "{\"reference\": \"by-name\", \"captured_amount\": 9}", NULL, NULL);
    CHECK(is(takings_reply_text(found, "found"), "once") && takings_reply_count(found, "capture_ids") == 1);
    CHECK(is(takings_reply_text_at(found, "capture_ids", 0), takings_reply_text(reply, "capture_id")));
    takings_reply_free(found);
    takings_reply_free(reply);

    CHECK(!takings_client_call(client, "captured", order_id, "{}", "key", &error));
    refused_of(error, "operation is \"captured\", which is not known", order_id, "key");
    CHECK(!takings_client_call(client, NULL, order_id, "{}", NULL, &error));
    refused(error, "operation is NULL; ");
    CHECK(!takings_client_call(client, "capture", NULL, "{}", "key", &error));
    refused_of(error, "order_id is NULL; ", NULL, "key");
    CHECK(!takings_client_call(client, "capture", order_id, NULL, "key", &error));
    refused_of(error, "arguments_json is NULL; ", order_id, "key");
    CHECK(!takings_client_call(client, "capture", order_id, "{}", BAD_UTF8, &error));
    refused_of(error, "idempotency_key is not valid UTF-8; ", order_id, NULL);
    CHECK(!takings_client_call(client, "reconcile", order_id, "{}", "key", &error));
    takings_error_free(error);
    CHECK(!takings_client_call(NULL, "capture", order_id, ARGUMENTS, NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_call(NULL, NULL, NULL, NULL, NULL, NULL));

    error = UNTOUCHED;
    call = takings_client_prepare_call(client, "capture", order_id, ARGUMENTS, "functions-4", &error);
    CHECK(call && error == UNTOUCHED && is(takings_call_idempotency_key(call), "functions-4"));
    CHECK(!takings_call_reply(call, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_OUTCOME_UNKNOWN);
    takings_error_free(error);
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    takings_call_answer_header(call, "Capture-Id", "4ba29b50-be7b-44f5-a492-113e6a865e22");
    CHECK(takings_call_answered(call, 201) == TAKINGS_STEP_DONE);
    reply = takings_call_reply(call, NULL);
    CHECK(is(takings_reply_text(reply, "capture_id"), "4ba29b50-be7b-44f5-a492-113e6a865e22"));
    takings_call_free(call);
    CHECK(is(takings_reply_operation(reply), "capture"));
    takings_reply_free(reply);
    CHECK(!takings_client_prepare_call(client, "capture", order_id, NULL, NULL, &error));
    refused_of(error, "arguments_json is NULL; ", order_id, NULL);
    CHECK(!takings_client_prepare_call(NULL, NULL, NULL, NULL, NULL, NULL));
    takings_client_free(client);

    CHECK(!takings_call_reply(NULL, &error));
    refused(error, "call is NULL; ");
    CHECK(!takings_reply_operation(NULL) && !takings_reply_json(NULL) && !takings_reply_text(NULL, "order_id"));
    CHECK(!takings_reply_integer(NULL, "attempts", &number) && takings_reply_count(NULL, "warnings") == 0);
    CHECK(!takings_reply_text_at(NULL, "warnings", 0));
    takings_reply_free(NULL);
}

/* Functions that need no client, and whole results as JSON. */
static void json_texts(const char *base_url, const char *order_id) {
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_error_t *error = UNTOUCHED;
    takings_reconciliation_t *found;
    takings_capture_t *capture;
    char *text = takings_call("minor", "{\"amount\": \"60.00\", \"currency\": \"EUR\"}", &error);
    CHECK(is(text, "6000") && error == UNTOUCHED);
    takings_string_free(text);
    text = takings_call("settings_from_env", "{}", NULL);
    CHECK(text && strstr(text, base_url));
    takings_string_free(text);
    CHECK(!takings_call("major", "{}", &error));
    refused(error, "name is \"major\"; ");
    CHECK(!takings_call(NULL, "{}", &error));
    refused(error, "name is NULL; ");
    CHECK(!takings_call("schema", NULL, &error));
    refused(error, "arguments_json is NULL; ");
    CHECK(!takings_call("schema", BAD_UTF8, &error));
    refused(error, "arguments_json is not valid UTF-8; ");
    CHECK(!takings_call(NULL, NULL, NULL));

    capture = takings_client_capture(client, order_id, "{\"captured_amount\": 3}", NULL, NULL);
    CHECK(strstr(takings_capture_json(capture), takings_capture_capture_id(capture)));
    takings_capture_free(capture);
    found = takings_client_reconcile(client, order_id, "by-name", 9, NULL);
    CHECK(strstr(takings_reconciliation_json(found), "\"found\":\"once\""));
    takings_reconciliation_free(found);
    CHECK(!takings_client_capture(client, order_id, "{}", "a \"key\"", &error));
    CHECK(strstr(takings_error_json(error), "\"kind\":\"invalid_input\""));
    takings_error_free(error);
    takings_client_free(client);
    CHECK(!takings_capture_json(NULL) && !takings_reconciliation_json(NULL) && !takings_error_json(NULL));
}

/* The request of a call, as it is to be sent. */
static void sendable(const takings_call_t *call, const char *method, const char *body, const char *key) {
    const char *sent_key = NULL;
    size_t i;
    bool authorized = false;
    CHECK(takings_call_time_ms(call) >= 1);
    CHECK(takings_call_connect_timeout_ms(call) >= 1);
    CHECK(is(takings_call_method(call), method));
    CHECK(strstr(takings_call_url(call), "/ordermanagement/v1/orders/an%20order/captures"));
    for (i = 0; i < takings_call_header_count(call); i++) {
        const char *name = takings_call_header_name(call, i);
        const char *value = takings_call_header_value(call, i);
        authorized = authorized || (is(name, "authorization") && is(value, "Basic c2FuZGJveDpzYW5kYm94"));
        sent_key = is(name, "klarna-idempotency-key") ? value : sent_key;
    }
    CHECK(authorized && i >= 3);
    CHECK(key ? is(sent_key, key) : !sent_key);
    CHECK(!takings_call_header_name(call, i) && !takings_call_header_value(call, i));
    CHECK(takings_call_body_length(call) == strlen(body));
    CHECK(body[0] ? memcmp(takings_call_body(call), body, strlen(body)) == 0
                  : !takings_call_body(call));
    CHECK(takings_call_most_answer(call) > 200000);
}

/* The call has no request to send. */
static void silent(const takings_call_t *call) {
    CHECK(!takings_call_method(call) && !takings_call_url(call));
    CHECK(takings_call_header_count(call) == 0 && !takings_call_header_name(call, 0));
    CHECK(!takings_call_header_value(call, 0) && !takings_call_body(call));
    CHECK(takings_call_body_length(call) == 0 && takings_call_most_answer(call) == 0);
}

/* Calls that this program sends by itself; that is, it only says so. */
static void calls(void) {
    static const char BODY[] = "{\"captured_amount\":10}";
    static const char REFUSAL[] = "{\"error_code\":\"CAPTURE_NOT_ALLOWED\",\"error_messages\":[\"no\"]}";
    takings_client_t *client = sandbox_client("http://127.0.0.1:1", 3);
    takings_error_t *error = UNTOUCHED;
    takings_call_t *call;
    takings_capture_t *capture, *again;
    takings_reconciliation_t *found;
    char *most;
    size_t length;

    /* each way an attempt can end, then a success */
    call = takings_client_prepare(client, "an order", "{\"captured_amount\": 10}", "call-1", &error);
    CHECK(call && error == UNTOUCHED);
    CHECK(is(takings_call_order_id(call), "an order"));
    CHECK(is(takings_call_idempotency_key(call), "call-1"));
    CHECK(takings_call_time_ms(call) == 0);
    silent(call);
    takings_call_answer_header(call, "Capture-Id", "too-early");
    CHECK(!takings_call_answer_body(call, "too early", 9));
    CHECK(!takings_call_capture(call, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_OUTCOME_UNKNOWN);
    CHECK(is(takings_error_idempotency_key(error), "call-1"));
    takings_error_free(error);
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    sendable(call, "POST", BODY, "call-1");
    /* The head of an answer that then broke off is forgotten. */
    takings_call_answer_header(call, "Capture-Id", "forgotten");
    CHECK(takings_call_maybe_sent(call, "reset \xff by peer") == TAKINGS_STEP_WAIT);
    silent(call);
    CHECK(takings_call_time_ms(call) >= 0 && takings_call_time_ms(call) <= 2);
    CHECK(takings_call_waited(call) == TAKINGS_STEP_SEND);
    CHECK(takings_call_not_sent(call, NULL) == TAKINGS_STEP_WAIT);
    CHECK(takings_call_waited(call) == TAKINGS_STEP_SEND);
    sendable(call, "POST", BODY, "call-1");
    takings_call_answer_header(call, "X-Odd", "\xff");
    takings_call_answer_header(call, NULL, "a");
    takings_call_answer_header(call, "a", NULL);
    takings_call_answer_header(call, "CAPTURE-ID", "4ba29b50-be7b-44f5-a492-113e6a865e22");
    CHECK(takings_call_answer_body(call, NULL, 0));
    CHECK(takings_call_answered(call, 201) == TAKINGS_STEP_DONE);
    CHECK(takings_call_time_ms(call) == 0);
    silent(call);
    error = UNTOUCHED;
    capture = takings_call_capture(call, &error);
    CHECK(is(takings_capture_capture_id(capture), "4ba29b50-be7b-44f5-a492-113e6a865e22") && error == UNTOUCHED);
    CHECK(takings_capture_attempts(capture) == 3 && takings_capture_attempt_log_count(capture) == 3);
    CHECK(is(takings_attempt_came_back(takings_capture_attempt_log(capture, 0)), "reset \xef\xbf\xbd by peer"));
    CHECK(takings_attempt_wait_ms(takings_capture_attempt_log(capture, 0)) >= 0);
    CHECK(takings_attempt_http_status(takings_capture_attempt_log(capture, 1)) == 0);
    CHECK(strstr(takings_attempt_came_back(takings_capture_attempt_log(capture, 1)), "not_sent: "));
    CHECK(takings_attempt_http_status(takings_capture_attempt_log(capture, 2)) == 201);
    /* The call keeps its end. */
    CHECK(takings_call_start(call) == TAKINGS_STEP_DONE);
    CHECK(takings_call_maybe_sent(call, "late") == TAKINGS_STEP_DONE);
    again = takings_call_capture(call, NULL);
    CHECK(is(takings_capture_capture_id(again), takings_capture_capture_id(capture)));
    takings_capture_free(again);
    CHECK(!takings_call_reconciliation(call, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_INTERNAL && takings_error_attempts(error) == 3);
    takings_error_free(error);
    takings_call_free(call);
    CHECK(is(takings_capture_order_id(capture), "an order"));
    takings_capture_free(capture);

    /* a refusal, its body in two parts */
    call = takings_client_prepare(client, "an order", "{\"captured_amount\": 10}", NULL, NULL);
    CHECK(strlen(takings_call_idempotency_key(call)) == 36);
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    CHECK(takings_call_answer_body(call, REFUSAL, 9));
    CHECK(takings_call_answer_body(call, REFUSAL + 9, sizeof REFUSAL - 1 - 9));
    CHECK(takings_call_answered(call, 403) == TAKINGS_STEP_DONE);
    CHECK(!takings_call_capture(call, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_REJECTED);
    CHECK(is(takings_error_error_code(error), "CAPTURE_NOT_ALLOWED"));
    CHECK(is(takings_attempt_error_code(takings_error_attempt_log(error, 0)), "CAPTURE_NOT_ALLOWED"));
    takings_error_free(error);
    takings_call_free(call);

    /* too much of a body */
    call = takings_client_prepare(client, "an order", "{\"captured_amount\": 10}", NULL, NULL);
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    length = takings_call_most_answer(call) + 1;
    most = (char *)calloc(1, length);
    CHECK(most);
    CHECK(takings_call_answer_body(call, most, length - 2));
    CHECK(!takings_call_answer_body(call, most, length));
    CHECK(!takings_call_answer_body(call, most, 1));
    free(most);
    CHECK(takings_call_answered(call, 503) == TAKINGS_STEP_WAIT);
    /* out of turn: internal, and after a request that is no "no" */
    CHECK(takings_call_answered(call, 201) == TAKINGS_STEP_DONE);
    CHECK(!takings_call_capture(call, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_INTERNAL && takings_error_retryable(error));
    takings_error_free(error);
    takings_call_free(call);

    /* a look-up */
    call = takings_client_prepare_reconcile(client, "an order", "find-me", 7, &error);
    CHECK(call && !takings_call_idempotency_key(call));
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    sendable(call, "GET", "", NULL);
    CHECK(takings_call_answer_body(call, "[]", 2));
    CHECK(takings_call_answered(call, 200) == TAKINGS_STEP_DONE);
    found = takings_call_reconciliation(call, &error);
    CHECK(takings_reconciliation_found(found) == TAKINGS_FOUND_NEVER);
    takings_reconciliation_free(found);
    CHECK(!takings_call_capture(call, &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_INTERNAL);
    takings_error_free(error);
    takings_call_free(call);

    /* refused before there is anything to send */
    CHECK(!takings_client_prepare(client, "an order", "{}", "call-2", &error));
    refused_of(error, "captured_amount is missing", "an order", "call-2");
    CHECK(!takings_client_prepare(client, BAD_UTF8, "{}", NULL, &error));
    refused(error, "order_id is not valid UTF-8; ");
    CHECK(!takings_client_prepare(NULL, NULL, NULL, NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_reconcile(client, "an order", BAD_UTF8, 1, &error));
    refused_of(error, "reference is not valid UTF-8; ", "an order", NULL);
    CHECK(!takings_client_prepare_reconcile(NULL, NULL, NULL, 0, &error));
    refused(error, "client is NULL; ");

    /* given up while it runs; and the client freed before */
    call = takings_client_prepare(client, "an order", "{\"captured_amount\": 10}", NULL, NULL);
    takings_client_free(client);
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    takings_call_answer_header(call, "Capture-Id", "lost");
    takings_call_free(call);

    CHECK(takings_call_start(NULL) == TAKINGS_STEP_NONE);
    CHECK(takings_call_answered(NULL, 201) == TAKINGS_STEP_NONE);
    CHECK(takings_call_not_sent(NULL, NULL) == TAKINGS_STEP_NONE);
    CHECK(takings_call_maybe_sent(NULL, NULL) == TAKINGS_STEP_NONE);
    CHECK(takings_call_waited(NULL) == TAKINGS_STEP_NONE);
    takings_call_answer_header(NULL, "a", "b");
    CHECK(!takings_call_answer_body(NULL, "a", 1));
    CHECK(!takings_call_order_id(NULL) && !takings_call_idempotency_key(NULL));
    CHECK(takings_call_time_ms(NULL) == 0 && takings_call_connect_timeout_ms(NULL) == 0);
    silent(NULL);
    CHECK(!takings_call_capture(NULL, &error));
    refused(error, "call is NULL; ");
    CHECK(!takings_call_reconciliation(NULL, &error));
    refused(error, "call is NULL; ");
    takings_call_free(NULL);
}

static void amounts(void) {
    takings_error_t *error = UNTOUCHED;
    int64_t minor = -1;
    CHECK(takings_minor("60.00", "EUR", &minor, &error) && minor == 6000 && error == UNTOUCHED);
    CHECK(takings_minor("1500", "JPY", &minor, NULL) && minor == 1500);
    CHECK(takings_minor("-92233720368547758.08", "eur", &minor, &error) && minor == INT64_MIN);
    minor = -1;
    CHECK(!takings_minor("19,99", "EUR", &minor, &error));
    refused(error, "amount is \"19,99\" (with a comma); ");
    CHECK(!takings_minor("19.99", "Euro", &minor, &error));
    refused(error, "currency is \"Euro\"; ");
    CHECK(!takings_minor(NULL, "EUR", &minor, &error));
    refused(error, "amount is NULL; ");
    CHECK(!takings_minor("1", NULL, &minor, &error));
    refused(error, "currency is NULL; ");
    CHECK(!takings_minor(BAD_UTF8, "EUR", &minor, &error));
    refused(error, "amount is not valid UTF-8; ");
    CHECK(!takings_minor("1", "EUR", NULL, &error));
    refused(error, "minor is NULL; ");
    CHECK(!takings_minor(NULL, NULL, NULL, NULL));
    CHECK(minor == -1);
}

static void keys(void) {
    takings_error_t *error = UNTOUCHED;
    char *key = takings_idempotency_key("f3392f8b-6116-4073-ab96-e330819e2c07", "parcel-1", &error);
    char *other;
    CHECK(is(key, "e642b253-7331-5441-bb3d-c291abd550aa") && error == UNTOUCHED);
    takings_string_free(key);

    CHECK(!takings_idempotency_key(NULL, "parcel-1", &error));
    refused(error, "order_id is NULL; ");
    CHECK(!takings_idempotency_key("order", NULL, &error));
    refused(error, "name is NULL; ");
    CHECK(!takings_idempotency_key(BAD_UTF8, "parcel-1", &error));
    refused(error, "order_id is not valid UTF-8; ");
    CHECK(!takings_idempotency_key("order", BAD_UTF8, &error));
    refused(error, "name is not valid UTF-8; ");
    CHECK(!takings_idempotency_key("order", "", &error));
    refused(error, "name is empty; ");
    CHECK(!takings_idempotency_key(NULL, NULL, NULL));

    error = UNTOUCHED;
    key = takings_idempotency_key_for("capture", "f3392f8b-6116-4073-ab96-e330819e2c07", NULL, "parcel-1", &error);
    CHECK(is(key, "e642b253-7331-5441-bb3d-c291abd550aa") && error == UNTOUCHED);
    takings_string_free(key);
    CHECK(!takings_idempotency_key_for("reconcile", "order", NULL, "parcel-1", &error));
    refused(error, "operation is ");
    CHECK(!takings_idempotency_key_for(NULL, "order", NULL, "parcel-1", &error));
    refused(error, "operation is NULL; ");
    CHECK(!takings_idempotency_key_for("capture", NULL, NULL, "parcel-1", &error));
    refused(error, "order_id is NULL; ");
    CHECK(!takings_idempotency_key_for("capture", "order", NULL, NULL, &error));
    refused(error, "name is NULL; ");
    CHECK(!takings_idempotency_key_for("refund", "order", "capture", "return-1", &error));
    refused(error, "capture_id is given for refund");
    CHECK(!takings_idempotency_key_for("extend_due_date", "order", NULL, "2026-12-01", &error));
    refused(error, "capture_id is left out for extend_due_date");
    key = takings_idempotency_key_for("append_shipping_info", "f3392f8b-6116-4073-ab96-e330819e2c07",
                                      "4ba29b50-be7b-44f5-a492-113e6a865e22", "parcel-1", &error);
    CHECK(is(key, "ecc93ae8-c25e-58f3-b694-c321afcac84a"));
    takings_string_free(key);

    error = UNTOUCHED;
    key = takings_new_idempotency_key(&error);
    other = takings_new_idempotency_key(NULL);
    CHECK(strlen(key) == 36 && strlen(other) == 36 && strcmp(key, other) != 0 && error == UNTOUCHED);
    takings_string_free(key);
    takings_string_free(other);
    takings_string_free(NULL);
}

static void json(void) {
    takings_error_t *error = UNTOUCHED;
    takings_json_t *json = takings_json_new();
    CHECK(is(takings_json_text(json), "{}"));
    CHECK(takings_json_set_integer(json, "/captured_amount", INT64_MAX, &error));
    CHECK(takings_json_set_integer(json, "/captured_amount", INT64_MIN, &error));
    CHECK(takings_json_set_string(json, "/order_lines/0/name", "\"}], \"captured_amount\": 1, \xc3\xb6\n", &error));
    CHECK(takings_json_set_bool(json, "/order_lines/-/bool", true, NULL));
    CHECK(takings_json_set_bool(json, "/order_lines/1/other", false, NULL));
    CHECK(takings_json_set_null(json, "/null", &error));
    CHECK(takings_json_set_empty_list(json, "/list", &error));
    CHECK(takings_json_set_empty_object(json, "/object", &error));
    CHECK(error == UNTOUCHED);
    CHECK(is(takings_json_text(json),
             "{\"captured_amount\":-9223372036854775808,\"order_lines\":[{\"name\":"
             "\"\\\"}], \\\"captured_amount\\\": 1, \xc3\xb6\\n\"},{\"bool\":true,\"other\":false}],"
             "\"null\":null,\"list\":[],\"object\":{}}"));
    takings_json_free(json);

    json = takings_json_new();
    CHECK(!takings_json_set_string(NULL, "/a", "b", &error));
    refused(error, "json is NULL; ");
    CHECK(!takings_json_set_string(json, NULL, "b", &error));
    refused(error, "pointer is NULL; ");
    CHECK(!takings_json_set_string(json, "/a", NULL, &error));
    refused(error, "value is NULL; ");
    CHECK(!takings_json_set_string(json, BAD_UTF8, "b", &error));
    refused(error, "pointer is not valid UTF-8; ");
    CHECK(!takings_json_set_string(json, "/a", BAD_UTF8, &error));
    refused(error, "value is not valid UTF-8; ");
    CHECK(!takings_json_set_string(json, "a", "b", &error));
    refused(error, "pointer is \"a\"; ");
    CHECK(!takings_json_set_integer(NULL, "/a", 1, &error));
    refused(error, "json is NULL; ");
    CHECK(!takings_json_set_integer(json, NULL, 1, &error));
    refused(error, "pointer is NULL; ");
    CHECK(!takings_json_set_bool(NULL, "/a", true, &error));
    refused(error, "json is NULL; ");
    CHECK(!takings_json_set_bool(json, NULL, true, &error));
    refused(error, "pointer is NULL; ");
    CHECK(!takings_json_set_null(NULL, "/a", &error));
    refused(error, "json is NULL; ");
    CHECK(!takings_json_set_null(json, NULL, &error));
    refused(error, "pointer is NULL; ");
    CHECK(!takings_json_set_empty_list(NULL, "/a", &error));
    refused(error, "json is NULL; ");
    CHECK(!takings_json_set_empty_list(json, NULL, &error));
    refused(error, "pointer is NULL; ");
    CHECK(!takings_json_set_empty_object(NULL, "/a", &error));
    refused(error, "json is NULL; ");
    CHECK(!takings_json_set_empty_object(json, NULL, &error));
    refused(error, "pointer is NULL; ");
    CHECK(!takings_json_set_string(NULL, NULL, NULL, NULL));
    CHECK(!takings_json_set_integer(NULL, NULL, 0, NULL));
    CHECK(!takings_json_set_bool(NULL, NULL, false, NULL));
    CHECK(!takings_json_set_null(NULL, NULL, NULL));
    CHECK(!takings_json_set_empty_list(NULL, NULL, NULL));
    CHECK(!takings_json_set_empty_object(NULL, NULL, NULL));
    CHECK(is(takings_json_text(json), "{}"));
    takings_json_free(json);

    CHECK(!takings_json_text(NULL));
    takings_json_free(NULL);
}

/* Each operation has functions of its own. Without a client they refuse. */
static void operations_without_a_client(void) {
    takings_error_t *error = NULL;
    CHECK(!takings_client_acknowledge(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_acknowledge(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_cancel(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_cancel(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_extend_authorization_time(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_extend_authorization_time(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_release_remaining_authorization(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_release_remaining_authorization(NULL, "order", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_update_authorization(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_update_authorization(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_update_customer_details(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_update_customer_details(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_update_merchant_references(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_update_merchant_references(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_with_options(NULL, "{}", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_append_shipping_info(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_append_shipping_info(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_append_order_shipping_info(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_append_order_shipping_info(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_refund(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_refund(NULL, "order", "{}", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_trigger_send_out(NULL, "order", "c", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_trigger_send_out(NULL, "order", "c", NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_extend_due_date(NULL, "order", "c", 10, NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_extend_due_date(NULL, "order", "c", 10, NULL, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_get_order(NULL, "order", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_get_order(NULL, "order", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_get_captures(NULL, "order", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_get_captures(NULL, "order", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_get_capture(NULL, "order", "c", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_get_capture(NULL, "order", "c", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_get_extend_due_date_options(NULL, "order", "c", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_get_extend_due_date_options(NULL, "order", "c", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_get_refund(NULL, "order", "r", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_get_refund(NULL, "order", "r", &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_reconcile_refund(NULL, "order", "r", 1, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_prepare_reconcile_refund(NULL, "order", "r", 1, &error));
    refused(error, "client is NULL; ");
}

static void confirmed(takings_confirmation_t *confirmation, const char *order_id) {
    CHECK(confirmation);
    CHECK(is(takings_confirmation_order_id(confirmation), order_id));
    CHECK(strlen(takings_confirmation_idempotency_key(confirmation)) > 0);
    CHECK(strlen(takings_confirmation_correlation_id(confirmation)) > 0);
    CHECK(takings_confirmation_attempts(confirmation) == 1);
    CHECK(takings_confirmation_warning_count(confirmation) == 0 && !takings_confirmation_warning(confirmation, 0));
    CHECK(takings_confirmation_attempt_log_count(confirmation) == 1);
    one_attempt(takings_confirmation_attempt_log(confirmation, 0), 204);
    CHECK(strstr(takings_confirmation_json(confirmation), "\"attempts\":1"));
    takings_confirmation_free(confirmation);
}

static void document(takings_document_t *read, const char *order_id, const char *part, const char *place) {
    CHECK(read);
    CHECK(strstr(takings_document_raw(read), part));
    CHECK(takings_document_at(read, place));
    CHECK(takings_document_warning_count(read) == 0 && !takings_document_warning(read, 0));
    CHECK(is(takings_document_order_id(read), order_id));
    CHECK(strlen(takings_document_correlation_id(read)) > 0);
    CHECK(takings_document_answered_at_ms(read) > 1577836800000); /* 2020 */
    CHECK(takings_document_attempts(read) == 1 && takings_document_attempt_log_count(read) == 1);
    one_attempt(takings_document_attempt_log(read, 0), 200);
    CHECK(strstr(takings_document_json(read), "\"raw\":"));
    takings_document_free(read);
}

/* Each function of a value, over an answer with a member of each kind. */
static void values(const char *base_url) {
    static const char body[] =
        "{\"order_id\": \"an order\", \"status\": \"AUTHORIZED\", \"order_amount\": 6000.5, \"locale\": \"\","
        "\"captured_amount\": 9007199254740991, \"merchant_data\": null, \"expires_at\": \"2026-12-24T00:00:00Z\","
        "\"captures\": [{\"capture_id\": \"c-1\", \"captured_amount\": 7}], \"a/b~c\": {\"x\": [true, null, 1.5]}}";
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_call_t *call = takings_client_prepare_get_order(client, "an order", NULL);
    const takings_value_t *value;
    takings_document_t *read;
    takings_error_t *error = NULL;
    takings_reply_t *reply;
    int64_t number = -7;
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    CHECK(takings_call_answer_body(call, body, sizeof body - 1));
    CHECK(takings_call_answered(call, 200) == TAKINGS_STEP_DONE);
    read = takings_call_document(call, NULL);
    CHECK(read && is(takings_document_raw(read), body));
    CHECK(takings_document_warning_count(read) == 1 && strstr(takings_document_warning(read, 0), "order_amount"));

    value = takings_document_at(read, "/status");
    CHECK(takings_value_kind(value) == TAKINGS_VALUE_TEXT && is(takings_value_text(value), "AUTHORIZED"));
    CHECK(!takings_value_integer(value, &number) && !takings_value_time_ms(value, &number) && number == -7);
    CHECK(!takings_value_count(value) && !takings_value_at(value, 0) && !takings_value_member(value, "a"));
    CHECK(takings_value_integer(takings_document_at(read, "/captured_amount"), &number) && number == 9007199254740991);
    CHECK(takings_value_kind(takings_document_at(read, "/captured_amount")) == TAKINGS_VALUE_INTEGER);
    CHECK(!takings_value_integer(takings_document_at(read, "/captured_amount"), NULL));
    CHECK(!takings_document_at(read, "/order_amount") && !takings_document_at(read, "/merchant_data"));
    CHECK(is(takings_value_text(takings_document_at(read, "/locale")), ""));
    CHECK(takings_value_time_ms(takings_document_at(read, "/expires_at"), &number) && number == 1798070400000);
    CHECK(is(takings_value_text(takings_document_at(read, "/expires_at")), "2026-12-24T00:00:00Z"));

    value = takings_document_at(read, "/captures");
    CHECK(takings_value_kind(value) == TAKINGS_VALUE_LIST && takings_value_count(value) == 1);
    CHECK(!takings_value_at(value, 1) && !takings_value_name(value, 0) && !takings_value_text(value));
    value = takings_value_at(value, 0);
    CHECK(takings_value_kind(value) == TAKINGS_VALUE_OBJECT && takings_value_count(value) == 2);
    CHECK(is(takings_value_text(value), "{\"capture_id\": \"c-1\", \"captured_amount\": 7}"));
    CHECK(is(takings_value_name(value, 1), "captured_amount") && !takings_value_name(value, 2));
    CHECK(takings_value_member(value, "captured_amount") == takings_document_at(read, "/captures/0/captured_amount"));
    CHECK(!takings_value_member(value, "x") && !takings_value_member(value, NULL));

    value = takings_document_at(read, "/a~1b~0c/x");
    CHECK(takings_value_kind(takings_value_at(value, 0)) == TAKINGS_VALUE_BOOL);
    CHECK(takings_value_integer(takings_value_at(value, 0), &number) && number == 1);
    CHECK(takings_value_kind(takings_value_at(value, 1)) == TAKINGS_VALUE_NULL);
    CHECK(takings_value_kind(takings_value_at(value, 2)) == TAKINGS_VALUE_NUMBER);
    CHECK(is(takings_value_text(takings_value_at(value, 2)), "1.5"));
    CHECK(takings_value_count(takings_document_at(read, "")) == 7);
    CHECK(!takings_document_at(read, "status") && !takings_document_at(read, "/captures/1"));
    CHECK(!takings_document_at(read, NULL) && !takings_document_at(NULL, ""));

    CHECK(takings_value_kind(NULL) == TAKINGS_VALUE_NONE && !takings_value_text(NULL) && !takings_value_name(NULL, 0));
    CHECK(!takings_value_integer(NULL, &number) && !takings_value_time_ms(NULL, &number) && !takings_value_count(NULL));
    CHECK(!takings_value_at(NULL, 0) && !takings_value_member(NULL, "a"));

    reply = takings_call_reply(call, NULL);
    CHECK(takings_value_integer(takings_reply_at(reply, "/captures/0/captured_amount"), &number) && number == 7);
    CHECK(!takings_reply_at(NULL, "") && !takings_reply_at(reply, NULL));
    takings_reply_free(reply);
    takings_document_free(read);
    takings_document_free(takings_call_document_of(call, "Order", NULL));
    CHECK(!takings_call_document_of(call, "Captures", &error) && takings_error_kind(error) == TAKINGS_ERROR_INTERNAL);
    takings_error_free(error);
    takings_call_free(call);
    takings_client_free(client);
}

/* The life of an order. */
static void operations(const char *base_url, const char *order_id) {
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_error_t *error = NULL;
    takings_capture_t *capture = takings_client_capture(
        client, order_id, "{\"captured_amount\": 7, \"reference\": \"parcel-9\"}", NULL, NULL);
    const char *id = takings_capture_capture_id(capture);
    char shipping[256];
    takings_refund_t *refund;
    takings_refund_reconciliation_t *found;
    takings_call_t *call;
    CHECK(id);
    document(takings_client_get_order(client, order_id, NULL), order_id, order_id, "/status");
    document(takings_client_get_captures(client, order_id, NULL), order_id, id, "/captures/0/capture_id");
    document(takings_client_get_capture(client, order_id, id, NULL), order_id, "parcel-9", "/captured_at");
    document(takings_client_get_extend_due_date_options(client, order_id, id, NULL), order_id, "number_of_days",
             "/options/0/amount");
    confirmed(takings_client_acknowledge(client, order_id, NULL, NULL), order_id);
    confirmed(takings_client_extend_authorization_time(client, order_id, NULL, NULL), order_id);
    confirmed(takings_client_update_merchant_references(client, order_id, "{\"merchant_reference1\": \"A\"}", NULL, NULL),
              order_id);
    confirmed(takings_client_update_customer_details(
                  client, order_id, "{\"shipping_address\": {\"city\": \"Berlin\", \"country\": \"DE\"}}", NULL, NULL),
              order_id);
    confirmed(takings_client_update_authorization(client, order_id, "{\"order_amount\": 900000, \"order_lines\": []}", NULL,
                                                  NULL),
              order_id);
    snprintf(shipping, sizeof shipping, "{\"capture_id\": \"%s\", \"shipping_info\": [{\"tracking_number\": \"1\"}]}", id);
    confirmed(takings_client_append_shipping_info(client, order_id, shipping, NULL, NULL), order_id);
    confirmed(takings_client_append_order_shipping_info(
                  client, order_id, "{\"shipping_info\": [{\"tracking_number\": \"1\"}]}", NULL, NULL),
              order_id);
    confirmed(takings_client_trigger_send_out(client, order_id, id, NULL, NULL), order_id);
    confirmed(takings_client_extend_due_date(client, order_id, id, 10, NULL, NULL), order_id);

    refund = takings_client_refund(client, order_id, "{\"refunded_amount\": 5, \"reference\": \"return-1\"}", "key-r", NULL);
    CHECK(strlen(takings_refund_refund_id(refund)) > 0);
    CHECK(is(takings_refund_order_id(refund), order_id) && is(takings_refund_idempotency_key(refund), "key-r"));
    CHECK(strlen(takings_refund_correlation_id(refund)) > 0 && takings_refund_attempts(refund) == 1);
    CHECK(takings_refund_warning_count(refund) == 0 && !takings_refund_warning(refund, 0));
    CHECK(takings_refund_attempt_log_count(refund) == 1);
    one_attempt(takings_refund_attempt_log(refund, 0), 201);
    CHECK(strstr(takings_refund_json(refund), "\"refund_id\":"));
    document(takings_client_get_refund(client, order_id, takings_refund_refund_id(refund), NULL), order_id, "return-1",
             "/refunded_amount");
    found = takings_client_reconcile_refund(client, order_id, "return-1", 5, NULL);
    CHECK(takings_refund_reconciliation_found(found) == TAKINGS_FOUND_ONCE);
    CHECK(is(takings_refund_reconciliation_refund_id(found), takings_refund_refund_id(refund)));
    CHECK(takings_refund_reconciliation_refund_id_count(found) == 1 && takings_refund_reconciliation_refund_id_at(found, 0));
    CHECK(takings_refund_reconciliation_other_refund_id_count(found) == 0);
    CHECK(!takings_refund_reconciliation_other_refund_id(found, 0));
    CHECK(is(takings_refund_reconciliation_order_id(found), order_id));
    CHECK(strlen(takings_refund_reconciliation_correlation_id(found)) > 0);
    CHECK(takings_refund_reconciliation_attempts(found) == 1 && takings_refund_reconciliation_attempt_log_count(found) == 1);
    one_attempt(takings_refund_reconciliation_attempt_log(found, 0), 200);
    CHECK(strstr(takings_refund_reconciliation_json(found), "\"found\":\"once\""));
    takings_refund_reconciliation_free(found);
    takings_refund_free(refund);
    takings_capture_free(capture);

    confirmed(takings_client_release_remaining_authorization(client, order_id, NULL, NULL), order_id);
    CHECK(!takings_client_cancel(client, order_id, NULL, &error));
    CHECK(is(takings_error_error_code(error), "CANCEL_NOT_ALLOWED"));
    takings_error_free(error);

    /* the same step by step */
    call = takings_client_prepare_cancel(client, "an order", "key-c", NULL);
    CHECK(takings_call_start(call) == TAKINGS_STEP_SEND);
    CHECK(takings_call_answered(call, 204) == TAKINGS_STEP_DONE);
    takings_confirmation_free(takings_call_confirmation(call, NULL));
    CHECK(!takings_call_refund(call, &error) && takings_error_kind(error) == TAKINGS_ERROR_INTERNAL);
    takings_error_free(error);
    CHECK(!takings_call_document(call, NULL) && !takings_call_refund_reconciliation(call, NULL));
    takings_call_free(call);
    takings_client_free(client);
}

/* Gives a call that reads first the order that it reads. */
static takings_step_t shown(takings_call_t *call, const char *order) {
    CHECK(call && takings_call_start(call) == TAKINGS_STEP_SEND);
    CHECK(is(takings_call_method(call), "GET"));
    takings_call_answer_header(call, "Date", "Mon, 30 Nov 2026 00:00:00 GMT");
    CHECK(takings_call_answer_body(call, order, strlen(order)));
    return takings_call_answered(call, 200);
}

/* Each call that is made of several requests: whole, where nothing answers, and step by step. */
static void several(void) {
    static const char CAPTURED[] =
        "{\"order_id\": \"an order\", \"status\": \"CAPTURED\", \"order_amount\": 60, \"captured_amount\": 60,"
        "\"refunded_amount\": 0, \"remaining_authorized_amount\": 0, \"refunds\": [], \"captures\":"
        "[{\"capture_id\": \"c-1\", \"captured_amount\": 60, \"refunded_amount\": 0, \"reference\": \"p\"}],"
        "\"expires_at\": \"2026-12-24T00:00:00Z\"}";
    static const char OPEN[] =
        "{\"order_id\": \"an order\", \"status\": \"AUTHORIZED\", \"order_amount\": 60, \"captured_amount\": 0,"
        "\"refunded_amount\": 0, \"remaining_authorized_amount\": 60, \"captures\": [], \"refunds\": [],"
        "\"expires_at\": \"2026-12-24T00:00:00Z\"}";
    static const char REFUND[] = "{\"capture_id\": \"c-1\", \"reference\": \"r-1\"}";
    takings_client_t *client = sandbox_client("http://127.0.0.1:1", 1);
    takings_error_t *error = UNTOUCHED;
    takings_extension_t *extension;
    takings_order_end_t *end;
    takings_call_t *call;

    CHECK(!takings_client_capture_remaining(client, "an order", "p-2", &error));
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_NOT_SENT);
    takings_error_free(error);
    CHECK(!takings_client_capture_remaining(client, "an order", NULL, &error));
    refused_of(error, "reference is ", "an order", NULL);
    CHECK(!takings_client_refund_remaining(client, "an order", "r-1", NULL));
    CHECK(!takings_client_refund_capture(client, "an order", REFUND, NULL));
    CHECK(!takings_client_cancel_or_release(client, "an order", NULL));
    CHECK(!takings_client_extend_if_needed(client, "an order", 86400, NULL));

    call = takings_client_prepare_capture_remaining(client, "an order", "p-2", NULL);
    CHECK(shown(call, OPEN) == TAKINGS_STEP_SEND && is(takings_call_method(call), "POST"));
    takings_call_free(call);
    call = takings_client_prepare_refund_remaining(client, "an order", "r-1", NULL);
    CHECK(shown(call, CAPTURED) == TAKINGS_STEP_SEND && is(takings_call_method(call), "POST"));
    takings_call_free(call);
    call = takings_client_prepare_refund_capture(client, "an order", REFUND, NULL);
    CHECK(shown(call, CAPTURED) == TAKINGS_STEP_SEND && is(takings_call_method(call), "POST"));
    takings_call_free(call);

    call = takings_client_prepare_cancel_or_release(client, "an order", NULL);
    CHECK(!takings_call_order_end(call, &error) && takings_error_kind(error) == TAKINGS_ERROR_OUTCOME_UNKNOWN);
    takings_error_free(error);
    CHECK(shown(call, CAPTURED) == TAKINGS_STEP_DONE);
    end = takings_call_order_end(call, NULL);
    CHECK(is(takings_order_end_done(end), "nothing") && is(takings_order_end_order_id(end), "an order"));
    CHECK(!takings_order_end_idempotency_key(end) && !takings_order_end_correlation_id(end));
    CHECK(takings_order_end_attempts(end) == 1 && takings_order_end_attempt_log_count(end) == 1);
    CHECK(takings_attempt_http_status(takings_order_end_attempt_log(end, 0)) == 200);
    CHECK(takings_order_end_warning_count(end) == 0 && !takings_order_end_warning(end, 0));
    CHECK(strstr(takings_order_end_json(end), "\"done\":\"nothing\""));
    takings_order_end_free(end);
    takings_call_free(call);

    call = takings_client_prepare_extend_if_needed(client, "an order", 86400, NULL);
    CHECK(shown(call, OPEN) == TAKINGS_STEP_DONE);
    extension = takings_call_extension(call, NULL);
    CHECK(!takings_extension_extended(extension) && is(takings_extension_order_id(extension), "an order"));
    CHECK(is(takings_extension_old_expires_at(extension), "2026-12-24T00:00:00Z"));
    CHECK(is(takings_extension_expires_at(extension), "2026-12-24T00:00:00Z"));
    CHECK(!takings_extension_idempotency_key(extension) && !takings_extension_correlation_id(extension));
    CHECK(takings_extension_attempts(extension) == 1 && takings_extension_attempt_log_count(extension) == 1);
    CHECK(takings_attempt_http_status(takings_extension_attempt_log(extension, 0)) == 200);
    CHECK(takings_extension_warning_count(extension) == 0 && !takings_extension_warning(extension, 0));
    CHECK(strstr(takings_extension_json(extension), "\"extended\":false"));
    takings_extension_free(extension);
    takings_call_free(call);
    takings_client_free(client);
}

/* Looks at calls before they are made. */
static void checks(const char *base_url, const char *order_id) {
    static const char ORDER[] = "{\"status\": \"AUTHORIZED\", \"order_amount\": 6000, \"expires_at\": \"2026-12-24T00:00:00Z\"}";
    typedef takings_check_t *look_t(const char *, int64_t, const char *, takings_error_t **);
    look_t *const looks[] = {takings_check_capture, takings_check_refund};
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_document_t *order = takings_client_get_order(client, order_id, NULL);
    takings_error_t *error = UNTOUCHED;
    takings_check_t *check;
    size_t i;
    CHECK(takings_document_answered_at_ms(order) > 0);
    check = takings_check_capture(takings_document_raw(order), takings_document_answered_at_ms(order),
                                  "{\"captured_amount\": 200000000}", &error);
    CHECK(check && error == UNTOUCHED);
    i = takings_check_reason_count(check);
    CHECK(i >= 1 && takings_check_reason(check, i - 1) && !takings_check_reason(check, i));
    CHECK(strstr(takings_check_json(check), "captured_amount is 200000000, and "));
    takings_document_free(order);
    takings_check_free(check);
    takings_client_free(client);

    check = takings_check_capture(ORDER, -1, "{\"captured_amount\": 6000}", NULL);
    CHECK(check && takings_check_reason_count(check) == 0 && is(takings_check_json(check), "{\"reasons\":[]}"));
    takings_check_free(check);
    check = takings_check_capture(ORDER, 1800000000000, "{\"captured_amount\": 6000}", NULL);
    CHECK(strstr(takings_check_reason(check, 0), "expires_at is 2026-12-24"));
    takings_check_free(check);
    check = takings_check_refund(ORDER, INT64_MIN, "{\"refunded_amount\": 1}", NULL);
    CHECK(strstr(takings_check_reason(check, 0), "nothing was captured"));
    takings_check_free(check);
    for (i = 0; i < 2; i++) {
        check = looks[i](ORDER, -1, "[", &error);
        CHECK(check && takings_check_reason_count(check) >= 1);
        takings_check_free(check);
        CHECK(!looks[i]("[", -1, "{}", &error));
        refused(error, "order is not an order's JSON text; ");
        CHECK(!looks[i](NULL, -1, "{}", &error));
        refused(error, "order_json is NULL; ");
        CHECK(!looks[i](BAD_UTF8, -1, "{}", &error));
        refused(error, "order_json is not valid UTF-8; ");
        CHECK(!looks[i](ORDER, -1, NULL, &error));
        refused(error, "request_json is NULL; ");
        CHECK(!looks[i](ORDER, -1, BAD_UTF8, &error));
        refused(error, "request_json is not valid UTF-8; ");
        CHECK(!looks[i](NULL, -1, NULL, NULL));
    }
    CHECK(takings_check_reason_count(NULL) == 0 && !takings_check_reason(NULL, 0) && !takings_check_json(NULL));
    takings_check_free(NULL);
}

/* Rows for a ledger. */
static void intents(void) {
    static const char ORDER[] = "f3392f8b-6116-4073-ab96-e330819e2c07";
    static const char CAPTURE[] = "{\"captured_amount\": 6000, \"reference\": \"parcel-1\", \"account\": \"se\"}";
    static const char REFUND[] = "{\"refunded_amount\": 100, \"reference\": \"return-1\", \"description\": \"x\"}";
    takings_error_t *error = UNTOUCHED;
    takings_intent_t *intent = takings_intent_new("capture", ORDER, CAPTURE, &error);
    const takings_value_t *values = takings_intent_values(intent);
    int64_t amount = 0;
    char *sql;
    CHECK(intent && error == UNTOUCHED);
    CHECK(is(takings_intent_operation(intent), "capture") && is(takings_intent_table(intent), "takings_capture"));
    CHECK(is(takings_intent_account(intent), "se") && is(takings_intent_order_id(intent), ORDER));
    CHECK(is(takings_intent_reference(intent), "parcel-1") && !takings_intent_request(intent));
    CHECK(takings_intent_captured_amount(intent) == 6000 && takings_intent_refunded_amount(intent) == 0);
    CHECK(is(takings_intent_idempotency_key(intent), "e642b253-7331-5441-bb3d-c291abd550aa"));
    CHECK(takings_intent_warning_count(intent) == 0 && !takings_intent_warning(intent, 0));
    CHECK(strstr(takings_intent_json(intent), "\"captured_amount\":6000,"));
    CHECK(strstr(takings_intent_json(intent), "\"refunded_amount\":null,"));
    CHECK(takings_value_kind(values) == TAKINGS_VALUE_OBJECT && takings_value_count(values) == 5);
    CHECK(is(takings_value_name(values, 0), "account") && is(takings_value_text(takings_value_at(values, 0)), "se"));
    CHECK(takings_value_integer(takings_value_member(values, "captured_amount"), &amount) && amount == 6000);
    CHECK(takings_value_kind(takings_value_at(values, 4)) == TAKINGS_VALUE_NULL);
    sql = takings_intent_insert("capture", "$1", &error);
    CHECK(sql && strstr(sql, "VALUES ($1, $2, $3, $4, $5)") && error == UNTOUCHED);
    takings_string_free(sql);
    takings_intent_free(intent);

    intent = takings_intent_new("refund", ORDER, REFUND, NULL);
    CHECK(takings_intent_captured_amount(intent) == 0 && takings_intent_refunded_amount(intent) == 100);
    CHECK(is(takings_intent_request(intent), "{\"description\":\"x\"}"));
    takings_intent_free(intent);

    CHECK(!takings_intent_new("cancel", ORDER, "{}", &error));
    refused(error, "operation is \"cancel\"; ");
    CHECK(!takings_intent_new("capture", ORDER, "{\"captured_amount\": 60.5, \"reference\": \"p\"}", &error));
    refused(error, "captured_amount is ");
    CHECK(!takings_intent_new(NULL, ORDER, CAPTURE, &error));
    refused(error, "operation is NULL; ");
    CHECK(!takings_intent_new("capture", NULL, CAPTURE, &error));
    refused(error, "order_id is NULL; ");
    CHECK(!takings_intent_new("capture", ORDER, BAD_UTF8, &error));
    refused(error, "request_json is not valid UTF-8; ");
    CHECK(!takings_intent_new(NULL, NULL, NULL, NULL));
    CHECK(!takings_intent_insert("capture", "@p1", &error));
    refused(error, "style is \"@p1\"; ");
    CHECK(!takings_intent_insert("cancel", "?", &error));
    refused(error, "operation is \"cancel\"; ");
    CHECK(!takings_intent_insert(BAD_UTF8, "?", &error));
    refused(error, "operation is not valid UTF-8; ");
    CHECK(!takings_intent_insert("capture", NULL, &error));
    refused(error, "style is NULL; ");
    CHECK(!takings_intent_insert(NULL, NULL, NULL));

    CHECK(!takings_intent_operation(NULL) && !takings_intent_table(NULL) && !takings_intent_account(NULL));
    CHECK(!takings_intent_order_id(NULL) && !takings_intent_reference(NULL) && !takings_intent_request(NULL));
    CHECK(takings_intent_captured_amount(NULL) == 0 && takings_intent_refunded_amount(NULL) == 0);
    CHECK(!takings_intent_idempotency_key(NULL) && takings_intent_warning_count(NULL) == 0);
    CHECK(!takings_intent_warning(NULL, 0) && !takings_intent_json(NULL) && !takings_intent_values(NULL));
    takings_intent_free(NULL);
}

int main(int count, char **arguments) {
    CHECK(count == 4);
    versions();
    clients(arguments[1]);
    captures(arguments[1], arguments[2]);
    reconciliations(arguments[1], arguments[2]);
    errors(arguments[1], arguments[3]);
    replies(arguments[1], arguments[2]);
    json_texts(arguments[1], arguments[2]);
    operations_without_a_client();
    operations(arguments[1], arguments[2]);
    values(arguments[1]);
    checks(arguments[1], arguments[2]);
    intents();
    several();
    calls();
    amounts();
    keys();
    json();
    puts("done");
    return 0;
}
