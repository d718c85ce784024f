/*
 * Captures 1 of each order of a list, once, from many threads on one client; prints each outcome.
 *
 *     many BASE_URL THREADS DESCRIPTORS < ORDERS
 *
 * ORDERS: a line each, "ORDER KEY". Prints a line each, "ORDER KEY KIND ATTEMPTS CAPTURE_ID", and
 * now and then what the process uses, "use CALLS KIBIBYTES THREADS DESCRIPTORS".
 */
#define _POSIX_C_SOURCE 200809L
#include <dirent.h>
#include <pthread.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

enum { MOST_THREADS = 256, LINE = 600 };

static takings_client_t *client;
static pthread_mutex_t lists = PTHREAD_MUTEX_INITIALIZER;

static void *work(void *unused) {
    char line[LINE], order_id[LINE], key[LINE];
    for (;;) {
        takings_error_t *error = NULL;
        takings_capture_t *capture;
        char *read;
        pthread_mutex_lock(&lists);
        read = fgets(line, sizeof line, stdin);
        pthread_mutex_unlock(&lists);
        if (!read || line[0] == '\n') {
            return unused;
        }
        CHECK(sscanf(line, "%255s %255s", order_id, key) == 2);
        capture = takings_client_capture(client, order_id, "{\"captured_amount\": 1}", key, &error);
        if (capture) {
            CHECK(!error);
            CHECK(strcmp(takings_capture_order_id(capture), order_id) == 0);
            CHECK(strcmp(takings_capture_idempotency_key(capture), key) == 0);
            printf("%s %s capture %u %s\n", order_id, key, (unsigned)takings_capture_attempts(capture),
                   takings_capture_capture_id(capture));
        } else {
            CHECK(strcmp(takings_error_order_id(error), order_id) == 0);
            CHECK(strcmp(takings_error_idempotency_key(error), key) == 0);
            printf("%s %s %s %u -\n", order_id, key, takings_error_kind_name(error),
                   (unsigned)takings_error_attempts(error));
        }
        takings_capture_free(capture);
        takings_error_free(error);
    }
}

static int entries(const char *folder) {
    DIR *open = opendir(folder);
    int count = 0;
    CHECK(open);
    while (readdir(open)) {
        count++;
    }
    closedir(open);
    /* without "." and ".." */
    return count - 2;
}

static void tell_use(int most_threads) {
    const struct timespec moment = {0, 10 * 1000 * 1000};
    long pages = 0;
    FILE *memory;
    int i;
    /* a thread that was joined may still be on its way out */
    for (i = 0; i < 200 && entries("/proc/self/task") > most_threads; i++) {
        nanosleep(&moment, NULL);
    }
    memory = fopen("/proc/self/statm", "r");
    CHECK(memory && fscanf(memory, "%*d %ld", &pages) == 1);
    fclose(memory);
    printf("use %ld %d %d\n", pages * (sysconf(_SC_PAGESIZE) / 1024), entries("/proc/self/task"),
           entries("/proc/self/fd") - 1 /* the folder's own */);
    fflush(stdout);
}

/* Each thread of a round ends with an empty line, all of the last round with the list. */
int main(int count, char **arguments) {
    pthread_t threads[MOST_THREADS];
    struct rlimit limit;
    int i, amount;
    CHECK(count == 4);
    amount = atoi(arguments[2]);
    CHECK(amount > 0 && amount <= MOST_THREADS);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = (rlim_t)atoi(arguments[3]);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    tell_use(1);
    client = sandbox_client(arguments[1], 3);
    do {
        for (i = 0; i < amount; i++) {
            CHECK(pthread_create(&threads[i], NULL, work, NULL) == 0);
        }
        for (i = 0; i < amount; i++) {
            CHECK(pthread_join(threads[i], NULL) == 0);
        }
        tell_use(2);
    } while (!feof(stdin));
    takings_client_free(client);
    tell_use(1);
    return 0;
}
