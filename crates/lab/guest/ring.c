/* A virtio ring as a driver of the kernel has one, but known to the last bit: a second
 * virtio-rng, which no driver of the kernel is bound to, by its legacy registers. A ring that is
 * stale after a move makes a kernel say "output.0:id 0 is not a head!"; here it is seen whether
 * or not the device stumbles over it.
 */
#define _GNU_SOURCE
#include "guestd.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    /* Registers of a legacy device, and bits of its status. */
    FEATURES = 4, QUEUE_PAGE = 8, QUEUE_SIZE = 12, QUEUE_SELECT = 14, NOTIFY = 16, STATUS = 18,
    ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4,
    /* PCI's command register: the device may reach memory and must not interrupt. */
    COMMAND = 4, BUS_MASTER = 4, NO_INTX = 0x400,
    WRITABLE = 2, NO_INTERRUPT = 1,
    /* Buffers that the device holds at a time, and the descriptors that they take turns on. */
    IN_FLIGHT = 6, HEADS = 256, BUFFER = 256,
    MOST = 1024, /* descriptors of a ring */
    HUGE_PAGE = 2 << 20, BUFFERS_AT = 1 << 20, STALL_US = 30000000, LOOKED_US = 1000000, MARK = 16,
};

struct descriptor { uint64_t address; uint32_t length; uint16_t flags, next; };
struct used { uint32_t id, length; };
struct taken { uint16_t flags, index; struct used ring[MOST]; };

/* What a buffer begins with until the device has filled it: 2^128 random values do not. */
static const char EMPTY[MARK];

struct ring ring;
static int size, heads, registers = -1;
/* Of the driver, as the device sees them: the table, then flags, index and posted heads. */
static volatile struct descriptor *table;
static volatile uint16_t *posted;
/* What they must hold. */
static struct descriptor expected_table[HEADS];
static uint16_t expected_posted[2 + MOST];
static volatile struct taken *taken; /* of the device */
static char *buffers;
static uint64_t physical; /* address of it all, as the device sees it */
static uint64_t progress_us;
static uint16_t seen; /* how far the device's index was followed */
static uint8_t in_flight[HEADS];
static int flying;

enum { FLAGS, INDEX, POSTED }; /* of `posted` */

static void set(int at, uint32_t value, int bytes) {
    if (pwrite(registers, &value, bytes, at) != bytes) tell("a register of the ring is not written", at);
}

static int find_device(char *path, size_t size) {
    DIR *devices = opendir("/sys/bus/pci/devices");
    int found = 0;
    for (struct dirent *one; devices && !found && (one = readdir(devices));) {
        char id[16] = "";
        snprintf(path, size, "/sys/bus/pci/devices/%s/device", one->d_name);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        found = fgets(id, sizeof id, file) && !strncmp(id, "0x1005", 6);
        fclose(file);
        snprintf(path, size, "/sys/bus/pci/devices/%s", one->d_name);
    }
    if (devices) closedir(devices);
    return found;
}

static int write_file(const char *directory, const char *name, const char *text) {
    char path[320];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    int file = open(path, O_WRONLY);
    int ok = file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text);
    if (file >= 0) close(file);
    return ok;
}

/* Memory that lies in one piece for the device and that the kernel never moves. */
static int get_memory(void) {
    uint64_t entry = 0;
    if (!write_file("/proc/sys/vm", "nr_hugepages", "1")) return 0;
    void *at = mmap(0, HUGE_PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) return 0;
    int map = open("/proc/self/pagemap", O_RDONLY);
    if (map < 0 || pread(map, &entry, 8, (uintptr_t)at / PAGE * 8) != 8) entry = 0;
    if (map >= 0) close(map);
    physical = (entry & ((1ull << 55) - 1)) * PAGE;
    table = at;
    buffers = (char *)at + BUFFERS_AT;
    return physical != 0;
}

/* As the specification of a legacy ring lays it out. */
static void lay_out(void) {
    uint64_t posted_at = size * sizeof *table;
    uint64_t taken_at = (posted_at + 2 * (size + 3) + PAGE - 1) / PAGE * PAGE;
    heads = size < HEADS ? size : HEADS;
    posted = (volatile uint16_t *)((char *)table + posted_at);
    taken = (volatile struct taken *)((char *)table + taken_at);
}

