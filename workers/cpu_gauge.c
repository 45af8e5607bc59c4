#include "workers/cpu_gauge.h"

#include <sched.h>
#include <time.h>

/* Long enough to be more than one burst, short enough for a download of a second. */
#define WINDOW_MS 100

static int64_t cpu_time_ms(void)
{
    struct timespec used;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) < 0)
        return 0; /* as if none were used */
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

void dray_cpu_gauge_init(struct dray_cpu_gauge *gauge)
{
    cpu_set_t set;
    int count = 0;

    if (sched_getaffinity(0, sizeof(set), &set) == 0)
        count = CPU_COUNT(&set);
    *gauge = (struct dray_cpu_gauge){ .cpus = count > 0 ? (uint32_t)count : 1,
                                      .from_ms = dray_now_ms(),
                                      .cpu_from_ms = cpu_time_ms() };
    dray_mutex_init(&gauge->mu);
}

void dray_cpu_gauge_done(struct dray_cpu_gauge *gauge)
{
    dray_mutex_done(&gauge->mu);
}

uint32_t dray_cpu_gauge_limit(struct dray_cpu_gauge *gauge, uint32_t threads)
{
    int64_t now_ms = dray_now_ms();
    int64_t elapsed_ms;
    bool busy;

    if (threads <= gauge->cpus)
        return threads;
    dray_mutex_lock(&gauge->mu);
    elapsed_ms = now_ms - gauge->from_ms;
    if (elapsed_ms >= WINDOW_MS) {
        int64_t cpu_ms = cpu_time_ms();

        gauge->busy = (cpu_ms - gauge->cpu_from_ms) * 2 >= elapsed_ms * (int64_t)gauge->cpus;
        gauge->from_ms = now_ms;
        gauge->cpu_from_ms = cpu_ms;
    }
    busy = gauge->busy;
    dray_mutex_unlock(&gauge->mu);
    return busy ? gauge->cpus : threads;
}
