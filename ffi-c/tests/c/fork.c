/*
 * A client in forked processes: called and freed in the children and in the parent.
 *
 *     fork BASE_URL ORDER
 *
 * Makes 3 + 3 * CHILDREN captures of 1 and those of a thread that captures all the while; prints
 * how many it made in all. Their reference is the process: no connection may carry two.
 */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

enum { CHILDREN = 8, SECONDS = 150 };

static const char *order_id;
static takings_client_t *client;
static volatile int stop;
static long under_load;

static void capture_here(void) {
    char request[80];
    snprintf(request, sizeof request, "{\"captured_amount\": 1, \"reference\": \"process %ld\"}", (long)getpid());
    capture_so(client, order_id, request);
}

static void *load(void *unused) {
    while (!stop) {
        capture_here();
        under_load++;
    }
    return unused;
}

enum what { CALL = 1, FREE = 2, FAMILY = 4 };

static void ends_well(pid_t pid);

/* A child that does something with the client and ends as programs do. */
static pid_t child(int what) {
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(SECONDS);
        if (what & CALL) {
            capture_here();
        }
        if (what & FAMILY) {
            ends_well(child(CALL | FREE));
            capture_here();
        }
        if (what & FREE) {
            takings_client_free(client);
        }
        exit(0);
    }
    return pid;
}

static void ends_well(pid_t pid) {
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int count, char **arguments) {
    pthread_t thread;
    pid_t pids[CHILDREN];
    int i;
    CHECK(count == 3);
    alarm(SECONDS);
    order_id = arguments[2];

    /* Made before the fork, not used: the child's call is its first. */
    client = sandbox_client(arguments[1], 3);
    ends_well(child(CALL | FREE));
    ends_well(child(FREE));
    capture_here();

    /* Used before the fork. */
    ends_well(child(CALL | FREE));
    ends_well(child(FREE));
    ends_well(child(0));

    /* Several at once, while a thread of the parent is in the middle of a call. */
    CHECK(pthread_create(&thread, NULL, load, NULL) == 0);
    for (i = 0; i < CHILDREN; i++) {
        pids[i] = child(i % 2 ? CALL | FAMILY : CALL | FREE);
        capture_here();
    }
    for (i = 0; i < CHILDREN; i++) {
        ends_well(pids[i]);
    }
    stop = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    takings_client_free(client);
    printf("%ld\n", 3 + 3 * CHILDREN + under_load);
    return 0;
}
