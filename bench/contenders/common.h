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

#ifdef PRINTED
/* A request as a program holds it that prints its JSON by itself. */
struct line {
    const char *type, *reference, *name, *quantity_unit;
    long quantity, unit_price, tax_rate, total_amount, total_tax_amount;
};

struct shipping {
    const char *company, *method, *number, *uri, *return_company, *return_number, *return_uri;
};

static struct {
    const char *reference, *description;
    long captured_amount, count;
    struct line *lines;
    struct shipping shipping;
} request;

static inline const char *text_in(const cJSON *object, const char *name) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsString(value)) {
        fail("the request lacks a text that is printed");
    }
    return value->valuestring;
}

static inline long number_in(const cJSON *object, const char *name) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!cJSON_IsNumber(value)) {
        fail("the request lacks a number that is printed");
    }
    return (long)value->valuedouble;
}

/* Reads the request into the structures, before anything is measured. */
static inline void hold(const cJSON *given) {
    const cJSON *lines = cJSON_GetObjectItemCaseSensitive(given, "order_lines"), *line;
    const cJSON *shipping = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(given, "shipping_info"), 0);
    struct line *next = request.lines = calloc((size_t)cJSON_GetArraySize(lines) + 1, sizeof *next);
    if (!next) {
        fail("there is no memory");
    }
    request.captured_amount = number_in(given, "captured_amount");
    request.reference = text_in(given, "reference");
    request.description = text_in(given, "description");
    cJSON_ArrayForEach(line, lines) {
        next->type = text_in(line, "type");
        next->reference = text_in(line, "reference");
        next->name = text_in(line, "name");
        next->quantity = number_in(line, "quantity");
        next->quantity_unit = text_in(line, "quantity_unit");
        next->unit_price = number_in(line, "unit_price");
        next->tax_rate = number_in(line, "tax_rate");
        next->total_amount = number_in(line, "total_amount");
        next->total_tax_amount = number_in(line, "total_tax_amount");
        next++;
    }
    request.count = next - request.lines;
    request.shipping = (struct shipping){
        text_in(shipping, "shipping_company"),     text_in(shipping, "shipping_method"),
        text_in(shipping, "tracking_number"),      text_in(shipping, "tracking_uri"),
        text_in(shipping, "return_shipping_company"), text_in(shipping, "return_tracking_number"),
        text_in(shipping, "return_tracking_uri"),
    };
}

/* The request as JSON, for free. The texts of the sample need no escapes. */
static inline char *body_of(const struct task *task) {
    const struct shipping *by = &request.shipping;
    char *body = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&body, &length);
    long i;
    (void)task;
    if (!out) {
        fail("the request cannot be encoded");
    }
    fprintf(out, "{\"captured_amount\":%ld,\"reference\":\"%s\",\"description\":\"%s\",\"order_lines\":[",
            request.captured_amount, request.reference, request.description);
    for (i = 0; i < request.count; i++) {
        const struct line *line = &request.lines[i];
        fprintf(out,
                "%s{\"type\":\"%s\",\"reference\":\"%s\",\"name\":\"%s\",\"quantity\":%ld,\"quantity_unit\":\"%s\","
                "\"unit_price\":%ld,\"tax_rate\":%ld,\"total_amount\":%ld,\"total_tax_amount\":%ld}",
                i ? "," : "", line->type, line->reference, line->name, line->quantity, line->quantity_unit,
                line->unit_price, line->tax_rate, line->total_amount, line->total_tax_amount);
    }
    fprintf(out,
            "],\"shipping_info\":[{\"shipping_company\":\"%s\",\"shipping_method\":\"%s\",\"tracking_number\":\"%s\","
            "\"tracking_uri\":\"%s\",\"return_shipping_company\":\"%s\",\"return_tracking_number\":\"%s\","
            "\"return_tracking_uri\":\"%s\"}]}",
            by->company, by->method, by->number, by->uri, by->return_company, by->return_number, by->return_uri);
    if (fclose(out)) {
        fail("the request cannot be encoded");
    }
    return body;
}
#else
static inline void hold(const cJSON *given) {
    (void)given;
}

/* The request as JSON, for free: each capture encodes it anew. */
static inline char *body_of(const struct task *task) {
    char *body = cJSON_PrintUnformatted(task->request);
    if (!body) {
        fail("the request cannot be encoded");
    }
    return body;
}
#endif

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
    hold(task.request);
    free(text);
    return task;
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
