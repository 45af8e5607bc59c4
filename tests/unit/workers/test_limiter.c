/* The limiter: slots are never lost and never too many, and their number follows what the host can
 * take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "workers/limiter.h"

#define LONG_MS 60000 /* a wait that ends by a wake-up, or the test has failed */

static _Atomic int64_t clock_ms;

static int64_t test_clock(void)
{
    return atomic_load(&clock_ms);
}

static void begin(struct dray_limiter *limiter, uint32_t max)
{
    dray_limiter_init(limiter, max);
    limiter->now_ms = test_clock;
    atomic_store(&clock_ms, 1000);
}

static void enter_times(struct dray_limiter *limiter, uint32_t times)
{
    for (uint32_t i = 0; i < times; i++)
        assert_true(dray_limiter_enter(limiter, 0));
}

static void leave_times(struct dray_limiter *limiter, uint32_t times,
                        enum dray_limiter_outcome outcome, uint64_t bytes)
{
    for (uint32_t i = 0; i < times; i++)
        dray_limiter_leave(limiter, outcome, bytes);
}

/* All slots are used for a while, and every request brings so much. */
static void round_of(struct dray_limiter *limiter, uint64_t bytes)
{
    uint32_t slots = dray_limiter_slots(limiter);

    enter_times(limiter, slots);
    atomic_fetch_add(&clock_ms, 100);
    leave_times(limiter, slots, DRAY_LIMITER_GOOD, bytes);
}

/* Down to one slot, and so long ago that nothing of it counts. */
static void cut_to_one(struct dray_limiter *limiter)
{
    while (dray_limiter_slots(limiter) > 1) {
        enter_times(limiter, 1);
        leave_times(limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
        atomic_fetch_add(&clock_ms, DRAY_LIMITER_CUT_MS);
    }
}

static void it_begins_at_the_maximum_and_refuses_one_more(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 5);
    enter_times(&limiter, 5);
    assert_false(dray_limiter_enter(&limiter, 0));
    assert_false(dray_limiter_enter(&limiter, 5));
    assert_int_equal(dray_limiter_in_use(&limiter), 5);
    leave_times(&limiter, 1, DRAY_LIMITER_GOOD, 0);
    enter_times(&limiter, 1);
    leave_times(&limiter, 5, DRAY_LIMITER_GOOD, 0);
    assert_int_equal(dray_limiter_slots(&limiter), 5);
    dray_limiter_done(&limiter);
}

static void a_burst_of_refusals_halves_once(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 16);
    enter_times(&limiter, 16);
    leave_times(&limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
    atomic_fetch_add(&clock_ms, DRAY_LIMITER_CUT_MS - 1);
    leave_times(&limiter, 15, DRAY_LIMITER_OVERLOADED, 0);
    assert_int_equal(dray_limiter_slots(&limiter), 8);

    atomic_fetch_add(&clock_ms, 1);
    enter_times(&limiter, 1);
    leave_times(&limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
    assert_int_equal(dray_limiter_slots(&limiter), 4);
    dray_limiter_done(&limiter);
}

static void it_never_falls_below_one(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 3);
    for (int i = 0; i < 5; i++) {
        enter_times(&limiter, 1);
        leave_times(&limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
        atomic_fetch_add(&clock_ms, DRAY_LIMITER_CUT_MS);
    }
    assert_int_equal(dray_limiter_slots(&limiter), 1);
    dray_limiter_done(&limiter);
}

static void below_what_is_in_use_leaving_only_reduces(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 8);
    enter_times(&limiter, 8);
    leave_times(&limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
    for (uint32_t in_use = 7; in_use >= 4; in_use--) {
        assert_int_equal(dray_limiter_in_use(&limiter), in_use);
        assert_false(dray_limiter_enter(&limiter, 0));
        leave_times(&limiter, 1, DRAY_LIMITER_FAILED, 0);
    }
    enter_times(&limiter, 1);
    assert_false(dray_limiter_enter(&limiter, 0));
    leave_times(&limiter, 4, DRAY_LIMITER_FAILED, 0);
    dray_limiter_done(&limiter);
}

static void raises_follow_one_another_while_the_whole_gets_faster(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 32);
    cut_to_one(&limiter);
    for (uint32_t slots = 1; slots < 32; slots++) {
        assert_int_equal(dray_limiter_slots(&limiter), slots);
        round_of(&limiter, 1 << 20);
    }
    assert_int_equal(dray_limiter_slots(&limiter), 32);
    round_of(&limiter, 1 << 20);
    assert_int_equal(dray_limiter_slots(&limiter), 32);
    dray_limiter_done(&limiter);
}

