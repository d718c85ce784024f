/*
 * takings captures Klarna orders: call it as often as you like, the money moves once, and you
 * always know whether it moved.
 *
 * Rules of this header
 *
 * 1. Ownership: what a function returns as a pointer without const is yours, to be freed once
 *    with the function its text names; what it returns as a pointer with const belongs to the
 *    object it was asked of and lives as long as that. Texts passed in stay yours and are read
 *    during the call only.
 * 2. Failure: a function that fails returns NULL or false and, unless error is NULL, sets *error
 *    to an error for takings_error_free. On success nothing is written to *error.
 * 3. NULL is an error wherever an object or a text is needed; the getters of NULL are NULL, 0 or
 *    false; freeing NULL does nothing. Texts are UTF-8 that ends with NUL; other bytes are errors.
 * 4. Threads: any number of them may use one client at the same time. A capture and an error never
 *    change and may be read by all; a takings_json_t is for one thread at a time. Freeing is for
 *    the last user, alone.
 * 5. Fork: a client may be used and freed in a child process, whether it was used before the fork
 *    or not, and in the parent. The first call in each process starts a thread that stays; a name
 *    look-up and the end of a client have one for as long as they last.
 * 6. No abort: no input, answer or fault inside takings ends the program; a fault becomes an error
 *    of the kind TAKINGS_ERROR_INTERNAL.
 * 7. A good guest: no set-up call, no global or thread-local state to look after, no signal
 *    handlers, no logging; only takings_client_from_env reads KLARNA_ variables. A library once
 *    loaded stays loaded: dlclose does not take it away from under its thread.
 */


#ifndef TAKINGS_H
#define TAKINGS_H

/* Made by cbindgen from ffi-c/src; to write it anew:
 * TAKINGS_BLESS=1 cargo test -p takings-c --test header */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The version of this header.
 */
#define TAKINGS_VERSION "0.1.0"
#define TAKINGS_VERSION_MAJOR 0
#define TAKINGS_VERSION_MINOR 1
#define TAKINGS_VERSION_PATCH 0

/**
 * What an error means for the money, and so for what to do next. A later version may add
 * kinds: treat one you do not know as TAKINGS_ERROR_OUTCOME_UNKNOWN.
 */
typedef enum {
  /**
   * There is no error: the kind of NULL.
   */
  TAKINGS_ERROR_NONE = 0,
  /**
   * The input was refused and nothing was sent. Mend the code or the data.
   */
  TAKINGS_ERROR_INVALID_INPUT = 1,
  /**
   * Nothing can have reached Klarna. Call again at any time.
   */
  TAKINGS_ERROR_NOT_SENT = 2,
  /**
   * Klarna said no; nothing was captured. Mend the cause; the corrected capture takes a new
   * idempotency key.
   */
  TAKINGS_ERROR_REJECTED = 3,
  /**
   * It may have been captured. Call again with the same idempotency key within 24 hours;
   * never book it as failed.
   */
  TAKINGS_ERROR_OUTCOME_UNKNOWN = 4,
  /**
   * A bug in takings: report it. If attempts is above 0, treat it as
   * TAKINGS_ERROR_OUTCOME_UNKNOWN.
   */
  TAKINGS_ERROR_INTERNAL = 5,
} takings_error_kind_t;

/**
 * How often a capture was found.
 */
typedef enum {
  /**
   * Nothing was looked for: what is found in NULL.
   */
  TAKINGS_FOUND_NOTHING = 0,
  /**
   * Exactly once: this is the capture.
   */
  TAKINGS_FOUND_ONCE = 1,
  /**
   * Not when Klarna was asked. A capture whose answer was lost may still be on its way:
   * capture again with the same key, not with a new one.
   */
  TAKINGS_FOUND_NEVER = 2,
  /**
   * More than once: the reference does not tell them apart.
   */
  TAKINGS_FOUND_SEVERAL = 3,
} takings_found_t;

/**
 * Klarna captured it: ship. Any number of threads may read it.
 */
typedef struct takings_capture_t takings_capture_t;

/**
 * Captures the orders of one merchant account.
 *
 * Make one and keep it: it reuses its connections. Any number of threads may use it at the
 * same time, and so may a process forked from the one that made it.
 */
typedef struct takings_client_t takings_client_t;

/**
 * Why a call failed: what it means for the money (kind), one line for a log (message), and
 * the facts one by one. It never holds a credential. Any number of threads may read it.
 */
typedef struct takings_error_t takings_error_t;

/**
 * Writes JSON text, for programs without a JSON library. A text put into it stays a text
 * whatever characters it holds, so a product's name can never become a field.
 *
 * It begins as {}. A place in it is named by a JSON Pointer (RFC 6901), such as
 * "/order_lines/0/quantity", where ~1 stands for / and ~0 for ~ in a name. Objects and lists
 * on the way are made as needed: a list where the next step is a number or "-", an object
 * otherwise. A list grows by one at its end: by its length as index, or by "-". A value takes
 * the place of an earlier one, but never of an object or a list. Only one thread at a time
 * may use it.
 *
 *     takings_json_t *request = takings_json_new();
 *     takings_json_set_integer(request, "/captured_amount", 6000, &error);
 *     takings_json_set_string(request, "/order_lines/0/name", "Tomatoes", &error);
 */
