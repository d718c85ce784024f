/*
 * takings captures Klarna orders: call it as often as you like, the money moves once, and what
 * you are told about it is true.
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
 *    change and may be read by all; a takings_json_t or a takings_call_t is for one thread at a
 *    time, whichever that is. Freeing is for the last user, alone. A thread that is in a call must not
 *    be cancelled (pthread_cancel). It needs a stack of 64 KiB at least (pthread_attr_setstacksize), of
 *    96 KiB where a proxy is used. That holds for the library as `make install` builds it, optimised.
 * 5. Fork: a client may be used and freed in a child process, whether it was used before the fork
 *    or not, and in the parent; a signal handler that forks during a call must not return in the
 *    child. The thread that waits does a call's work, and what calls of other threads have to do
 *    meanwhile; a name look-up has a thread for as long as it lasts. A call that your program sends by
 *    itself (takings_call_t) starts none; after a fork one of the two processes goes on with it.
 * 6. No abort: no input, answer or fault inside takings ends the program; a fault becomes an error
 *    of the kind TAKINGS_ERROR_INTERNAL. The one exception is memory: where the system gives no more
 *    of it (RLIMIT_AS, the limit of a container), the program ends by abort. A call that was being
 *    sent then is as unclear as after a power cut: call again with the same key.
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
 * The next step of a call.
 */
typedef enum {
  /**
   * There is no call: the step of NULL.
   */
  TAKINGS_STEP_NONE = 0,
  /**
   * Send the request once and be done within takings_call_time_ms; then call
   * takings_call_answered, takings_call_not_sent or takings_call_maybe_sent.
   */
  TAKINGS_STEP_SEND = 1,
  /**
   * Pause for takings_call_time_ms, then call takings_call_waited.
   */
  TAKINGS_STEP_WAIT = 2,
  /**
   * The outcome is there: takings_call_capture, takings_call_reconciliation or
   * takings_call_reply.
   */
  TAKINGS_STEP_DONE = 3,
} takings_step_t;

/**
 * The meaning of an error for the money, and so for the next step. A later version may add
 * kinds: treat one you do not know as TAKINGS_ERROR_OUTCOME_UNKNOWN.
 */
typedef enum {
  /**
   * There is no error: the kind of NULL.
   */
  TAKINGS_ERROR_NONE = 0,
  /**
   * Our own check refused the input. Nothing was sent. Fix the code or the data.
   */
  TAKINGS_ERROR_INVALID_INPUT = 1,
  /**
   * No part of this call can have reached Klarna (name look-up, refused connection, TLS, proxy).
   * Call again at any time, with the same key.
   */
  TAKINGS_ERROR_NOT_SENT = 2,
  /**
   * Klarna refused it, and nothing was captured under this key, ever. Fix the cause; the corrected
   * capture needs a new idempotency key.
   */
  TAKINGS_ERROR_REJECTED = 3,
  /**
   * The order may have been captured: an answer was lost or made no sense, or an earlier call with
   * the key, of which nothing is known here, may have captured. Call again with the same
   * idempotency key within 24 hours of its first use; never book it as failed.
   */
  TAKINGS_ERROR_OUTCOME_UNKNOWN = 4,
  /**
   * A bug in takings. Report it; if attempts is above 0, treat it as
   * TAKINGS_ERROR_OUTCOME_UNKNOWN.
   */
  TAKINGS_ERROR_INTERNAL = 5,
} takings_error_kind_t;

/**
 * How often a capture was found.
 */
typedef enum {
  /**
   * No query was made: the result for NULL.
   */
  TAKINGS_FOUND_NOTHING = 0,
  /**
   * Exactly once: this is the capture.
   */
  TAKINGS_FOUND_ONCE = 1,
  /**
   * Not when Klarna was asked. A capture whose answer was lost may still be on its way: capture
   * again with the same key, not with a new one.
   */
  TAKINGS_FOUND_NEVER = 2,
  /**
   * More than once: the reference does not tell them apart.
   */
  TAKINGS_FOUND_SEVERAL = 3,
  /**
   * With another amount alone: a person has to decide.
   */
  TAKINGS_FOUND_AMOUNT_DIFFERS = 4,
} takings_found_t;

/**
 * The kinds of values. A later version may add kinds.
 */
typedef enum {
  /**
   * There is no value: the kind of NULL.
   */
  TAKINGS_VALUE_NONE = 0,
  /**
   * JSON's null, in a member that takings does not know. A member that takings knows is absent instead.
   */
  TAKINGS_VALUE_NULL = 1,
  /**
   * Yes or no: takings_value_integer gives 1 or 0.
   */
  TAKINGS_VALUE_BOOL = 2,
  /**
   * A whole number. An amount is in minor units.
   */
  TAKINGS_VALUE_INTEGER = 3,
  /**
   * Any other number, in a member that takings does not know: takings_value_text has it as JSON.
   */
  TAKINGS_VALUE_NUMBER = 4,
  /**
   * A text; takings_value_time_ms tells whether it is a time.
   */
  TAKINGS_VALUE_TEXT = 5,
  /**
   * A list.
   */
  TAKINGS_VALUE_LIST = 6,
  /**
   * An object.
   */
  TAKINGS_VALUE_OBJECT = 7,
} takings_value_kind_t;

/**
 * A request of a call, for a person who has to see afterwards what happened. No credential is in
 * it, and a server's text is scrubbed. It belongs to what it was asked of. Any number of threads
 * may read it.
 */
typedef struct takings_attempt_t takings_attempt_t;

/**
 * A call that your program sends by itself: takings decides what to send, when to wait and what
 * an answer means, your HTTP client sends. No thread is started and nothing is called back, so the
 * call fits any event loop.
 *
 *     takings_call_t *call = takings_client_prepare(client, order_id, request, key, &error);
 *     takings_step_t step = takings_call_start(call);
 *     while (step == TAKINGS_STEP_SEND || step == TAKINGS_STEP_WAIT) {
 *         if (step == TAKINGS_STEP_SEND)
 *             step = send_over_http(call);    // reports answered, not_sent or maybe_sent
 *         else {
 *             pause_for(takings_call_time_ms(call));
 *             step = takings_call_waited(call);
 *         }
 *     }
 *     capture = takings_call_capture(call, &error);
 *     takings_call_free(call);
 *
 * Duties of your HTTP client: for each TAKINGS_STEP_SEND it sends the request once, as it is,
 * follows no redirect, sends nothing again by itself, checks certificates, and is done within
 * takings_call_time_ms. It closes the connection after a time-out, an error, or bytes beyond
 * an answer, so that a late answer is not taken for the next call's.
 *
 * A call may be used by any thread, but by one at a time. After a fork go on with it in one of the
 * two processes and free it in the other; whether a connection may go on there is your HTTP
 * client's matter. The takings client may be freed before the call. A call that is freed before
 * TAKINGS_STEP_DONE is given up: a request that was sent may still be carried out, and the key
 * stays safe to call again with.
 */
typedef struct takings_call_t takings_call_t;

/**
 * Klarna captured it: ship. Any number of threads may read it.
 */
typedef struct takings_capture_t takings_capture_t;

/**
 * A look at a capture or a refund before it is made, on an order that was read. Any number of
 * threads may read it.
 */
typedef struct takings_check_t takings_check_t;

/**
 * Captures the orders of one merchant account.
 *
 * Make one and keep it: it reuses its connections. Any number of threads may use it at the
 * same time, and so may a process forked from the one that made it.
 */
typedef struct takings_client_t takings_client_t;

/**
 * A call that Klarna has carried out, and answers with nothing more. Any number of threads may
 * read it.
 */
typedef struct takings_confirmation_t takings_confirmation_t;

/**
 * A document of Klarna's. takings_document_at reads its members. Every member may be absent, and
 * a member of another type than Klarna documents is: a warning names it. Any number of threads
 * may read it.
 */
typedef struct takings_document_t takings_document_t;

/**
 * Why a call did not end well: what it means for the money (kind), one line for a log (message)
 * and the facts as fields. An error never holds a credential or customer data, and text that
 * came from a server has been scrubbed of control characters. Any number of threads may read it.
 */
typedef struct takings_error_t takings_error_t;

/**
 * The time until which an order can be captured. Any number of threads may read it.
 */
typedef struct takings_extension_t takings_extension_t;

/**
 * A capture or a refund that is to be made, as a row of the ledger's table. Any number of
 * threads may read it.
 */
typedef struct takings_intent_t takings_intent_t;

/**
 * Writes JSON text, for programs without a JSON library. A text put into it stays a text
 * whatever characters it holds, so a product's name can never become a field.
 *
 * The text begins as {}. A place in it is named by a JSON Pointer (RFC 6901), such as
 * "/order_lines/0/quantity", where ~1 stands for / and ~0 for ~ in a name. Objects and lists
 * on the way are made as needed: a list where the next step is a number or "-", an object
 * otherwise. A list grows by one at its end: by its length as index, or by "-". A value takes
 * the place of an earlier one, but never of an object or a list. Only one thread at a time
 * may use it. Values are wiped from memory when they are replaced or freed: settings hold a
 * password.
 *
 *     takings_json_t *request = takings_json_new();
 *     takings_json_set_integer(request, "/captured_amount", 6000, &error);
 *     takings_json_set_string(request, "/order_lines/0/name", "Tomatoes", &error);
 */
typedef struct takings_json_t takings_json_t;

/**
 * How an order was ended. Any number of threads may read it.
 */
