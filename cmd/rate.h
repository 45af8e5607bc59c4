/* Bytes per second over a sliding window. */
#ifndef DRAY_CMD_RATE_H
#define DRAY_CMD_RATE_H

#include <stddef.h>
#include <stdint.h>

#define DRAY_RATE_SAMPLES 12

/* A plain value; all zero but for window_ms is empty. */
struct dray_rate {
    int64_t window_ms; /* how far back it looks: at least 12 */
    size_t count;
    struct {
        int64_t time_ms;
        uint64_t bytes;
    } samples[DRAY_RATE_SAMPLES]; /* oldest first */
};

/** Note that bytes have arrived in all by now. A lower number than before starts anew. */
void dray_rate_add(struct dray_rate *rate, int64_t now_ms, uint64_t bytes);

/** Bytes per second of the window that ends now; -1 as long as too little is known. */
int64_t dray_rate_get(const struct dray_rate *rate, int64_t now_ms);

#endif
