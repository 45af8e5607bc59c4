/* A pool of worker threads behind a bounded queue of jobs, first in, first out. A worker that finds
 * no job may make itself useful otherwise.
 *
 * Any thread may push, except the workers themselves: once every worker waits for room, nobody
 * makes any. */
#ifndef DRAY_WORKERS_POOL_H
#define DRAY_WORKERS_POOL_H

#include <stddef.h>
#include <stdint.h>

#include <dray/error.h>

#include "core/cleanup.h"

struct dray_pool;

/** One thing to do; embedded in what it is about. The pool borrows it from push until run returns.
 */
struct dray_job {
    /* Called once, in a worker. state is that worker's own. It may free the job. */
    void (*run)(struct dray_job *job, void *state);
    struct dray_job *next; /* the pool's */
};

struct dray_pool_options {
    uint32_t workers; /* 1 to DRAY_JOBS_MAX */
    size_t capacity;  /* jobs that may wait at once, at least 1 */
    /* Make and free the state of one worker; new runs in the calling thread, before the start. */
    int (*state_new)(void *ctx, void **ret_state, struct dray_error *err);
    void (*state_free)(void *state);
    /* What a worker does that finds no job, with its own state; any number of workers at once, the
     * first before dray_pool_new() returns. May be NULL.
     * @return 0: something was done, and the worker looks for a job again; above 0: there is
     * nothing to do, ask again after so many ms (up to INT32_MAX), or when a job or a nudge came
     * first; below 0: ask again only then */
    int64_t (*spare)(void *ctx, void *state);
    void *ctx;
};

/** Start the workers. @return DRAY_OK, what state_new returned, DRAY_EIO or DRAY_ENOMEM */
int dray_pool_new(const struct dray_pool_options *options, struct dray_pool **ret_pool,
                  struct dray_error *err);

/** Append a job, waiting while the queue is full. */
void dray_pool_push(struct dray_pool *pool, struct dray_job *job);

/** Let the workers that have no job ask spare again. None that was about to wait misses it. Any
 *  thread, the workers too. */
void dray_pool_nudge(struct dray_pool *pool);

/** How many workers wait, with neither a job nor anything spare to do: a hint, for it may have
 *  changed already. */
uint32_t dray_pool_idle(struct dray_pool *pool);

/** Let the workers finish what was pushed, join them, free everything. NULL is allowed. Jobs are
 *  never dropped: one that is no longer wanted finds that out in run, and returns at once. Who is
 *  in spare finishes that; no worker goes there any more. */
void dray_pool_free(struct dray_pool *pool);

DRAY_DEFINE_CLEANUP(struct dray_pool, dray_pool_free);
#define DRAY_AUTO_POOL DRAY_CLEANUP(dray_pool_freep)

#endif