typedef struct takings_order_end_t takings_order_end_t;

/**
 * The result of a query of an order's captures. Any number of threads may read it.
 */
typedef struct takings_reconciliation_t takings_reconciliation_t;

/**
 * The result of a query for a refund. Any number of threads may read it.
 */
typedef struct takings_refund_reconciliation_t takings_refund_reconciliation_t;

/**
 * Klarna gives the money back. Any number of threads may read it.
 */
typedef struct takings_refund_t takings_refund_t;

/**
 * The outcome of a call to any operation. Its fields are read by name, such as "capture_id", or as
 * one JSON text; the operation decides which there are. Any number of threads may read it.
 */
typedef struct takings_reply_t takings_reply_t;

/**
 * A value of Klarna's document. It belongs to what it was asked of, and is valid until that is freed; nothing of it is
 * freed by itself. Any number of threads may read it. Every function takes NULL, which stands for a value that is
 * absent, so that calls can be nested.
 */
typedef struct takings_value_t takings_value_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Where requests go, without credentials.
 */
const char *takings_client_base_url(const takings_client_t *client);

/**
 * Frees a client. No other thread may be using it.
 */
void takings_client_free(takings_client_t *client);

/**
 * Frees a string that a function of takings returned without const, and no other. It is wiped.
 */
void takings_string_free(char *string);

/**
 * The version of the library that runs, such as "1.2.3"; TAKINGS_VERSION is the version of
 * the header the program was compiled with.
 */
const char *takings_version(void);

/**
 * The order that the call is for.
 */
const char *takings_call_order_id(const takings_call_t *call);

/**
 * The key that the call is sent with, given or made; NULL for a call that changes nothing.
 */
const char *takings_call_idempotency_key(const takings_call_t *call);

/**
 * Begins the call, whose timeout_ms counts from here. The first step is TAKINGS_STEP_SEND.
 *
 * An event out of turn, such as a second start, ends the call as internal: after a request was
 * begun its outcome is then unknown. After TAKINGS_STEP_DONE nothing changes any more.
 */
takings_step_t takings_call_start(takings_call_t *call);

/**
 * How long sending may take (1 or more) or a pause lasts, in milliseconds; 0 in other steps.
 */
int64_t takings_call_time_ms(const takings_call_t *call);

/**
 * How long a connection may take to be made, within the time for sending, in milliseconds.
 */
int64_t takings_call_connect_timeout_ms(const takings_call_t *call);

/**
 * The method: POST, PATCH, or GET for a request that reads. This and the other parts of the request
 * are there during TAKINGS_STEP_SEND and stay valid until the next event is reported; otherwise
 * they are NULL and 0. With the setting reconcile they change during a call: read them for each
 * TAKINGS_STEP_SEND.
 */
const char *takings_call_method(const takings_call_t *call);

/**
 * The whole URL, to be sent as it is: what it names is percent-encoded already.
 */
const char *takings_call_url(const takings_call_t *call);

/**
 * How many headers the request has. host and content-length are your HTTP client's to add.
 */
size_t takings_call_header_count(const takings_call_t *call);

/**
 * The name of a header, in lower case, counted from 0; NULL beyond the last.
 */
const char *takings_call_header_name(const takings_call_t *call, size_t index);

/**
 * The value of a header, in printable ASCII. The value of authorization is the credential, for the
 * host of the URL and no other.
 */
const char *takings_call_header_value(const takings_call_t *call, size_t index);

/**
 * The body, takings_call_body_length bytes of JSON in UTF-8; NULL for a GET, which has none.
 */
const char *takings_call_body(const takings_call_t *call);

/**
 * How many bytes the body has.
 */
size_t takings_call_body_length(const takings_call_t *call);

/**
 * How many bytes of the answer's body are worth reading. Further bytes may be left unread; the
 * connection is then closed.
 */
size_t takings_call_most_answer(const takings_call_t *call);

/**
 * Adds a header of the answer, before takings_call_answered: the name in any case, the value in
 * any bytes. A header that came twice is given twice, not joined; headers of a 1xx are left out.
 * NULL for name or value is passed over, and so is a header when nothing is being sent.
 */
void takings_call_answer_header(takings_call_t *call, const char *name, const char *value);

/**
 * Adds a part of the answer's body, before takings_call_answered, with its transfer coding undone;
 * in one part or in many, in order. false: no more of it is worth reading.
 */
bool takings_call_answer_body(takings_call_t *call, const char *bytes, size_t length);

/**
 * Reports an answer whose head was complete, whatever its status, after its headers and its body; a
 * body that broke off is reported as far as it came. status is that of the last answer that was no
 * 1xx.
 */
takings_step_t takings_call_answered(takings_call_t *call, uint16_t status);

/**
 * Reports that nothing of the request can have left, since no connection was made: name look-up,
 * refused, TLS handshake, proxy. When in doubt it is takings_call_maybe_sent.
 *
 * why is for people and may be NULL; bytes that are not UTF-8 are replaced.
 */
takings_step_t takings_call_not_sent(takings_call_t *call, const char *why);

/**
 * Reports that the request may have left and no answer came (time-out, reset, a head that was cut),
 * or that your HTTP client does not know. why as for takings_call_not_sent.
 */
takings_step_t takings_call_maybe_sent(takings_call_t *call, const char *why);

/**
 * Reports that the pause is over.
 */
takings_step_t takings_call_waited(takings_call_t *call);

/**
 * The outcome of the call, as takings_client_call gives it; a program can ask for it again. Before
 * TAKINGS_STEP_DONE it is the error for a caller that stops waiting.
 *
 * Returns a reply for takings_reply_free, or NULL and an error.
 */
takings_reply_t *takings_call_reply(const takings_call_t *call, takings_error_t **error);

/**
 * Frees a call and the strings of its request.
 */
void takings_call_free(takings_call_t *call);

/**
 * Makes a client from its settings, a JSON object such as
 *
 *     {"environment": "playground", "username": "PK0000_0a1b2c", "password": "..."}
 *
 * No connection is made and no thread is started before the first call. The settings:
 *
 * - region (eu, na, oc or kustom): Where the account lives; eu when only the environment is
 *   given. Not together with base_url.
 * - environment (live or playground): Live or playground. There is no default: one of them moves
 *   money.
 * - base_url: Another host than Klarna's own, with an optional path prefix:
 *   https://gateway.example/klarna. Plain http only for a loopback address, or the
 *   insecure_http_host.
 * - insecure_http_host: Allows plain http in base_url to this one host, which must not be
 *   Klarna's. Everybody on the way reads the credentials and all data then, and can change
 *   answers: for a stand-in Klarna in another container, with made-up data.
 * - username: The user of the pair that Klarna's portal shows.
 * - password: The password that belongs to username. Not together with api_key.
 * - api_key: An API key, with the username it was made together with, or alone.
 * - auth (basic or raw): How an api_key is sent: as the password of a pair, or as it is. basic.
 * - connect_timeout_ms: Time to connect: name look-up, every address, TLS. 5 s; at most half of
 *   what one attempt may take, so that an unreachable host is not taken for a lost answer.
 * - attempt_timeout_ms: Time for one attempt, from the first name look-up to the last byte. 10
 *   s.
 * - timeout_ms: Time for the whole call with all attempts and pauses. 25 s, below the 30 s after
 *   which gunicorn kills a worker.
 * - max_attempts: Requests one call may make, 1 to 20. 3.
 * - backoff_ms: The first pause is drawn from 0 to this, each later one from twice as much. 0.5
 *   s.
 * - max_backoff_ms: No pause is drawn from more than this. 8 s.
 * - proxy: A proxy for HTTPS, such as http://user:password@proxy.example:3128. Without it,
 *   HTTPS_PROXY and NO_PROXY are read as curl reads them. Never used for a loopback address.
 * - ca_file: A PEM file of certificate authorities to trust instead of the system's.
 * - user_agent_suffix: Your program's name for itself, appended to the User-Agent:
 *   acme-shop/2.1.
 * - check_lines (off, warn or refuse): How order lines that do not add up are taken: warn by
 *   default.
 * - accept_unknown_values: Let values pass that takings does not know, for the line type and
 *   shipping_method of requests read from JSON or a script's values.
 * - reconcile: When a capture with a reference ends unclear, search the order's captures for the
 *   one with this reference and amount, and take it for the answer. Only sound when each capture
 *   of an order has a reference of its own.
 *
 * Returns a client for takings_client_free, or NULL and an error (invalid_input).
 */
takings_client_t *takings_client_new(const char *config_json, takings_error_t **error);

/**
 * Makes a client from the environment variables KLARNA_USERNAME, KLARNA_PASSWORD,
 * KLARNA_API_KEY, KLARNA_REGION, KLARNA_ENVIRONMENT, KLARNA_BASE_URL, KLARNA_INSECURE_HTTP_HOST,
 * KLARNA_AUTH, KLARNA_CONNECT_TIMEOUT, KLARNA_ATTEMPT_TIMEOUT, KLARNA_TIMEOUT,
 * KLARNA_MAX_ATTEMPTS, KLARNA_BACKOFF, KLARNA_MAX_BACKOFF, KLARNA_PROXY, KLARNA_CA_FILE,
 * KLARNA_USER_AGENT_SUFFIX, KLARNA_CHECK_LINES, KLARNA_ACCEPT_UNKNOWN_VALUES and
 * KLARNA_RECONCILE, as far as they are set. An empty variable counts as absent. No other thread
 * may change the environment meanwhile.
 *
 * config_json holds settings that count before the environment, as takings_client_new takes
 * them, such as {"timeout_ms": 10000}; NULL for none.
 *
 * Returns a client for takings_client_free, or NULL and an error (invalid_input).
 */
