/* Rates: steady where the bytes are, forgetful where they are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cmd/rate.h"

static void nothing_is_known_at_first(void **state)
{
    struct dray_rate rate = { .window_ms = 3000 };

    (void)state;
    assert_int_equal(dray_rate_get(&rate, 1000), -1);
    dray_rate_add(&rate, 1000, 0);
    dray_rate_add(&rate, 1100, 5000);
    assert_int_equal(dray_rate_get(&rate, 1100), -1); /* a tenth of a second tells nothing */
}

static void an_even_stream_has_an_even_rate(void **state)
{
    struct dray_rate rate = { .window_ms = 3000 };

    (void)state;
    for (int64_t t = 0; t <= 20000; t += 100) {
        dray_rate_add(&rate, t, (uint64_t)t * 50);
        if (t >= 500)
            assert_in_range(dray_rate_get(&rate, t), 49500, 50500);
    }
}

static void what_was_before_the_window_is_forgotten(void **state)
{
    struct dray_rate rate = { .window_ms = 3000 };
    uint64_t bytes = 0;

    (void)state;
    for (int64_t t = 0; t <= 10000; t += 100)
        dray_rate_add(&rate, t, bytes += 1000000);
    for (int64_t t = 10100; t <= 14000; t += 100)
        dray_rate_add(&rate, t, bytes += 100);
    assert_in_range(dray_rate_get(&rate, 14000), 900, 1100);
}

static void a_standstill_shows(void **state)
{
    struct dray_rate rate = { .window_ms = 3000 };

    (void)state;
    dray_rate_add(&rate, 0, 0);
    dray_rate_add(&rate, 1000, 1000000);
    assert_int_equal(dray_rate_get(&rate, 1000), 1000000);
    assert_int_equal(dray_rate_get(&rate, 2000), 500000);
    assert_int_equal(dray_rate_get(&rate, 60000), 0);
}

static void going_back_starts_anew(void **state)
{
    struct dray_rate rate = { .window_ms = 3000 };

    (void)state;
    dray_rate_add(&rate, 0, 5000);
    dray_rate_add(&rate, 1000, 9000);
    dray_rate_add(&rate, 1100, 0);
    assert_int_equal(dray_rate_get(&rate, 1100), -1);
    dray_rate_add(&rate, 2100, 7000);
    assert_int_equal(dray_rate_get(&rate, 2100), 7000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_at_first),
        cmocka_unit_test(an_even_stream_has_an_even_rate),
        cmocka_unit_test(what_was_before_the_window_is_forgotten),
        cmocka_unit_test(a_standstill_shows),
        cmocka_unit_test(going_back_starts_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
