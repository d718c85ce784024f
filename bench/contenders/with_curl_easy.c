/* Captures with libcurl's easy interface: a handle in each thread, used again for each capture. */
#include "curl.h"

static char last[256];

static void *work(void *given) {
    const struct task *task = given;
    struct exchange exchange;
    int opened = 0;
    while (take(task)) {
        if (!opened) {
            open_exchange(&exchange, task);
            opened = 1;
        }
        begin_exchange(&exchange, task);
        end_exchange(&exchange, curl_easy_perform(exchange.easy));
        if (task->concurrency == 1) {
            memcpy(last, exchange.id, sizeof last);
        }
    }
    if (opened) {
        curl_easy_cleanup(exchange.easy);
    }
    return NULL;
}

int main(int count, char **arguments) {
    struct task task = task_of(count, arguments);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    in_threads(&task, work);
    curl_global_cleanup();
    cJSON_Delete(task.request);
    return told(&task, last);
}
