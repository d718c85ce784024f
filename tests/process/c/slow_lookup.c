/*
 * Loaded in front of the system's library (LD_PRELOAD): a name server that never answers.
 *
 * hangs.example is looked up for 30 seconds and then not found; many.example has sixteen
 * addresses, all 127.0.0.1.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ADDRESSES = 16 };

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    lookup *real;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (name && strcmp(name, "hangs.example") == 0) {
        sleep(30);
        return EAI_AGAIN;
    }
    if (name && strcmp(name, "many.example") == 0) {
        struct addrinfo **place = found;
        int i, failed = 0;
        for (i = 0; i < ADDRESSES && !failed; i++) {
            failed = real("127.0.0.1", service, hints, place);
            while (!failed && *place) {
                place = &(*place)->ai_next;
            }
        }
        return failed;
    }
    return real(name, service, hints, found);
}
