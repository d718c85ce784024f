/*
 * Captures several orders at once from one thread, over libcurl's multi interface.
 *
 *     capture_multi AMOUNT CURRENCY ORDER_ID...
 *
 * Captures AMOUNT (such as 60.00) of CURRENCY (such as EUR) of each order as its "parcel-1". The
 * key is derived from the order and that name, so that a second run finds the first one's captures
 * instead of making others. The account comes from KLARNA_USERNAME, KLARNA_PASSWORD and
 * KLARNA_ENVIRONMENT, or the other variables that takings_client_from_env names.
 */
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "sender.h"

/* What happened in a call that did not go straight. */
static void tell_attempt(const takings_attempt_t *attempt) {
    fprintf(stderr, "  %s: %s after %ld ms", takings_attempt_sent(attempt), takings_attempt_came_back(attempt),
            (long)takings_attempt_took_ms(attempt));
    if (takings_attempt_wait_ms(attempt) >= 0) {
        fprintf(stderr, ", again after %ld ms", (long)takings_attempt_wait_ms(attempt));
    }
    fprintf(stderr, "\n");
}

static void tell_error(const char *order_id, const takings_error_t *error) {
    size_t i;
    fprintf(stderr, "%s %s: %s\n", order_id, takings_error_kind_name(error), takings_error_message(error));
    for (i = 0; i < takings_error_attempt_log_count(error); i++) {
        tell_attempt(takings_error_attempt_log(error, i));
    }
}

/* Whether it was captured. */
static bool tell_outcome(const takings_operation_t *operation) {
    takings_error_t *error = NULL;
    takings_capture_t *capture = takings_operation_capture(operation, &error);
    const bool captured = capture != NULL;
    size_t i;
    if (capture) {
        printf("%s %s\n", takings_capture_order_id(capture), takings_capture_capture_id(capture));
        for (i = 0; takings_capture_attempts(capture) > 1 && i < takings_capture_attempt_log_count(capture); i++) {
            tell_attempt(takings_capture_attempt_log(capture, i));
        }
    } else {
        /* After outcome_unknown this program is simply run again: the key is derived, so the same. */
        tell_error(takings_operation_order_id(operation), error);
    }
    takings_capture_free(capture);
    takings_error_free(error);
    return captured;
}

int main(int count, char **arguments) {
    takings_error_t *error = NULL;
    takings_client_t *client = NULL;
    takings_json_t *request = NULL;
    takings_operation_t *operation;
    sender_t *sender = NULL;
    int64_t amount = 0;
    int i, captured = 0;

    if (count < 4) {
        fprintf(stderr, "usage: %s AMOUNT CURRENCY ORDER_ID...\n", arguments[0]);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) {
        sender = sender_new(NULL);
    }
    if (!sender) {
        fprintf(stderr, "libcurl cannot be used\n");
        return 1;
    }

    request = takings_json_new();
    if (takings_minor(arguments[1], arguments[2], &amount, &error) &&
        takings_json_set_integer(request, "/captured_amount", amount, &error) &&
        takings_json_set_string(request, "/reference", "parcel-1", &error)) {
        client = takings_client_from_env(&error);
    }
    if (!client) {
        fprintf(stderr, "%s\n", takings_error_message(error));
        takings_error_free(error);
    }

    /* All are begun, and go on side by side while one is waited for. */
    for (i = 3; client && i < count; i++) {
        char *key;
        error = NULL;
        operation = NULL;
        key = takings_idempotency_key(arguments[i], "parcel-1", &error);
        if (key) {
            operation = takings_client_prepare(client, arguments[i], takings_json_text(request), key, &error);
        }
        if (!operation) {
            tell_error(arguments[i], error);
        } else if (!sender_add(sender, operation)) {
            fprintf(stderr, "%s not_sent: no memory\n", arguments[i]);
            takings_operation_free(operation);
        }
        takings_error_free(error);
        takings_string_free(key);
    }
    while ((operation = sender_next(sender))) {
        captured += tell_outcome(operation);
        takings_operation_free(operation);
    }

    takings_json_free(request);
    takings_client_free(client);
    sender_free(sender);
    curl_global_cleanup();
    return captured == count - 3 ? EXIT_SUCCESS : EXIT_FAILURE;
}
