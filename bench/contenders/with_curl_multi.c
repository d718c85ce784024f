/* Captures with libcurl's multi interface: one thread, as many transfers at once as captures may run. */
#include "curl.h"

int main(int count, char **arguments) {
    struct task task = task_of(count, arguments);
    struct exchange *exchanges = calloc((size_t)task.concurrency, sizeof *exchanges);
    CURLM *multi;
    char last[256] = "";
    int i, running = 0, waiting = 0;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = curl_multi_init();
    if (!multi || !exchanges) {
        fail("libcurl gives no handle");
    }
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)task.concurrency);
    for (i = 0; i < task.concurrency && take(&task); i++) {
        open_exchange(&exchanges[i], &task);
        begin_exchange(&exchanges[i], &task);
        curl_multi_add_handle(multi, exchanges[i].easy);
        waiting++;
    }
    while (waiting > 0) {
        CURLMsg *message;
        int left;
        if (curl_multi_perform(multi, &running) != CURLM_OK) {
            fail("libcurl cannot go on");
        }
        while ((message = curl_multi_info_read(multi, &left))) {
            struct exchange *exchange;
            CURLcode code = message->data.result;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&exchange);
            curl_multi_remove_handle(multi, exchange->easy);
            end_exchange(exchange, code);
            memcpy(last, exchange->id, sizeof last);
            waiting--;
            if (take(&task)) {
                begin_exchange(exchange, &task);
                curl_multi_add_handle(multi, exchange->easy);
                waiting++;
                running++;
            }
        }
        if (waiting > 0 && running > 0 && curl_multi_poll(multi, NULL, 0, 1000, NULL) != CURLM_OK) {
            fail("libcurl cannot wait");
        }
    }
    for (i = 0; i < task.concurrency; i++) {
        curl_easy_cleanup(exchanges[i].easy);
    }
    curl_multi_cleanup(multi);
    curl_global_cleanup();
    free(exchanges);
    cJSON_Delete(task.request);
    return told(&task, last);
}
