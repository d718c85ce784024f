#define _POSIX_C_SOURCE 200809L
#include "sender.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if LIBCURL_VERSION_NUM < 0x075700
#error "libcurl 7.87 or newer is needed"
#endif

/* More of an answer's head is not worth reading. */
enum { MOST_HEAD = 64 * 1024 };

/* A call on its way. */
struct transfer {
    struct transfer *next;
    takings_call_t *call;
    void *data;
    takings_step_t step;
    long long due; /* when its pause is over */

    /* The attempt that runs: a handle of its own, so that nothing of it is left
     * for the next one. */
    CURL *easy;
    struct curl_slist *headers;
    bool begun;  /* a connection was there and the request was about to leave */
    long status; /* of the answer whose head is complete; 0 until then */
    size_t head;
    char why[CURL_ERROR_SIZE];
};

struct sender {
    CURLM *multi;
    char *ca_file;
    struct transfer *transfers;
};

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* libcurl calls this when a connection has been made, TLS and all, and nothing
 * of the request has been sent over it: the one proof of "not sent" is that it
 * was never called. A second time would be libcurl sending again by itself. */
static int on_connected(void *data, char *address, char *own_address, int port, int own_port) {
    struct transfer *transfer = data;
    (void)address, (void)own_address, (void)port, (void)own_port;
    if (transfer->begun) {
        return CURL_PREREQFUNC_ABORT;
    }
    transfer->begun = true;
    return CURL_PREREQFUNC_OK;
}

/* A header, given on without its line's end and the blanks around its value. */
static bool give_header(struct transfer *transfer, const char *line, size_t length) {
    const char *colon = memchr(line, ':', length);
    char *name, *value;
    if (!colon) {
        return true;
    }
    length -= length > 0 && line[length - 1] == '\n';
    length -= length > 0 && line[length - 1] == '\r';
    while (length > 0 && (line[length - 1] == ' ' || line[length - 1] == '\t')) {
        length--;
    }
    name = malloc(length + 1);
    if (!name) {
        return false;
    }
    memcpy(name, line, length);
    name[length] = '\0';
    name[colon - line] = '\0';
    value = name + (colon - line) + 1;
    value += strspn(value, " \t");
    takings_call_answer_header(transfer->call, name, value);
    free(name);
    return true;
}

/* "HTTP/1.1 201 Created", to the letter: libcurl reads a status in what only
 * begins like it. */
static bool is_status_line(const char *line, size_t length) {
    /* memchr, since strchr finds a NUL as well */
    return length > 12 && strncmp(line, "HTTP/1.", 7) == 0 && memchr("01", line[7], 2) && line[8] == ' ' &&
           isdigit((unsigned char)line[9]) && isdigit((unsigned char)line[10]) &&
           isdigit((unsigned char)line[11]) && memchr(" \r\n", line[12], 3);
}

/* Each line of a head, the status line first, an empty one last. */
static size_t on_header(char *line, size_t size, size_t count, void *data) {
    struct transfer *transfer = data;
    size_t length = size * count;
    long status = 0;
    transfer->head += length;
    /* libcurl is set to HTTP/1.1, and would take an answer of another version
     * for a good one */
    if (transfer->head > MOST_HEAD || (length > 5 && strncmp(line, "HTTP/", 5) == 0 && !is_status_line(line, length))) {
        return 0;
    }
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    /* neither an announcement (1xx) nor what comes behind a body */
    if (status < 200 || transfer->status != 0) {
        return length;
    }
    if (line[0] == '\r' || line[0] == '\n') {
        transfer->status = status;
        return length;
    }
    /* A value that goes on in a second line is not taken for the whole of
     * it. */
    if (line[0] == ' ' || line[0] == '\t') {
        return 0;
    }
    return give_header(transfer, line, length) ? length : 0;
}

/* Stops where no more is worth reading, and libcurl closes the connection. */
static size_t on_body(char *bytes, size_t size, size_t count, void *data) {
    struct transfer *transfer = data;
    return takings_call_answer_body(transfer->call, bytes, size * count) ? size * count : 0;
}

static bool add_header(struct transfer *transfer, const char *name, const char *value) {
    size_t length = strlen(name) + strlen(value) + 3;
    char *line = malloc(length);
    struct curl_slist *longer;
    if (!line) {
        return false;
    }
    strcat(strcat(strcpy(line, name), ": "), value);
    longer = curl_slist_append(transfer->headers, line);
    free(line);
    transfer->headers = longer ? longer : transfer->headers;
    return longer != NULL;
}

