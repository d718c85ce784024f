/*
 * Captures many orders side by side in one thread, over libcurl's multi
 * interface.
 *
 *     cc -std=c99 capture_multi.c sender.c -o capture_multi $(pkg-config --cflags --libs takings libcurl) \
 *         -Wl,-rpath,"$PREFIX/lib"
 *     ./capture_multi [-v] 20 < orders
 *
 * orders has a line for each capture: ORDER_ID AMOUNT NAME, such as
 * f3392f8b-6116-4073-ab96-e330819e2c07 6000 parcel-1. So many as the argument
 * says are on their way at once. A line is printed for each: ORDER_ID NAME
 * captured CAPTURE_ID, or ORDER_ID NAME and the error; with -v each request is
 * printed on standard error. Ends with 75 when an outcome is unknown: run it
 * again with the same lines, and no order is captured twice. The account comes
 * from KLARNA_USERNAME, KLARNA_PASSWORD and KLARNA_ENVIRONMENT, or the other
 * variables that takings_client_from_env names.
 */
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sender.h"

enum { MOST = 1000, TRY_AGAIN = 75 };

static int status = EXIT_SUCCESS;
static bool tells_requests;

static void ended_with(takings_error_kind_t kind) {
    switch (kind) {
    case TAKINGS_ERROR_INVALID_INPUT:
    case TAKINGS_ERROR_REJECTED:
        if (status != TRY_AGAIN) {
            status = EXIT_FAILURE;
        }
        break;
    default: /* unknown, not sent, or a kind of a later version */
        status = TRY_AGAIN;
    }
}

static void tell_request(const takings_attempt_t *attempt) {
    if (tells_requests) {
        fprintf(stderr, "%s: %s after %ld ms", takings_attempt_sent(attempt), takings_attempt_came_back(attempt),
                (long)takings_attempt_took_ms(attempt));
        if (takings_attempt_wait_ms(attempt) >= 0) {
            fprintf(stderr, ", again after %ld ms", (long)takings_attempt_wait_ms(attempt));
        }
        fprintf(stderr, "\n");
    }
}

static void tell_error(const char *order_id, const char *name, const takings_error_t *error) {
    size_t i;
    ended_with(takings_error_kind(error));
    printf("%s %s %s: %s\n", order_id, name, takings_error_kind_name(error), takings_error_message(error));
    for (i = 0; i < takings_error_attempt_log_count(error); i++) {
        tell_request(takings_error_attempt_log(error, i));
    }
}

/* Prints the outcome of a call. */
static void tell_outcome(const takings_call_t *call, const char *name) {
    takings_error_t *error = NULL;
    takings_capture_t *capture = takings_call_capture(call, &error);
    size_t i;
    if (capture) {
        printf("%s %s captured %s\n", takings_capture_order_id(capture), name, takings_capture_capture_id(capture));
        for (i = 0; i < takings_capture_attempt_log_count(capture); i++) {
            tell_request(takings_capture_attempt_log(capture, i));
        }
    } else {
        tell_error(takings_call_order_id(call), name, error);
    }
    takings_capture_free(capture);
    takings_error_free(error);
}

/* Begins a capture; false: it ended here. */
static bool begin(sender_t *sender, const takings_client_t *client, const char *order_id, long long amount,
                  const char *name) {
    takings_error_t *error = NULL;
    takings_call_t *call = NULL;
    takings_json_t *request = takings_json_new();
    char *copy = malloc(strlen(name) + 1);
    /* the same for the same order and name, in every run */
    char *key = takings_idempotency_key(order_id, name, &error);
    bool begun = false;
    if (key && takings_json_set_integer(request, "/captured_amount", amount, &error) &&
        takings_json_set_string(request, "/reference", name, &error)) {
        call = takings_client_prepare(client, order_id, takings_json_text(request), key, &error);
    }
    if (!call) {
        tell_error(order_id, name, error);
    } else if (copy && sender_add(sender, call, strcpy(copy, name))) {
        begun = true;
    } else {
        ended_with(TAKINGS_ERROR_NOT_SENT);
        printf("%s %s not_sent: no memory\n", order_id, name);
        takings_call_free(call);
    }
    if (!begun) {
        free(copy);
    }
    takings_error_free(error);
    takings_string_free(key);
    takings_json_free(request);
    return begun;
}

/* Begins the capture of the next line; false: there is none. */
static bool begin_next(sender_t *sender, const takings_client_t *client, int *running) {
    char line[1024], order_id[sizeof line], digits[sizeof line], name[sizeof line], more[sizeof line], *end = NULL;
    long long amount;
    if (!fgets(line, sizeof line, stdin)) {
        return false;
    }
    /* "60.00" is no whole number, and "parcel 1" would be the key of "parcel 2"
     * without its second word. */
    if (sscanf(line, "%s %s %s %s", order_id, digits, name, more) == 3 && (amount = strtoll(digits, &end, 10), !*end)) {
        *running += begin(sender, client, order_id, amount, name);
    } else {
        ended_with(TAKINGS_ERROR_INVALID_INPUT);
        printf("no ORDER_ID AMOUNT NAME: %s", line);
    }
    return true;
}

int main(int count, char **arguments) {
    takings_error_t *error = NULL;
    takings_client_t *client = NULL;
    sender_t *sender = NULL;
    int most = count > 1 ? atoi(arguments[count - 1]) : 0, running = 0;
    bool more = true;

    tells_requests = count == 3 && strcmp(arguments[1], "-v") == 0;
    if (count - tells_requests != 2 || most < 1 || most > MOST) {
        fprintf(stderr, "usage: %s [-v] CAPTURES_AT_ONCE < ORDERS, with 1 to %d at once\n", arguments[0], MOST);
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) {
        sender = sender_new(NULL);
    }
    client = takings_client_from_env(NULL, &error);
    if (!client || !sender) {
        fprintf(stderr, "%s\n", error ? takings_error_message(error) : "libcurl cannot be used");
        takings_error_free(error);
        takings_client_free(client);
        sender_free(sender);
        return 2;
    }

    do {
        takings_call_t *call;
        void *name = NULL;
        while (more && running < most) {
            more = begin_next(sender, client, &running);
        }
        call = sender_next(sender, &name);
        if (call) {
            running--;
            tell_outcome(call, name);
            takings_call_free(call);
            free(name);
        }
    } while (running > 0 || more);

    takings_client_free(client);
    sender_free(sender);
    curl_global_cleanup();
    return status;
}
