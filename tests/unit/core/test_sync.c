/* Mutex and condition variable: exclusion, wake-ups, deadlines on the monotonic clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/sync.h"

#define THREADS 8
#define ROUNDS  2000

struct shared {
    struct dray_mutex mu;
    struct dray_cond changed;
    int count;
    int go;
};

static void *count_up(void *arg)
{
    struct shared *shared = arg;

    dray_mutex_lock(&shared->mu);
    while (!shared->go)
        dray_cond_wait(&shared->changed, &shared->mu);
    dray_mutex_unlock(&shared->mu);
    for (int i = 0; i < ROUNDS; i++) {
        dray_mutex_lock(&shared->mu);
        shared->count++;
        dray_mutex_unlock(&shared->mu);
    }
    return NULL;
}

static void a_broadcast_wakes_all_and_the_mutex_excludes(void **state)
{
    struct shared shared = { 0 };
    pthread_t threads[THREADS];

    (void)state;
    dray_mutex_init(&shared.mu);
    dray_cond_init(&shared.changed);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, &shared), 0);
    dray_mutex_lock(&shared.mu);
    shared.go = 1;
    dray_cond_broadcast(&shared.changed);
    dray_mutex_unlock(&shared.mu);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(shared.count, THREADS * ROUNDS);
    dray_cond_done(&shared.changed);
    dray_mutex_done(&shared.mu);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    struct shared shared = { 0 };
    int64_t deadline_ms = dray_now_ms() + 30;
    bool in_time = true;

    (void)state;
    dray_mutex_init(&shared.mu);
    dray_cond_init(&shared.changed);
    dray_mutex_lock(&shared.mu);
    while (in_time)
        in_time = dray_cond_wait_until(&shared.changed, &shared.mu, deadline_ms);
    dray_mutex_unlock(&shared.mu);
    assert_true(dray_now_ms() >= deadline_ms);
    dray_cond_done(&shared.changed);
    dray_mutex_done(&shared.mu);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broadcast_wakes_all_and_the_mutex_excludes),
        cmocka_unit_test(a_wait_ends_at_its_deadline),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