typedef struct takings_json_t takings_json_t;

/**
 * What a look into an order's captures found. Any number of threads may read it.
 */
typedef struct takings_reconciliation_t takings_reconciliation_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Makes a client from its settings, a JSON object such as
 *
 *     {"environment": "playground", "username": "PK0000_0a1b2c", "password": "..."}
 *
 * with environment (live or playground) and region (eu, na, oc or kustom; eu when absent), or
 * base_url; username and password, or api_key (and auth: basic or raw); connect_timeout_ms,
 * attempt_timeout_ms, timeout_ms (the whole call), max_attempts, backoff_ms, max_backoff_ms;
 * proxy, ca_file, user_agent_suffix, check_lines (off, warn or refuse),
 * accept_unknown_values, reconcile. Nothing is connected and no thread is started before the
 * first call.
 *
 * Returns a client for takings_client_free, or NULL and an error (invalid_input).
 */
takings_client_t *takings_client_new(const char *config_json, takings_error_t **error);

/**
 * Makes a client from the environment variables KLARNA_USERNAME and KLARNA_PASSWORD or
 * KLARNA_API_KEY, and KLARNA_REGION with KLARNA_ENVIRONMENT, or KLARNA_BASE_URL. An empty
 * variable counts as absent. No other thread may change the environment meanwhile.
 *
 * Returns a client for takings_client_free, or NULL and an error (invalid_input).
 */
takings_client_t *takings_client_from_env(takings_error_t **error);

/**
 * Captures the order, in full or in part, and waits for the outcome: at most timeout_ms.
 *
 * request_json is Klarna's request: an object with captured_amount in minor units (60.00 is
 * 6000) and, where you want, reference, description, order_lines, shipping_info and
 * shipping_delay. It is read strictly: an unknown or doubled field, a fraction, a string for
 * a number is refused and nothing is sent.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) the capture can be
 * called again after a crash: the money moves once. With NULL a fresh key is made for this
 * call and its retries; it comes back in the capture and in the error. So look whether
 * takings_idempotency_key gave NULL before passing it on: a repeat would capture again.
 *
 * Returns a capture for takings_capture_free, or NULL and an error.
 */
takings_capture_t *takings_client_capture(const takings_client_t *client,
                                          const char *order_id,
                                          const char *request_json,
                                          const char *idempotency_key,
                                          takings_error_t **error);

/**
 * Where requests go, without credentials.
 */
const char *takings_client_base_url(const takings_client_t *client);

/**
 * Frees a client. No other thread may be using it.
 */
void takings_client_free(takings_client_t *client);

/**
 * Klarna's name for the capture.
 */
const char *takings_capture_capture_id(const takings_capture_t *capture);

/**
 * The order it belongs to.
 */
const char *takings_capture_order_id(const takings_capture_t *capture);

/**
 * The key the call used, given or made.
 */
const char *takings_capture_idempotency_key(const takings_capture_t *capture);

/**
 * Klarna's name for the answered request; NULL where it gave none.
 */
const char *takings_capture_correlation_id(const takings_capture_t *capture);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_capture_attempts(const takings_capture_t *capture);

/**
 * How many warnings there are: order lines that do not add up. It was captured all the same.
 */
size_t takings_capture_warning_count(const takings_capture_t *capture);

/**
 * One warning, counted from 0; NULL beyond the last.
 */
const char *takings_capture_warning(const takings_capture_t *capture, size_t index);

/**
 * Frees a capture and its strings.
 */
void takings_capture_free(takings_capture_t *capture);

/**
 * What the error means for the money; TAKINGS_ERROR_NONE for NULL.
 */
takings_error_kind_t takings_error_kind(const takings_error_t *error);

/**
 * The kind as a word, the same in every language: invalid_input, not_sent, rejected,
 * outcome_unknown or internal. It stays valid for as long as the program runs.
 */
const char *takings_error_kind_name(const takings_error_t *error);

/**
 * One line for a log: what happened, where, and what to do.
 */
const char *takings_error_message(const takings_error_t *error);

/**
 * The HTTP status of the last answer; 0 where there was none.
 */
uint16_t takings_error_http_status(const takings_error_t *error);

/**
 * Klarna's error_code of the last answer, such as CAPTURE_NOT_ALLOWED; NULL where it gave
 * none.
 */
const char *takings_error_error_code(const takings_error_t *error);

/**
 * How many of Klarna's error_messages there are: English text for the developer.
 */
size_t takings_error_error_message_count(const takings_error_t *error);

/**
 * One of Klarna's error_messages, counted from 0; NULL beyond the last.
 */
const char *takings_error_error_message(const takings_error_t *error, size_t index);

/**
 * Klarna's name for the failed request: quote it to Klarna's support. NULL where there is
 * none.
 */
const char *takings_error_correlation_id(const takings_error_t *error);

/**
 * The order the call was for; NULL where the error belongs to no order.
 */
const char *takings_error_order_id(const takings_error_t *error);

