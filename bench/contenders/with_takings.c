/* Captures with takings. */
#include "common.h"
#include "takings.h"

static takings_client_t *client;
static char last[256];

static void *work(void *given) {
    const struct task *task = given;
    while (take(task)) {
        takings_error_t *error = NULL;
        char *body = body_of(task);
        takings_capture_t *capture = takings_client_capture(client, task->order_id, body, NULL, &error);
        if (!capture) {
            fail(takings_error_message(error));
        }
        if (task->concurrency == 1) {
            snprintf(last, sizeof last, "%s", takings_capture_capture_id(capture));
        }
        takings_capture_free(capture);
        free(body);
    }
    return NULL;
}

int main(int count, char **arguments) {
    struct task task = task_of(count, arguments);
    takings_error_t *error = NULL;
    char config[1024];
    snprintf(config, sizeof config,
             "{\"base_url\": \"%s\", \"ca_file\": \"%s\", \"username\": \"bench\", \"password\": \"bench-password\"}",
             task.url, task.ca_file);
    client = takings_client_new(config, &error);
    if (!client) {
        fail(takings_error_message(error));
    }
    in_threads(&task, work);
    takings_client_free(client);
    cJSON_Delete(task.request);
    return told(&task, last);
}