#define SET(option, value) (curl_easy_setopt(transfer->easy, (option), (value)) == CURLE_OK)

/* Makes libcurl ready to send the request as it is, once. */
static bool prepare(const sender_t *sender, struct transfer *transfer) {
    const takings_call_t *call = transfer->call;
    const char *url = takings_call_url(call);
    const char *body = takings_call_body(call);
    size_t i;
    transfer->easy = curl_easy_init();
    if (!transfer->easy) {
        return false;
    }
    /* With an empty value libcurl leaves out what it would add: no pause before
     * a long body. */
    transfer->headers = curl_slist_append(NULL, "Expect:");
    if (!transfer->headers) {
        return false;
    }
    for (i = 0; i < takings_call_header_count(call); i++) {
        if (!add_header(transfer, takings_call_header_name(call, i),
                        takings_call_header_value(call, i))) {
            return false;
        }
    }
    /* Without a type of its own libcurl would call a body a form's. */
    if (!body && !add_header(transfer, "Content-Type", "")) {
        return false;
    }
    /* A write says how long its body is, also where it has none. The body stays
     * where it is until the call knows what came of it. */
    if (strcmp(takings_call_method(call), "GET") != 0 &&
        !(SET(CURLOPT_POST, 1L) && SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)takings_call_body_length(call)) &&
          SET(CURLOPT_POSTFIELDS, body ? body : ""))) {
        return false;
    }
    return SET(CURLOPT_URL, url) && SET(CURLOPT_PATH_AS_IS, 1L) &&
           SET(CURLOPT_CUSTOMREQUEST, takings_call_method(call)) &&
           SET(CURLOPT_HTTPHEADER, transfer->headers) &&
           SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) &&
           /* A connection for each request: on one that is kept, libcurl takes
            * what a server still had to say of an earlier request for the
            * answer to this one. */
           SET(CURLOPT_FRESH_CONNECT, 1L) && SET(CURLOPT_FORBID_REUSE, 1L) &&
           /* where it goes: there and nowhere else */
           SET(CURLOPT_PROTOCOLS_STR, "http,https") && SET(CURLOPT_FOLLOWLOCATION, 0L) &&
           SET(CURLOPT_SSL_VERIFYPEER, 1L) && SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
           SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) &&
           (!sender->ca_file || SET(CURLOPT_CAINFO, sender->ca_file)) &&
           (strncmp(url, "http:", 5) != 0 || SET(CURLOPT_PROXY, "")) && SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) &&
           /* how long; libcurl itself would wait for a name look-up that has
            * begun */
           SET(CURLOPT_TIMEOUT_MS, (long)takings_call_time_ms(call)) &&
           SET(CURLOPT_CONNECTTIMEOUT_MS, (long)takings_call_connect_timeout_ms(call)) &&
           SET(CURLOPT_QUICK_EXIT, 1L) && SET(CURLOPT_NOSIGNAL, 1L) &&
           /* and what became of it */
           SET(CURLOPT_PREREQFUNCTION, on_connected) && SET(CURLOPT_PREREQDATA, transfer) &&
           SET(CURLOPT_HEADERFUNCTION, on_header) && SET(CURLOPT_HEADERDATA, transfer) &&
           SET(CURLOPT_WRITEFUNCTION, on_body) && SET(CURLOPT_WRITEDATA, transfer) &&
           SET(CURLOPT_ERRORBUFFER, transfer->why) && SET(CURLOPT_PRIVATE, transfer);
}

static void clean_up(sender_t *sender, struct transfer *transfer) {
    if (transfer->easy) {
        /* a handle that was not added is fine */
        curl_multi_remove_handle(sender->multi, transfer->easy);
        curl_easy_cleanup(transfer->easy);
    }
    curl_slist_free_all(transfer->headers);
    transfer->easy = NULL;
    transfer->headers = NULL;
}

/* Does what the call asks for, as far as it can be done without waiting. */
static void go_on(sender_t *sender, struct transfer *transfer, takings_step_t step) {
    if (step == TAKINGS_STEP_SEND) {
        transfer->begun = false;
        transfer->status = 0;
        transfer->head = 0;
        transfer->why[0] = '\0';
        if (!prepare(sender, transfer) || curl_multi_add_handle(sender->multi, transfer->easy) != CURLM_OK) {
            clean_up(sender, transfer);
            step = takings_call_not_sent(transfer->call, "libcurl could not be made ready to send");
        }
    }
    if (step == TAKINGS_STEP_WAIT) {
        transfer->due = now_ms() + takings_call_time_ms(transfer->call);
    }
    transfer->step = step;
}

