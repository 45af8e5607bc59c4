/* The summary: a line for the whole, one for each endpoint, and what is nothing is left out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/summary.h"
#include "tests/unit/cmd/pull_story.h"

struct sink {
    char text[4096];
    size_t len;
};

static void collect(void *ctx, enum dray_log_level level, const char *text)
{
    struct sink *sink = ctx;

    assert_int_equal(level, DRAY_LOG_INFO);
    sink->len +=
        (size_t)snprintf(sink->text + sink->len, sizeof(sink->text) - sink->len, "%s\n", text);
}

static struct dray_log log_into(struct sink *sink, enum dray_log_level level)
{
    return (struct dray_log){ .write = collect, .ctx = sink, .level = level };
}

static void it_tells_what_came_from_where_and_how_fast(void **state)
{
    struct sink sink = { .len = 0 };
    struct dray_log log = log_into(&sink, DRAY_LOG_DEBUG);
    struct pull_story story;

    (void)state;
    pull_story_begin(&story);
    dray_summary_tell(&story.tally, &log);
    assert_string_equal(
        sink.text,
        "received 11.0 MB in 2.1s (5.2 MB/s), 1.0 MB resumed, 30.1 MB present, 1 retry\n"
        "http://mirror:5000: 9 requests, 250.1 MB received, 40.0 MB/s a connection, "
        "first byte after 12 ms, 2 failures, 1 wrong blob\n"
        "https://reg.example: 2 requests, 11.0 MB received, 1 failure, not reachable, no ranges, "
        "76 of 100 requests left\n");
    dray_tally_done(&story.tally);
}

static void a_quota_without_a_limit_is_told_without(void **state)
{
    const struct dray_endpoint_figures figures = { .endpoint = "https://reg.example",
                                                   .requests = 1,
                                                   .first_byte_ms = -1,
                                                   .ranges = true,
                                                   .reachable = true,
                                                   .has_quota = true,
                                                   .quota_remaining = 3 };
    struct sink sink = { .len = 0 };
    struct dray_log log = log_into(&sink, DRAY_LOG_INFO);
    struct dray_tally tally;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 0), DRAY_OK);
    dray_tally_endpoint(&tally, &figures);
    dray_summary_tell(&tally, &log);
    assert_non_null(strstr(sink.text, "\nhttps://reg.example: 1 request, 3 requests left\n"));
    dray_tally_done(&tally);
}

static void it_is_silent_below_level_info(void **state)
{
    struct sink sink = { .len = 0 };
    struct dray_log log = log_into(&sink, DRAY_LOG_WARNING);
    struct dray_tally tally;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 1), DRAY_OK);
    dray_summary_tell(&tally, &log);
    assert_string_equal(sink.text, "");
    dray_tally_done(&tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_tells_what_came_from_where_and_how_fast),
        cmocka_unit_test(a_quota_without_a_limit_is_told_without),
        cmocka_unit_test(it_is_silent_below_level_info),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
