/*
 * The life of an order: order ORDER_ID, for an order over 100.00.
 *
 * The order leaves in two parcels, gets a tracking number, one thing comes back, and the rest is
 * released. Each step has a name, so a second run moves no more money. The account comes from the
 * environment: see takings_client_from_env.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "takings.h"

/* Captures a parcel. Klarna's name for the capture goes into id. */
static int capture(const takings_client_t *client, const char *order_id, const char *parcel, const char *request,
                   char *id, size_t size, takings_error_t **error) {
    char *key = takings_idempotency_key(order_id, parcel, error);
    takings_capture_t *made = key ? takings_client_capture(client, order_id, request, key, error) : NULL;
    if (made) {
        snprintf(id, size, "%s", takings_capture_capture_id(made));
        printf("captured %s %u\n", id, (unsigned)takings_capture_attempts(made));
    }
    takings_capture_free(made);
    takings_string_free(key);
    return made != NULL;
}

/* Adds the carrier's number, which comes later than the parcel's capture. */
static int track(const takings_client_t *client, const char *order_id, const char *capture_id, takings_error_t **error) {
    char request[512];
    takings_confirmation_t *done = NULL;
    char *key = takings_idempotency_key_for("append_shipping_info", order_id, capture_id, "parcel-1", error);
    snprintf(request, sizeof request,
             "{\"capture_id\": \"%s\", \"shipping_info\":"
             " [{\"shipping_company\": \"DHL\", \"tracking_number\": \"JD014600\"}]}",
             capture_id);
    if (key) {
        done = takings_client_append_shipping_info(client, order_id, request, key, error);
    }
    if (done) {
        printf("tracked %s %u\n", capture_id, (unsigned)takings_confirmation_attempts(done));
    }
    takings_confirmation_free(done);
    takings_string_free(key);
    return done != NULL;
}

static int refund(const takings_client_t *client, const char *order_id, takings_error_t **error) {
    const char *request = "{\"refunded_amount\": 2500, \"reference\": \"return-1\"}";
    char *key = takings_idempotency_key_for("refund", order_id, NULL, "return-1", error);
    takings_refund_t *made = key ? takings_client_refund(client, order_id, request, key, error) : NULL;
    if (made) {
        printf("refunded %s %u\n", takings_refund_refund_id(made), (unsigned)takings_refund_attempts(made));
    }
    takings_refund_free(made);
    takings_string_free(key);
    return made != NULL;
}

/* The order is over, so the customer gets back what is still reserved. */
static int release(const takings_client_t *client, const char *order_id, takings_error_t **error) {
    takings_confirmation_t *done = NULL;
    char *key = takings_idempotency_key_for("release_remaining_authorization", order_id, NULL, "end", error);
    if (key) {
        done = takings_client_release_remaining_authorization(client, order_id, key, error);
    }
    if (done) {
        printf("released %s %u\n", order_id, (unsigned)takings_confirmation_attempts(done));
    }
    takings_confirmation_free(done);
    takings_string_free(key);
    return done != NULL;
}

int main(int count, char **arguments) {
    takings_error_t *error = NULL;
    takings_client_t *client = NULL;
    char first[256], second[256];
    int done = 0;

    if (count != 2) {
        fprintf(stderr, "usage: %s ORDER_ID\n", arguments[0]);
        return 2;
    }
    client = takings_client_from_env(NULL, &error);
    done = client &&
           capture(client, arguments[1], "parcel-1", "{\"captured_amount\": 6000, \"reference\": \"parcel-1\"}",
                   first, sizeof first, &error) &&
           capture(client, arguments[1], "parcel-2", "{\"captured_amount\": 2500, \"reference\": \"parcel-2\"}",
                   second, sizeof second, &error) &&
           track(client, arguments[1], first, &error) && refund(client, arguments[1], &error) &&
           release(client, arguments[1], &error);
    if (!done) {
        fprintf(stderr, "%s: %s\n", takings_error_kind_name(error), takings_error_message(error));
    }
    takings_error_free(error);
    takings_client_free(client);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