static void a_raise_takes_as_many_good_answers_in_a_row_as_there_are_slots(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 4);
    enter_times(&limiter, 4);
    leave_times(&limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
    leave_times(&limiter, 1, DRAY_LIMITER_GOOD, 1000);
    leave_times(&limiter, 1, DRAY_LIMITER_OVERLOADED, 0); /* the row is broken */
    enter_times(&limiter, 1);
    leave_times(&limiter, 1, DRAY_LIMITER_GOOD, 1000);
    leave_times(&limiter, 1, DRAY_LIMITER_FAILED, 0); /* says nothing */
    assert_int_equal(dray_limiter_slots(&limiter), 2);

    enter_times(&limiter, 2);
    leave_times(&limiter, 1, DRAY_LIMITER_GOOD, 1000);
    assert_int_equal(dray_limiter_slots(&limiter), 2);
    leave_times(&limiter, 1, DRAY_LIMITER_GOOD, 1000);
    assert_int_equal(dray_limiter_slots(&limiter), 3);
    dray_limiter_done(&limiter);
}

static void a_raise_that_brings_nothing_is_the_last_for_a_while(void **state)
{
    struct dray_limiter limiter;
    int64_t since_ms;

    (void)state;
    begin(&limiter, 8);
    cut_to_one(&limiter);
    round_of(&limiter, 1200000);
    assert_int_equal(dray_limiter_slots(&limiter), 2);
    since_ms = atomic_load(&clock_ms);
    /* Two share what one had. */
    round_of(&limiter, 600000);
    while (atomic_load(&clock_ms) < since_ms + DRAY_LIMITER_HOLD_MS) {
        assert_int_equal(dray_limiter_slots(&limiter), 2);
        round_of(&limiter, 600000);
    }
    round_of(&limiter, 600000);
    assert_int_equal(dray_limiter_slots(&limiter), 3);
    dray_limiter_done(&limiter);
}

static void slots_that_nobody_needs_are_not_made(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 8);
    enter_times(&limiter, 2);
    leave_times(&limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
    /* Three of four are in use, and never none. */
    for (int i = 0; i < 100; i++) {
        enter_times(&limiter, 2);
        atomic_fetch_add(&clock_ms, 1000);
        leave_times(&limiter, 2, DRAY_LIMITER_GOOD, 1 << 20);
    }
    assert_int_equal(dray_limiter_slots(&limiter), 4);
    leave_times(&limiter, 1, DRAY_LIMITER_GOOD, 1 << 20);
    dray_limiter_done(&limiter);
}

static void time_without_requests_is_not_slowness(void **state)
{
    struct dray_limiter limiter;

    (void)state;
    begin(&limiter, 8);
    cut_to_one(&limiter);
    for (uint32_t slots = 1; slots < 8; slots++) {
        assert_int_equal(dray_limiter_slots(&limiter), slots);
        round_of(&limiter, 1 << 20);
        atomic_fetch_add(&clock_ms, INT64_C(3600) * 1000);
    }
    assert_int_equal(dray_limiter_slots(&limiter), 8);
    dray_limiter_done(&limiter);
}

struct crowd {
    struct dray_limiter limiter;
    atomic_int inside;
    atomic_int most;
    atomic_int entered;
    uint32_t rounds;
    int64_t wait_ms;
};

static void note_inside(struct crowd *crowd)
{
    int inside = atomic_fetch_add(&crowd->inside, 1) + 1;
    int most = atomic_load(&crowd->most);

    while (inside > most && !atomic_compare_exchange_weak(&crowd->most, &most, inside))
        ;
    atomic_fetch_add(&crowd->entered, 1);
}

static void *fail_and_fail(void *arg)
{
    struct crowd *crowd = arg;

    for (uint32_t i = 0; i < crowd->rounds; i++) {
        if (!dray_limiter_enter(&crowd->limiter, crowd->wait_ms))
            continue;
        note_inside(crowd);
        atomic_fetch_sub(&crowd->inside, 1);
        dray_limiter_leave(&crowd->limiter, DRAY_LIMITER_FAILED, i);
    }
    return NULL;
}

