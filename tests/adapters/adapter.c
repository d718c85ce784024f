/*
 * Lets the suite call takings from C. Each line of the standard input is one call: fields
 * separated by tabs, each percent-encoded,
 *
 *     capture  config JSON or empty (then the last client)  order id  request JSON  0|1  key
 *     reconcile  config JSON or empty  order id  reference  captured amount
 *     options  config JSON or empty  options JSON
 *     check    config JSON or empty  order id  capture|refund  request JSON
 *     intent   capture|refund  order id  request JSON  style of placeholders
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

/* An outcome: the JSON text of what a call ended in, under the name that the suite has for it. */
static void print_outcome(const char *name, const char *json) { printf("{\"%s\":%s}\n", name, json); }

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

/* A line of any length, or NULL at the end. */
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

/* The sender for the calls of the last client. */
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

/* Sends a call to its end. */
static takings_call_t *sent(takings_call_t *call) {
    void *nothing = NULL;
    if (!call || !sender_add(sender, call, nothing)) {
        return call;
    }
    return sender_next(sender, &nothing);
}

static takings_capture_t *capture_order(const takings_client_t *client, const char *order_id, const char *request,
                                        const char *key, takings_error_t **error) {
    takings_call_t *call = sent(takings_client_prepare(client, order_id, request, key, error));
    takings_capture_t *capture = call ? takings_call_capture(call, error) : NULL;
    takings_call_free(call);
    return capture;
}

static takings_reconciliation_t *look(const takings_client_t *client, const char *order_id, const char *reference,
                                      int64_t amount, takings_error_t **error) {
    takings_call_t *call = sent(takings_client_prepare_reconcile(client, order_id, reference, amount, error));
    takings_reconciliation_t *found = call ? takings_call_reconciliation(call, error) : NULL;
    takings_call_free(call);
    return found;
}

static takings_reply_t *reply_to(const takings_client_t *client, const char *operation, const char *order_id,
                                 const char *arguments, const char *key, takings_error_t **error) {
    takings_call_t *call = sent(takings_client_prepare_call(client, operation, order_id, arguments, key, error));
    takings_reply_t *reply = call ? takings_call_reply(call, error) : NULL;
    takings_call_free(call);
    return reply;
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

static takings_reply_t *reply_to(const takings_client_t *client, const char *operation, const char *order_id,
                                 const char *arguments, const char *key, takings_error_t **error) {
    return takings_client_call(client, operation, order_id, arguments, key, error);
}

#endif

/* The reasons against a capture or a refund of the order, which is read for this. */
static void check(const takings_client_t *client, char *field[], takings_error_t **error) {
    takings_reply_t *order = reply_to(client, "get_order", field[2], "{}", NULL, error);
    takings_check_t *made = NULL;
    int64_t now = -1;
    if (order) {
        const char *text = takings_reply_text(order, "raw");
        takings_reply_integer(order, "answered_at_ms", &now);
        made = strcmp(field[3], "refund") == 0 ? takings_check_refund(text, now, field[4], error)
                                               : takings_check_capture(text, now, field[4], error);
    }
    if (made) {
        print_outcome("check", takings_check_json(made));
    }
    takings_check_free(made);
    takings_reply_free(order);
}

/* The row of a capture or a refund for a ledger, with the text and the values of its INSERT. */
static void intent(char *field[], takings_error_t **error) {
    takings_intent_t *row = takings_intent_new(field[1], field[2], field[3], error);
    char *sql = row ? takings_intent_insert(field[1], field[4], error) : NULL;
    if (sql) {
        const takings_value_t *values = takings_intent_values(row);
        takings_json_t *list = takings_json_new();
        for (size_t i = 0; i < takings_value_count(values); i++) {
            const takings_value_t *value = takings_value_at(values, i);
            int64_t number = 0;
            if (takings_value_integer(value, &number)) {
                takings_json_set_integer(list, "/values/-", number, error);
            } else if (takings_value_kind(value) == TAKINGS_VALUE_NULL) {
                takings_json_set_null(list, "/values/-", error);
            } else {
                takings_json_set_string(list, "/values/-", takings_value_text(value), error);
            }
        }
        takings_json_set_string(list, "/sql", sql, error);
        printf("{\"intent\":{\"row\":%s,%s}\n", takings_intent_json(row), takings_json_text(list) + 1);
        takings_json_free(list);
    }
    takings_string_free(sql);
    takings_intent_free(row);
}

int main(void) {
    takings_client_t *client = NULL;
    char *line;
    int status = 0;
    begin();
    while (status == 0 && (line = read_line())) {
        char *field[MOST_FIELDS];
        int count = cut(line, field);
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
                print_outcome("capture", takings_capture_json(capture));
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
                print_outcome("reconciliation", takings_reconciliation_json(found));
            }
            takings_reconciliation_free(found);
        } else if (count == 5 && strcmp(field[0], "check") == 0) {
            if (field[1][0] != '\0') {
                takings_client_free(client);
                client = new_client(field[1], &error);
            }
            if (!error) {
                check(client, field, &error);
            }
        } else if (count == 5 && strcmp(field[0], "intent") == 0) {
            intent(field, &error);
        } else if (count == 3 && strcmp(field[0], "options") == 0) {
            takings_client_t *other = NULL;
            if (field[1][0] != '\0') {
                takings_client_free(client);
                client = new_client(field[1], &error);
            }
            if (!error) {
                other = takings_client_with_options(client, field[2], &error);
            }
            if (other) {
                takings_client_free(client);
                client = other;
                print_outcome("options", "{}");
            }
        } else if (count == 3 && strcmp(field[0], "derive") == 0) {
            takings_json_t *arguments = takings_json_new();
            char *key = NULL;
            if (takings_json_set_string(arguments, "/order_id", field[1], &error) &&
                takings_json_set_string(arguments, "/name", field[2], &error)) {
                key = takings_call("idempotency_key", takings_json_text(arguments), &error);
            }
            if (key) {
                print_outcome("key", key);
            }
            takings_string_free(key);
            takings_json_free(arguments);
        } else if (count == 6) {
            takings_reply_t *reply = NULL;
            if (field[1][0] != '\0') {
                takings_client_free(client);
                client = new_client(field[1], &error);
            }
            if (!error) {
                const char *key = strcmp(field[4], "1") == 0 ? field[5] : NULL;
                reply = reply_to(client, field[0], field[2], field[3], key, &error);
            }
            if (reply) {
                print_outcome("reply", takings_reply_json(reply));
            }
            takings_reply_free(reply);
        } else if (count == 1 && strcmp(field[0], "quit") == 0) {
            free(line);
            break;
        } else {
            fprintf(stderr, "adapter.c: a line of %d fields that begins with \"%s\" is no call\n", count, field[0]);
            status = 2;
        }

        if (error) {
            print_outcome("error", takings_error_json(error));
        }
        fflush(stdout);
        takings_error_free(error);
        free(line);
    }
    takings_client_free(client);
    end();
    return status;
}
