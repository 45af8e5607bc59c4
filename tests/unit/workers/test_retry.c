/* The retry decision: what is tried again, how often, and how long is waited. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "workers/retry.h"

static void only_transient_failures_are_tried_again(void **state)
{
    (void)state;
    for (int code = DRAY_OK; code >= DRAY_EIO; code--) {
        struct dray_retry retry = { .limit = 5 };
        struct dray_error err = { .code = code };
        int64_t delay_ms;

        assert_int_equal(dray_retry_decide(&retry, &err, 0, &delay_ms), code == DRAY_ETRANSIENT);
    }
}

static void it_gives_up_after_the_limit(void **state)
{
    struct dray_error err = { .code = DRAY_ETRANSIENT };
    int64_t delay_ms;

    (void)state;
    for (uint32_t limit = 0; limit < 4; limit++) {
        struct dray_retry retry = { .limit = limit };

        for (uint32_t i = 0; i < limit; i++)
            assert_true(dray_retry_decide(&retry, &err, 0, &delay_ms));
        assert_false(dray_retry_decide(&retry, &err, 0, &delay_ms));
    }
}

static void progress_starts_the_count_again(void **state)
{
    struct dray_retry retry = { .limit = 1 };
    struct dray_error err = { .code = DRAY_ETRANSIENT };
    int64_t delay_ms;

    (void)state;
    for (int i = 0; i < 1000; i++)
        assert_true(dray_retry_decide(&retry, &err, DRAY_RETRY_PROGRESS_BYTES, &delay_ms));
    assert_false(dray_retry_decide(&retry, &err, DRAY_RETRY_PROGRESS_BYTES - 1, &delay_ms));
}

static void progress_is_not_worth_anything_without_retries(void **state)
{
    struct dray_retry retry = { .limit = 0 };
    struct dray_error err = { .code = DRAY_ETRANSIENT };
    int64_t delay_ms;

    (void)state;
    assert_false(dray_retry_decide(&retry, &err, UINT64_MAX, &delay_ms));
}

static void delays_grow_with_full_jitter_up_to_the_cap(void **state)
{
    struct dray_error err = { .code = DRAY_ETRANSIENT };
    int64_t longest_ms[20] = { 0 };
    int64_t shortest_ms[20];

    (void)state;
    for (int i = 0; i < 20; i++)
        shortest_ms[i] = INT64_MAX;
    for (int round = 0; round < 400; round++) {
        struct dray_retry retry = { .limit = 20 };

        for (int i = 0; i < 20; i++) {
            int64_t ceiling_ms = i < 7 ? (int64_t)DRAY_RETRY_BASE_MS << i : DRAY_RETRY_CAP_MS;
            int64_t delay_ms = -1;

            if (ceiling_ms > DRAY_RETRY_CAP_MS)
                ceiling_ms = DRAY_RETRY_CAP_MS;
            assert_true(dray_retry_decide(&retry, &err, 0, &delay_ms));
            assert_in_range(delay_ms, 0, ceiling_ms);
            if (delay_ms > longest_ms[i])
                longest_ms[i] = delay_ms;
            if (delay_ms < shortest_ms[i])
                shortest_ms[i] = delay_ms;
        }
    }
    /* 400 draws that all missed the outer quarters: the chance is below 10^-49. */
    assert_true(longest_ms[0] > DRAY_RETRY_BASE_MS * 3 / 4);
    assert_true(longest_ms[19] > DRAY_RETRY_CAP_MS * 3 / 4);
    assert_true(shortest_ms[19] < DRAY_RETRY_CAP_MS / 4);
}

static void the_servers_wish_is_respected_and_capped(void **state)
{
    struct dray_retry retry = { .limit = 2 };
    struct dray_error err = { .code = DRAY_ETRANSIENT, .retry_after_ms = 7000 };
    int64_t delay_ms;

    (void)state;
    assert_true(dray_retry_decide(&retry, &err, 0, &delay_ms));
    assert_in_range(delay_ms, 7000, 7000 + DRAY_RETRY_BASE_MS);
    err.retry_after_ms = INT64_C(365) * 86400 * 1000;
    assert_true(dray_retry_decide(&retry, &err, 0, &delay_ms));
    assert_in_range(delay_ms, DRAY_RETRY_AFTER_CAP_MS,
                    DRAY_RETRY_AFTER_CAP_MS + 2 * DRAY_RETRY_BASE_MS);
}

static void nobody_waits_long_while_another_endpoint_can_be_asked(void **state)
{
    struct dray_retry retry = { .limit = 5, .elsewhere = true };
    struct dray_error err = { .code = DRAY_ETRANSIENT, .retry_after_ms = 1000 };
    int64_t delay_ms;

    (void)state;
    assert_true(dray_retry_decide(&retry, &err, 0, &delay_ms));
    err.retry_after_ms = DRAY_RETRY_PATIENCE_MS + 1;
    assert_false(dray_retry_decide(&retry, &err, 0, &delay_ms));
}

static void an_endpoint_that_has_answered_may_be_out_of_reach_for_a_while(void **state)
{
    struct dray_retry known = { .limit = 5, .known_good = true };
    struct dray_retry unknown = { .limit = 5 };
    struct dray_error err = { .code = DRAY_EUNREACHABLE };
    int64_t delay_ms;

    (void)state;
    assert_true(dray_retry_decide(&known, &err, 0, &delay_ms));
    assert_false(dray_retry_decide(&unknown, &err, 0, &delay_ms));
    err.sys_errno = EKEYREJECTED;
    assert_false(dray_retry_decide(&known, &err, 0, &delay_ms));
}

static void another_endpoint_is_asked_only_when_the_trouble_is_not_here(void **state)
{
    (void)state;
    assert_true(dray_retry_elsewhere(DRAY_EUNREACHABLE));
    assert_true(dray_retry_elsewhere(DRAY_ENOTFOUND));
    assert_true(dray_retry_elsewhere(DRAY_EDIGEST));
    assert_true(dray_retry_elsewhere(DRAY_EAUTH));
    assert_false(dray_retry_elsewhere(DRAY_ENOSPC));
    assert_false(dray_retry_elsewhere(DRAY_ECANCELED));
    assert_false(dray_retry_elsewhere(DRAY_ENOMEM));
    assert_false(dray_retry_elsewhere(DRAY_EIO));
    assert_false(dray_retry_elsewhere(DRAY_ESTORE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_transient_failures_are_tried_again),
        cmocka_unit_test(it_gives_up_after_the_limit),
        cmocka_unit_test(progress_starts_the_count_again),
        cmocka_unit_test(progress_is_not_worth_anything_without_retries),
        cmocka_unit_test(delays_grow_with_full_jitter_up_to_the_cap),
        cmocka_unit_test(the_servers_wish_is_respected_and_capped),
        cmocka_unit_test(nobody_waits_long_while_another_endpoint_can_be_asked),
        cmocka_unit_test(an_endpoint_that_has_answered_may_be_out_of_reach_for_a_while),
        cmocka_unit_test(another_endpoint_is_asked_only_when_the_trouble_is_not_here),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
