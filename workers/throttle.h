/* The throttle: one rate for all downloads together (--limit-rate), kept smoothly.
 *
 * A virtual clock runs ahead with every byte that comes, by the time that byte may take; who took
 * the bytes waits until the real one has caught up ("GCRA"). So each caller has its own place in
 * time, nobody queues for tokens, and nothing is lost or kept when a caller gives up. */
#ifndef DRAY_WORKERS_THROTTLE_H
#define DRAY_WORKERS_THROTTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/sync.h"

/* How much of a pause may be made good at full speed. */
#define DRAY_THROTTLE_BURST_MS 100

/* No single wait is longer than a day; what it cuts off is waited for at the next take. */
#define DRAY_THROTTLE_WAIT_MAX_MS (INT64_C(24) * 3600 * 1000)

/** Embedded by its owner; the fields are the throttle's own. */
struct dray_throttle {
    uint64_t rate_bytes_per_s;            /* fixed by init, read without the lock */
    int64_t (*now_ms)(void);              /* the clock; a test puts its own here after init */
    struct dray_mutex mu;                 /* guards the fields below */
    int64_t seen_ms DRAY_GUARDED_BY(&mu); /* when ahead_ms was right */
    double ahead_ms DRAY_GUARDED_BY(&mu); /* of the virtual clock; below 0: it is behind */
};

/** @param rate_bytes_per_s  0: no limit */
void dray_throttle_init(struct dray_throttle *throttle, uint64_t rate_bytes_per_s);

void dray_throttle_done(struct dray_throttle *throttle);

/**
 * Account for bytes that came. Any thread; it does not wait itself. Any number of bytes may be
 * taken at once: more than a burst is simply waited for longer.
 *
 * @return how long the caller shall wait before it reads more, in ms: 0 to
 *         DRAY_THROTTLE_WAIT_MAX_MS
 */
int64_t dray_throttle_take(struct dray_throttle *throttle, uint64_t bytes);

/** Is there a limit at all? Then the speed of a connection says nothing about its server. */
static inline bool dray_throttle_is_on(const struct dray_throttle *throttle)
{
    return throttle->rate_bytes_per_s > 0;
}

#endif
