/* Code that the C test programs share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "takings.h"

#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);             \
            abort();                                                                            \
        }                                                                                       \
    } while (0)

/* A client of the sandbox. */
static inline takings_client_t *sandbox_client(const char *base_url, int max_attempts) {
    takings_json_t *config = takings_json_new();
    takings_error_t *error = NULL;
    takings_client_t *client;
    CHECK(takings_json_set_string(config, "/base_url", base_url, &error));
    CHECK(takings_json_set_string(config, "/username", "sandbox", &error));
    CHECK(takings_json_set_string(config, "/password", "sandbox", &error));
    CHECK(takings_json_set_integer(config, "/max_attempts", max_attempts, &error));
    CHECK(takings_json_set_integer(config, "/backoff_ms", 1, &error));
    client = takings_client_new(takings_json_text(config), &error);
    takings_json_free(config);
    if (!client) {
        fprintf(stderr, "%s\n", takings_error_message(error));
    }
    CHECK(client);
    return client;
}

/* A capture that must succeed. */
static inline void capture_so(const takings_client_t *client, const char *order_id, const char *request) {
    takings_error_t *error = NULL;
    takings_capture_t *capture = takings_client_capture(client, order_id, request, NULL, &error);
    if (!capture) {
        fprintf(stderr, "%s\n", takings_error_message(error));
    }
    CHECK(capture);
    takings_capture_free(capture);
}

/* A capture of 1 that must succeed. */
static inline void capture_one(const takings_client_t *client, const char *order_id) {
    capture_so(client, order_id, "{\"captured_amount\": 1}");
}

#endif
