/*
 * Sends calls of takings over libcurl's multi interface: any number of them at
 * once, in one thread, each to its outcome. takings decides about retries,
 * pauses and the deadline.
 *
 * The program calls curl_global_init before, and ignores SIGPIPE, as sender.c
 * has libcurl keep its hands off signals. Proxies for https come from the
 * environment as libcurl reads it; a sandbox behind plain http is never reached
 * through one.
 */
#ifndef SENDER_H
#define SENDER_H

#include <stdbool.h>

#include "takings.h"

typedef struct sender sender_t;

/* ca_file is a PEM file of the authorities to trust, or NULL for libcurl's own.
 * NULL: no memory. */
sender_t *sender_new(const char *ca_file);

/* Begins a call, which is the sender's until sender_next gives it back,
 * together with data, which is whatever you like. false: no memory; nothing was
 * begun, and the call is still yours. */
bool sender_add(sender_t *sender, takings_call_t *call, void *data);

/* Sends and waits until one of the calls is done, and gives it back, its data
 * in *data; NULL when none is left. */
takings_call_t *sender_next(sender_t *sender, void **data);

/* Frees it, and gives up the calls that it still has. */
void sender_free(sender_t *sender);

#endif
