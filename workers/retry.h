/* Retry: the one place that decides whether, and when, a failed request is tried again. */
#ifndef DRAY_WORKERS_RETRY_H
#define DRAY_WORKERS_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include <dray/error.h>
#include <dray/log.h>

/* Delays grow from the base, doubling, to the cap; each is drawn at random from 0 to there ("full
 * jitter"), so that many clients that failed together do not come back together. */
#define DRAY_RETRY_BASE_MS 500
#define DRAY_RETRY_CAP_MS  30000

/* A server may ask for a longer wait (Retry-After), but not for one that looks like a hang. */
#define DRAY_RETRY_AFTER_CAP_MS 60000

/* A try that brought so much was a good one: the count of failures starts again. */
#define DRAY_RETRY_PROGRESS_BYTES (1u << 20)

/* Nobody waits longer than this for one endpoint while there is another to ask. */
#define DRAY_RETRY_PATIENCE_MS 5000

/** The history of one request. A plain value: { .limit = N, ... }. */
struct dray_retry {
    uint32_t limit;  /* retries after the first try */
    bool elsewhere;  /* another endpoint can be asked instead of waiting long */
    bool known_good; /* the endpoint has answered before: not to reach it now is a passing fault */
    uint32_t failures; /* in a row, without progress */
};

/**
 * Decide after a failure. Only DRAY_ETRANSIENT is worth another try, and DRAY_EUNREACHABLE of an
 * endpoint that is known to be good, unless its certificate was refused; everything else would end
 * the same way, at this endpoint.
 *
 * @param progress_bytes  by how much the failed try brought the whole forward, in bytes
 * @param ret_delay_ms    how long to wait before the next try. When that is less than
 *                        err->retry_after_ms, the server's wish was cut: tell the user
 * @return true: wait and try again; false: give up
 */
bool dray_retry_decide(struct dray_retry *retry, const struct dray_error *err,
                       uint64_t progress_bytes, int64_t *ret_delay_ms);

/** Tell, as a warning, when the server wished for a longer delay than it is given. */
void dray_retry_tell_cut(const struct dray_log *log, const struct dray_error *err,
                         int64_t delay_ms);

/**
 * How long everybody shall leave the host alone after a failure.
 *
 * @param delay_ms  what dray_retry_decide() said; below 0: it gave up
 * @return 0 unless it is an overload
 */
int64_t dray_retry_pause_ms(const struct dray_error *err, int64_t delay_ms);

/** Does the failure ask everybody to hold back (429, 503), not only the one who met it? */
bool dray_retry_is_overload(const struct dray_error *err);

/**
 * After an endpoint gave up: may another endpoint do better? Not when the trouble is here (disk,
 * memory, store), and not when the user said stop.
 */
bool dray_retry_elsewhere(int code);

#endif
