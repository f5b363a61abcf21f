/* What the parts of guestd share. */
#ifndef GUESTD_H
#define GUESTD_H

#include <stdint.h>

enum { PAGE = 4096, WORDS = PAGE / 8, PAGES_PER_MIB = 256 };

/* What was found wrong, of everything that is looked at. */
struct found {
    uint64_t checked; /* pages */
    uint64_t stale;   /* pages that hold what they held before */
    uint64_t torn;    /* pages that hold neither that nor what they were given */
};

uint64_t now_us(void);
void read_settings(const char *path, long *first, long *second);

/* Says on the guest's console what is wrong: that is heard when the network is not. */
void tell(const char *what, uint64_t number);

/* memory.c: writes memory as /run/dirty and /run/watch say, and answers `guestd check`. */
void memory(void);
/* Asks it, prints the answer and returns an exit status. */
int ask(void);

/* ring.c: a virtio ring of our own. */
struct ring {
    uint64_t posted; /* buffers */
    uint64_t faults;
};
extern struct ring ring;
/* Looks at the ring, takes what the device has filled and posts more. Does nothing where
 * there is no device. */
void ring_turn(void);

/* kernel_log.c: what the guest's kernel has complained of since it booted. */
struct kernel_log {
    uint64_t complaints;  /* of broken memory */
    uint64_t stalls;      /* of time that passed: also a sound guest that had to wait */
    char first[128];      /* the first complaint */
};
extern struct kernel_log kernel_log;
void read_kernel_log(void);

#endif
