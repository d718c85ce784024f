/*
 * measure FILE PROGRAM ARGUMENT... runs a program and writes into FILE, as JSON, how long it took, the processor time
 * it used (user and system, with all its threads) and the most memory it held.
 *
 * A program of its own because a process begins with the peak of the one that started it: this one holds nearly nothing.
 */
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
    struct rusage used;
    double began = now(), took;
    int status;
    pid_t child;
    FILE *file;
    if (count < 3 || posix_spawnp(&child, arguments[2], NULL, NULL, arguments + 2, environ) ||
        wait4(child, &status, 0, &used) != child) {
        fprintf(stderr, "measure: nothing could be run\n");
        return 2;
    }
    took = now() - began;
    file = fopen(arguments[1], "w");
    if (!file) {
        perror(arguments[1]);
        return 2;
    }
    fprintf(file, "{\"wall\": %.9f, \"cpu\": %.6f, \"peak_kib\": %ld}\n", took,
            (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6,
            used.ru_maxrss);
    fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
