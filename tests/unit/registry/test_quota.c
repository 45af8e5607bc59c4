#include "registry/quota.h"

#include <inttypes.h>

#include "tests/unit/registry/fixture.h"

/* Read the quota from header lines. */
static struct dray_quota quota_of(const char *const lines[], struct dray_quota quota)
{
    DRAY_AUTO_HTTP_RESPONSE struct dray_http_response response = { 0 };

    for (; *lines; lines++)
        assert_ok(dray_buf_append(&response.header, *lines, strlen(*lines) + 1, SIZE_MAX - 1));
    dray_quota_read(&response, &quota);
    return quota;
}

#define LINES(...)                                                                                 \
    (const char *const[])                                                                          \
    {                                                                                              \
        __VA_ARGS__, NULL                                                                          \
    }

static void each_spelling_of_the_headers_is_understood(void **state)
{
    const struct {
        const char *const *lines;
        uint64_t remaining;
        uint64_t limit;
        int64_t window_s;
    } rows[] = {
        { LINES("ratelimit-limit: 100;w=21600", "ratelimit-remaining: 76;w=21600"), 76, 100,
          21600 },
        { LINES("RateLimit-Remaining: 0;w=21600"), 0, 0, 21600 },
        { LINES("RateLimit-Remaining: 50", "RateLimit-Limit: 100, 100;w=60, 1000;w=3600"), 50, 100,
          0 },
        { LINES("RateLimit-Remaining: 50 ; w=60 ; comment=\"a;b\""), 50, 0, 60 },
        { LINES("X-RateLimit-Limit: 60", "X-RateLimit-Remaining: 59"), 59, 60, 0 },
        { LINES("RateLimit: limit=100, remaining=50, reset=30"), 50, 100, 0 },
        { LINES("RateLimit: limit=100;w=60,remaining=50,reset=30"), 50, 100, 60 },
        { LINES("RateLimit: \"default\";r=50;t=30"), 50, 0, 0 },
        { LINES("RateLimit: \"burst\";r=50;t=30, \"day\";r=7;t=4000"), 7, 0, 0 },
        { LINES("RateLimit: \"a;r=1,r=2\";r=9"), 9, 0, 0 },
        { LINES("RateLimit-Remaining: 999999999999999"), 999999999999999, 0, 0 },
        /* the first that makes sense counts */
        { LINES("RateLimit: soon", "RateLimit-Remaining: x", "X-RateLimit-Remaining: 3"), 3, 0, 0 },
        { LINES("X-RateLimit-Remaining: 3", "RateLimit-Remaining: 2", "RateLimit: r=1"), 1, 0, 0 },
        /* and what is said beside it, if that does */
        { LINES("RateLimit-Remaining: 3;w=day", "RateLimit-Limit: many"), 3, 0, 0 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dray_quota quota = quota_of(rows[i].lines, (struct dray_quota){ 0 });

        if (!quota.known || quota.remaining != rows[i].remaining || quota.limit != rows[i].limit ||
            quota.window_s != rows[i].window_s)
            fail_msg("%s: %d %" PRIu64 " %" PRIu64 " %" PRId64, rows[i].lines[0], quota.known,
                     quota.remaining, quota.limit, quota.window_s);
    }
}

static void junk_is_as_good_as_nothing_and_changes_nothing(void **state)
{
    static const char *const lines[] = {
        "X-Other: 1",
        "RateLimit-Remaining:",
        "RateLimit-Remaining: -1",
        "RateLimit-Remaining: +1",
        "RateLimit-Remaining: 1e3",
        "RateLimit-Remaining: 1.5",
        "RateLimit-Remaining: 7 left",
        "RateLimit-Remaining: ;w=60",
        "RateLimit-Remaining: w=60",
        "RateLimit-Remaining: 1000000000000000", /* 16 digits */
        "RateLimit-Remaining: 99999999999999999999999999",
        "X-RateLimit-Remaining: 880.092\xc2\xb5s",
        "RateLimit-Limit: 100", /* alone it says nothing about now */
        "RateLimit: limit=100, reset=30",
        "RateLimit: remaining=",
        "RateLimit: remaining=-3",
        "RateLimit: \"r=5",
        "RateLimit: \"default\";rr=5;t=30",
        "RateLimit: ;;;,,,",
    };
    const struct dray_quota before = { .known = true, .remaining = 5, .limit = 6, .window_s = 7 };

    (void)state;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct dray_quota none = quota_of(LINES(lines[i]), (struct dray_quota){ 0 });
        struct dray_quota kept = quota_of(LINES(lines[i]), before);

        if (none.known || none.limit != 0 || none.window_s != 0)
            fail_msg("%s: %" PRIu64, lines[i], none.remaining);
        if (!kept.known || kept.remaining != 5 || kept.limit != 6 || kept.window_s != 7)
            fail_msg("%s: %" PRIu64, lines[i], kept.remaining);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_spelling_of_the_headers_is_understood),
        cmocka_unit_test(junk_is_as_good_as_nothing_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
