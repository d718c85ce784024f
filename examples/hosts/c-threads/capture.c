/*
 * Captures many orders in several threads, with one client for all of them.
 *
 *     cc -std=c99 capture.c -o capture $(pkg-config --cflags --libs takings) -lpthread -Wl,-rpath,"$PREFIX/lib"
 *     ./capture 8 < orders
 *
 * orders has a line for each capture: ORDER_ID AMOUNT NAME, such as
 * f3392f8b-6116-4073-ab96-e330819e2c07 6000 parcel-1. A line is printed for
 * each: ORDER_ID NAME captured CAPTURE_ID, or ORDER_ID NAME and the error. Ends
 * with 75 when an outcome is unknown: run it again with the same lines, what
 * was captured is not captured twice. The account comes from KLARNA_USERNAME,
 * KLARNA_PASSWORD and KLARNA_ENVIRONMENT, or the other variables that
 * takings_client_from_env names.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <takings.h>

enum { MOST_THREADS = 64, TRY_AGAIN = 75 };

/* Made before the threads and freed after them; between, every thread may use
 * it. */
static takings_client_t *client;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int status = EXIT_SUCCESS;

static void ended_with(takings_error_kind_t kind) {
    pthread_mutex_lock(&lock);
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
    pthread_mutex_unlock(&lock);
}

static void capture(const char *order_id, long long amount, const char *name) {
    takings_error_t *error = NULL;
    takings_capture_t *capture = NULL;
    takings_json_t *request = takings_json_new();
    /* the same for the same order and name, in every run */
    char *key = takings_idempotency_key(order_id, name, &error);
    if (key && takings_json_set_integer(request, "/captured_amount", amount, &error)
        && takings_json_set_string(request, "/reference", name, &error)) {
        capture = takings_client_capture(client, order_id, takings_json_text(request), key, &error);
    }
    if (capture) {
        printf("%s %s captured %s\n", order_id, name, takings_capture_capture_id(capture));
    } else {
        ended_with(takings_error_kind(error));
        printf("%s %s %s: %s\n", order_id, name, takings_error_kind_name(error), takings_error_message(error));
    }
    takings_capture_free(capture);
    takings_error_free(error);
    takings_string_free(key);
    takings_json_free(request);
}

static void *work(void *unused) {
    char line[1024], order_id[sizeof line], digits[sizeof line], name[sizeof line], more[sizeof line], *end = NULL;
    for (;;) {
        char *read;
        long long amount;
        pthread_mutex_lock(&lock);
        read = fgets(line, sizeof line, stdin);
        pthread_mutex_unlock(&lock);
        if (!read) {
            return unused;
        }
        /* "60.00" is no whole number, and "parcel 1" would be the key of
         * "parcel 2" without its second word. */
        if (sscanf(line, "%s %s %s %s", order_id, digits, name, more) == 3 && (amount = strtoll(digits, &end, 10), !*end)) {
            capture(order_id, amount, name);
        } else {
            ended_with(TAKINGS_ERROR_INVALID_INPUT);
            printf("no ORDER_ID AMOUNT NAME: %s", line);
        }
    }
}

int main(int count, char **arguments) {
    takings_error_t *error = NULL;
    pthread_t threads[MOST_THREADS];
    int wanted = count == 2 ? atoi(arguments[1]) : 0, started = 0;
    if (wanted < 1 || wanted > MOST_THREADS) {
        fprintf(stderr, "usage: %s THREADS < ORDERS, with 1 to %d threads\n", arguments[0], MOST_THREADS);
        return 2;
    }
    client = takings_client_from_env(NULL, &error);
    if (!client) {
        fprintf(stderr, "%s\n", takings_error_message(error));
        takings_error_free(error);
        return 2;
    }
    while (started < wanted && pthread_create(&threads[started], NULL, work, NULL) == 0) {
        started++;
    }
    if (started == 0) {
        fprintf(stderr, "no thread could be started\n");
        status = EXIT_FAILURE;
    }
    while (started > 0) {
        pthread_join(threads[--started], NULL);
    }
    takings_client_free(client);
    return status;
}
