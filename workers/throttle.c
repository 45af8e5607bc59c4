#include "workers/throttle.h"

void dray_throttle_init(struct dray_throttle *throttle, uint64_t rate_bytes_per_s)
{
    *throttle = (struct dray_throttle){ .rate_bytes_per_s = rate_bytes_per_s,
                                        .now_ms = dray_now_ms,
                                        .ahead_ms = -DRAY_THROTTLE_BURST_MS };
    dray_mutex_init(&throttle->mu);
}

void dray_throttle_done(struct dray_throttle *throttle)
{
    dray_mutex_done(&throttle->mu);
}

int64_t dray_throttle_take(struct dray_throttle *throttle, uint64_t bytes)
{
    double cost_ms;
    double wait_ms;
    int64_t now_ms;
    int64_t whole_ms;

    if (throttle->rate_bytes_per_s == 0)
        return 0;
    /* In floating point: from 1 byte a second to 100 GB/s nothing overflows, and no byte is so
     * cheap that it is rounded to nothing. */
    cost_ms = (double)bytes * 1000 / (double)throttle->rate_bytes_per_s;

    dray_mutex_lock(&throttle->mu);
    now_ms = throttle->now_ms(); /* under the lock, so that it never goes back */
    throttle->ahead_ms -= (double)(now_ms - throttle->seen_ms);
    throttle->seen_ms = now_ms;
    if (throttle->ahead_ms < -DRAY_THROTTLE_BURST_MS)
        throttle->ahead_ms = -DRAY_THROTTLE_BURST_MS;
    throttle->ahead_ms += cost_ms;
    wait_ms = throttle->ahead_ms;
    dray_mutex_unlock(&throttle->mu);

    if (wait_ms <= 0)
        return 0;
    if (wait_ms >= (double)DRAY_THROTTLE_WAIT_MAX_MS)
        return DRAY_THROTTLE_WAIT_MAX_MS;
    whole_ms = (int64_t)wait_ms;
    return whole_ms < wait_ms ? whole_ms + 1 : whole_ms; /* up: never faster than the rate */
}
