/* Text from outside: nothing that reaches a terminal steers it. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/text.h"

static void expect_clean(const char *given, const char *expected)
{
    char text[64];

    snprintf(text, sizeof(text), "%s", given);
    dray_text_clean(text);
    assert_string_equal(text, expected);
}

static void ordinary_text_stays_as_it_is(void **state)
{
    (void)state;
    expect_clean("", "");
    expect_clean("two\nlines, \xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb3",
                 "two\nlines, \xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb3");
}

static void whatever_steers_a_terminal_is_replaced(void **state)
{
    (void)state;
    expect_clean("a\033[31mb\r\a\b\t\x7f", "a?[31mb?????");
    expect_clean("csi \xc2\x9b"
                 "1m",
                 "csi ?1m"); /* C1 in UTF-8 */
    expect_clean("\xe2\x80\xae"
                 "live\xe2\x81\xa9",
                 "?live?"); /* overrides of direction */
}

static void what_is_no_utf8_is_replaced(void **state)
{
    (void)state;
    expect_clean("\xff", "?");
    expect_clean("\x9b"
                 "31m",
                 "?31m");                     /* a bare C1 byte */
    expect_clean("\xc0\x9b", "??");           /* overlong */
    expect_clean("\xed\xa0\x80", "???");      /* a surrogate */
    expect_clean("\xf4\x90\x80\x80", "????"); /* beyond U+10FFFF */
    expect_clean("cut \xe2\x82", "cut ??");   /* ends within a character */
}

static void json_takes_any_bytes(void **state)
{
    json_t *json = dray_text_json("a\xff\033\xc3\xa4");

    (void)state;
    assert_non_null(json);
    assert_string_equal(json_string_value(json), "a?\033\xc3\xa4"); /* escaped when it is written */
    json_decref(json);
}

static void distance_counts_edits_and_swaps(void **state)
{
    char longer[70];

    (void)state;
    assert_int_equal(dray_text_distance("pull", "pull"), 0);
    assert_int_equal(dray_text_distance("pull", "pul"), 1);
    assert_int_equal(dray_text_distance("pull", "pulll"), 1);
    assert_int_equal(dray_text_distance("pull", "pall"), 1);
    assert_int_equal(dray_text_distance("pull", "plul"), 1);
    assert_int_equal(dray_text_distance("images", "iamge"), 2);
    assert_int_equal(dray_text_distance("", "abc"), 3);
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_true(dray_text_distance(longer, longer) == UINT_MAX);
    longer[63] = '\0';
    assert_int_equal(dray_text_distance(longer, longer), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinary_text_stays_as_it_is),
        cmocka_unit_test(whatever_steers_a_terminal_is_replaced),
        cmocka_unit_test(what_is_no_utf8_is_replaced),
        cmocka_unit_test(json_takes_any_bytes),
        cmocka_unit_test(distance_counts_edits_and_swaps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
