/* Code that both contenders over libcurl share: a capture on a handle that is used again. */
#ifndef BENCH_CURL_H
#define BENCH_CURL_H

#include "common.h"
#include <curl/curl.h>

struct exchange {
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    char id[256];
};

static inline size_t on_header(char *line, size_t size, size_t count, void *given) {
    struct exchange *exchange = given;
    size_t length = size * count, name = strlen("capture-id:");
    if (length > name && !strncasecmp(line, "capture-id:", name) && length - name < sizeof exchange->id) {
        sscanf(line + name, " %255[^\r\n]", exchange->id);
    }
    return length;
}

static inline size_t on_body(char *bytes, size_t size, size_t count, void *given) {
    (void)bytes, (void)given;
    return size * count;
}

static inline void open_exchange(struct exchange *exchange, const struct task *task) {
    exchange->easy = curl_easy_init();
    if (!exchange->easy) {
        fail("libcurl gives no handle");
    }
    curl_easy_setopt(exchange->easy, CURLOPT_URL, task->captures_url);
    curl_easy_setopt(exchange->easy, CURLOPT_CAINFO, task->ca_file);
    curl_easy_setopt(exchange->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(exchange->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(exchange->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(exchange->easy, CURLOPT_HEADERDATA, exchange);
    curl_easy_setopt(exchange->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(exchange->easy, CURLOPT_PRIVATE, exchange);
}

/* Encodes the request and makes it ready to be sent, with a fresh key. */
static inline void begin_exchange(struct exchange *exchange, const struct task *task) {
    char key[37], line[64];
    fresh_key(key);
    snprintf(line, sizeof line, "Klarna-Idempotency-Key: %s", key);
    exchange->headers = curl_slist_append(NULL, "Authorization: " AUTHORIZATION);
    exchange->headers = curl_slist_append(exchange->headers, "Content-Type: application/json");
    exchange->headers = curl_slist_append(exchange->headers, "Accept: application/json");
    exchange->headers = curl_slist_append(exchange->headers, line);
    exchange->body = body_of(task);
    exchange->id[0] = '\0';
    curl_easy_setopt(exchange->easy, CURLOPT_HTTPHEADER, exchange->headers);
    curl_easy_setopt(exchange->easy, CURLOPT_POSTFIELDS, exchange->body);
    curl_easy_setopt(exchange->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(exchange->body));
}

static inline void end_exchange(struct exchange *exchange, CURLcode code) {
    long status = 0;
    if (code != CURLE_OK) {
        fail(curl_easy_strerror(code));
    }
    curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status != 201 || !exchange->id[0]) {
        fail("the answer was no capture");
    }
    curl_slist_free_all(exchange->headers);
    free(exchange->body);
}

#endif