takings_client_t *takings_client_from_env(const char *config_json, takings_error_t **error);

/**
 * Makes a client with other limits beside this one, for calls that have less time than others or
 * more: it shares connections, credentials and the memory of keys. Either of the two may be
 * freed first. options_json is a JSON object such as
 *
 *     {"timeout_ms": 3000, "max_attempts": 1}
 *
 * An option that is absent is as in the other client. The options:
 *
 * - timeout_ms: Time for the whole call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests the call may make, 1 to 20, in place of the client's.
 *
 * Returns a client for takings_client_free, or NULL and an error (invalid_input).
 */
takings_client_t *takings_client_with_options(const takings_client_t *client,
                                              const char *options_json,
                                              takings_error_t **error);

/**
 * Calls any operation by its name, such as "capture", and waits for the outcome: at most
 * timeout_ms.
 *
 * arguments_json is a JSON object with everything that the operation takes beside the order and
 * the key, read as strictly as the request of takings_client_capture. idempotency_key is as
 * there; it must be NULL for an operation that changes nothing.
 *
 * Returns a reply for takings_reply_free, or NULL and an error.
 */
takings_reply_t *takings_client_call(const takings_client_t *client,
                                     const char *operation,
                                     const char *order_id,
                                     const char *arguments_json,
                                     const char *idempotency_key,
                                     takings_error_t **error);

/**
 * The first half of takings_client_call, with the same arguments.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_call(const takings_client_t *client,
                                            const char *operation,
                                            const char *order_id,
                                            const char *arguments_json,
                                            const char *idempotency_key,
                                            takings_error_t **error);

/**
 * Calls a function that needs no client, by its name, for a program that has JSON at hand.
 * arguments_json is a JSON object. The functions:
 *
 * - idempotency_key takes order_id and name; also operation and capture_id
 * - new_idempotency_key takes nothing, so {}
 * - minor takes amount and currency
 * - settings_from_env takes nothing, so {}
 * - schema takes nothing, so {}
 *
 * settings_from_env gives the settings for takings_client_new, with the credentials in clear;
 * schema gives the names, types and limits of operations, requests, settings, replies and
 * errors.
 *
 * Returns the result as JSON text, a string for takings_string_free, or NULL and an error.
 */
char *takings_call(const char *name, const char *arguments_json, takings_error_t **error);

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
 * Derives the key of a call to any operation that takes a key, by the operation's name. A refund
 * and a capture of one name never share a key. "capture" gives that of takings_idempotency_key.
 * capture_id is Klarna's id of the capture for an operation on a capture, such as
 * "append_shipping_info", and NULL for every other.
 *
 * Returns a string for takings_string_free, or NULL and an error (invalid_input).
 */
char *takings_idempotency_key_for(const char *operation,
                                  const char *order_id,
                                  const char *capture_id,
                                  const char *name,
                                  takings_error_t **error);

/**
 * A fresh random key (a UUID v4), for a program that stores it before the call.
 *
 * Returns a string for takings_string_free, or NULL and an error (internal: the operating system
 * gives no random bytes).
 */
char *takings_new_idempotency_key(takings_error_t **error);

/**
 * Puts the amount, in the minor units that Klarna counts in, into *minor: "60.00" of "EUR" is
 * 6000, exactly or not at all.
 *
 * amount is a decimal number such as 60, -4.5 or 60.00, with a point and without a thousands
 * separator, sign +, exponent or spaces. currency is a code of ISO 4217 in upper or lower case,
 * whose number of decimals counts: 2 for EUR, 0 for JPY, 3 for KWD. Zeros beyond those are
 * passed over; any other digit there is refused, since nothing is rounded.
 *
 * false and an error (invalid_input): *minor is as it was.
 */
bool takings_minor(const char *amount,
                   const char *currency,
                   int64_t *minor,
                   takings_error_t **error);

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
 * Puts null, which no field of a request may be, at the pointer. false and an error: nothing was
 * changed.
 */
bool takings_json_set_null(takings_json_t *json, const char *pointer, takings_error_t **error);

/**
 * Puts an empty list that stays empty at the pointer. false and an error: nothing was changed.
 */
bool takings_json_set_empty_list(takings_json_t *json,
                                 const char *pointer,
                                 takings_error_t **error);

/**
 * Puts an empty object, for one that stays empty or whose names are numbers, at the pointer.
 * false and an error: nothing was changed.
 */
bool takings_json_set_empty_object(takings_json_t *json,
                                   const char *pointer,
                                   takings_error_t **error);

/**
 * The meaning of the error for the money; TAKINGS_ERROR_NONE for NULL.
 */
takings_error_kind_t takings_error_kind(const takings_error_t *error);

/**
 * The kind as a word, the same in every language: invalid_input, not_sent, rejected,
 * outcome_unknown or internal. It stays valid for as long as the program runs.
 */
const char *takings_error_kind_name(const takings_error_t *error);

/**
 * The error in one line: what happened, where, and the way out.
 */
const char *takings_error_message(const takings_error_t *error);

/**
 * The HTTP status of the last answer, when there was one; 0 where there is none.
 */
uint16_t takings_error_http_status(const takings_error_t *error);

/**
 * Klarna's error_code from the last answer, such as CAPTURE_NOT_ALLOWED. Made for programs; new
 * ones may appear; NULL where there is none.
 */
const char *takings_error_error_code(const takings_error_t *error);

/**
 * How many error messages there are. Klarna's error_messages from the last answer: English text
 * for the developer, whose wording changes. At most 20, each at most 500 characters.
 */
size_t takings_error_error_message_count(const takings_error_t *error);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_error_error_message(const takings_error_t *error, size_t index);

/**
 * Klarna's name for the failed request: quote it to Klarna's support; NULL where there is none.
 */
const char *takings_error_correlation_id(const takings_error_t *error);

/**
 * The order the call was for, when it got as far as having one; NULL where there is none.
 */
const char *takings_error_order_id(const takings_error_t *error);

/**
 * The key the call used. Keep it: after outcome_unknown, calling again with it is what makes the
 * second call safe; NULL where there is none.
 */
const char *takings_error_idempotency_key(const takings_error_t *error);

/**
 * How many requests were begun, 0 when nothing was sent.
 */
uint32_t takings_error_attempts(const takings_error_t *error);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it. The requests that searched for the capture are among them.
 */
size_t takings_error_attempt_log_count(const takings_error_t *error);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_error_attempt_log(const takings_error_t *error, size_t index);

/**
 * Whether the same call, with the same key, can end differently later. True for not_sent, a rate
 * limit, and an internal error after a request was begun. True for outcome_unknown too, but not
 * after a refused query, or for a key past its 24 hours.
 */
bool takings_error_retryable(const takings_error_t *error);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_error_json(const takings_error_t *error);

/**
 * Frees an error and its strings.
 */
void takings_error_free(takings_error_t *error);

/**
 * The order it was asked of.
 */
const char *takings_document_order_id(const takings_document_t *document);

/**
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_document_correlation_id(const takings_document_t *document);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_document_attempts(const takings_document_t *document);

/**
 * How many warnings there are. The members of the answer that were of another type, and so are
 * absent.
 */
size_t takings_document_warning_count(const takings_document_t *document);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_document_warning(const takings_document_t *document, size_t index);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it.
 */
size_t takings_document_attempt_log_count(const takings_document_t *document);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_document_attempt_log(const takings_document_t *document,
                                                      size_t index);

/**
 * When it was answered, by the server's clock, or by this machine's where the server tells none,
 * in milliseconds since 1970 (UTC); -1 where there is none.
 */
int64_t takings_document_answered_at_ms(const takings_document_t *document);

/**
 * The JSON text, exactly as Klarna wrote it, with all members that Klarna has added.
 */
const char *takings_document_raw(const takings_document_t *document);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_document_json(const takings_document_t *document);

/**
 * Frees a document and its strings.
 */
void takings_document_free(takings_document_t *document);

/**
 * The order it was for.
 */
const char *takings_confirmation_order_id(const takings_confirmation_t *confirmation);

/**
 * The key the call used, given or made.
 */
const char *takings_confirmation_idempotency_key(const takings_confirmation_t *confirmation);

/**
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_confirmation_correlation_id(const takings_confirmation_t *confirmation);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_confirmation_attempts(const takings_confirmation_t *confirmation);

/**
 * How many warnings there are. Warnings to be read by a person, though it was carried out.
 */
size_t takings_confirmation_warning_count(const takings_confirmation_t *confirmation);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_confirmation_warning(const takings_confirmation_t *confirmation, size_t index);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it.
 */
