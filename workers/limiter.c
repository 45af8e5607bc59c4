#include "workers/limiter.h"

#include <assert.h>

void dray_limiter_init(struct dray_limiter *limiter, uint32_t max)
{
    assert(max >= 1);
    *limiter = (struct dray_limiter){ .max = max, .slots = max, .now_ms = dray_now_ms };
    dray_mutex_init(&limiter->mu);
    dray_cond_init(&limiter->vacancy);
}

void dray_limiter_done(struct dray_limiter *limiter)
{
    assert(limiter->in_use == 0);
    dray_cond_done(&limiter->vacancy);
    dray_mutex_done(&limiter->mu);
}

static void take(struct dray_limiter *limiter) DRAY_REQUIRES(&limiter->mu);
static void cut(struct dray_limiter *limiter, int64_t now_ms) DRAY_REQUIRES(&limiter->mu);
static bool worth_another(const struct dray_limiter *limiter, double rate)
    DRAY_REQUIRES(&limiter->mu);
static void consider_raise(struct dray_limiter *limiter, int64_t now_ms)
    DRAY_REQUIRES(&limiter->mu);

static void take(struct dray_limiter *limiter)
{
    /* Time without any request must not count as slowness. */
    if (limiter->in_use == 0)
        limiter->window = (struct dray_limiter_window){ .since_ms = limiter->now_ms() };
    limiter->in_use++;
    if (limiter->in_use == limiter->slots)
        limiter->window.full = true;
}

bool dray_limiter_enter(struct dray_limiter *limiter, int64_t wait_ms)
{
    int64_t deadline_ms = wait_ms > 0 ? dray_now_ms() + wait_ms : 0;
    bool in_time = wait_ms > 0;
    bool entered;

    dray_mutex_lock(&limiter->mu);
    entered = limiter->in_use < limiter->slots && limiter->waiters == 0;
    limiter->waiters++;
    while (!entered && in_time) {
        in_time = dray_cond_wait_until(&limiter->vacancy, &limiter->mu, deadline_ms);
        /* When the time is over, too: that wait may have used up a signal. */
        entered = limiter->in_use < limiter->slots;
    }
    limiter->waiters--;
    if (entered)
        take(limiter);
    if (limiter->waiters > 0 && limiter->in_use < limiter->slots)
        dray_cond_signal(&limiter->vacancy);
    dray_mutex_unlock(&limiter->mu);
    return entered;
}

static void cut(struct dray_limiter *limiter, int64_t now_ms)
{
    limiter->window.good = 0;
    if (now_ms < limiter->cut_again_ms)
        return;
    limiter->cut_again_ms = now_ms + DRAY_LIMITER_CUT_MS;
    if (limiter->slots > 1)
        limiter->slots /= 2;
    limiter->raised = false;
    limiter->window = (struct dray_limiter_window){ .since_ms = now_ms,
                                                    .full = limiter->in_use >= limiter->slots };
}

/* Did the last raise bring enough? One slot more than twenty cannot bring 5 %. */
static bool worth_another(const struct dray_limiter *limiter, double rate)
{
    uint32_t before = limiter->slots - 1;
    double wanted = before > 10 ? 0.5 / before : 0.05;

    return !limiter->raised || rate > limiter->rate_before * (1 + wanted);
}

static void consider_raise(struct dray_limiter *limiter, int64_t now_ms)
{
    struct dray_limiter_window *window = &limiter->window;
    int64_t elapsed_ms = now_ms > window->since_ms ? now_ms - window->since_ms : 1;
    double rate = (double)window->bytes / (double)elapsed_ms;

    if (window->good < limiter->slots)
        window->good++;
    if (window->good < limiter->slots || !window->full || limiter->slots == limiter->max ||
        now_ms < limiter->raise_again_ms)
        return;

    if (worth_another(limiter, rate)) {
        limiter->slots++;
        limiter->raised = true;
        limiter->rate_before = rate;
        dray_cond_signal(&limiter->vacancy);
    } else {
        limiter->raised = false;
        limiter->raise_again_ms = now_ms + DRAY_LIMITER_HOLD_MS;
    }
    *window = (struct dray_limiter_window){ .since_ms = now_ms };
}

void dray_limiter_leave(struct dray_limiter *limiter, enum dray_limiter_outcome outcome,
                        uint64_t bytes)
{
    int64_t now_ms;

    dray_mutex_lock(&limiter->mu);
    now_ms = limiter->now_ms(); /* under the lock, so that it never goes back */
    assert(limiter->in_use > 0);
    limiter->window.bytes += bytes;
    switch (outcome) {
    case DRAY_LIMITER_GOOD:
        consider_raise(limiter, now_ms);
        break;
    case DRAY_LIMITER_OVERLOADED:
        cut(limiter, now_ms);
        break;
    case DRAY_LIMITER_FAILED:
        break;
    }
    limiter->in_use--;
    if (limiter->in_use < limiter->slots)
        dray_cond_signal(&limiter->vacancy);
    dray_mutex_unlock(&limiter->mu);
}

uint32_t dray_limiter_slots(struct dray_limiter *limiter)
{
    uint32_t slots;

    dray_mutex_lock(&limiter->mu);
    slots = limiter->slots;
    dray_mutex_unlock(&limiter->mu);
    return slots;
}

uint32_t dray_limiter_in_use(struct dray_limiter *limiter)
{
    uint32_t in_use;

    dray_mutex_lock(&limiter->mu);
    in_use = limiter->in_use;
    dray_mutex_unlock(&limiter->mu);
    return in_use;
}
