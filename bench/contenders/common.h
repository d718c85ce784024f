/* Code that the contenders in C share: the command line, a fresh key, the body. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define AUTHORIZATION "Basic YmVuY2g6YmVuY2gtcGFzc3dvcmQ="

/* URL ORDER_ID CA_FILE REQUEST_FILE COUNT CONCURRENCY */
struct task {
    const char *url, *order_id, *ca_file;
    cJSON *request;
    long count;
    int concurrency;
    char captures_url[512];
};

static inline void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static inline struct task task_of(int count, char **arguments) {
    struct task task;
    FILE *file;
    char *text;
    long size;
    if (count != 7) {
        fail("wanted URL ORDER_ID CA_FILE REQUEST_FILE COUNT CONCURRENCY");
    }
    task.url = arguments[1];
    task.order_id = arguments[2];
    task.ca_file = arguments[3];
    task.count = atol(arguments[5]);
    task.concurrency = atoi(arguments[6]);
    snprintf(task.captures_url, sizeof task.captures_url, "%s/ordermanagement/v1/orders/%s/captures", task.url,
             task.order_id);
    file = fopen(arguments[4], "rb");
    if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET)) {
        fail("the request cannot be read");
    }
    text = malloc((size_t)size + 1);
    if (!text || fread(text, 1, (size_t)size, file) != (size_t)size) {
        fail("the request cannot be read");
    }
    text[size] = '\0';
    fclose(file);
    task.request = cJSON_Parse(text);
    if (!task.request) {
        fail("the request is no JSON");
    }
    free(text);
    return task;
}

/* The request as JSON, for free: each capture encodes it anew. */
static inline char *body_of(const struct task *task) {
    char *body = cJSON_PrintUnformatted(task->request);
    if (!body) {
        fail("the request cannot be encoded");
    }
    return body;
}

/* A random UUID. */
static inline void fresh_key(char key[37]) {
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != sizeof b) {
        fail("there are no random bytes");
    }
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(key, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
             b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* Runs `work` in as many threads as captures may run at once; each takes a capture while `take` says so. */
static long taken;
static inline int take(const struct task *task) {
    return __atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED) < task->count;
}

static inline void in_threads(struct task *task, void *(*work)(void *)) {
    pthread_t *threads;
    int i;
    if (task->concurrency == 1) {
        work(task);
        return;
    }
    threads = calloc((size_t)task->concurrency, sizeof *threads);
    for (i = 0; threads && i < task->concurrency; i++) {
        if (pthread_create(&threads[i], NULL, work, task)) {
            fail("a thread cannot be started");
        }
    }
    for (i = 0; threads && i < task->concurrency; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
}

static inline int told(const struct task *task, const char *last) {
    printf("{\"captured\": %ld, \"last\": \"%s\"}\n", task->count, last);
    return 0;
}

#endif
