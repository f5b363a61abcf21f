/* Memory that is written so that a move which loses a write is noticed.
 *
 * A page holds what follows from its number and from how often it has been written, so a page
 * that is whole and old is seen as well as one that is torn.
 *
 * QEMU may lose a write that it has not been told of: a page was written, was sent, is written
 * again soon after, while the emulated CPU still takes it for one that is known to have changed,
 * and then rests. Rings and lists of a kernel are written that way. So is what /run/watch asks
 * for: a window of pages is written over and over for some milliseconds, without a switch to
 * another process, and then rests until its turn comes again.
 */
#define _GNU_SOURCE
#include "guestd.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    SLICE_US = 50000, IDLE_US = 250000, MOST_SLICES = 4,
    /* Nothing else runs while a window is written. On a busy machine this is not much. */
    LEAST_REST_US = 20000,
    /* Pages of a window that the process writes, and that the kernel writes for it. */
    OWN = 24, KERNEL = 8, WINDOWS = 32,
    /* So often each page of a window is written before it rests. */
    ROUNDS = 128, DEFAULT_SET = 16,
};

struct area {
    uint64_t *at;
    uint64_t pages, rounds; /* rounds: writes of a page in one pass */
    uint64_t next, pass;    /* pages before `next` were written in this pass */
    int file;               /* the kernel writes it, through this file; or none: -1 */
    const char *name;
    struct found found;
};

static struct area dirtied = {.rounds = 1, .file = -1, .name = "a dirtied page is wrong"};
static struct area own = {.rounds = ROUNDS, .file = -1, .name = "a page is wrong"};
static struct area kernel = {.rounds = ROUNDS, .file = -1, .name = "a page that the kernel wrote is wrong"};

static uint64_t first_word(uint64_t number, uint64_t write) {
    return (number << 40 | write) * 0x9e3779b97f4a7c15ull;
}

static void stamp(uint64_t *page, uint64_t number, uint64_t write) {
    uint64_t value = first_word(number, write);
    page[0] = write;
    for (int word = 1; word < WORDS; word++) page[word] = value += word;
}

static int holds(const uint64_t *page, uint64_t number, uint64_t write) {
    uint64_t value = first_word(number, write), differ = page[0] ^ write;
    for (int word = 1; word < WORDS; word++) differ |= page[word] ^ (value += word);
    return !differ;
}

static uint64_t *page_of(const struct area *area, uint64_t number) { return area->at + number * WORDS; }

/* Which write a page must hold while no window is being written; 0: none yet. */
static uint64_t last_write(const struct area *area, uint64_t number) {
    return (area->pass + (number < area->next)) * area->rounds;
}

static int examine(struct area *area, uint64_t number, uint64_t write) {
    const uint64_t *page = page_of(area, number);
    if (!write) return 1;
    area->found.checked++;
    if (holds(page, number, write)) return 1;
    if (holds(page, number, page[0])) area->found.stale++;
    else area->found.torn++;
    tell(area->name, number);
    return 0;
}

static void put(struct area *area, uint64_t number, uint64_t write) {
    static uint64_t text[WORDS];
    if (area->file < 0) {
        stamp(page_of(area, number), number, write);
        return;
    }
    stamp(text, number, write);
    if (pwrite(area->file, text, PAGE, number * PAGE) != PAGE) tell("a page is not written", number);
}

/* Gives an area this many pages, none of them written. */
static void resize(struct area *area, uint64_t pages, int file) {
    if (area->at) munmap(area->at, area->pages * PAGE);
    area->next = area->pass = 0;
    area->pages = pages;
    area->file = file;
    area->at = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE,
                    file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, file, 0);
    if (area->at == MAP_FAILED) {
        area->at = 0;
        area->pages = 0;
    }
}

static void advance(struct area *area, uint64_t pages) {
    area->next += pages;
    if (area->next == area->pages) area->next = 0, area->pass++;
}

/* Everything that rests. What is wrong is put right, so that it is counted once. */
static void verify(struct area *area) {
    for (uint64_t number = 0; number < area->pages; number++) {
        uint64_t write = last_write(area, number);
        if (!examine(area, number, write)) put(area, number, write);
    }
}

static void dirty(uint64_t due, uint64_t until_us) {
    for (uint64_t done = 0; dirtied.pages && done < due && now_us() < until_us; done++) {
        examine(&dirtied, dirtied.next, last_write(&dirtied, dirtied.next));
        put(&dirtied, dirtied.next, last_write(&dirtied, dirtied.next) + 1);
        advance(&dirtied, 1);
    }
}

static void write_window(struct area *area, uint64_t pages, uint64_t round) {
    for (uint64_t number = area->next; number < area->next + pages; number++) {
        uint64_t write = last_write(area, number) + round;
        examine(area, number, write);
        put(area, number, write + 1);
    }
}

