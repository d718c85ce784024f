/*
 * Lets the suite call takings from C. Each line of the standard input is one call: fields
 * separated by tabs, each percent-encoded,
 *
 *     capture  config JSON or empty (then the last client)  order id  request JSON  0|1  key
 *     reconcile  config JSON or empty  order id  reference  captured amount
 *     derive   order id  name
 *     quit
 *
 * and each line of the standard output is its outcome, as JSON.
 *
 * With OVER_CURL defined the calls are sent over libcurl, by the very code of examples/hosts/libcurl.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "takings.h"

#ifdef OVER_CURL
#include <curl/curl.h>
#include <signal.h>

#include "sender.h"
#endif

enum { MOST_FIELDS = 6 };

/* The field cannot be written: a fault of this program. */
static void must(bool done, takings_error_t *error) {
    if (!done) {
        fprintf(stderr, "adapter.c: %s\n", takings_error_message(error));
        exit(2);
    }
}

static void put_string(takings_json_t *json, const char *pointer, const char *value) {
    takings_error_t *error = NULL;
    must(value ? takings_json_set_string(json, pointer, value, &error) : takings_json_set_null(json, pointer, &error),
         error);
}

static void put_integer(takings_json_t *json, const char *pointer, int64_t value) {
    takings_error_t *error = NULL;
    must(takings_json_set_integer(json, pointer, value, &error), error);
}

static void put_bool(takings_json_t *json, const char *pointer, bool value) {
    takings_error_t *error = NULL;
    must(takings_json_set_bool(json, pointer, value, &error), error);
}

static void put_empty_list(takings_json_t *json, const char *pointer) {
    takings_error_t *error = NULL;
    must(takings_json_set_empty_list(json, pointer, &error), error);
}

static void put_error(takings_json_t *json, const takings_error_t *error) {
    size_t i;
    put_string(json, "/error/kind", takings_error_kind_name(error));
    put_string(json, "/error/message", takings_error_message(error));
    if (takings_error_http_status(error) != 0) {
        put_integer(json, "/error/http_status", takings_error_http_status(error));
    } else {
        put_string(json, "/error/http_status", NULL);
    }
    put_string(json, "/error/error_code", takings_error_error_code(error));
    put_empty_list(json, "/error/error_messages");
    for (i = 0; i < takings_error_error_message_count(error); i++) {
        put_string(json, "/error/error_messages/-", takings_error_error_message(error, i));
    }
    put_string(json, "/error/correlation_id", takings_error_correlation_id(error));
    put_string(json, "/error/order_id", takings_error_order_id(error));
    put_string(json, "/error/idempotency_key", takings_error_idempotency_key(error));
    put_integer(json, "/error/attempts", takings_error_attempts(error));
    put_bool(json, "/error/retryable", takings_error_retryable(error));
}

static void put_capture(takings_json_t *json, const takings_capture_t *capture) {
    size_t i;
    put_string(json, "/capture/capture_id", takings_capture_capture_id(capture));
    put_string(json, "/capture/order_id", takings_capture_order_id(capture));
    put_string(json, "/capture/idempotency_key", takings_capture_idempotency_key(capture));
    put_string(json, "/capture/correlation_id", takings_capture_correlation_id(capture));
    put_integer(json, "/capture/attempts", takings_capture_attempts(capture));
    put_empty_list(json, "/capture/warnings");
    for (i = 0; i < takings_capture_warning_count(capture); i++) {
        put_string(json, "/capture/warnings/-", takings_capture_warning(capture, i));
    }
}

static void put_reconciliation(takings_json_t *json, const takings_reconciliation_t *found) {
    static const char *const NAMES[] = {"nothing", "once", "never", "several"};
    size_t i;
    put_string(json, "/reconciliation/found", NAMES[takings_reconciliation_found(found)]);
    put_string(json, "/reconciliation/capture_id", takings_reconciliation_capture_id(found));
    put_empty_list(json, "/reconciliation/capture_ids");
    for (i = 0; i < takings_reconciliation_capture_id_count(found); i++) {
        put_string(json, "/reconciliation/capture_ids/-", takings_reconciliation_capture_id_at(found, i));
    }
    put_string(json, "/reconciliation/order_id", takings_reconciliation_order_id(found));
    put_string(json, "/reconciliation/correlation_id", takings_reconciliation_correlation_id(found));
    put_integer(json, "/reconciliation/attempts", takings_reconciliation_attempts(found));
}

static int hex(char c) {
    const char *digits = "0123456789abcdef";
    const char *found = strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
    return c != '\0' && found ? (int)(found - digits) : -1;
}

/* Undoes the percent-encoding in place. */
static void decode(char *field) {
    char *out = field;
    for (; *field; field++) {
        if (field[0] == '%' && hex(field[1]) >= 0 && hex(field[2]) >= 0) {
            *out++ = (char)(hex(field[1]) * 16 + hex(field[2]));
            field += 2;
        } else {
            *out++ = *field;
        }
    }
    *out = '\0';
}

/* Cuts a line into decoded fields and returns how many there are. */
static int cut(char *line, char *fields[MOST_FIELDS]) {
    int count = 0;
    char *next = line;
    line[strcspn(line, "\r\n")] = '\0';
    while (next && count < MOST_FIELDS) {
        char *end = strchr(next, '\t');
        if (end) {
            *end++ = '\0';
        }
        decode(next);
        fields[count++] = next;
        next = end;
    }
    return next ? -1 : count;
}

