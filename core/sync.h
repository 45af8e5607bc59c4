/* Mutexes and condition variables that clang -Wthread-safety can check.
 *
 * Lock order, outermost first; no others nest:
 *   an image pull's (workers/coordinator.h), then the in-flight table's (workers/inflight.c), then
 *   a download's (workers/download_state.h), then one of those it asks: its staging's
 *   (storage/staging_state.h), a host's and its limiter's (workers/host.c), the pool's, the CPU
 *   gauge's
 *
 * DRAY_GUARDED_BY on struct members needs clang 19; annotations on functions work everywhere. */
#ifndef DRAY_CORE_SYNC_H
#define DRAY_CORE_SYNC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define DRAY_TSA(x) __attribute__((x))
#else
#define DRAY_TSA(x)
#endif

#if defined(__clang__) && __clang_major__ >= 19
#define DRAY_GUARDED_BY(lock) DRAY_TSA(guarded_by(lock))
#else
#define DRAY_GUARDED_BY(lock)
#endif

#define DRAY_CAPABILITY(name) DRAY_TSA(capability(name))
#define DRAY_REQUIRES(lock)   DRAY_TSA(requires_capability(lock))
#define DRAY_ACQUIRE(lock)    DRAY_TSA(acquire_capability(lock))
#define DRAY_RELEASE(lock)    DRAY_TSA(release_capability(lock))

struct DRAY_CAPABILITY("mutex") dray_mutex {
    pthread_mutex_t raw;
};

/* Waits on the monotonic clock, so that setting the wall clock disturbs nobody. */
struct dray_cond {
    pthread_cond_t raw;
};

void dray_mutex_init(struct dray_mutex *mutex);
void dray_mutex_done(struct dray_mutex *mutex);
void dray_mutex_lock(struct dray_mutex *mutex) DRAY_ACQUIRE(mutex);
void dray_mutex_unlock(struct dray_mutex *mutex) DRAY_RELEASE(mutex);

void dray_cond_init(struct dray_cond *cond);
void dray_cond_done(struct dray_cond *cond);

/** Wait; call it in a loop over the predicate. */
void dray_cond_wait(struct dray_cond *cond, struct dray_mutex *mutex) DRAY_REQUIRES(mutex);

/** As dray_cond_wait(), until dray_now_ms() reaches deadline_ms. @return false when it has passed
 */
bool dray_cond_wait_until(struct dray_cond *cond, struct dray_mutex *mutex, int64_t deadline_ms)
    DRAY_REQUIRES(mutex);

void dray_cond_signal(struct dray_cond *cond);
void dray_cond_broadcast(struct dray_cond *cond);

/** Milliseconds of the monotonic clock; only differences mean anything. */
int64_t dray_now_ms(void);

#endif
