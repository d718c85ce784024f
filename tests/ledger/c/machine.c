/* A machine whose disk and clocks a test breaks while the program runs. The test shares a page with it: MACHINE names the
 * file, LEDGER the beginning of the paths whose writes go wrong. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum disk { WELL, FULL, BROKEN, UNSYNCED, SHORT, TORN };

struct machine {
    int64_t disk;
    /* Milliseconds by which the clock of the day, and the one since boot, are ahead. */
    int64_t wall, boot;
    /* Stops the process before it notes a claim beside the ledger. */
    int64_t stop;
};

static volatile struct machine *machine;
static const char *ledger;

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv("MACHINE");
    int page = file ? open(file, O_RDWR) : -1;
    const char *beginning = getenv("LEDGER");
    if (page < 0 || !beginning)
        return;
    /* PostgreSQL writes the titles of its processes over the environment. */
    ledger = strdup(beginning);
    void *shared = mmap(NULL, sizeof(struct machine), PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
    if (shared != MAP_FAILED)
        machine = shared;
    close(page);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The path behind the ledger's own: "", "-wal", "-shm", ".lock". NULL for another file. */
static const char *part(int fd, char path[4096])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = machine ? readlink(link, path, 4095) : -1;
    if (length < 0)
        return NULL;
    path[length] = 0;
    return strncmp(path, ledger, strlen(ledger)) ? NULL : path + strlen(ledger);
}

static int is_in(int fd, enum disk disk)
{
    char path[4096];
    return machine && machine->disk == (int64_t)disk && part(fd, path);
}

/* The part of a write that the disk takes; -1 if it takes none of it. */
static ssize_t taken(int fd, size_t count)
{
    char path[4096];
    if (!machine || machine->disk == WELL || machine->disk == UNSYNCED || !part(fd, path))
        return (ssize_t)count;
    if (machine->disk == SHORT)
        return (ssize_t)(count > 1 ? count / 2 : count);
    if (machine->disk == TORN && count > 1) {
        machine->disk = FULL;
        return (ssize_t)(count / 2);
    }
    errno = machine->disk == BROKEN ? EIO : ENOSPC;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at)
{
    ssize_t most = taken(fd, count);
    return most < 0 ? -1 : REAL(pwrite64)(fd, bytes, (size_t)most, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at)
{
    ssize_t most = taken(fd, count);
    return most < 0 ? -1 : REAL(pwrite)(fd, bytes, (size_t)most, at);
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    char path[4096];
    const char *name = machine && machine->stop ? part(fd, path) : NULL;
    if (name && !strcmp(name, ".lock")) {
        machine->stop = 0;
        raise(SIGSTOP);
    }
    ssize_t most = taken(fd, count);
    return most < 0 ? -1 : REAL(write)(fd, bytes, (size_t)most);
}

int fdatasync(int fd)
{
    if (is_in(fd, UNSYNCED)) {
        errno = EIO;
        return -1;
    }
    return REAL(fdatasync)(fd);
}

int fsync(int fd)
{
    if (is_in(fd, UNSYNCED)) {
        errno = EIO;
        return -1;
    }
    return REAL(fsync)(fd);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = REAL(clock_gettime)(clock, time);
    int64_t ahead = !machine ? 0 : clock == CLOCK_REALTIME ? machine->wall : clock == CLOCK_BOOTTIME ? machine->boot : 0;
    time->tv_sec += ahead / 1000;
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone)
{
    int result = REAL(gettimeofday)(time, zone);
    time->tv_sec += machine ? machine->wall / 1000 : 0;
    return result;
}
