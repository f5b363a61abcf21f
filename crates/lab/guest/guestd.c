/* Runs in a lab guest: TCP echo on port 7, a heartbeat, a load generator and a memory dirtier.
 * Idle, it hardly runs at all: a machine of two cores has a dozen emulated guests.
 *
 * /run/beat   one more each second; also in the first sector of the disk, where there is one
 * /run/load   percent of one vCPU to keep busy (0 to 100)
 * /run/dirty  "MIB_PER_S WORKING_SET_MIB": pages are stamped and checked when they come
 *             round again, so a page that a migration lost or mixed up is counted
 * /run/stat   what the dirtier has done
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_US = 50000, IDLE_US = 250000, PAGE = 4096, PAGES_PER_MIB = 256, SECTOR = 512 };

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void read_settings(const char *path, long *first, long *second) {
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

static void stamp(uint64_t *page, uint64_t index, uint64_t pass) {
    for (int word = 0; word < PAGE / 8; word += 8) page[word] = index * 1000003u + pass + word;
}

static int is_stamped(const uint64_t *page, uint64_t index, uint64_t pass) {
    for (int word = 0; word < PAGE / 8; word += 64)
        if (page[word] != index * 1000003u + pass + word) return 0;
    return 1;
}

static void dirty(void) {
    uint64_t *memory = 0, pages = 0, next = 0, pass = 0, written = 0, wrong = 0, told = UINT64_MAX;
    for (;;) {
        long rate, set;
        read_settings("/run/dirty", &rate, &set);
        if (set < 1) set = 16;
        if ((uint64_t)set * PAGES_PER_MIB != pages) {
            if (memory) munmap(memory, pages * PAGE);
            pages = set * PAGES_PER_MIB, next = pass = 0;
            memory = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (memory == MAP_FAILED) { memory = 0; pages = 0; sleep(1); continue; }
        }
        uint64_t begin = now_us(), due = rate * PAGES_PER_MIB / 20;
        for (uint64_t done = 0; done < due && now_us() < begin + SLICE_US; done++) {
            uint64_t *page = memory + next * (PAGE / 8);
            if (pass && !is_stamped(page, next, pass - 1)) wrong++;
            stamp(page, next, pass);
            written++;
            if (++next == pages) next = 0, pass++;
        }
        FILE *file = written == told ? 0 : fopen("/run/stat.new", "w");
        if (file) {
            told = written;
            fprintf(file, "pages %llu passes %llu wrong %llu\n", (unsigned long long)written,
                    (unsigned long long)pass, (unsigned long long)wrong);
            fclose(file);
            rename("/run/stat.new", "/run/stat");
        }
        int64_t rest = begin + (rate ? SLICE_US : IDLE_US) - now_us();
        if (rest > 0) usleep(rest);
    }
}

int main(void) {
    signal(SIGCHLD, SIG_IGN);
    if (fork() == 0) beat();
    if (fork() == 0) load();
    if (fork() == 0) dirty();
    echo();
}
