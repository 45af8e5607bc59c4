/* The retry decision: what is tried again, how often, and how long is waited. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "workers/retry.h"

/* What becomes of each failure: whether the same endpoint is asked again, when it has answered
 * before and when it has not, and whether another is asked after it gave up. */
static const struct {
    int code;
    bool again;
    bool again_if_known;
    bool elsewhere;
} codes[] = {
    { DRAY_OK, false, false, false },
    { DRAY_ENOMEM, false, false, false },
    { DRAY_EINVAL, false, false, false },
    { DRAY_ECANCELED, false, false, false },
    { DRAY_ETRANSIENT, true, true, true }, /* 429 among them: unlike Docker we keep Retry-After */
    { DRAY_EUNREACHABLE, false, true, true },
    { DRAY_ENOTFOUND, false, false, true }, /* unknown blob, NAME_UNKNOWN */
    { DRAY_EAUTH, false, false, true },     /* UNAUTHORIZED, DENIED, no credentials */
    { DRAY_EDIGEST, false, false, true },
    { DRAY_EPROTO, false, false, true }, /* an answer that makes no sense */
    { DRAY_EUNSUPPORTED, false, false, true },
    { DRAY_ENOSPC, false, false, false },
    { DRAY_ESTORE, false, false, false },
    { DRAY_EIO, false, false, false },
};

static void nothing_is_tried_again_that_cannot_succeed(void **state)
{
    (void)state;
    /* Every code has its line. */
    assert_int_equal(sizeof(codes) / sizeof(codes[0]), 1 - DRAY_EIO);
    assert_string_equal(dray_code_text(DRAY_EIO - 1), "unknown error");
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct dray_retry unknown = { .limit = 5 };
        struct dray_retry known = { .limit = 5, .known_good = true };
        struct dray_error err = { .code = codes[i].code };
        int64_t delay_ms;

        assert_int_equal(codes[i].code, -(int)i);
        assert_int_equal(dray_retry_decide(&unknown, &err, 0, &delay_ms), codes[i].again);
        assert_int_equal(dray_retry_decide(&known, &err, 0, &delay_ms), codes[i].again_if_known);
    }
}

static void another_endpoint_is_asked_only_when_the_trouble_is_not_here(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        assert_int_equal(dray_retry_elsewhere(codes[i].code), codes[i].elsewhere);
    assert_false(dray_retry_elsewhere(DRAY_EIO - 1));
}

static void progress_does_not_make_a_final_failure_worth_another_try(void **state)
{
    struct dray_retry retry = { .limit = 5 };
    struct dray_error err = { .code = DRAY_EDIGEST };
    int64_t delay_ms;

    (void)state;
    assert_false(dray_retry_decide(&retry, &err, UINT64_MAX, &delay_ms));
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
    assert_true(delay_ms < err.retry_after_ms); /* which is how the cut is seen */
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

static void an_overload_is_a_pause_for_all_also_where_one_gives_up(void **state)
{
    struct dray_error err = { .code = DRAY_ETRANSIENT, .http_status = 429 };

    (void)state;
    assert_int_equal(dray_retry_pause_ms(&err, 700), 700);
    err.retry_after_ms = 3000;
    assert_int_equal(dray_retry_pause_ms(&err, 700), 3000);
    assert_int_equal(dray_retry_pause_ms(&err, -1), 3000);
    err.retry_after_ms = INT64_MAX;
    assert_int_equal(dray_retry_pause_ms(&err, -1), DRAY_RETRY_AFTER_CAP_MS);
    err.http_status = 500;
    assert_int_equal(dray_retry_pause_ms(&err, 700), 0);
}

static void a_refused_certificate_does_not_pass(void **state)
{
    struct dray_retry known = { .limit = 5, .known_good = true };
    struct dray_error err = { .code = DRAY_EUNREACHABLE, .sys_errno = EKEYREJECTED };
    int64_t delay_ms;

    (void)state;
    assert_false(dray_retry_decide(&known, &err, 0, &delay_ms));
    err.sys_errno = ECONNREFUSED;
    assert_true(dray_retry_decide(&known, &err, 0, &delay_ms));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_tried_again_that_cannot_succeed),
        cmocka_unit_test(another_endpoint_is_asked_only_when_the_trouble_is_not_here),
        cmocka_unit_test(progress_does_not_make_a_final_failure_worth_another_try),
        cmocka_unit_test(it_gives_up_after_the_limit),
        cmocka_unit_test(progress_starts_the_count_again),
        cmocka_unit_test(progress_is_not_worth_anything_without_retries),
        cmocka_unit_test(delays_grow_with_full_jitter_up_to_the_cap),
        cmocka_unit_test(the_servers_wish_is_respected_and_capped),
        cmocka_unit_test(nobody_waits_long_while_another_endpoint_can_be_asked),
        cmocka_unit_test(an_overload_is_a_pause_for_all_also_where_one_gives_up),
        cmocka_unit_test(a_refused_certificate_does_not_pass),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
