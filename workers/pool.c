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
    size_t capacity; /* fixed at creation, read without the lock */
    void (*state_free)(void *state);

    struct dray_mutex mu;       /* guards the queue */
    struct dray_cond not_empty; /* count > 0 || closed */
    struct dray_cond not_full;  /* count < capacity */
    struct dray_job *head DRAY_GUARDED_BY(&mu);
    struct dray_job **tail DRAY_GUARDED_BY(&mu); /* where the next job's address goes */
    size_t count DRAY_GUARDED_BY(&mu);
    bool closed DRAY_GUARDED_BY(&mu);

    uint32_t started; /* workers that run; written by the owner only */
    struct worker workers[];
};

/* The oldest job, or NULL once the queue is closed and drained. */
static struct dray_job *pop(struct dray_pool *pool)
{
    struct dray_job *job;

    dray_mutex_lock(&pool->mu);
    while (pool->count == 0 && !pool->closed)
        dray_cond_wait(&pool->not_empty, &pool->mu);
    job = pool->head;
    if (job) {
        pool->head = job->next;
        if (!pool->head)
            pool->tail = &pool->head;
        pool->count--;
        dray_cond_signal(&pool->not_full);
    }
    dray_mutex_unlock(&pool->mu);
    return job;
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct dray_job *job;

    while ((job = pop(worker->pool)))
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
