#include "guestd.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

struct kernel_log kernel_log;

static const char *const COMPLAINTS[] = {
    "is not a head", "BUG:", "kernel BUG at", "Oops", "general protection fault",
    "corruption", "scheduling while atomic", "Bad page", "bad page", "unable to handle",
    "stack-protector", "invalid opcode", "double fault", "segfault at", "traps: ",
};
static const char *const STALLS[] = {"soft lockup", "detected stall", "workqueue lockup", "blocked for more than"};

static int names(const char *line, const char *const *words, int count) {
    for (int word = 0; word < count; word++)
        if (strstr(line, words[word])) return 1;
    return 0;
}

/* A record is "priority,sequence,time,flags;text". */
static void hear(const char *record) {
    const char *text = strchr(record, ';');
    if (!text++) return;
    if (names(text, STALLS, sizeof STALLS / sizeof *STALLS)) {
        kernel_log.stalls++;
        return;
    }
    if (!names(text, COMPLAINTS, sizeof COMPLAINTS / sizeof *COMPLAINTS)) return;
    if (kernel_log.complaints++) return;
    for (int at = 0; at < (int)sizeof kernel_log.first - 1 && text[at] >= ' '; at++)
        kernel_log.first[at] = text[at] == '"' || text[at] == '\\' || text[at] > '~' ? '?' : text[at];
}

void read_kernel_log(void) {
    static int log = -1;
    char record[8192];
    if (log < 0) log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
    for (;;) {
        ssize_t got = read(log, record, sizeof record - 1);
        /* Records that were lost are skipped by the next read. */
        if (got < 0 && errno == EPIPE) continue;
        if (got <= 0) return;
        record[got] = 0;
        hear(record);
    }
}
