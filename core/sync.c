#include "core/sync.h"

#include <assert.h>
#include <errno.h>
#include <time.h>

/* A pthread call on an initialised object fails only by a bug of ours. */
static void must(int rc)
{
    assert(rc == 0);
    (void)rc;
}

void dray_mutex_init(struct dray_mutex *mutex)
{
    must(pthread_mutex_init(&mutex->raw, NULL));
}

void dray_mutex_done(struct dray_mutex *mutex)
{
    must(pthread_mutex_destroy(&mutex->raw));
}

/* The analysis cannot see through the raw pthread calls. */
void dray_mutex_lock(struct dray_mutex *mutex) DRAY_TSA(no_thread_safety_analysis)
{
    must(pthread_mutex_lock(&mutex->raw));
}

void dray_mutex_unlock(struct dray_mutex *mutex) DRAY_TSA(no_thread_safety_analysis)
{
    must(pthread_mutex_unlock(&mutex->raw));
}

void dray_cond_init(struct dray_cond *cond)
{
    pthread_condattr_t attr;

    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&cond->raw, &attr));
    must(pthread_condattr_destroy(&attr));
}

void dray_cond_done(struct dray_cond *cond)
{
    must(pthread_cond_destroy(&cond->raw));
}

void dray_cond_wait(struct dray_cond *cond, struct dray_mutex *mutex)
{
    must(pthread_cond_wait(&cond->raw, &mutex->raw));
}

bool dray_cond_wait_until(struct dray_cond *cond, struct dray_mutex *mutex, int64_t deadline_ms)
{
    struct timespec deadline = { .tv_sec = deadline_ms / 1000,
                                 .tv_nsec = deadline_ms % 1000 * 1000000 };
    int rc = pthread_cond_timedwait(&cond->raw, &mutex->raw, &deadline);

    assert(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void dray_cond_signal(struct dray_cond *cond)
{
    must(pthread_cond_signal(&cond->raw));
}

void dray_cond_broadcast(struct dray_cond *cond)
{
    must(pthread_cond_broadcast(&cond->raw));
}

int64_t dray_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
