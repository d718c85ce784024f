/*
 * Captures an order from C.
 *
 *     capture ORDER_ID FILE [KEY]
 *
 * FILE holds Klarna's request as JSON. The account comes from KLARNA_USERNAME, KLARNA_PASSWORD and
 * KLARNA_ENVIRONMENT, or the other variables that takings_client_from_env names. Without KEY a
 * key is derived from the order and the name "parcel-1", so that a second run gets the first run's
 * capture.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "takings.h"

/* The text of a file, for free; NULL when it cannot be read. */
static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t length = 0, read = 0;
    if (!file) {
        return NULL;
    }
    do {
        char *longer = realloc(text, length + 4096 + 1);
        if (!longer) {
            break;
        }
        text = longer;
        read = fread(text + length, 1, 4096, file);
        length += read;
        text[length] = '\0';
    } while (read > 0);
    /* A NUL would end the request early. */
    if (ferror(file) || !text || strlen(text) != length) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

int main(int count, char **arguments) {
    takings_error_t *error = NULL;
    takings_client_t *client = NULL;
    takings_capture_t *capture = NULL;
    char *request = NULL, *key = NULL;
    size_t i;
    int status = EXIT_FAILURE;

    if (count < 3 || count > 4) {
        fprintf(stderr, "usage: %s ORDER_ID FILE [KEY]\n", arguments[0]);
        return 2;
    }
    request = read_file(arguments[2]);
    if (!request) {
        fprintf(stderr, "%s cannot be read\n", arguments[2]);
        return 1;
    }

    client = takings_client_from_env(NULL, &error);
    if (client && count < 4) {
        key = takings_idempotency_key(arguments[1], "parcel-1", &error);
    }
    if (!error) {
        capture = takings_client_capture(client, arguments[1], request, key ? key : arguments[3], &error);
    }

    if (capture) {
        status = EXIT_SUCCESS;
        printf("capture %s\n", takings_capture_capture_id(capture));
        printf("key %s\n", takings_capture_idempotency_key(capture));
        for (i = 0; i < takings_capture_warning_count(capture); i++) {
            fprintf(stderr, "warning: %s\n", takings_capture_warning(capture, i));
        }
    } else {
        fprintf(stderr, "%s: %s\n", takings_error_kind_name(error), takings_error_message(error));
        if (takings_error_kind(error) == TAKINGS_ERROR_OUTCOME_UNKNOWN) {
            fprintf(stderr, "run it again with the key %s\n", takings_error_idempotency_key(error));
        }
    }

    takings_capture_free(capture);
    takings_error_free(error);
    takings_client_free(client);
    takings_string_free(key);
    free(request);
    return status;
}