/* One line of any length, or NULL at the end. */
static char *read_line(void) {
    size_t size = 4096, length = 0;
    char *line = malloc(size);
    while (line && fgets(line + length, (int)(size - length), stdin)) {
        length += strlen(line + length);
        if (line[length - 1] == '\n') {
            return line;
        }
        if (length + 1 == size) {
            char *longer = realloc(line, size *= 2);
            if (!longer) {
                free(line);
            }
            line = longer;
        }
    }
    if (line && length > 0) {
        return line;
    }
    free(line);
    return NULL;
}

#ifdef OVER_CURL

/* What sends the calls of the last client. */
static sender_t *sender;

static void begin(void) {
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void end(void) {
    sender_free(sender);
    curl_global_cleanup();
}

/* A client, and the sender that trusts the authorities it would trust. */
static takings_client_t *new_client(char *config, takings_error_t **error) {
    static const char NAME[] = "\"ca_file\":\"";
    takings_client_t *client = takings_client_new(config, error);
    char *ca_file = strstr(config, NAME);
    if (ca_file) {
        ca_file += sizeof NAME - 1;
        ca_file[strcspn(ca_file, "\"")] = '\0';
    }
    sender_free(sender);
    sender = sender_new(ca_file);
    return client;
}

/* Drives an operation to its end. */
static takings_operation_t *sent(takings_operation_t *operation) {
    void *nothing = NULL;
    if (!operation || !sender_add(sender, operation, nothing)) {
        return operation;
    }
    return sender_next(sender, &nothing);
}

static takings_capture_t *capture_order(const takings_client_t *client, const char *order_id, const char *request,
                                        const char *key, takings_error_t **error) {
    takings_operation_t *operation = sent(takings_client_prepare(client, order_id, request, key, error));
    takings_capture_t *capture = operation ? takings_operation_capture(operation, error) : NULL;
    takings_operation_free(operation);
    return capture;
}

static takings_reconciliation_t *look(const takings_client_t *client, const char *order_id, const char *reference,
                                      int64_t amount, takings_error_t **error) {
    takings_operation_t *operation =
        sent(takings_client_prepare_reconcile(client, order_id, reference, amount, error));
    takings_reconciliation_t *found = operation ? takings_operation_reconciliation(operation, error) : NULL;
    takings_operation_free(operation);
    return found;
}

#else

static void begin(void) {}
static void end(void) {}

static takings_client_t *new_client(char *config, takings_error_t **error) {
    return takings_client_new(config, error);
}

static takings_capture_t *capture_order(const takings_client_t *client, const char *order_id, const char *request,
                                        const char *key, takings_error_t **error) {
    return takings_client_capture(client, order_id, request, key, error);
}

static takings_reconciliation_t *look(const takings_client_t *client, const char *order_id, const char *reference,
                                      int64_t amount, takings_error_t **error) {
    return takings_client_reconcile(client, order_id, reference, amount, error);
}

#endif

int main(void) {
    takings_client_t *client = NULL;
    char *line;
    int status = 0;
    begin();
    while (status == 0 && (line = read_line())) {
        char *field[MOST_FIELDS];
        int count = cut(line, field);
        takings_json_t *outcome = takings_json_new();
        takings_error_t *error = NULL;

        if (count == 6 && strcmp(field[0], "capture") == 0) {
            takings_capture_t *capture = NULL;
            if (field[1][0] != '\0') {
                takings_client_free(client);
                client = new_client(field[1], &error);
            }
            if (!error) {
                const char *key = strcmp(field[4], "1") == 0 ? field[5] : NULL;
                capture = capture_order(client, field[2], field[3], key, &error);
            }
            if (capture) {
                put_capture(outcome, capture);
            }
            takings_capture_free(capture);
        } else if (count == 5 && strcmp(field[0], "reconcile") == 0) {
            takings_reconciliation_t *found = NULL;
            if (field[1][0] != '\0') {
                takings_client_free(client);
                client = new_client(field[1], &error);
            }
            if (!error) {
                found = look(client, field[2], field[3], strtoll(field[4], NULL, 10), &error);
            }
            if (found) {
                put_reconciliation(outcome, found);
            }
            takings_reconciliation_free(found);
        } else if (count == 3 && strcmp(field[0], "derive") == 0) {
            char *key = takings_idempotency_key(field[1], field[2], &error);
            if (key) {
                put_string(outcome, "/key", key);
            }
            takings_string_free(key);
        } else if (count == 1 && strcmp(field[0], "quit") == 0) {
            takings_json_free(outcome);
            free(line);
            break;
        } else {
            fprintf(stderr, "adapter.c: a line of %d fields that begins with \"%s\" is no call\n", count, field[0]);
            status = 2;
        }

        if (error) {
            put_error(outcome, error);
        }
        if (status == 0) {
            puts(takings_json_text(outcome));
            fflush(stdout);
        }
        takings_error_free(error);
        takings_json_free(outcome);
        free(line);
    }
    takings_client_free(client);
    end();
    return status;
}