static void watch(void) {
    struct sched_param first = {.sched_priority = 1}, usual = {0};
    if (!own.at) {
        int file = memfd_create("kernel", 0);
        if (file < 0 || ftruncate(file, KERNEL * WINDOWS * PAGE)) return;
        resize(&own, OWN * WINDOWS, -1);
        resize(&kernel, KERNEL * WINDOWS, file);
        if (!own.at || !kernel.at) return;
    }
    sched_setscheduler(0, SCHED_FIFO, &first);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        write_window(&own, OWN, round);
        write_window(&kernel, KERNEL, round);
        ring_turn();
    }
    sched_setscheduler(0, SCHED_OTHER, &usual);
    advance(&own, OWN);
    advance(&kernel, KERNEL);
}

static void tell_dirtied(void) {
    static uint64_t told = UINT64_MAX;
    uint64_t written = dirtied.pass * dirtied.pages + dirtied.next;
    FILE *file = written == told ? 0 : fopen("/run/stat.new", "w");
    if (!file) return;
    told = written;
    fprintf(file, "pages %llu passes %llu wrong %llu\n", (unsigned long long)written,
            (unsigned long long)dirtied.pass,
            (unsigned long long)(dirtied.found.stale + dirtied.found.torn));
    fclose(file);
    rename("/run/stat.new", "/run/stat");
}

static void print_found(FILE *to, const char *name, const struct found *found) {
    fprintf(to, "\"%s\":{\"checked\":%llu,\"stale\":%llu,\"torn\":%llu},", name,
            (unsigned long long)found->checked, (unsigned long long)found->stale,
            (unsigned long long)found->torn);
}

static void print_all(FILE *to, int lives) {
    read_kernel_log();
    fprintf(to, "{\"lives\":%s,", lives ? "true" : "false");
    print_found(to, "dirtied", &dirtied.found);
    print_found(to, "own", &own.found);
    print_found(to, "kernel", &kernel.found);
    fprintf(to, "\"ring\":{\"posted\":%llu,\"faults\":%llu},", (unsigned long long)ring.posted,
            (unsigned long long)ring.faults);
    fprintf(to, "\"log\":{\"complaints\":%llu,\"stalls\":%llu,\"first\":\"%s\"}}\n",
            (unsigned long long)kernel_log.complaints, (unsigned long long)kernel_log.stalls,
            kernel_log.first);
}

static void answer(int peer) {
    FILE *to = fdopen(peer, "w");
    if (!to) {
        close(peer);
        return;
    }
    verify(&dirtied);
    verify(&own);
    verify(&kernel);
    if (ring.posted) ring_turn();
    print_all(to, 1);
    fclose(to);
}

static struct sockaddr_un door(void) {
    return (struct sockaddr_un){.sun_family = AF_UNIX, .sun_path = "/run/check.socket"};
}

/* Answers whoever asks until this time. */
static void listen_until(int listener, uint64_t until_us) {
    struct pollfd one = {.fd = listener, .events = POLLIN};
    for (;;) {
        int64_t rest = until_us - now_us();
        if (poll(&one, 1, rest > 0 ? (int)(rest / 1000) : 0) <= 0) return;
        int peer = accept(listener, 0, 0);
        if (peer >= 0) answer(peer);
    }
}

void memory(void) {
    struct sockaddr_un here = door();
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(here.sun_path);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 8)) _exit(1);
    for (uint64_t last = now_us();;) {
        long rate, set, percent, unused;
        uint64_t begin = now_us(), gone = begin - last, end;
        read_settings("/run/dirty", &rate, &set);
        read_settings("/run/watch", &percent, &unused);
        if (set < 1) set = DEFAULT_SET;
        if ((uint64_t)set * PAGES_PER_MIB != dirtied.pages) resize(&dirtied, set * PAGES_PER_MIB, -1);
        if (gone > MOST_SLICES * SLICE_US) gone = SLICE_US;
        last = begin;
        dirty(rate * PAGES_PER_MIB * gone / 1000000, begin + SLICE_US);
        tell_dirtied();
        if (percent > 0) {
            uint64_t start = now_us();
            watch();
            end = now_us();
            uint64_t rest = (end - start) * (percent < 100 ? 100 - percent : 0) / percent;
            end += rest > LEAST_REST_US ? rest : LEAST_REST_US;
        } else {
            end = begin + (rate ? SLICE_US : IDLE_US);
        }
        listen_until(listener, end);
    }
}

int ask(void) {
    struct sockaddr_un there = door();
    char text[1024];
    ssize_t got;
    int peer = socket(AF_UNIX, SOCK_STREAM, 0), answered = 0;
    if (!connect(peer, (struct sockaddr *)&there, sizeof there))
        while ((got = read(peer, text, sizeof text)) > 0) answered |= write(1, text, got) == got;
    /* The kernel has ended the process that knows. */
    if (!answered) print_all(stdout, 0);
    return !answered;
}
