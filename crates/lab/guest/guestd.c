/* Runs in a lab guest: TCP echo on port 7, a heartbeat, a load generator and memory that is
 * written and checked. Idle, it hardly runs at all: a machine of two cores has a dozen emulated
 * guests.
 *
 * /run/beat     one more each second; also in the first sector of the disk, where there is one
 * /run/load     percent of one vCPU to keep busy (0 to 100)
 * /run/dirty    "MIB_PER_S WORKING_SET_MIB": pages are written and checked when they come round
 *               again
 * /run/stat     what the dirtier has done
 * /run/watch    percent of one vCPU for writing as a kernel does, so that a move which loses
 *               writes loses some of these (see memory.c)
 *
 * `guestd check` checks everything that was written, at once, and prints what was found so far.
 */
#define _GNU_SOURCE
#include "guestd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_US = 50000, IDLE_US = 250000, SECTOR = 512, MOST_TOLD = 20 };

uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

void read_settings(const char *path, long *first, long *second) {
    FILE *file = fopen(path, "r");
    *first = *second = 0;
    if (!file) return;
    if (fscanf(file, "%ld %ld", first, second) < 1) *first = 0;
    fclose(file);
}

static void echo(void) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(7)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 64)) _exit(1);
    for (;;) {
        int peer = accept(listener, 0, 0);
        if (peer < 0) continue;
        if (fork() == 0) {
            char buffer[65536];
            ssize_t got;
            setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            while ((got = read(peer, buffer, sizeof buffer)) > 0)
                for (ssize_t sent = 0; sent < got;) {
                    ssize_t part = write(peer, buffer + sent, got - sent);
                    if (part <= 0) _exit(0);
                    sent += part;
                }
            _exit(0);
        }
        close(peer);
    }
}

static void beat(void) {
    for (unsigned long count = 1;; count++) {
        char sector[SECTOR + 1];
        FILE *file = fopen("/run/beat", "w");
        if (file) {
            fprintf(file, "%lu\n", count);
            fclose(file);
        }
        int disk = open("/dev/vda", O_WRONLY);
        if (disk >= 0) {
            snprintf(sector, sizeof sector, "%-511lu\n", count);
            if (pwrite(disk, sector, SECTOR, 0) == SECTOR) fsync(disk);
            close(disk);
        }
        sleep(1);
    }
}

static void load(void) {
    for (;;) {
        long percent, unused;
        read_settings("/run/load", &percent, &unused);
        if (percent <= 0) {
            usleep(IDLE_US);
            continue;
        }
        if (percent > 100) percent = 100;
        uint64_t begin = now_us(), busy = SLICE_US * percent / 100;
        for (int slice = 0; slice < 20; slice++) {
            uint64_t start = begin + (uint64_t)slice * SLICE_US;
            while (now_us() < start + busy) {}
            int64_t rest = start + SLICE_US - now_us();
            if (rest > 0) usleep(rest);
        }
    }
}

void tell(const char *what, uint64_t number) {
    static int told;
    int console = told++ < MOST_TOLD ? open("/dev/console", O_WRONLY | O_NOCTTY) : -1;
    if (console < 0) return;
    dprintf(console, "guestd: %s (%llu)\n", what, (unsigned long long)number);
    close(console);
}

int main(int count, char **words) {
    if (count == 2 && !strcmp(words[1], "check")) return ask();
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (fork() == 0) beat();
    if (fork() == 0) load();
    if (fork() == 0) memory();
    echo();
}
