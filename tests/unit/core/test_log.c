/* The log sink gets the lines it asked for, and no others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/log.h"

struct record {
    int lines;
    enum dray_log_level level;
    char text[4096];
};

static void keep(void *ctx, enum dray_log_level level, const char *text)
{
    struct record *record = ctx;

    record->lines++;
    record->level = level;
    snprintf(record->text, sizeof(record->text), "%s", text);
}

static void lines_above_the_level_are_not_sent(void **state)
{
    struct record record = { 0 };
    struct dray_log log = { .write = keep, .ctx = &record, .level = DRAY_LOG_WARNING };

    (void)state;
    dray_log(&log, DRAY_LOG_INFO, "unheard");
    assert_int_equal(record.lines, 0);
    dray_log(&log, DRAY_LOG_WARNING, "%s is ignored", "X");
    assert_int_equal(record.lines, 1);
    assert_int_equal(record.level, DRAY_LOG_WARNING);
    assert_string_equal(record.text, "X is ignored");
}

static void a_long_line_is_cut_not_lost(void **state)
{
    struct record record = { 0 };
    struct dray_log log = { .write = keep, .ctx = &record, .level = DRAY_LOG_DEBUG };
    char wide[10000];

    (void)state;
    memset(wide, 'w', sizeof(wide) - 1);
    wide[sizeof(wide) - 1] = '\0';
    dray_log(&log, DRAY_LOG_DEBUG, "%s", wide);
    assert_true(strlen(record.text) > DRAY_ERROR_TEXT_MAX);
    assert_true(strlen(record.text) < sizeof(wide) - 1);
}

static void no_sink_is_fine(void **state)
{
    struct dray_log silent = { .level = DRAY_LOG_DEBUG };

    (void)state;
    dray_log(NULL, DRAY_LOG_ERROR, "x");
    dray_log(&silent, DRAY_LOG_ERROR, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_above_the_level_are_not_sent),
        cmocka_unit_test(a_long_line_is_cut_not_lost),
        cmocka_unit_test(no_sink_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