static void run_crowd(struct crowd *crowd, int count)
{
    pthread_t threads[256];

    for (int i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_and_fail, crowd), 0);
    for (int i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void a_million_failures_lose_no_slot(void **state)
{
    struct crowd crowd = { .rounds = 125000 };

    (void)state;
    dray_limiter_init(&crowd.limiter, 3);
    run_crowd(&crowd, 8);
    assert_in_range(crowd.most, 1, 3);
    assert_int_equal(dray_limiter_in_use(&crowd.limiter), 0);
    enter_times(&crowd.limiter, 3);
    assert_false(dray_limiter_enter(&crowd.limiter, 0));
    leave_times(&crowd.limiter, 3, DRAY_LIMITER_GOOD, 0);
    dray_limiter_done(&crowd.limiter);
}

static void one_slot_serves_256_threads_and_no_wake_up_is_lost(void **state)
{
    struct crowd crowd = { .rounds = 40, .wait_ms = LONG_MS };

    (void)state;
    dray_limiter_init(&crowd.limiter, 1);
    run_crowd(&crowd, 256);
    assert_int_equal(crowd.most, 1);
    assert_int_equal(crowd.entered, 256 * 40);
    dray_limiter_done(&crowd.limiter);
}

/* Waits of a millisecond end all the time, some together with the wake-up meant for them. The one
 * who waits patiently must get in all the same. */
static void a_wait_that_times_out_takes_no_wake_up_with_it(void **state)
{
    struct crowd hasty = { .rounds = 200, .wait_ms = 1 };
    pthread_t threads[64];

    (void)state;
    dray_limiter_init(&hasty.limiter, 1);
    for (int i = 0; i < 64; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, fail_and_fail, &hasty), 0);
    for (int i = 0; i < 50; i++) {
        assert_true(dray_limiter_enter(&hasty.limiter, LONG_MS));
        note_inside(&hasty);
        atomic_fetch_sub(&hasty.inside, 1);
        dray_limiter_leave(&hasty.limiter, DRAY_LIMITER_FAILED, 0);
    }
    for (int i = 0; i < 64; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(hasty.most, 1);
    enter_times(&hasty.limiter, 1);
    leave_times(&hasty.limiter, 1, DRAY_LIMITER_FAILED, 0);
    dray_limiter_done(&hasty.limiter);
}

static void *wait_inside(void *arg)
{
    struct crowd *crowd = arg;

    if (dray_limiter_enter(&crowd->limiter, LONG_MS))
        atomic_fetch_add(&crowd->inside, 1);
    return NULL;
}

static uint32_t waiters_of(struct dray_limiter *limiter)
{
    uint32_t waiters;

    dray_mutex_lock(&limiter->mu);
    waiters = limiter->waiters;
    dray_mutex_unlock(&limiter->mu);
    return waiters;
}

static void nobody_overtakes_those_who_wait(void **state)
{
    const struct timespec moment = { .tv_nsec = 1000000 };
    struct crowd crowd = { 0 };
    pthread_t thread;

    (void)state;
    begin(&crowd.limiter, 1);
    enter_times(&crowd.limiter, 1);
    assert_int_equal(pthread_create(&thread, NULL, wait_inside, &crowd), 0);
    while (waiters_of(&crowd.limiter) == 0)
        nanosleep(&moment, NULL);
    leave_times(&crowd.limiter, 1, DRAY_LIMITER_GOOD, 0);
    assert_false(dray_limiter_enter(&crowd.limiter, 0)); /* whether it is in already or not */
    pthread_join(thread, NULL);
    assert_int_equal(crowd.inside, 1);
    leave_times(&crowd.limiter, 1, DRAY_LIMITER_GOOD, 0);
    enter_times(&crowd.limiter, 1);
    leave_times(&crowd.limiter, 1, DRAY_LIMITER_GOOD, 0);
    dray_limiter_done(&crowd.limiter);
}

static void a_raise_lets_one_more_of_the_waiting_in(void **state)
{
    const struct timespec long_enough = { .tv_nsec = 20000000 };
    struct crowd crowd = { 0 };
    pthread_t threads[2];

    (void)state;
    begin(&crowd.limiter, 2);
    enter_times(&crowd.limiter, 2);
    leave_times(&crowd.limiter, 1, DRAY_LIMITER_OVERLOADED, 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_inside, &crowd), 0);
    /* Most likely both wait by now. If not, less is shown, but nothing fails. */
    nanosleep(&long_enough, NULL);
    leave_times(&crowd.limiter, 1, DRAY_LIMITER_GOOD, 1000);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(crowd.inside, 2);
    leave_times(&crowd.limiter, 2, DRAY_LIMITER_FAILED, 0);
    dray_limiter_done(&crowd.limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_begins_at_the_maximum_and_refuses_one_more),
        cmocka_unit_test(a_burst_of_refusals_halves_once),
        cmocka_unit_test(it_never_falls_below_one),
        cmocka_unit_test(below_what_is_in_use_leaving_only_reduces),
        cmocka_unit_test(raises_follow_one_another_while_the_whole_gets_faster),
        cmocka_unit_test(a_raise_takes_as_many_good_answers_in_a_row_as_there_are_slots),
        cmocka_unit_test(a_raise_that_brings_nothing_is_the_last_for_a_while),
        cmocka_unit_test(slots_that_nobody_needs_are_not_made),
        cmocka_unit_test(time_without_requests_is_not_slowness),
        cmocka_unit_test(a_million_failures_lose_no_slot),
        cmocka_unit_test(one_slot_serves_256_threads_and_no_wake_up_is_lost),
        cmocka_unit_test(a_wait_that_times_out_takes_no_wake_up_with_it),
        cmocka_unit_test(nobody_overtakes_those_who_wait),
        cmocka_unit_test(a_raise_lets_one_more_of_the_waiting_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
