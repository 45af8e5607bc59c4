#include "workers/pool.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/limits.h"
#include "core/sync.h"
#include "workers/thread.h"

struct worker {
    struct dray_pool *pool;
    void *state;
    pthread_t thread;
};

struct dray_pool {
    size_t capacity; /* these are fixed at creation, read without the lock */
    void (*state_free)(void *state);
    int64_t (*spare)(void *ctx, void *state);
    void *ctx;

    struct dray_mutex mu;       /* guards the fields down to idle */
    struct dray_cond not_empty; /* count > 0 || closed, or nudges changed */
    struct dray_cond not_full;  /* count < capacity */
    struct dray_job *head DRAY_GUARDED_BY(&mu);
    struct dray_job **tail DRAY_GUARDED_BY(&mu); /* where the next job's address goes */
    size_t count DRAY_GUARDED_BY(&mu);
    bool closed DRAY_GUARDED_BY(&mu);
    uint64_t nudges DRAY_GUARDED_BY(&mu);
    uint32_t idle DRAY_GUARDED_BY(&mu); /* workers that wait for not_empty */

    uint32_t started; /* workers that run; written by the owner only */
    struct worker workers[];
};

static struct dray_job *pop(struct dray_pool *pool) DRAY_REQUIRES(&pool->mu);
static void wait_for_work(struct dray_pool *pool, uint64_t nudges, int64_t pause_ms)
    DRAY_REQUIRES(&pool->mu);

/* The oldest job, or NULL. */
static struct dray_job *pop(struct dray_pool *pool)
{
    struct dray_job *job = pool->head;

    if (job) {
        pool->head = job->next;
        if (!pool->head)
            pool->tail = &pool->head;
        pool->count--;
        dray_cond_signal(&pool->not_full);
    }
    return job;
}

/* Wait until there is a job, the queue is closed, or somebody nudged since the count was taken; for
 * pause_ms at most, unless that is below 0. */
static void wait_for_work(struct dray_pool *pool, uint64_t nudges, int64_t pause_ms)
{
    int64_t deadline_ms = pause_ms < 0 ? 0 : dray_now_ms() + pause_ms;
    bool in_time = true;

    pool->idle++;
    while (pool->count == 0 && !pool->closed && pool->nudges == nudges && in_time) {
        if (pause_ms < 0)
            dray_cond_wait(&pool->not_empty, &pool->mu);
        else
            in_time = dray_cond_wait_until(&pool->not_empty, &pool->mu, deadline_ms);
    }
    pool->idle--;
}

/* The next job, or NULL once the queue is closed and drained. Until there is one, do what else
 * there is to do. */
static struct dray_job *next_job(struct dray_pool *pool, void *state)
{
    struct dray_job *job;

    dray_mutex_lock(&pool->mu);
    while (!(job = pop(pool)) && !pool->closed) {
        uint64_t nudges = pool->nudges; /* taken before spare looks, so that none is missed */
        int64_t pause_ms = -1;

        if (pool->spare) {
            dray_mutex_unlock(&pool->mu);
            pause_ms = pool->spare(pool->ctx, state);
            dray_mutex_lock(&pool->mu);
        }
        if (pause_ms != 0)
            wait_for_work(pool, nudges, pause_ms);
    }
    dray_mutex_unlock(&pool->mu);
    return job;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct dray_job *job;

    while ((job = next_job(worker->pool, worker->state)))
        job->run(job, worker->state);
    return NULL;
}

int dray_pool_new(const struct dray_pool_options *options, struct dray_pool **ret_pool,
                  struct dray_error *err)
{
    DRAY_AUTO_POOL struct dray_pool *pool = NULL;

    assert(options->workers >= 1 && options->workers <= DRAY_JOBS_MAX && options->capacity >= 1);

    pool = calloc(1, sizeof(*pool) + options->workers * sizeof(pool->workers[0]));
    if (!pool)
        return dray_error_nomem(err);
    pool->capacity = options->capacity;
    pool->state_free = options->state_free;
    pool->spare = options->spare;
    pool->ctx = options->ctx;
    pool->tail = &pool->head;
    dray_mutex_init(&pool->mu);
    dray_cond_init(&pool->not_empty);
    dray_cond_init(&pool->not_full);

    while (pool->started < options->workers) {
        struct worker *worker = &pool->workers[pool->started];
        char name[16];
        int rc;

        worker->pool = pool;
        rc = options->state_new(options->ctx, &worker->state, err);
        if (rc < 0)
            return rc;
        snprintf(name, sizeof(name), "dray-worker-%u", pool->started);
        rc = dray_thread_start(name, work, worker, &worker->thread, err);
        if (rc < 0) {
            pool->state_free(worker->state);
            return rc;
        }
        pool->started++;
    }

    *ret_pool = DRAY_TAKE(pool);
    return DRAY_OK;
}

void dray_pool_push(struct dray_pool *pool, struct dray_job *job)
{
    job->next = NULL;

    dray_mutex_lock(&pool->mu);
    assert(!pool->closed);
    while (pool->count == pool->capacity)
        dray_cond_wait(&pool->not_full, &pool->mu);
    *pool->tail = job;
    pool->tail = &job->next;
    pool->count++;
    dray_cond_signal(&pool->not_empty);
    dray_mutex_unlock(&pool->mu);
}

void dray_pool_nudge(struct dray_pool *pool)
{
    dray_mutex_lock(&pool->mu);
    pool->nudges++;
    dray_cond_broadcast(&pool->not_empty);
    dray_mutex_unlock(&pool->mu);
}

uint32_t dray_pool_idle(struct dray_pool *pool)
{
    uint32_t idle;

    dray_mutex_lock(&pool->mu);
    idle = pool->idle;
    dray_mutex_unlock(&pool->mu);
    return idle;
}

void dray_pool_free(struct dray_pool *pool)
{
    if (!pool)
        return;

    dray_mutex_lock(&pool->mu);
    pool->closed = true;
    dray_cond_broadcast(&pool->not_empty);
    dray_mutex_unlock(&pool->mu);

    for (uint32_t i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
        pool->state_free(pool->workers[i].state);
    }

    dray_cond_done(&pool->not_full);
    dray_cond_done(&pool->not_empty);
    dray_mutex_done(&pool->mu);
    free(pool);
}
