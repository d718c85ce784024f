/*
 * Makes a client, captures and looks for the capture, in a thread with a stack of so many KiB, or in a process with a limit.
 *
 *     limited stack KIB CONFIG ORDER
 *     limited nofile|nproc|as LIMIT CONFIG ORDER
 *
 * The limit "as" is so many KiB above what the process has before the first call. Prints the kind and the message of the
 * first error, or the id of the capture.
 */
#define _DEFAULT_SOURCE
#include <grp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "takings.h"

static const char *config, *order;

static void *calls(void *unused) {
    takings_error_t *error = NULL;
    takings_client_t *client = takings_client_new(config, &error);
    takings_capture_t *capture =
        client ? takings_client_capture(client, order, "{\"captured_amount\": 1, \"reference\": \"r\"}", NULL, &error) : NULL;
    takings_reconciliation_t *found = capture ? takings_client_reconcile(client, order, "r", 1, &error) : NULL;
    takings_client_t *other = found ? takings_client_from_env(config, &error) : NULL;
    (void)unused;
    if (other) {
        printf("%s\n", takings_capture_capture_id(capture));
    } else {
        printf("%s: %s\n", takings_error_kind_name(error), takings_error_message(error));
    }
    takings_error_free(error);
    takings_reconciliation_free(found);
    takings_capture_free(capture);
    takings_client_free(client);
    takings_client_free(other);
    return NULL;
}

static void limit(int resource, rlim_t most) {
    struct rlimit limits = {most, most};
    if (setrlimit(resource, &limits) != 0) {
        perror("setrlimit");
        exit(2);
    }
}

/* The size of this process in bytes, as RLIMIT_AS counts it. */
static rlim_t size(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu", &pages) != 1) {
        exit(2);
    }
    fclose(file);
    return (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE);
}

int main(int count, char **arguments) {
    unsigned long given = count == 5 ? strtoul(arguments[2], NULL, 10) : 0;
    pthread_attr_t attributes;
    pthread_t thread;
    if (count != 5) {
        return 2;
    }
    config = arguments[3];
    order = arguments[4];
    if (strcmp(arguments[1], "stack") == 0) {
        if (pthread_attr_init(&attributes) != 0 || pthread_attr_setstacksize(&attributes, given * 1024) != 0 ||
            pthread_create(&thread, &attributes, calls, NULL) != 0) {
            return 2;
        }
        return pthread_join(thread, NULL) == 0 ? 0 : 2;
    }
    if (strcmp(arguments[1], "nofile") == 0) {
        limit(RLIMIT_NOFILE, given);
    } else if (strcmp(arguments[1], "nproc") == 0) {
        /* Root has no such limit. */
        if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setgid(65534) != 0 || setuid(65534) != 0)) {
            return 2;
        }
        limit(RLIMIT_NPROC, given);
    } else {
        limit(RLIMIT_AS, size() + given * 1024);
    }
    calls(NULL);
    return 0;
}
