/* The slots of one host: how many requests may run there at once.
 *
 * A refusal for overload (429, 503) halves the number; good answers raise it by one at a time, for
 * as long as that makes the whole faster: "AIMD", as TCP finds its rate (RFC 5681 section 3.1).
 * It begins at the maximum, because most hosts can take that.
 *
 * Any thread may call any function here, except init and done. */
#ifndef DRAY_WORKERS_LIMITER_H
#define DRAY_WORKERS_LIMITER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/sync.h"

/* A burst of refusals is one: requests that were sent together are refused together. */
#define DRAY_LIMITER_CUT_MS 1000

/* How long the number is left as it is after a raise that brought nothing. */
#define DRAY_LIMITER_HOLD_MS 10000

/** What was seen since the number of slots changed, or since the host was idle. */
struct dray_limiter_window {
    int64_t since_ms;
    uint64_t bytes;
    uint32_t good; /* answers in a row */
    bool full;     /* all slots were in use at once */
};

/** Embedded by its owner; the fields are the limiter's own. */
struct dray_limiter {
    uint32_t max;             /* fixed by init, read without the lock */
    int64_t (*now_ms)(void);  /* the clock; a test puts its own here after init */
    struct dray_mutex mu;     /* guards the fields below */
    struct dray_cond vacancy; /* in_use < slots */
    uint32_t slots DRAY_GUARDED_BY(&mu);
    uint32_t in_use DRAY_GUARDED_BY(&mu);        /* above slots for a while after a cut */
    uint32_t waiters DRAY_GUARDED_BY(&mu);       /* who come before anybody new */
    int64_t cut_again_ms DRAY_GUARDED_BY(&mu);   /* not halved before */
    int64_t raise_again_ms DRAY_GUARDED_BY(&mu); /* not raised before */
    bool raised DRAY_GUARDED_BY(&mu);            /* the last change was a raise */
    double rate_before DRAY_GUARDED_BY(&mu);     /* bytes per ms before that raise */
    struct dray_limiter_window window DRAY_GUARDED_BY(&mu);
};

enum dray_limiter_outcome {
    DRAY_LIMITER_GOOD,
    DRAY_LIMITER_FAILED,     /* for a reason that says nothing about load */
    DRAY_LIMITER_OVERLOADED, /* the host refused because it has too much to do */
};

/** @param max  slots at first, and at most: at least 1 */
void dray_limiter_init(struct dray_limiter *limiter, uint32_t max);

/** Every slot was given back. */
void dray_limiter_done(struct dray_limiter *limiter);

/**
 * Take a slot, waiting for one. Nobody overtakes those who wait already: a request for a manifest
 * gets its turn among workers that leave and come back at once.
 *
 * @param wait_ms  how long at most; 0: not at all
 * @return true: give it back with dray_limiter_leave(), whatever happens. false: none became free
 */
bool dray_limiter_enter(struct dray_limiter *limiter, int64_t wait_ms);

/**
 * Give a slot back, and say how the request ended.
 *
 * After as many good answers in a row as there are slots the number is raised by one, if all slots
 * were in use meanwhile, and if the raise before made it more than 5 % faster (with more than ten
 * slots: by more than half of what one slot's share is). Otherwise the number is held for
 * DRAY_LIMITER_HOLD_MS. An overload halves it, to not less than 1, at most once in
 * DRAY_LIMITER_CUT_MS.
 *
 * @param bytes  of body it brought, also when it failed in the end
 */
void dray_limiter_leave(struct dray_limiter *limiter, enum dray_limiter_outcome outcome,
                        uint64_t bytes);

/** How many slots there are now, in use or not: 1 to the maximum. */
uint32_t dray_limiter_slots(struct dray_limiter *limiter);

/** How many slots are taken now. */
uint32_t dray_limiter_in_use(struct dray_limiter *limiter);

#endif
