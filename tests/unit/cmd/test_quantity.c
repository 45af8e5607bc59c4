/* Amounts: what people write is understood strictly, what they read fits its column. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/quantity.h"

static void expect_duration(const char *text, int64_t expected_ms)
{
    int64_t duration_ms = -1;

    if (dray_quantity_parse_duration(text, &duration_ms) < 0)
        fail_msg("'%s' is refused", text);
    assert_int_equal(duration_ms, expected_ms);
}

static void times_take_units_and_are_seconds_without(void **state)
{
    (void)state;
    expect_duration("0", 0);
    expect_duration("30", 30000);
    expect_duration("250ms", 250);
    expect_duration("1.5s", 1500);
    expect_duration("0.125", 125);
    expect_duration("2m", 120000);
    expect_duration("1.5h", 5400000);
}

static void what_is_no_time_is_refused(void **state)
{
    static const char *const bad[] = { "",
                                       " 1",
                                       "1 ",
                                       "-1",
                                       "+1",
                                       "1d",
                                       "s",
                                       "1.",
                                       ".5",
                                       "1.s",
                                       "1e3",
                                       "0x10",
                                       "1.2345s",
                                       "1s2",
                                       "99999999999999999999",
                                       "9223372036854775807" };
    int64_t duration_ms = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (dray_quantity_parse_duration(bad[i], &duration_ms) == 0)
            fail_msg("'%s' is taken", bad[i]);
    }
    assert_int_equal(duration_ms, 7);
}

static void expect_bytes(const char *text, int64_t expected)
{
    int64_t bytes = -1;

    if (dray_quantity_parse_bytes(text, &bytes) < 0)
        fail_msg("'%s' is refused", text);
    assert_true(bytes == expected);
}

static void bytes_take_units_of_1000_and_of_1024(void **state)
{
    (void)state;
    expect_bytes("0", 0);
    expect_bytes("4096", 4096);
    expect_bytes("500K", 500000);
    expect_bytes("500k", 500000);
    expect_bytes("10M", 10000000);
    expect_bytes("1.5G", 1500000000);
    expect_bytes("2Ki", 2048);
    expect_bytes("0.5Mi", 524288);
    expect_bytes("1.5Gi", 1610612736);
    expect_bytes("9223372036854775807", INT64_MAX);
}

static void what_is_no_amount_of_bytes_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "K",
        "-1",
        "1 M",
        "1MB",
        "1Kb",
        "1KiB",
        "1ki",
        "T",
        "1T",
        "1.M",
        "1e6",
        "inf",
        "0x1000",
        "1M/s",
        "9223372036854775808",
        "+",
        "1..",
        "1,5",
        "1.0001K",
        "0.5", /* too little, and not "no limit" */
        "9223372036854776K",
        "99999999999Gi",
    };
    int64_t bytes = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (dray_quantity_parse_bytes(bad[i], &bytes) == 0)
            fail_msg("'%s' is taken", bad[i]);
    }
    assert_int_equal(bytes, 7);
}

static void numbers_are_whole_and_decimal(void **state)
{
    static const char *const bad[] = {
        "", "x", "1x", " 1", "-1", "+1", "1.0", "9223372036854775808"
    };
    int64_t number = 7;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (dray_quantity_parse_number(bad[i], &number) == 0)
            fail_msg("'%s' is taken", bad[i]);
    }
    assert_int_equal(number, 7);
    assert_int_equal(dray_quantity_parse_number("9223372036854775807", &number), 0);
    assert_true(number == INT64_MAX);
    assert_int_equal(dray_quantity_parse_number("010", &number), 0);
    assert_int_equal(number, 10);
}

static void bytes_are_written_in_the_largest_fitting_unit(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        { 0, "0 B" },
        { 999, "999 B" },
        { 1000, "1.0 kB" },
        { 999949, "999.9 kB" },
        { 999950, "1.0 MB" },
        { 12345678, "12.3 MB" },
        { 999949999, "999.9 MB" },
        { 999950000, "1.00 GB" },
        { 1234567890123, "1.23 TB" },
        { UINT64_MAX, "18446744.07 TB" },
    };
    char buf[DRAY_QUANTITY_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dray_quantity_format_bytes(rows[i].bytes, buf);
        assert_string_equal(buf, rows[i].text);
    }
}

static void a_part_has_the_unit_of_the_whole(void **state)
{
    char buf[DRAY_QUANTITY_TEXT_MAX];

    (void)state;
    dray_quantity_format_part(1200000, 45600000, buf);
    assert_string_equal(buf, "1.2/45.6 MB");
    dray_quantity_format_part(0, 0, buf);
    assert_string_equal(buf, "0/0 B");
    dray_quantity_format_part(UINT64_MAX, UINT64_MAX, buf);
    assert_string_equal(buf, "18446744.07/18446744.07 TB");
    dray_quantity_format_part(UINT64_MAX, 1, buf); /* more than there should be */
    assert_string_equal(buf, "18446744073709551616/1 B");
}

static void times_grow_coarser_as_they_grow_longer(void **state)
{
    static const struct {
        int64_t ms;
        const char *text;
    } rows[] = {
        { 0, "0s" },          { 499, "0s" },        { 500, "1s" },
        { 59499, "59s" },     { 59500, "1m00s" },   { 185000, "3m05s" },
        { 3599500, "1h00m" }, { 7380000, "2h03m" }, { INT64_MAX, "99h59m" },
    };
    char buf[DRAY_QUANTITY_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        dray_quantity_format_duration(rows[i].ms, buf);
        assert_string_equal(buf, rows[i].text);
    }
    dray_quantity_format_elapsed(440, buf);
    assert_string_equal(buf, "0.4s");
    dray_quantity_format_elapsed(9960, buf);
    assert_string_equal(buf, "10s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_take_units_and_are_seconds_without),
        cmocka_unit_test(what_is_no_time_is_refused),
        cmocka_unit_test(bytes_take_units_of_1000_and_of_1024),
        cmocka_unit_test(what_is_no_amount_of_bytes_is_refused),
        cmocka_unit_test(numbers_are_whole_and_decimal),
        cmocka_unit_test(bytes_are_written_in_the_largest_fitting_unit),
        cmocka_unit_test(a_part_has_the_unit_of_the_whole),
        cmocka_unit_test(times_grow_coarser_as_they_grow_longer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
