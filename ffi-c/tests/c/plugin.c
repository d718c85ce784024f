/*
 * The library as a plug-in: unloaded at once, then loaded again, used, and unloaded while its
 * thread is there. It stays in memory each time.
 *
 *     plugin LIBRARY BASE_URL ORDER
 */
#define _GNU_SOURCE /* RTLD_NOLOAD */
#include <dlfcn.h>
#include <time.h>

#include "check.h"

/* ISO C has no way from an object pointer to a function pointer; POSIX promises this one. */
#define LOAD(library, name)                          \
    void *name##_object = dlsym(library, #name);     \
    memcpy(&name, &name##_object, sizeof name##_object)

int main(int count, char **arguments) {
    const struct timespec pause = {0, 200 * 1000 * 1000};
    takings_client_t *(*takings_client_new)(const char *, takings_error_t **);
    takings_capture_t *(*takings_client_capture)(const takings_client_t *, const char *, const char *, const char *,
                                                 takings_error_t **);
    takings_client_t *client;
    char config[256];
    void *library;
    CHECK(count == 4);
    library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    CHECK(library);
    CHECK(dlclose(library) == 0);
    library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
    CHECK(library);
    {
        LOAD(library, takings_client_new);
        LOAD(library, takings_client_capture);
    }
    snprintf(config, sizeof config, "{\"base_url\": \"%s\", \"username\": \"sandbox\", \"password\": \"sandbox\"}",
             arguments[2]);
    client = takings_client_new(config, NULL);
    CHECK(client);
    CHECK(takings_client_capture(client, arguments[3], "{\"captured_amount\": 1}", NULL, NULL));
    CHECK(dlclose(library) == 0);
    nanosleep(&pause, NULL);
    puts("1");
    return 0;
}
