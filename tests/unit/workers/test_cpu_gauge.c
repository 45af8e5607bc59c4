/* The CPU gauge: how many threads it says are of use. */
#include "workers/cpu_gauge.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

/* On one CPU a single thread can use all there is. */
static int on_one_cpu(void **state)
{
    cpu_set_t all;
    cpu_set_t one;

    (void)state;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(all), &all) < 0)
        return -1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &one);
            break;
        }
    return sched_setaffinity(0, sizeof(one), &one);
}

static void no_more_than_there_are_cpus_is_never_too_many(void **state)
{
    struct dray_cpu_gauge gauge;

    (void)state;
    dray_cpu_gauge_init(&gauge);
    assert_int_equal(gauge.cpus, 1);
    assert_int_equal(dray_cpu_gauge_limit(&gauge, 1), 1);
    dray_cpu_gauge_done(&gauge);
}

static void a_busy_process_is_held_to_its_cpus_until_it_rests(void **state)
{
    struct dray_cpu_gauge gauge;
    int64_t deadline_ms = dray_now_ms() + PATIENCE_MS;

    (void)state;
    dray_cpu_gauge_init(&gauge);
    assert_int_equal(dray_cpu_gauge_limit(&gauge, 8), 8);
    while (dray_cpu_gauge_limit(&gauge, 8) == 8)
        assert_true(dray_now_ms() < deadline_ms);
    assert_int_equal(dray_cpu_gauge_limit(&gauge, 8), 1);

    deadline_ms = dray_now_ms() + PATIENCE_MS;
    while (dray_cpu_gauge_limit(&gauge, 8) == 1) {
        assert_true(dray_now_ms() < deadline_ms);
        usleep(10000);
    }
    assert_int_equal(dray_cpu_gauge_limit(&gauge, 8), 8);
    dray_cpu_gauge_done(&gauge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_there_are_cpus_is_never_too_many),
        cmocka_unit_test(a_busy_process_is_held_to_its_cpus_until_it_rests),
    };

    return cmocka_run_group_tests(tests, on_one_cpu, NULL);
}