/**
 * The key the call used; NULL where it had none yet. Keep it: after outcome_unknown, calling
 * again with it is what makes the second call safe.
 */
const char *takings_error_idempotency_key(const takings_error_t *error);

/**
 * How many requests were begun; 0 when nothing was sent.
 */
uint32_t takings_error_attempts(const takings_error_t *error);

/**
 * Whether the same call, with the same key, can end differently later.
 */
bool takings_error_retryable(const takings_error_t *error);

/**
 * Frees an error and its strings.
 */
void takings_error_free(takings_error_t *error);

/**
 * Derives the idempotency key of the capture called name of an order: the same two texts give
 * the same key after a crash, on any host, in every language (a UUID v5).
 *
 * name says which capture of the order it is, such as "parcel-1". Two parcels need two names:
 * Klarna answers a known key with the first result whatever the request says.
 *
 * Returns a string for takings_string_free, or NULL and an error (invalid_input).
 */
char *takings_idempotency_key(const char *order_id, const char *name, takings_error_t **error);

/**
 * A fresh random key (a UUID v4), for a program that stores it before the call.
 *
 * Returns a string for takings_string_free, or NULL and an error (internal: the operating
 * system gives no random bytes).
 */
char *takings_new_idempotency_key(takings_error_t **error);

/**
 * Frees a string of takings_idempotency_key or takings_new_idempotency_key, and no other.
 */
void takings_string_free(char *string);

/**
 * The version of the library that runs, such as "1.2.3"; TAKINGS_VERSION is the version of
 * the header the program was compiled with.
 */
const char *takings_version(void);

/**
 * Begins with {}. Free it with takings_json_free. NULL only if takings itself is at fault.
 */
takings_json_t *takings_json_new(void);

/**
 * Puts a text at the pointer. false and an error: nothing was changed.
 */
bool takings_json_set_string(takings_json_t *json,
                             const char *pointer,
                             const char *value,
                             takings_error_t **error);

/**
 * Puts a whole number at the pointer. false and an error: nothing was changed.
 */
bool takings_json_set_integer(takings_json_t *json,
                              const char *pointer,
                              int64_t value,
                              takings_error_t **error);

/**
 * Puts true or false at the pointer. false and an error: nothing was changed.
 */
bool takings_json_set_bool(takings_json_t *json,
                           const char *pointer,
                           bool value,
                           takings_error_t **error);

/**
 * Puts null at the pointer. false and an error: nothing was changed. (In a request, leave a
 * field out instead.)
 */
bool takings_json_set_null(takings_json_t *json, const char *pointer, takings_error_t **error);

/**
 * Puts an empty list at the pointer: for a list that stays empty. false and an error: nothing
 * was changed.
 */
bool takings_json_set_empty_list(takings_json_t *json,
                                 const char *pointer,
                                 takings_error_t **error);

/**
 * Puts an empty object at the pointer: for one that stays empty, or whose names are numbers.
 * false and an error: nothing was changed.
 */
bool takings_json_set_empty_object(takings_json_t *json,
                                   const char *pointer,
                                   takings_error_t **error);

/**
 * The JSON text so far, members in the order they were set. It stays valid until the next
 * change or takings_json_free.
 */
const char *takings_json_text(takings_json_t *json);

/**
 * Frees it and its text.
 */
void takings_json_free(takings_json_t *json);

/**
 * Looks into the captures of an order for the one with this reference and captured_amount (in
 * minor units), and waits for the answer: at most timeout_ms. It is only sound when each
 * capture of an order has a reference of its own.
 *
 * Returns what was found for takings_reconciliation_free, or NULL and an error: the captures
 * could not be read, and what became of the capture stays unknown.
 */
takings_reconciliation_t *takings_client_reconcile(const takings_client_t *client,
                                                   const char *order_id,
                                                   const char *reference,
                                                   int64_t captured_amount,
                                                   takings_error_t **error);

/**
 * How often; TAKINGS_FOUND_NOTHING for NULL.
 */
takings_found_t takings_reconciliation_found(const takings_reconciliation_t *reconciliation);

/**
 * The capture, if it was found once; NULL otherwise.
 */
const char *takings_reconciliation_capture_id(const takings_reconciliation_t *reconciliation);

/**
 * How many captures have the reference and the amount.
 */
size_t takings_reconciliation_capture_id_count(const takings_reconciliation_t *reconciliation);

/**
 * One of them, counted from 0; NULL beyond the last.
 */
const char *takings_reconciliation_capture_id_at(const takings_reconciliation_t *reconciliation,
                                                 size_t index);

/**
 * The order that was looked into.
 */
const char *takings_reconciliation_order_id(const takings_reconciliation_t *reconciliation);

/**
 * Klarna's name for the answered request; NULL where it gave none.
 */
const char *takings_reconciliation_correlation_id(const takings_reconciliation_t *reconciliation);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_reconciliation_attempts(const takings_reconciliation_t *reconciliation);

/**
 * Frees what was found and its strings.
 */
void takings_reconciliation_free(takings_reconciliation_t *reconciliation);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TAKINGS_H */
