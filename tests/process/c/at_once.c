/*
 * Calls of many threads on one client, which all begin at once; prints how long each took.
 *
 *     at_once BASE_URL CA_FILE CALLS TIMEOUT_MS
 *
 * Prints a line each, "KIND TOOK_MS WAITED_MS": the latter is what its thread waited for a processor.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { MOST_THREADS = 256 };

static takings_client_t *client;
static pthread_barrier_t begin;

static double now(void) {
    struct timespec time;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &time) == 0);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static double waited(void) {
    char path[64];
    unsigned long long nanoseconds = 0;
    FILE *file;
    snprintf(path, sizeof path, "/proc/self/task/%ld/schedstat", (long)syscall(SYS_gettid));
    file = fopen(path, "r");
    CHECK(file && fscanf(file, "%*u %llu", &nanoseconds) == 1);
    fclose(file);
    return (double)nanoseconds / 1e6;
}

static void *work(void *unused) {
    takings_error_t *error = NULL;
    takings_capture_t *capture;
    double began, had_waited;
    pthread_barrier_wait(&begin);
    had_waited = waited();
    began = now();
    capture = takings_client_capture(client, "order-1", "{\"captured_amount\": 1}", NULL, &error);
    began = now() - began;
    printf("%s %.1f %.1f\n", capture ? "capture" : takings_error_kind_name(error), began, waited() - had_waited);
    takings_capture_free(capture);
    takings_error_free(error);
    return unused;
}

int main(int count, char **arguments) {
    takings_json_t *config = takings_json_new();
    takings_error_t *error = NULL;
    pthread_t threads[MOST_THREADS];
    int i, calls;
    CHECK(count == 5);
    calls = atoi(arguments[3]);
    CHECK(calls > 0 && calls <= MOST_THREADS);
    CHECK(takings_json_set_string(config, "/base_url", arguments[1], &error));
    CHECK(takings_json_set_string(config, "/ca_file", arguments[2], &error));
    CHECK(takings_json_set_string(config, "/username", "sandbox", &error));
    CHECK(takings_json_set_string(config, "/password", "sandbox", &error));
    CHECK(takings_json_set_integer(config, "/timeout_ms", atoi(arguments[4]), &error));
    CHECK(takings_json_set_integer(config, "/max_attempts", 1, &error));
    client = takings_client_new(takings_json_text(config), &error);
    takings_json_free(config);
    CHECK(client);
    CHECK(pthread_barrier_init(&begin, NULL, (unsigned)calls) == 0);
    for (i = 0; i < calls; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
    }
    for (i = 0; i < calls; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    takings_client_free(client);
    return 0;
}
