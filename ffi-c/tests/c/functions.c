/*
 * Every function of takings.h, with good arguments, with NULL for each argument, and with bytes
 * that are not UTF-8.
 *
 *     functions BASE_URL ORDER LOST_ORDER
 *
 * The answer to the first capture of LOST_ORDER gets lost. KLARNA_BASE_URL, KLARNA_USERNAME and
 * KLARNA_PASSWORD name the same sandbox.
 */
#include "check.h"

static const char BAD_UTF8[] = "\xc3\x28";

/* Stands where an error would be written: it must stay on success, and must not be touched as an
 * error when one is written over it. */
static char untouched;
#define UNTOUCHED ((takings_error_t *)(void *)&untouched)

static bool is(const char *text, const char *expected) {
    return text && strcmp(text, expected) == 0;
}

/* The error says that an argument was refused, and which. */
static void refused(takings_error_t *error, const char *beginning) {
    CHECK(error && error != UNTOUCHED);
    if (strncmp(takings_error_message(error), beginning, strlen(beginning)) != 0) {
        fprintf(stderr, "%s\n", takings_error_message(error));
        CHECK(!"the message begins as expected");
    }
    CHECK(takings_error_kind(error) == TAKINGS_ERROR_INVALID_INPUT);
    CHECK(is(takings_error_kind_name(error), "invalid_input"));
    CHECK(takings_error_attempts(error) == 0);
    CHECK(!takings_error_retryable(error));
    takings_error_free(error);
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

    client = takings_client_from_env(&error);
    CHECK(client && error == UNTOUCHED);
    CHECK(strncmp(takings_client_base_url(client), base_url, strlen(base_url)) == 0);
    takings_client_free(client);
    client = takings_client_from_env(NULL);
    CHECK(client);
    takings_client_free(client);

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
    CHECK(!takings_client_capture(client, NULL, REQUEST, NULL, &error));
    refused(error, "order_id is NULL; ");
    CHECK(!takings_client_capture(client, order_id, NULL, NULL, &error));
    refused(error, "request_json is NULL; ");
    CHECK(!takings_client_capture(NULL, NULL, NULL, NULL, NULL));
    CHECK(!takings_client_capture(client, BAD_UTF8, REQUEST, NULL, &error));
    refused(error, "order_id is not valid UTF-8; ");
    CHECK(!takings_client_capture(client, order_id, BAD_UTF8, NULL, &error));
    refused(error, "request_json is not valid UTF-8; ");
    CHECK(!takings_client_capture(client, order_id, REQUEST, BAD_UTF8, &error));
    refused(error, "idempotency_key is not valid UTF-8; ");
    CHECK(!takings_client_capture(client, order_id, "{\"captured_amount\": 10.5}", NULL, &error));
    refused(error, "captured_amount is ");
    CHECK(!takings_client_capture(client, order_id, "{\"captured_amount\": 11}", "functions-1", &error));
    refused(error, "idempotency_key functions-1 was used for another capture");

    /* What it returned does not need the client. */
    takings_client_free(client);
    CHECK(is(takings_capture_order_id(capture), order_id));
    takings_capture_free(capture);

    CHECK(!takings_capture_capture_id(NULL));
    CHECK(!takings_capture_order_id(NULL));
    CHECK(!takings_capture_idempotency_key(NULL));
    CHECK(!takings_capture_correlation_id(NULL));
    CHECK(takings_capture_attempts(NULL) == 0);
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
    CHECK(is(takings_reconciliation_order_id(found), order_id));
    CHECK(strlen(takings_reconciliation_correlation_id(found)) > 0);
    CHECK(takings_reconciliation_attempts(found) == 1);
    takings_reconciliation_free(found);
    takings_capture_free(capture);

    CHECK(!takings_client_reconcile(NULL, order_id, "r", 1, &error));
    refused(error, "client is NULL; ");
    CHECK(!takings_client_reconcile(client, NULL, "r", 1, &error));
    refused(error, "order_id is NULL; ");
    CHECK(!takings_client_reconcile(client, order_id, NULL, 1, &error));
    refused(error, "reference is NULL; ");
    CHECK(!takings_client_reconcile(client, order_id, "r", 0, &error));
    refused(error, "captured_amount is 0; ");
    CHECK(!takings_client_reconcile(client, order_id, BAD_UTF8, 1, NULL));
    takings_client_free(client);

    CHECK(takings_reconciliation_found(NULL) == TAKINGS_FOUND_NOTHING);
    CHECK(!takings_reconciliation_capture_id(NULL));
    CHECK(takings_reconciliation_capture_id_count(NULL) == 0);
    CHECK(!takings_reconciliation_capture_id_at(NULL, 0));
    CHECK(!takings_reconciliation_order_id(NULL));
    CHECK(!takings_reconciliation_correlation_id(NULL));
    CHECK(takings_reconciliation_attempts(NULL) == 0);
    takings_reconciliation_free(NULL);
}

static void errors(const char *base_url, const char *lost_order_id) {
    takings_client_t *client = sandbox_client(base_url, 1);
    takings_client_t *nobody = sandbox_client("http://127.0.0.1:1", 1);
    takings_error_t *error = UNTOUCHED;
    takings_capture_t *capture;

    CHECK(!takings_client_capture(client, "no-such-order", "{\"captured_amount\": 1}", "functions-2", &error));
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
    /* What it returned does not need the client. */
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
    takings_error_free(NULL);
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

int main(int count, char **arguments) {
    CHECK(count == 4);
    versions();
    clients(arguments[1]);
    captures(arguments[1], arguments[2]);
    reconciliations(arguments[1], arguments[2]);
    errors(arguments[1], arguments[3]);
    keys();
    json();
    puts("done");
    return 0;
}
