/*
 * A client in several threads at once.
 *
 *     threads BASE_URL ORDER
 */
#include <pthread.h>

#include "check.h"

enum { THREADS = 8, CALLS = 10 };

static const char *order_id;
static takings_client_t *client;

static void *work(void *number) {
    char name[32];
    int i;
    for (i = 0; i < CALLS; i++) {
        takings_error_t *error = NULL;
        takings_capture_t *capture;
        char *key;
        snprintf(name, sizeof name, "thread-%d-%d", *(const int *)number, i);
        key = takings_idempotency_key(order_id, name, &error);
        capture = takings_client_capture(client, order_id, "{\"captured_amount\": 1}", key, &error);
        CHECK(capture && strcmp(takings_capture_idempotency_key(capture), key) == 0);
        takings_capture_free(capture);
        takings_string_free(key);

        /* An error belongs to its call, whatever the other threads meet. */
        CHECK(!takings_client_capture(client, name, "{\"captured_amount\": 1}", NULL, &error));
        CHECK(strcmp(takings_error_order_id(error), name) == 0);
        takings_error_free(error);
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[THREADS];
    int numbers[THREADS];
    int i;
    CHECK(count == 3);
    order_id = arguments[2];
    client = sandbox_client(arguments[1], 3);
    for (i = 0; i < THREADS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, work, &numbers[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    takings_client_free(client);
    printf("%d\n", THREADS * CALLS);
    return 0;
}