/* Reports to the call what became of an attempt. */
static void ended(sender_t *sender, struct transfer *transfer, CURLcode result) {
    const char *why = transfer->why[0] ? transfer->why : curl_easy_strerror(result);
    takings_step_t step;
    if (transfer->status != 0) {
        /* A complete head is an answer, whatever became of its body. */
        step = takings_call_answered(transfer->call, (uint16_t)transfer->status);
    } else if (!transfer->begun) {
        step = takings_call_not_sent(transfer->call, why);
    } else if (result == CURLE_OK) {
        step = takings_call_maybe_sent(transfer->call, "the answer broke off");
    } else {
        step = takings_call_maybe_sent(transfer->call, why);
    }
    clean_up(sender, transfer);
    go_on(sender, transfer, step);
}

sender_t *sender_new(const char *ca_file) {
    sender_t *sender = calloc(1, sizeof *sender);
    if (!sender) {
        return NULL;
    }
    sender->multi = curl_multi_init();
    if (ca_file) {
        sender->ca_file = malloc(strlen(ca_file) + 1);
    }
    if (!sender->multi || (ca_file && !sender->ca_file)) {
        sender_free(sender);
        return NULL;
    }
    if (ca_file) {
        strcpy(sender->ca_file, ca_file);
    }
    return sender;
}

bool sender_add(sender_t *sender, takings_call_t *call, void *data) {
    struct transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer) {
        return false;
    }
    transfer->call = call;
    transfer->data = data;
    transfer->next = sender->transfers;
    sender->transfers = transfer;
    go_on(sender, transfer, takings_call_start(call));
    return true;
}

/* Takes a call that is done off the list. */
static takings_call_t *take_done(sender_t *sender, void **data) {
    struct transfer **place;
    for (place = &sender->transfers; *place; place = &(*place)->next) {
        struct transfer *transfer = *place;
        if (transfer->step == TAKINGS_STEP_DONE) {
            takings_call_t *call = transfer->call;
            *data = transfer->data;
            *place = transfer->next;
            free(transfer);
            return call;
        }
    }
    return NULL;
}

takings_call_t *sender_next(sender_t *sender, void **data) {
    takings_call_t *done;
    while (!(done = take_done(sender, data)) && sender->transfers) {
        const long long now = now_ms();
        int pause = 1000, running, left;
        struct transfer *transfer;
        CURLMsg *message;
        bool works;
        for (transfer = sender->transfers; transfer; transfer = transfer->next) {
            if (transfer->step == TAKINGS_STEP_WAIT && transfer->due <= now) {
                go_on(sender, transfer, takings_call_waited(transfer->call));
            }
            if (transfer->step == TAKINGS_STEP_WAIT && transfer->due - now < pause) {
                pause = (int)(transfer->due > now ? transfer->due - now : 0);
            }
            if (transfer->step == TAKINGS_STEP_DONE) {
                pause = 0;
            }
        }
        works = curl_multi_poll(sender->multi, NULL, 0, pause, NULL) == CURLM_OK &&
                curl_multi_perform(sender->multi, &running) == CURLM_OK;
        while ((message = curl_multi_info_read(sender->multi, &left))) {
            if (message->msg == CURLMSG_DONE) {
                CURLcode result = message->data.result;
                char *data = NULL;
                curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &data);
                ended(sender, (struct transfer *)(void *)data, result);
            }
        }
        /* no memory, or a fault: what is on its way is not waited for */
        for (transfer = sender->transfers; transfer && !works; transfer = transfer->next) {
            if (transfer->step == TAKINGS_STEP_SEND) {
                ended(sender, transfer, CURLE_OUT_OF_MEMORY);
            }
        }
    }
    return done;
}

void sender_free(sender_t *sender) {
    if (!sender) {
        return;
    }
    while (sender->transfers) {
        struct transfer *transfer = sender->transfers;
        sender->transfers = transfer->next;
        clean_up(sender, transfer);
        takings_call_free(transfer->call);
        free(transfer);
    }
    curl_multi_cleanup(sender->multi);
    free(sender->ca_file);
    free(sender);
}
