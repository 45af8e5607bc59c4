/* The throttle: whoever keeps to the waits keeps to the rate, however many they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "workers/throttle.h"

#define READ_BYTES (16u << 10)

static _Atomic int64_t clock_ms;

static int64_t test_clock(void)
{
    return atomic_load(&clock_ms);
}

static void begin(struct dray_throttle *throttle, uint64_t rate_bytes_per_s)
{
    dray_throttle_init(throttle, rate_bytes_per_s);
    throttle->now_ms = test_clock;
    atomic_store(&clock_ms, INT64_C(1000000));
}

static void without_a_rate_nobody_waits(void **state)
{
    struct dray_throttle throttle;

    (void)state;
    begin(&throttle, 0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(dray_throttle_take(&throttle, UINT64_MAX), 0);
    dray_throttle_done(&throttle);
}

/* One reader who keeps to the waits, for ten minutes of the clock. */
static void one_reader_keeps_every_rate(void **state)
{
    static const uint64_t rates[] = { 1000, 100000, 1 << 20, UINT64_C(100000000000) };

    (void)state;
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        struct dray_throttle throttle;
        uint64_t rate = rates[i];
        uint64_t read = rate / 50 + 1;
        uint64_t taken = 0;
        int64_t start_ms;

        begin(&throttle, rate);
        start_ms = clock_ms;
        while (clock_ms - start_ms < 600000) {
            int64_t wait_ms = dray_throttle_take(&throttle, read);

            taken += read;
            assert_in_range(wait_ms, 0, 200);
            atomic_fetch_add(&clock_ms, wait_ms);
        }
        /* 1 % for the burst at the start and the last read. */
        assert_in_range(taken, rate * 594, rate * 606);
        dray_throttle_done(&throttle);
    }
}

static void single_bytes_are_not_free_at_a_great_rate(void **state)
{
    struct dray_throttle throttle;
    uint64_t taken = 0;

    (void)state;
    begin(&throttle, UINT64_C(1000000000));
    /* A byte is a nanosecond: the burst is a hundred million of them. */
    assert_int_equal(dray_throttle_take(&throttle, 99999000), 0);
    while (dray_throttle_take(&throttle, 1) == 0)
        taken++;
    assert_in_range(taken, 999, 1001);
    dray_throttle_done(&throttle);
}

static void a_tiny_rate_gives_long_waits_and_no_overflow(void **state)
{
    struct dray_throttle throttle;

    (void)state;
    begin(&throttle, 1);
    assert_in_range(dray_throttle_take(&throttle, READ_BYTES), READ_BYTES * 1000 - 100,
                    READ_BYTES * 1000);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(dray_throttle_take(&throttle, UINT64_MAX), DRAY_THROTTLE_WAIT_MAX_MS);
    dray_throttle_done(&throttle);
}

static void a_great_rate_gives_no_waits_for_what_a_pause_has_saved(void **state)
{
    struct dray_throttle throttle;

    (void)state;
    begin(&throttle, UINT64_C(100000000000));
    assert_int_equal(dray_throttle_take(&throttle, UINT64_C(10000000000)), 0);
    assert_int_equal(dray_throttle_take(&throttle, 1), 1);
    dray_throttle_done(&throttle);
}

static void an_hour_of_silence_saves_no_more_than_the_burst(void **state)
{
    struct dray_throttle throttle;

    (void)state;
    begin(&throttle, 1000000);
    dray_throttle_take(&throttle, 1);
    atomic_fetch_add(&clock_ms, INT64_C(3600) * 1000);
    assert_int_equal(dray_throttle_take(&throttle, 1000 * DRAY_THROTTLE_BURST_MS), 0);
    assert_int_equal(dray_throttle_take(&throttle, 50000), 50);
    dray_throttle_done(&throttle);
}

static void who_gives_up_costs_the_others_only_the_bytes_that_came(void **state)
{
    struct dray_throttle throttle;

    (void)state;
    begin(&throttle, 1000000);
    dray_throttle_take(&throttle, 1000 * DRAY_THROTTLE_BURST_MS);
    assert_int_equal(dray_throttle_take(&throttle, 20000), 20); /* and does not wait */
    assert_int_equal(dray_throttle_take(&throttle, 10000), 30);
    atomic_fetch_add(&clock_ms, 30);
    assert_int_equal(dray_throttle_take(&throttle, 10000), 10);
    dray_throttle_done(&throttle);
}

struct readers {
    struct dray_throttle throttle;
    int64_t end_ms;
    _Atomic uint64_t taken;
};

static void *read_on(void *arg)
{
    struct readers *readers = arg;

    while (dray_now_ms() < readers->end_ms) {
        int64_t wait_ms = dray_throttle_take(&readers->throttle, READ_BYTES);
        struct timespec pause = { .tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000 };

        atomic_fetch_add(&readers->taken, READ_BYTES);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void many_readers_share_one_rate(void **state)
{
    enum { READERS = 16 };
    const uint64_t rate = 20000000;
    struct readers readers = { 0 };
    pthread_t threads[READERS];
    int64_t start_ms = dray_now_ms();
    uint64_t at_most;

    (void)state;
    dray_throttle_init(&readers.throttle, rate);
    readers.end_ms = start_ms + 300;
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers), 0);
    for (int i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);

    /* All have waited for what they took, but for the burst and the rounding of a clock. */
    at_most = rate * (uint64_t)(dray_now_ms() - start_ms + DRAY_THROTTLE_BURST_MS + 2) / 1000;
    assert_in_range(readers.taken, READERS * READ_BYTES, at_most);
    dray_throttle_done(&readers.throttle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_rate_nobody_waits),
        cmocka_unit_test(one_reader_keeps_every_rate),
        cmocka_unit_test(single_bytes_are_not_free_at_a_great_rate),
        cmocka_unit_test(a_tiny_rate_gives_long_waits_and_no_overflow),
        cmocka_unit_test(a_great_rate_gives_no_waits_for_what_a_pause_has_saved),
        cmocka_unit_test(an_hour_of_silence_saves_no_more_than_the_burst),
        cmocka_unit_test(who_gives_up_costs_the_others_only_the_bytes_that_came),
        cmocka_unit_test(many_readers_share_one_rate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