size_t takings_confirmation_attempt_log_count(const takings_confirmation_t *confirmation);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_confirmation_attempt_log(const takings_confirmation_t *confirmation,
                                                          size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_confirmation_json(const takings_confirmation_t *confirmation);

/**
 * Frees a confirmation and its strings.
 */
void takings_confirmation_free(takings_confirmation_t *confirmation);

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
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_capture_correlation_id(const takings_capture_t *capture);

/**
 * How many requests it took, 1 or more; 0 where a key past its 24 hours was known to have
 * captured, and nothing was sent.
 */
uint32_t takings_capture_attempts(const takings_capture_t *capture);

/**
 * How many warnings there are. Order lines that do not add up (see the setting check_lines),
 * though it was captured all the same; and that an earlier call of this client with the same key
 * was answered with another capture.
 */
size_t takings_capture_warning_count(const takings_capture_t *capture);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_capture_warning(const takings_capture_t *capture, size_t index);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it. The requests that searched for the capture are among them.
 */
size_t takings_capture_attempt_log_count(const takings_capture_t *capture);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_capture_attempt_log(const takings_capture_t *capture,
                                                     size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_capture_json(const takings_capture_t *capture);

/**
 * Frees a capture and its strings.
 */
void takings_capture_free(takings_capture_t *capture);

/**
 * Klarna's name for the refund. It is absent only where a query found the refund in an order
 * that names none; NULL where there is none.
 */
const char *takings_refund_refund_id(const takings_refund_t *refund);

/**
 * The order it belongs to.
 */
const char *takings_refund_order_id(const takings_refund_t *refund);

/**
 * The key the call used, given or made.
 */
const char *takings_refund_idempotency_key(const takings_refund_t *refund);

/**
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_refund_correlation_id(const takings_refund_t *refund);

/**
 * How many requests it took, 1 or more; 0 where a key past its 24 hours was known to have
 * refunded, and nothing was sent.
 */
uint32_t takings_refund_attempts(const takings_refund_t *refund);

/**
 * How many warnings there are. Order lines that do not add up (see the setting check_lines), and
 * that a refund cannot be found again.
 */
size_t takings_refund_warning_count(const takings_refund_t *refund);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_refund_warning(const takings_refund_t *refund, size_t index);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it. The requests that searched for the refund are among them.
 */
size_t takings_refund_attempt_log_count(const takings_refund_t *refund);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_refund_attempt_log(const takings_refund_t *refund, size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_refund_json(const takings_refund_t *refund);

/**
 * Frees a refund and its strings.
 */
void takings_refund_free(takings_refund_t *refund);

/**
 * How often: once, never or several; amount_differs if the reference was found with another
 * amount alone. never says so only of the moment: a capture whose answer was lost may still be
 * on its way, so capture again with the same key, not with a new one. TAKINGS_FOUND_NOTHING for
 * NULL.
 */
takings_found_t takings_reconciliation_found(const takings_reconciliation_t *reconciliation);

/**
 * The capture, if it was found once; NULL where there is none.
 */
const char *takings_reconciliation_capture_id(const takings_reconciliation_t *reconciliation);

/**
 * How many capture ids there are. Every capture with this reference and amount, as Klarna lists
 * them.
 */
size_t takings_reconciliation_capture_id_count(const takings_reconciliation_t *reconciliation);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_reconciliation_capture_id_at(const takings_reconciliation_t *reconciliation,
                                                 size_t index);

/**
 * The order whose captures were read.
 */
const char *takings_reconciliation_order_id(const takings_reconciliation_t *reconciliation);

/**
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_reconciliation_correlation_id(const takings_reconciliation_t *reconciliation);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_reconciliation_attempts(const takings_reconciliation_t *reconciliation);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it.
 */
size_t takings_reconciliation_attempt_log_count(const takings_reconciliation_t *reconciliation);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_reconciliation_attempt_log(const takings_reconciliation_t *reconciliation,
                                                            size_t index);

/**
 * How many other capture ids there are. Every capture with this reference and another amount.
 */
size_t takings_reconciliation_other_capture_id_count(const takings_reconciliation_t *reconciliation);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_reconciliation_other_capture_id(const takings_reconciliation_t *reconciliation,
                                                    size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_reconciliation_json(const takings_reconciliation_t *reconciliation);

/**
 * Frees a reconciliation and its strings.
 */
void takings_reconciliation_free(takings_reconciliation_t *reconciliation);

/**
 * How often: once, never or several; amount_differs if the reference was found with another
 * amount alone. never says so only of the moment: a refund whose answer was lost may still be on
 * its way, so refund again with the same key, not with a new one. TAKINGS_FOUND_NOTHING for
 * NULL.
 */
takings_found_t takings_refund_reconciliation_found(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * The refund, if it was found once and the order names its id; NULL where there is none.
 */
const char *takings_refund_reconciliation_refund_id(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * How many refund ids there are. Every refund with this reference and amount, as Klarna lists
 * them.
 */
size_t takings_refund_reconciliation_refund_id_count(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_refund_reconciliation_refund_id_at(const takings_refund_reconciliation_t *refund_reconciliation,
                                                       size_t index);

/**
 * The order whose refunds were read.
 */
const char *takings_refund_reconciliation_order_id(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_refund_reconciliation_correlation_id(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_refund_reconciliation_attempts(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it.
 */
size_t takings_refund_reconciliation_attempt_log_count(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_refund_reconciliation_attempt_log(const takings_refund_reconciliation_t *refund_reconciliation,
                                                                   size_t index);

/**
 * How many other refund ids there are. Every refund with this reference and another amount.
 */
size_t takings_refund_reconciliation_other_refund_id_count(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_refund_reconciliation_other_refund_id(const takings_refund_reconciliation_t *refund_reconciliation,
                                                          size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_refund_reconciliation_json(const takings_refund_reconciliation_t *refund_reconciliation);

/**
 * Frees a refund reconciliation and its strings.
 */
void takings_refund_reconciliation_free(takings_refund_reconciliation_t *refund_reconciliation);

/**
 * cancelled: the order is cancelled. released: what was not captured is released. nothing:
 * nothing was left to cancel or to release, as of an order that is captured in full, expired or
 * closed.
 */
const char *takings_order_end_done(const takings_order_end_t *order_end);

/**
 * The order it was for.
 */
const char *takings_order_end_order_id(const takings_order_end_t *order_end);

/**
 * The key of the request that changed the order; none without one; NULL where there is none.
 */
const char *takings_order_end_idempotency_key(const takings_order_end_t *order_end);

/**
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_order_end_correlation_id(const takings_order_end_t *order_end);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_order_end_attempts(const takings_order_end_t *order_end);

/**
 * How many warnings there are. Warnings to be read by a person.
 */
size_t takings_order_end_warning_count(const takings_order_end_t *order_end);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_order_end_warning(const takings_order_end_t *order_end, size_t index);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it.
 */
size_t takings_order_end_attempt_log_count(const takings_order_end_t *order_end);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_order_end_attempt_log(const takings_order_end_t *order_end,
                                                       size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_order_end_json(const takings_order_end_t *order_end);

/**
 * Frees an order end and its strings.
 */
void takings_order_end_free(takings_order_end_t *order_end);

/**
 * Whether it was extended. It was not where enough time is left, or nothing is left to capture.
 */
bool takings_extension_extended(const takings_extension_t *extension);

/**
 * When the authorization ended before the call, as Klarna wrote it.
 */
const char *takings_extension_old_expires_at(const takings_extension_t *extension);

/**
 * When it ends now, as Klarna wrote it. It is absent where it was extended and could not be read
 * afterwards; NULL where there is none.
 */
const char *takings_extension_expires_at(const takings_extension_t *extension);

/**
 * The order it was for.
 */
const char *takings_extension_order_id(const takings_extension_t *extension);

/**
 * The key of the request that extended it; none where none was made; NULL where there is none.
 */
const char *takings_extension_idempotency_key(const takings_extension_t *extension);

/**
 * Klarna's name for the answered request, where it gave one; NULL where there is none.
 */
const char *takings_extension_correlation_id(const takings_extension_t *extension);

/**
 * How many requests it took, 1 or more.
 */
uint32_t takings_extension_attempts(const takings_extension_t *extension);

/**
 * How many warnings there are. Warnings to be read by a person.
 */
size_t takings_extension_warning_count(const takings_extension_t *extension);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_extension_warning(const takings_extension_t *extension, size_t index);

/**
 * How many requests its attempt log holds. Each request with its time, what came back and the
 * pause after it.
 */
size_t takings_extension_attempt_log_count(const takings_extension_t *extension);

/**
 * A request of the call, in order, counted from 0; NULL beyond the last.
 */
const takings_attempt_t *takings_extension_attempt_log(const takings_extension_t *extension,
                                                       size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_extension_json(const takings_extension_t *extension);

/**
 * Frees an extension and its strings.
 */
void takings_extension_free(takings_extension_t *extension);

/**
 * How many reasons there are. The reasons for which Klarna is likely to refuse it, or a person
 * to regret it, each a line for a person. None is a good sign; Klarna alone decides, so never
 * refuse a call for them.
 */
size_t takings_check_reason_count(const takings_check_t *check);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_check_reason(const takings_check_t *check, size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_check_json(const takings_check_t *check);

/**
 * Frees a check and its strings.
 */
void takings_check_free(takings_check_t *check);

/**
 * capture or refund.
 */
const char *takings_intent_operation(const takings_intent_t *intent);

/**
 * The table: takings_capture or takings_refund.
 */
const char *takings_intent_table(const takings_intent_t *intent);

/**
 * The account of the ledger.
 */
const char *takings_intent_account(const takings_intent_t *intent);

/**
 * The order, a UUID in small letters.
 */
const char *takings_intent_order_id(const takings_intent_t *intent);

/**
 * The shop's own name for it.
 */
const char *takings_intent_reference(const takings_intent_t *intent);

/**
 * How much is captured, in minor units; none for a refund; 0 where there is none.
 */
int64_t takings_intent_captured_amount(const takings_intent_t *intent);

/**
 * How much is given back, in minor units; none for a capture; 0 where there is none.
 */
int64_t takings_intent_refunded_amount(const takings_intent_t *intent);

/**
 * The other fields of Klarna's request as JSON, always the same text for the same fields; none
 * without others; NULL where there is none.
 */
const char *takings_intent_request(const takings_intent_t *intent);

/**
 * The key with which it is sent, derived from the reference.
 */
const char *takings_intent_idempotency_key(const takings_intent_t *intent);

/**
 * How many warnings there are. Order lines that do not add up.
 */
size_t takings_intent_warning_count(const takings_intent_t *intent);

/**
 * An item of that list, counted from 0; NULL beyond the last.
 */
const char *takings_intent_warning(const takings_intent_t *intent, size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds; their names end in _ms.
 */
const char *takings_intent_json(const takings_intent_t *intent);

/**
 * Frees an intent and its strings.
 */
void takings_intent_free(takings_intent_t *intent);

/**
 * When it was begun, by the system's clock, in milliseconds since 1970 (UTC).
 */
int64_t takings_attempt_started_ms(const takings_attempt_t *attempt);

/**
 * Method and URL, such as "POST https://api.klarna.com/ordermanagement/v1/orders/.../captures".
 */
const char *takings_attempt_sent(const takings_attempt_t *attempt);

/**
 * How long it took, in milliseconds.
 */
int64_t takings_attempt_took_ms(const takings_attempt_t *attempt);

/**
 * The answer or the failure, for people: 201, "503 INTERNAL_ERROR", "no answer within 10.0s",
 * "not_sent: no connection to ...".
 */
const char *takings_attempt_came_back(const takings_attempt_t *attempt);

/**
 * The HTTP status, where there was an answer; 0 where there is none.
 */
uint16_t takings_attempt_http_status(const takings_attempt_t *attempt);

/**
 * Klarna's error_code, where the answer had one; NULL where there is none.
 */
const char *takings_attempt_error_code(const takings_attempt_t *attempt);

/**
 * Klarna's name for the request, where the answer had one; NULL where there is none.
 */
const char *takings_attempt_correlation_id(const takings_attempt_t *attempt);

/**
 * The pause after it, where another attempt followed, in milliseconds; -1 where there is none.
 */
int64_t takings_attempt_wait_ms(const takings_attempt_t *attempt);

/**
 * The pause that the answer asked for: Retry-After, or Klarna's X-Ratelimit-Reset where its
 * limit was met (429). A program that does its own retries waits for at least as long, in
 * milliseconds; -1 where there is none.
 */
int64_t takings_attempt_asked_to_wait_ms(const takings_attempt_t *attempt);

/**
 * Reads the order: its state, amounts, lines, captures and refunds. It waits for the outcome, at
 * most timeout_ms.
 *
 *
 * Returns a document for takings_document_free, or NULL and an error.
 */
takings_document_t *takings_client_get_order(const takings_client_t *client,
                                             const char *order_id,
                                             takings_error_t **error);

/**
 * The first half of takings_client_get_order, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_get_order(const takings_client_t *client,
                                                 const char *order_id,
                                                 takings_error_t **error);

/**
 * Confirms to Klarna that the shop knows the order. Klarna then stops calling the shop about it.
 * A capture does so too. Safe to repeat. It waits for the outcome, at most timeout_ms.
 *
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_acknowledge(const takings_client_t *client,
                                                   const char *order_id,
                                                   const char *idempotency_key,
                                                   takings_error_t **error);

/**
 * The first half of takings_client_acknowledge, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_acknowledge(const takings_client_t *client,
                                                   const char *order_id,
                                                   const char *idempotency_key,
                                                   takings_error_t **error);

/**
 * Changes the amount and the lines of an order that is authorized. The lines replace the old
 * ones. Safe to repeat. It waits for the outcome, at most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - order_amount: The order's new amount in minor units: 0 to 200,000,000, and not less than was
 *   captured. For more than before Klarna checks the risk anew, and takes it for some payment
 *   methods only.
 * - description: A text about the change, at most 255 characters.
 * - order_lines: The order's new lines, at most 1000. They replace the old ones. Klarna deletes
 *   the old ones where the lines are left out, so takings wants them; [] deletes them on
 *   purpose.
 * - first_use: Whether this is the first use of the idempotency key: no other process, and no
 *   earlier run of this one, can have sent it. Then a refusal is the whole truth. Keys that
 *   takings makes need it not.
 * - first_used: When the idempotency key was sent first, in seconds since 1970 (UTC). Past
 *   Klarna's 24 hours nothing is sent, since Klarna would carry it out again.
 * - after_unclear: Whether an earlier call with the idempotency key may have been carried out
 *   elsewhere: in another process, on another host, or in this program before a crash. Then
 *   rejected is said only where Klarna refuses the bytes themselves; any other refusal, and a
 *   request that was not sent, is outcome_unknown.
 * - timeout_ms: Time for this call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests this call may make, 1 to 20, in place of the client's.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_update_authorization(const takings_client_t *client,
                                                            const char *order_id,
                                                            const char *request_json,
                                                            const char *idempotency_key,
                                                            takings_error_t **error);

/**
 * The first half of takings_client_update_authorization, with the same arguments: everything
 * that can be refused is refused here, and the key is known before anything is sent. The call is
 * the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_update_authorization(const takings_client_t *client,
                                                            const char *order_id,
                                                            const char *request_json,
                                                            const char *idempotency_key,
                                                            takings_error_t **error);

/**
 * Cancels an order of which nothing was captured, for good. Safe to repeat. It waits for the
 * outcome, at most timeout_ms.
 *
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_cancel(const takings_client_t *client,
                                              const char *order_id,
                                              const char *idempotency_key,
                                              takings_error_t **error);

/**
 * The first half of takings_client_cancel, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_cancel(const takings_client_t *client,
                                              const char *order_id,
                                              const char *idempotency_key,
                                              takings_error_t **error);

/**
 * Captures the order, in full or in part: the money moves once, however often it is called with
 * one key. It waits for the outcome, at most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - captured_amount: How much is captured, in minor units (60.00 is 6000), tax included: 1 to
 *   200,000,000. Klarna refuses more than the order's remaining authorized amount.
 * - reference: Your own name for this capture, at most 255 characters. It ends up in Klarna's
 *   settlement files, and a unique one lets a capture be found again.
 * - description: Shown to the customer, at most 255 characters.
 * - order_lines: The lines that the captured amount is for, at most 1000.
 * - shipping_info: How the goods travel, at most 500 entries. Klarna expects it for physical
 *   goods.
 * - shipping_delay: Days until the goods are shipped, 0 or more. Above 0 only for accounts with
 *   that feature.
 * - first_use: Whether this is the first use of the idempotency key: no other process, and no
 *   earlier run of this one, can have sent it. Then a refusal is the whole truth. Keys that
 *   takings makes need it not.
 * - first_used: When the idempotency key was sent first, in seconds since 1970 (UTC). Past
 *   Klarna's 24 hours nothing is sent, since Klarna would carry it out again.
 * - after_unclear: Whether an earlier call with the idempotency key may have been carried out
 *   elsewhere: in another process, on another host, or in this program before a crash. Then
 *   rejected is said only where Klarna refuses the bytes themselves; any other refusal, and a
 *   request that was not sent, is outcome_unknown.
 * - timeout_ms: Time for this call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests this call may make, 1 to 20, in place of the client's.
 * - look_first: For a capture or a refund with a reference: whether the order is searched for it
 *   first. Found once, with this amount, it is the result, with a warning; otherwise it is made
 *   with its key. That costs one request more, and holds after Klarna's 24 hours too.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a capture for takings_capture_free, or NULL and an error.
 */
takings_capture_t *takings_client_capture(const takings_client_t *client,
                                          const char *order_id,
                                          const char *request_json,
                                          const char *idempotency_key,
                                          takings_error_t **error);

/**
 * The first half of takings_client_capture, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare(const takings_client_t *client,
                                       const char *order_id,
                                       const char *request_json,
                                       const char *idempotency_key,
                                       takings_error_t **error);

/**
 * Reads all captures of the order. It waits for the outcome, at most timeout_ms.
 *
 *
 * Returns a document for takings_document_free, or NULL and an error.
 */
takings_document_t *takings_client_get_captures(const takings_client_t *client,
                                                const char *order_id,
                                                takings_error_t **error);

/**
 * The first half of takings_client_get_captures, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_get_captures(const takings_client_t *client,
                                                    const char *order_id,
                                                    takings_error_t **error);

/**
 * Reads one capture of the order. It waits for the outcome, at most timeout_ms.
 *
 * - capture_id: Klarna's id of the capture.
 *
 * Returns a document for takings_document_free, or NULL and an error.
 */
takings_document_t *takings_client_get_capture(const takings_client_t *client,
                                               const char *order_id,
                                               const char *capture_id,
                                               takings_error_t **error);

/**
 * The first half of takings_client_get_capture, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_get_capture(const takings_client_t *client,
                                                   const char *order_id,
                                                   const char *capture_id,
                                                   takings_error_t **error);

/**
 * Adds shipping info, such as a tracking number, to a capture. A repeat with another key adds it
 * twice. It waits for the outcome, at most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - capture_id: Klarna's id of the capture.
 * - shipping_info: The entries to append, 1 to 500. Klarna deletes none and replaces none.
 * - first_use: Whether this is the first use of the idempotency key: no other process, and no
 *   earlier run of this one, can have sent it. Then a refusal is the whole truth. Keys that
 *   takings makes need it not.
 * - first_used: When the idempotency key was sent first, in seconds since 1970 (UTC). Past
 *   Klarna's 24 hours nothing is sent, since Klarna would carry it out again.
 * - after_unclear: Whether an earlier call with the idempotency key may have been carried out
 *   elsewhere: in another process, on another host, or in this program before a crash. Then
 *   rejected is said only where Klarna refuses the bytes themselves; any other refusal, and a
 *   request that was not sent, is outcome_unknown.
 * - timeout_ms: Time for this call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests this call may make, 1 to 20, in place of the client's.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_append_shipping_info(const takings_client_t *client,
                                                            const char *order_id,
                                                            const char *request_json,
                                                            const char *idempotency_key,
                                                            takings_error_t **error);

/**
 * The first half of takings_client_append_shipping_info, with the same arguments: everything
 * that can be refused is refused here, and the key is known before anything is sent. The call is
 * the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_append_shipping_info(const takings_client_t *client,
                                                            const char *order_id,
                                                            const char *request_json,
                                                            const char *idempotency_key,
                                                            takings_error_t **error);

/**
 * Has Klarna send the customer the invoice of a capture once more. A repeat with another key
 * sends a second mail. It waits for the outcome, at most timeout_ms.
 *
 * - capture_id: Klarna's id of the capture.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_trigger_send_out(const takings_client_t *client,
                                                        const char *order_id,
                                                        const char *capture_id,
                                                        const char *idempotency_key,
                                                        takings_error_t **error);

/**
 * The first half of takings_client_trigger_send_out, with the same arguments: everything that
 * can be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_trigger_send_out(const takings_client_t *client,
                                                        const char *order_id,
                                                        const char *capture_id,
                                                        const char *idempotency_key,
                                                        takings_error_t **error);

/**
 * Reads by how many days the due date of a capture can be extended, and each fee. It waits for
 * the outcome, at most timeout_ms.
 *
 * - capture_id: Klarna's id of the capture.
 *
 * Returns a document for takings_document_free, or NULL and an error.
 */
takings_document_t *takings_client_get_extend_due_date_options(const takings_client_t *client,
                                                               const char *order_id,
                                                               const char *capture_id,
                                                               takings_error_t **error);

/**
 * The first half of takings_client_get_extend_due_date_options, with the same arguments:
 * everything that can be refused is refused here, and the key is known before anything is sent.
 * The call is the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_get_extend_due_date_options(const takings_client_t *client,
                                                                   const char *order_id,
                                                                   const char *capture_id,
                                                                   takings_error_t **error);

/**
 * Extends the due date of a capture, for a fee. A repeat with another key costs a second fee. It
 * waits for the outcome, at most timeout_ms.
 *
 * - capture_id: Klarna's id of the capture.
 * - number_of_days: A number of days that get_extend_due_date_options names. Each has a fee.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_extend_due_date(const takings_client_t *client,
                                                       const char *order_id,
                                                       const char *capture_id,
                                                       int64_t number_of_days,
                                                       const char *idempotency_key,
                                                       takings_error_t **error);

/**
 * The first half of takings_client_extend_due_date, with the same arguments: everything that can
 * be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_extend_due_date(const takings_client_t *client,
                                                       const char *order_id,
                                                       const char *capture_id,
                                                       int64_t number_of_days,
                                                       const char *idempotency_key,
                                                       takings_error_t **error);

/**
 * Changes the customer's shipping address. Klarna checks the customer's credit anew. Safe to
 * repeat. It waits for the outcome, at most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - shipping_address: Where the goods go. An empty text deletes a field.
 * - first_use: Whether this is the first use of the idempotency key: no other process, and no
 *   earlier run of this one, can have sent it. Then a refusal is the whole truth. Keys that
 *   takings makes need it not.
 * - first_used: When the idempotency key was sent first, in seconds since 1970 (UTC). Past
 *   Klarna's 24 hours nothing is sent, since Klarna would carry it out again.
 * - after_unclear: Whether an earlier call with the idempotency key may have been carried out
 *   elsewhere: in another process, on another host, or in this program before a crash. Then
 *   rejected is said only where Klarna refuses the bytes themselves; any other refusal, and a
 *   request that was not sent, is outcome_unknown.
 * - timeout_ms: Time for this call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests this call may make, 1 to 20, in place of the client's.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_update_customer_details(const takings_client_t *client,
                                                               const char *order_id,
                                                               const char *request_json,
                                                               const char *idempotency_key,
                                                               takings_error_t **error);

/**
 * The first half of takings_client_update_customer_details, with the same arguments: everything
 * that can be refused is refused here, and the key is known before anything is sent. The call is
 * the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_update_customer_details(const takings_client_t *client,
                                                               const char *order_id,
                                                               const char *request_json,
                                                               const char *idempotency_key,
                                                               takings_error_t **error);

/**
 * Extends the time in which the order can be captured. A second call on one day changes nothing.
 * It waits for the outcome, at most timeout_ms.
 *
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_extend_authorization_time(const takings_client_t *client,
                                                                 const char *order_id,
                                                                 const char *idempotency_key,
                                                                 takings_error_t **error);

/**
 * The first half of takings_client_extend_authorization_time, with the same arguments:
 * everything that can be refused is refused here, and the key is known before anything is sent.
 * The call is the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_extend_authorization_time(const takings_client_t *client,
                                                                 const char *order_id,
                                                                 const char *idempotency_key,
                                                                 takings_error_t **error);

/**
 * Changes the shop's own references of the order. Safe to repeat. It waits for the outcome, at
 * most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - merchant_reference1: The order number that the customer sees, at most 255 characters.
 * - merchant_reference2: A second reference, at most 255 characters.
 * - first_use: Whether this is the first use of the idempotency key: no other process, and no
 *   earlier run of this one, can have sent it. Then a refusal is the whole truth. Keys that
 *   takings makes need it not.
 * - first_used: When the idempotency key was sent first, in seconds since 1970 (UTC). Past
 *   Klarna's 24 hours nothing is sent, since Klarna would carry it out again.
 * - after_unclear: Whether an earlier call with the idempotency key may have been carried out
 *   elsewhere: in another process, on another host, or in this program before a crash. Then
 *   rejected is said only where Klarna refuses the bytes themselves; any other refusal, and a
 *   request that was not sent, is outcome_unknown.
 * - timeout_ms: Time for this call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests this call may make, 1 to 20, in place of the client's.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_update_merchant_references(const takings_client_t *client,
                                                                  const char *order_id,
                                                                  const char *request_json,
                                                                  const char *idempotency_key,
                                                                  takings_error_t **error);

/**
 * The first half of takings_client_update_merchant_references, with the same arguments:
 * everything that can be refused is refused here, and the key is known before anything is sent.
 * The call is the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_update_merchant_references(const takings_client_t *client,
                                                                  const char *order_id,
                                                                  const char *request_json,
                                                                  const char *idempotency_key,
                                                                  takings_error_t **error);

/**
 * Gives the customer back what was captured, in full or in part: the money moves once, however
 * often it is called with one key. It waits for the outcome, at most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - refunded_amount: How much is refunded, in minor units (60.00 is 6000), tax included: 1 to
 *   200,000,000. Klarna refuses more than was captured and not refunded yet.
 * - reference: Your own name for this refund, at most 255 characters. It ends up in Klarna's
 *   settlement files. By a unique one a refund can be found again.
 * - description: Shown to the customer, at most 255 characters.
 * - order_lines: The lines that are refunded, at most 1000. Klarna assigns the refund to the
 *   captures that have lines with the same references. With a line of the type return_fee the
 *   lines must sum to refunded_amount.
 * - first_use: Whether this is the first use of the idempotency key: no other process, and no
 *   earlier run of this one, can have sent it. Then a refusal is the whole truth. Keys that
 *   takings makes need it not.
 * - first_used: When the idempotency key was sent first, in seconds since 1970 (UTC). Past
 *   Klarna's 24 hours nothing is sent, since Klarna would carry it out again.
 * - after_unclear: Whether an earlier call with the idempotency key may have been carried out
 *   elsewhere: in another process, on another host, or in this program before a crash. Then
 *   rejected is said only where Klarna refuses the bytes themselves; any other refusal, and a
 *   request that was not sent, is outcome_unknown.
 * - timeout_ms: Time for this call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests this call may make, 1 to 20, in place of the client's.
 * - look_first: For a capture or a refund with a reference: whether the order is searched for it
 *   first. Found once, with this amount, it is the result, with a warning; otherwise it is made
 *   with its key. That costs one request more, and holds after Klarna's 24 hours too.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a refund for takings_refund_free, or NULL and an error.
 */
takings_refund_t *takings_client_refund(const takings_client_t *client,
                                        const char *order_id,
                                        const char *request_json,
                                        const char *idempotency_key,
                                        takings_error_t **error);

/**
 * The first half of takings_client_refund, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_refund(const takings_client_t *client,
                                              const char *order_id,
                                              const char *request_json,
                                              const char *idempotency_key,
                                              takings_error_t **error);

/**
 * Reads one refund of the order. It waits for the outcome, at most timeout_ms.
 *
 * - refund_id: Klarna's id of the refund.
 *
 * Returns a document for takings_document_free, or NULL and an error.
 */
takings_document_t *takings_client_get_refund(const takings_client_t *client,
                                              const char *order_id,
                                              const char *refund_id,
                                              takings_error_t **error);

/**
 * The first half of takings_client_get_refund, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_get_refund(const takings_client_t *client,
                                                  const char *order_id,
                                                  const char *refund_id,
                                                  takings_error_t **error);

/**
 * Releases what is still reserved on an order of which a part was captured. The rest can never
 * be captured then. Safe to repeat. It waits for the outcome, at most timeout_ms.
 *
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_release_remaining_authorization(const takings_client_t *client,
                                                                       const char *order_id,
                                                                       const char *idempotency_key,
                                                                       takings_error_t **error);

/**
 * The first half of takings_client_release_remaining_authorization, with the same arguments:
 * everything that can be refused is refused here, and the key is known before anything is sent.
 * The call is the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_release_remaining_authorization(const takings_client_t *client,
                                                                       const char *order_id,
                                                                       const char *idempotency_key,
                                                                       takings_error_t **error);

/**
 * Adds shipping info, such as a tracking number, to the order. A repeat with another key adds it
 * twice. It waits for the outcome, at most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - shipping_info: The entries to append, 1 to 500. Klarna deletes none and replaces none.
 * - first_use: Whether this is the first use of the idempotency key: no other process, and no
 *   earlier run of this one, can have sent it. Then a refusal is the whole truth. Keys that
 *   takings makes need it not.
 * - first_used: When the idempotency key was sent first, in seconds since 1970 (UTC). Past
 *   Klarna's 24 hours nothing is sent, since Klarna would carry it out again.
 * - after_unclear: Whether an earlier call with the idempotency key may have been carried out
 *   elsewhere: in another process, on another host, or in this program before a crash. Then
 *   rejected is said only where Klarna refuses the bytes themselves; any other refusal, and a
 *   request that was not sent, is outcome_unknown.
 * - timeout_ms: Time for this call with all attempts and pauses, in place of the client's.
 * - max_attempts: Requests this call may make, 1 to 20, in place of the client's.
 *
 * With an idempotency_key of your own (takings_idempotency_key makes one) it can be called again
 * after a crash: the money moves once. With NULL a fresh key is made for this call and its
 * retries; it comes back in what the call ends in. So check whether takings_idempotency_key gave
 * NULL before passing it on: a repeat would be carried out again.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_client_append_order_shipping_info(const takings_client_t *client,
                                                                  const char *order_id,
                                                                  const char *request_json,
                                                                  const char *idempotency_key,
                                                                  takings_error_t **error);

/**
 * The first half of takings_client_append_order_shipping_info, with the same arguments:
 * everything that can be refused is refused here, and the key is known before anything is sent.
 * The call is the second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_append_order_shipping_info(const takings_client_t *client,
                                                                  const char *order_id,
                                                                  const char *request_json,
                                                                  const char *idempotency_key,
                                                                  takings_error_t **error);

/**
 * Reads the order's captures and searches for the one with this reference and amount. Sound only
 * when each capture of an order has a reference of its own. It waits for the outcome, at most
 * timeout_ms.
 *
 * - reference: The capture's own name, as its request gave it.
 * - captured_amount: Its amount, in minor units (60.00 is 6000).
 *
 * Returns a reconciliation for takings_reconciliation_free, or NULL and an error.
 */
takings_reconciliation_t *takings_client_reconcile(const takings_client_t *client,
                                                   const char *order_id,
                                                   const char *reference,
                                                   int64_t captured_amount,
                                                   takings_error_t **error);

/**
 * The first half of takings_client_reconcile, with the same arguments: everything that can be
 * refused is refused here, and the key is known before anything is sent. The call is the second
 * half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_reconcile(const takings_client_t *client,
                                                 const char *order_id,
                                                 const char *reference,
                                                 int64_t captured_amount,
                                                 takings_error_t **error);

/**
 * Reads the order's refunds and searches for the one with this reference and amount. Sound only
 * when each refund of an order has a reference of its own. It waits for the outcome, at most
 * timeout_ms.
 *
 * - reference: The refund's own name, as its request gave it.
 * - refunded_amount: Its amount, in minor units (60.00 is 6000).
 *
 * Returns a refund reconciliation for takings_refund_reconciliation_free, or NULL and an error.
 */
takings_refund_reconciliation_t *takings_client_reconcile_refund(const takings_client_t *client,
                                                                 const char *order_id,
                                                                 const char *reference,
                                                                 int64_t refunded_amount,
                                                                 takings_error_t **error);

/**
 * The first half of takings_client_reconcile_refund, with the same arguments: everything that
 * can be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_reconcile_refund(const takings_client_t *client,
                                                        const char *order_id,
                                                        const char *reference,
                                                        int64_t refunded_amount,
                                                        takings_error_t **error);

/**
 * Captures everything that is left of the order. The key of the capture is derived from the
 * order, what is left and reference, so a repeat captures nothing more. Give each such capture
 * of an order a reference of its own: it is found again by that. It waits for the outcome, at
 * most timeout_ms.
 *
 * - reference: Your own name for this capture, 1 to 255 characters. Give each capture of an
 *   order another one.
 *
 * Returns a capture for takings_capture_free, or NULL and an error.
 */
takings_capture_t *takings_client_capture_remaining(const takings_client_t *client,
                                                    const char *order_id,
                                                    const char *reference,
                                                    takings_error_t **error);

/**
 * The first half of takings_client_capture_remaining, with the same arguments: everything that
 * can be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_capture_remaining(const takings_client_t *client,
                                                         const char *order_id,
                                                         const char *reference,
                                                         takings_error_t **error);

/**
 * Refunds everything that was captured and not refunded yet. The key of the refund is derived
 * from the order, what is left and reference, so a repeat refunds nothing more. Give each refund
 * of an order a reference of its own. It waits for the outcome, at most timeout_ms.
 *
 * - reference: Your own name for this refund, 1 to 255 characters. Give each refund of an order
 *   another one.
 *
 * Returns a refund for takings_refund_free, or NULL and an error.
 */
takings_refund_t *takings_client_refund_remaining(const takings_client_t *client,
                                                  const char *order_id,
                                                  const char *reference,
                                                  takings_error_t **error);

/**
 * The first half of takings_client_refund_remaining, with the same arguments: everything that
 * can be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_refund_remaining(const takings_client_t *client,
                                                        const char *order_id,
                                                        const char *reference,
                                                        takings_error_t **error);

/**
 * Refunds of one capture: an amount, or what is left of it. Without lines of yours the capture's
 * lines are sent where they add up, and Klarna then assigns the refund to this capture. More
 * than is left of the capture is refused. The key is derived from order, capture, amount and
 * reference. Give each refund of an order a reference of its own. It waits for the outcome, at
 * most timeout_ms.
 *
 * request_json is a JSON object with the fields below, under Klarna's names. It is read
 * strictly: an unknown or doubled field, a fraction, a string for a number is refused and
 * nothing is sent.
 *
 * - capture_id: Klarna's id of the capture.
 * - reference: Your own name for this refund, 1 to 255 characters. Give each refund of an order
 *   another one.
 * - refunded_amount: How much is refunded, in minor units (60.00 is 6000), tax included: 1 to
 *   200,000,000. When absent, the sum of order_lines, or without those everything that is left
 *   of the capture.
 * - order_lines: The lines that are refunded, at most 1000. When absent, those of the capture
 *   where they add up to the amount.
 *
 * Returns a refund for takings_refund_free, or NULL and an error.
 */
takings_refund_t *takings_client_refund_capture(const takings_client_t *client,
                                                const char *order_id,
                                                const char *request_json,
                                                takings_error_t **error);

/**
 * The first half of takings_client_refund_capture, with the same arguments: everything that can
 * be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_refund_capture(const takings_client_t *client,
                                                      const char *order_id,
                                                      const char *request_json,
                                                      takings_error_t **error);

/**
 * Ends an order of which no more is shipped: cancels it where nothing was captured, and releases
 * the rest where a part was. It refunds nothing. Safe to repeat. It waits for the outcome, at
 * most timeout_ms.
 *
 *
 * Returns an order end for takings_order_end_free, or NULL and an error.
 */
takings_order_end_t *takings_client_cancel_or_release(const takings_client_t *client,
                                                      const char *order_id,
                                                      takings_error_t **error);

/**
 * The first half of takings_client_cancel_or_release, with the same arguments: everything that
 * can be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_cancel_or_release(const takings_client_t *client,
                                                         const char *order_id,
                                                         takings_error_t **error);

/**
 * Extends the time in which the order can be captured, if it ends within so many seconds by
 * Klarna's clock. Safe to repeat. It waits for the outcome, at most timeout_ms.
 *
 * - within: The authorization is extended if it ends within so many seconds.
 *
 * Returns an extension for takings_extension_free, or NULL and an error.
 */
takings_extension_t *takings_client_extend_if_needed(const takings_client_t *client,
                                                     const char *order_id,
                                                     int64_t within,
                                                     takings_error_t **error);

/**
 * The first half of takings_client_extend_if_needed, with the same arguments: everything that
 * can be refused is refused here, and the key is known before anything is sent. The call is the
 * second half, for your program to send.
 *
 * Returns a call for takings_call_free, or NULL and an error (invalid_input).
 */
takings_call_t *takings_client_prepare_extend_if_needed(const takings_client_t *client,
                                                        const char *order_id,
                                                        int64_t within,
                                                        takings_error_t **error);

/**
 * The outcome of a call that gives a document; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns a document for takings_document_free, or NULL and an error.
 */
takings_document_t *takings_call_document(const takings_call_t *call, takings_error_t **error);

/**
 * The outcome of a call that gives a confirmation; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns a confirmation for takings_confirmation_free, or NULL and an error.
 */
takings_confirmation_t *takings_call_confirmation(const takings_call_t *call,
                                                  takings_error_t **error);

/**
 * The outcome of a call that gives a capture; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns a capture for takings_capture_free, or NULL and an error.
 */
takings_capture_t *takings_call_capture(const takings_call_t *call, takings_error_t **error);

/**
 * The outcome of a call that gives a refund; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns a refund for takings_refund_free, or NULL and an error.
 */
takings_refund_t *takings_call_refund(const takings_call_t *call, takings_error_t **error);

/**
 * The outcome of a call that gives a reconciliation; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns a reconciliation for takings_reconciliation_free, or NULL and an error.
 */
takings_reconciliation_t *takings_call_reconciliation(const takings_call_t *call,
                                                      takings_error_t **error);

/**
 * The outcome of a call that gives a refund reconciliation; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns a refund reconciliation for takings_refund_reconciliation_free, or NULL and an error.
 */
takings_refund_reconciliation_t *takings_call_refund_reconciliation(const takings_call_t *call,
                                                                    takings_error_t **error);

/**
 * The outcome of a call that gives an order end; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns an order end for takings_order_end_free, or NULL and an error.
 */
takings_order_end_t *takings_call_order_end(const takings_call_t *call, takings_error_t **error);

/**
 * The outcome of a call that gives an extension; a program can ask for it again.
 *
 * Before TAKINGS_STEP_DONE it is the error for a caller that stops waiting: outcome_unknown,
 * with the key to call again with.
 *
 * Returns an extension for takings_extension_free, or NULL and an error.
 */
takings_extension_t *takings_call_extension(const takings_call_t *call, takings_error_t **error);

/**
 * Looks at a capture before it is made, on an order that was read: for which reasons is it
 * likely to be refused, or to be a mistake?
 *
 * No request is sent and no call is refused: Klarna alone decides, so never leave a capture out
 * for a reason. A request that no call would take is a reason as well.
 *
 * order_json is the order as Klarna wrote it: takings_document_raw of takings_client_get_order,
 * or a copy that your program kept. now_ms is the time by which the order may have expired, in
 * milliseconds since 1970, such as takings_document_answered_at_ms; below 0 it is not known.
 * request_json is that of takings_client_capture.
 *
 * No client is needed, and any thread may call it at any time. Returns a check for
 * takings_check_free, or NULL and an error (invalid_input: order_json is no order).
 */
takings_check_t *takings_check_capture(const char *order_json,
                                       int64_t now_ms,
                                       const char *request_json,
                                       takings_error_t **error);

/**
 * Looks at a refund before it is made, on an order that was read as takings_check_capture looks
 * at a capture: for which reasons is it likely to be refused, or to be a mistake?
 *
 * No request is sent and no call is refused: Klarna alone decides, so never leave a refund out
 * for a reason. A request that no call would take is a reason as well.
 *
 * order_json is the order as Klarna wrote it: takings_document_raw of takings_client_get_order,
 * or a copy that your program kept. now_ms is the time by which the order may have expired, in
 * milliseconds since 1970, such as takings_document_answered_at_ms; below 0 it is not known.
 * request_json is that of takings_client_refund.
 *
 * No client is needed, and any thread may call it at any time. Returns a check for
 * takings_check_free, or NULL and an error (invalid_input: order_json is no order).
 */
takings_check_t *takings_check_refund(const char *order_json,
                                      int64_t now_ms,
                                      const char *request_json,
                                      takings_error_t **error);

/**
 * Makes the row of a "capture" or a "refund" for a ledger in your own database, without a client
 * and without I/O. Your program inserts it in the transaction in which the goods leave:
 *
 *     takings_intent_t *intent = takings_intent_new("capture", id, request, &error);
 *     char *sql = takings_intent_insert("capture", "?", &error);
 *     const takings_value_t *values = takings_intent_values(intent);
 *     for (size_t i = 0; i < takings_value_count(values); i++)
 *         bind(statement, i + 1, takings_value_at(values, i));
 *
 * request_json is that of takings_client_capture or takings_client_refund without limits of the
 * call, read as strictly. reference is required, since the key is derived from it. It may also
 * have account, the account of the ledger: default when absent.
 *
 * Any thread may call it at any time. Returns an intent for takings_intent_free, or NULL and an
 * error (invalid_input, naming the field).
 */
takings_intent_t *takings_intent_new(const char *operation,
                                     const char *order_id,
                                     const char *request_json,
                                     takings_error_t **error);

/**
 * The values of its INSERT, in the order of the placeholders, as an object whose members are the
 * columns: takings_value_name gives a column, and takings_value_at its value. The kind says how
 * to bind it: TAKINGS_VALUE_TEXT, TAKINGS_VALUE_INTEGER (the amount, which the tables take as a
 * number alone), or TAKINGS_VALUE_NULL. They belong to the intent.
 */
const takings_value_t *takings_intent_values(const takings_intent_t *intent);

/**
 * The INSERT of the intents of "capture" or "refund", the same for each, with the placeholders
 * that your database library takes: "?", "%s", "$1" or ":name".
 *
 * Returns a string for takings_string_free, or NULL and an error (invalid_input).
 */
char *takings_intent_insert(const char *operation, const char *style, takings_error_t **error);

/**
 * Makes a text that begins as {}. Free it with takings_json_free. NULL only for a fault inside takings.
 */
takings_json_t *takings_json_new(void);

/**
 * The JSON text so far, members in the order they were set. It stays valid until the next
 * change or takings_json_free.
 */
const char *takings_json_text(takings_json_t *json);

/**
 * Frees the object and its text.
 */
void takings_json_free(takings_json_t *json);

/**
 * The name of the operation, such as "capture".
 */
const char *takings_reply_operation(const takings_reply_t *reply);

/**
 * The text of that name, such as "capture_id"; NULL where the reply has none.
 */
const char *takings_reply_text(const takings_reply_t *reply, const char *name);

/**
 * Puts the number of that name, such as "attempts", into *value; yes and no are 1 and 0. false:
 * the reply has none, and *value is as it was.
 */
bool takings_reply_integer(const takings_reply_t *reply, const char *name, int64_t *value);

/**
 * How many texts the list of that name holds, such as "warnings", or how many requests
 * "attempt_log" does; 0 where the reply has no such list.
 */
size_t takings_reply_count(const takings_reply_t *reply, const char *name);

/**
 * A text of the list of that name, counted from 0; NULL beyond the last.
 */
const char *takings_reply_text_at(const takings_reply_t *reply, const char *name, size_t index);

/**
 * All fields as a JSON object. Times are whole milliseconds, and their names end in _ms.
 */
const char *takings_reply_json(const takings_reply_t *reply);

/**
 * Frees a reply and its strings.
 */
void takings_reply_free(takings_reply_t *reply);

/**
 * The value at a JSON Pointer (RFC 6901), such as "/captures/0/captured_amount"; "" is the whole document. NULL where
 * there is none. The captures of takings_client_get_captures stand at "/captures". It belongs to the document.
 */
const takings_value_t *takings_document_at(const takings_document_t *document,
                                           const char *json_pointer);

/**
 * The outcome of a call as takings_call_document gives it, where the document has to be of this type: Order, Captures,
 * CaptureDetails, RefundDetails or DueDateOptions. NULL and an error for a call that gives another.
 */
takings_document_t *takings_call_document_of(const takings_call_t *call,
                                             const char *name,
                                             takings_error_t **error);

/**
 * The same of the reply to any operation that reads. It belongs to the reply.
 */
const takings_value_t *takings_reply_at(const takings_reply_t *reply, const char *json_pointer);

/**
 * The kind of a value; TAKINGS_VALUE_NONE for NULL.
 */
takings_value_kind_t takings_value_kind(const takings_value_t *value);

/**
 * The text of a text or a time; a number that is not whole, as JSON. Of an object whose members takings knows, such as a
 * capture, its JSON as Klarna wrote it. NULL for any other value.
 */
const char *takings_value_text(const takings_value_t *value);

/**
 * Puts a whole number, or 1 or 0 for yes or no, into *out. false: the value is none of these, and *out is as it was.
 */
bool takings_value_integer(const takings_value_t *value,
                           int64_t *out);

/**
 * Puts a time such as expires_at, in milliseconds since 1970 (UTC), into *out. false: the value is no time, and *out is
 * as it was.
 */
bool takings_value_time_ms(const takings_value_t *value,
                           int64_t *out);

/**
 * How many items a list has, or members an object; 0 for any other value.
 */
size_t takings_value_count(const takings_value_t *value);

/**
 * An item of a list or a member of an object, counted from 0; NULL beyond the last.
 */
const takings_value_t *takings_value_at(const takings_value_t *value, size_t index);

/**
 * The name of a member of an object, counted from 0; NULL beyond the last.
 */
const char *takings_value_name(const takings_value_t *value, size_t index);

/**
 * The member of that name; NULL where the object has none.
 */
const takings_value_t *takings_value_member(const takings_value_t *value, const char *name);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TAKINGS_H */
