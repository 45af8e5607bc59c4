#include "registry/range.h"

#include "tests/unit/registry/fixture.h"

static void a_range_with_total_is_read(void **state)
{
    struct dray_content_range range = { 0 };

    (void)state;
    assert_true(dray_content_range_parse("bytes 5-9/10", &range));
    assert_int_equal(range.first, 5);
    assert_int_equal(range.last, 9);
    assert_true(range.has_total);
    assert_int_equal(range.total, 10);
}

static void the_total_may_be_unknown(void **state)
{
    struct dray_content_range range = { 0 };

    (void)state;
    assert_true(dray_content_range_parse("Bytes 0-0/*", &range));
    assert_false(range.has_total);
}

static void the_largest_numbers_fit(void **state)
{
    struct dray_content_range range = { 0 };

    (void)state;
    assert_true(
        dray_content_range_parse("bytes 0-18446744073709551614/18446744073709551615", &range));
    assert_true(range.last == UINT64_MAX - 1);
}

static void everything_else_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        "bytes",
        "bytes ",
        "bytes */10",
        "bytes 5-9",
        "bytes 5-9/",
        "bytes 9-5/10",
        "bytes 5-10/10",
        "bytes 5-9/10 ",
        "bytes 5-9/10, 11-12/20",
        "bytes -5-9/10",
        "bytes +5-9/10",
        "bytes 5 -9/10",
        "bytes 0x5-9/10",
        "bytes 5-9/1e9",
        "bytes=5-9/10",
        "items 5-9/10",
        "bytes 0-18446744073709551616/*",
        "bytes 99999999999999999999-5/*",
        "bytes 5-9/-1",
    };
    struct dray_content_range range = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (dray_content_range_parse(rows[i], &range))
            fail_msg("accepted: %s", rows[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_with_total_is_read),
        cmocka_unit_test(the_total_may_be_unknown),
        cmocka_unit_test(the_largest_numbers_fit),
        cmocka_unit_test(everything_else_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