static void begin(void) {
    set(STATUS, 0, 1);
    memset((void *)table, 0, BUFFERS_AT);
    memset(expected_table, 0, sizeof expected_table);
    memset(expected_posted, 0, sizeof expected_posted);
    memset(in_flight, 0, sizeof in_flight);
    seen = flying = 0;
    posted[FLAGS] = expected_posted[FLAGS] = NO_INTERRUPT;
    set(STATUS, ACKNOWLEDGE | DRIVER, 1);
    set(FEATURES, 0, 4);
    set(QUEUE_SELECT, 0, 2);
    set(QUEUE_PAGE, physical / PAGE, 4);
    set(STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK, 1);
    progress_us = now_us();
}

static int open_device(void) {
    static int tried;
    char path[288], file[320];
    uint16_t command, said = 0;
    if (tried++) return registers >= 0;
    if (!find_device(path, sizeof path) || !write_file(path, "enable", "1") || !get_memory()) return 0;
    snprintf(file, sizeof file, "%s/config", path);
    int config = open(file, O_RDWR);
    if (config < 0) return 0;
    if (pread(config, &command, 2, COMMAND) == 2) {
        command |= BUS_MASTER | NO_INTX;
        if (pwrite(config, &command, 2, COMMAND) != 2) return 0;
    }
    close(config);
    snprintf(file, sizeof file, "%s/resource0", path);
    registers = open(file, O_RDWR);
    if (registers < 0) return 0;
    set(QUEUE_SELECT, 0, 2);
    if (pread(registers, &said, 2, QUEUE_SIZE) != 2 || said <= IN_FLIGHT || said > MOST) {
        tell("the ring has a size that it cannot have", said);
        close(registers);
        registers = -1;
        return 0;
    }
    size = said;
    lay_out();
    begin();
    return 1;
}

static const char *wrong(void) {
    if (memcmp((const void *)table, expected_table, heads * sizeof *table) ||
        memcmp((const void *)posted, expected_posted, (POSTED + size) * sizeof *posted))
        return "what was posted on the ring has changed";
    if ((uint16_t)(taken->index - seen) > flying) return "the ring's device took what was not posted";
    return 0;
}

static const char *collect(void) {
    while (seen != taken->index) {
        uint32_t id = taken->ring[seen % size].id, length = taken->ring[seen % size].length;
        if (id >= (uint32_t)heads || !in_flight[id]) return "the ring's device used what is not a head";
        if (!length || length > expected_table[id].length) return "the ring's device filled a wrong length";
        if (length >= MARK && !memcmp(buffers + id * BUFFER, EMPTY, MARK))
            return "a used buffer of the ring is not filled";
        in_flight[id] = 0;
        flying--;
        seen++;
        progress_us = now_us();
    }
    return 0;
}

static void post(void) {
    static int head;
    while (flying < IN_FLIGHT) {
        uint16_t *index = expected_posted + INDEX;
        int at = POSTED + *index % size;
        /* Heads come in another order than descriptors lie, as where requests differ. */
        do head = (head * 5 + 3) % heads; while (in_flight[head]);
        memcpy(buffers + head * BUFFER, EMPTY, MARK);
        expected_table[head] = (struct descriptor){
            physical + BUFFERS_AT + head * BUFFER, 64 + ring.posted % 8 * 16, WRITABLE, ring.posted};
        table[head] = expected_table[head];
        posted[at] = expected_posted[at] = head;
        __sync_synchronize();
        posted[INDEX] = ++*index;
        in_flight[head] = 1;
        flying++;
        ring.posted++;
    }
    __sync_synchronize();
    set(NOTIFY, 0, 2);
}

/* Time in which nobody looked is no fault of the ring. */
static const char *stalled(void) {
    static uint64_t looked_us;
    uint64_t now = now_us();
    if (!flying || now > looked_us + LOOKED_US) progress_us = now;
    looked_us = now;
    return now > progress_us + STALL_US ? "the ring stands still" : 0;
}

void ring_turn(void) {
    if (!open_device()) return;
    const char *fault = wrong();
    if (!fault) fault = collect();
    if (!fault) fault = stalled();
    if (fault) {
        tell(fault, ++ring.faults);
        begin();
    }
    if (flying < IN_FLIGHT) post();
}
