#include "cmd/rate.h"

#include <string.h>

#define MEANINGFUL_MS 300 /* a shorter time says nothing about the rate */

void dray_rate_add(struct dray_rate *rate, int64_t now_ms, uint64_t bytes)
{
    int64_t spacing_ms = rate->window_ms / (DRAY_RATE_SAMPLES - 2);

    if (rate->count > 0 && bytes < rate->samples[rate->count - 1].bytes)
        rate->count = 0;
    /* The newest sample moves on until it is far enough from the one before it. */
    if (rate->count > 1 &&
        rate->samples[rate->count - 1].time_ms - rate->samples[rate->count - 2].time_ms <
            spacing_ms) {
        rate->count--;
    } else if (rate->count == DRAY_RATE_SAMPLES) {
        rate->count--;
        memmove(&rate->samples[0], &rate->samples[1], rate->count * sizeof(rate->samples[0]));
    }
    rate->samples[rate->count].time_ms = now_ms;
    rate->samples[rate->count].bytes = bytes;
    rate->count++;
}

int64_t dray_rate_get(const struct dray_rate *rate, int64_t now_ms)
{
    size_t first = 0;
    int64_t span_ms;
    uint64_t bytes;

    if (rate->count == 0)
        return -1;
    /* The sample just before the window is where it begins. */
    while (first + 1 < rate->count && rate->samples[first + 1].time_ms <= now_ms - rate->window_ms)
        first++;
    span_ms = now_ms - rate->samples[first].time_ms;
    if (span_ms < MEANINGFUL_MS)
        return -1;
    bytes = rate->samples[rate->count - 1].bytes - rate->samples[first].bytes;
    return (int64_t)((double)bytes * 1000 / (double)span_ms);
}
