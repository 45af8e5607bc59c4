/* Hosts: pauses that all keep, the circuit that opens and closes, slots and what is remembered. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/sync.h"
#include "workers/host.h"
#include "workers/limiter.h"

#define ORIGIN "https://registry.example.com"

static _Atomic int64_t clock_ms;

static int64_t test_clock(void)
{
    return atomic_load(&clock_ms);
}

static void pass(int64_t ms)
{
    atomic_fetch_add(&clock_ms, ms);
}

static struct dray_hosts *make_hosts(uint32_t max_connections)
{
    struct dray_hosts *hosts = NULL;

    assert_int_equal(dray_hosts_new(max_connections, &hosts, NULL), DRAY_OK);
    dray_hosts_use_clock(hosts, test_clock);
    atomic_store(&clock_ms, 1000);
    return hosts;
}

static struct dray_host *host_of(struct dray_hosts *hosts, const char *origin)
{
    struct dray_host *host = NULL;

    assert_int_equal(dray_hosts_get(hosts, origin, &host, NULL), DRAY_OK);
    return host;
}

/* Requests that are on their way from here on, until each is left. */
static void enter_times(struct dray_host *host, int times)
{
    for (int i = 0; i < times; i++)
        assert_true(dray_host_enter(host, 0, false));
}

static void leave_failed(struct dray_host *host, int code)
{
    dray_host_leave(host, &(struct dray_host_outcome){ .code = code, .first_byte_ms = -1 });
}

static void leave_refused(struct dray_host *host, int http_status, int64_t pause_ms)
{
    dray_host_leave(host, &(struct dray_host_outcome){ .code = DRAY_ETRANSIENT,
                                                       .http_status = http_status,
                                                       .pause_ms = pause_ms,
                                                       .first_byte_ms = -1 });
}

/* One request, from enter to leave. */
static void request(struct dray_host *host, const struct dray_host_outcome *outcome)
{
    assert_true(dray_host_enter(host, 0, false));
    dray_host_leave(host, outcome);
}

static void request_that_fails(struct dray_host *host, int code)
{
    enter_times(host, 1);
    leave_failed(host, code);
}

static void request_that_is_refused(struct dray_host *host, int http_status, int64_t pause_ms)
{
    enter_times(host, 1);
    leave_refused(host, http_status, pause_ms);
}

static void assert_gate(struct dray_host *host, enum dray_host_gate want, int64_t want_wait_ms)
{
    int64_t wait_ms = -1;

    assert_int_equal(dray_host_gate(host, &wait_ms), want);
    assert_int_equal(wait_ms, want_wait_ms);
}

static struct dray_host_view look(struct dray_host *host)
{
    struct dray_host_view view;

    dray_host_look(host, &view);
    return view;
}

static void an_origin_is_one_host(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    char again[] = ORIGIN;
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    assert_ptr_equal(host_of(hosts, again), host);
    assert_ptr_not_equal(host_of(hosts, "http://registry.example.com"), host);
    assert_ptr_not_equal(host_of(hosts, ORIGIN ":5000"), host);
    dray_hosts_free(hosts);
    dray_hosts_free(NULL);
}

static void note_origin(void *ctx, const char *origin, const struct dray_host_view *view)
{
    char *names = ctx;
    size_t used = strlen(names);

    assert_int_equal(view->slots, 4);
    names[used] = origin[0];
    names[used + 1] = '\0';
}

static void hosts_are_listed_as_they_were_met(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    char names[8] = "";

    (void)state;
    dray_hosts_each(hosts, note_origin, names);
    assert_string_equal(names, "");
    host_of(hosts, "c");
    host_of(hosts, "a");
    host_of(hosts, "b");
    host_of(hosts, "a");
    dray_hosts_each(hosts, note_origin, names);
    assert_string_equal(names, "cab");
    dray_hosts_free(hosts);
}

static void a_new_host_is_open_and_nothing_is_known_of_it(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);
    struct dray_host_view view = look(host);

    (void)state;
    assert_gate(host, DRAY_HOST_OPEN, 0);
    assert_int_equal(view.requests, 0);
    assert_int_equal(view.rate_bytes_per_s, 0);
    assert_int_equal(view.first_byte_ms, -1);
    assert_int_equal(view.slots, 4);
    assert_int_equal(view.in_use, 0);
    assert_true(view.ranges);
    assert_false(view.broken);
    assert_false(view.quota.known);
    dray_hosts_free(hosts);
}

static void the_longest_pause_asked_for_is_kept_by_all(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    enter_times(host, 4);
    leave_refused(host, 429, 3000);
    assert_gate(host, DRAY_HOST_LATER, 3000);
    pass(500);
    leave_refused(host, 429, 1000); /* less than is left */
    assert_gate(host, DRAY_HOST_LATER, 2500);
    dray_host_leave(host, &(struct dray_host_outcome){ .code = DRAY_OK }); /* takes nothing back */
    assert_gate(host, DRAY_HOST_LATER, 2500);
    leave_refused(host, 503, 4000);
    assert_gate(host, DRAY_HOST_LATER, 4000);
    pass(3999);
    assert_gate(host, DRAY_HOST_LATER, 1);
    pass(1);
    assert_gate(host, DRAY_HOST_OPEN, 0);
    assert_gate(host, DRAY_HOST_OPEN, 0);
    dray_hosts_free(hosts);
}

static void who_waited_for_a_slot_keeps_the_pause_too(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    enter_times(host, 2);
    assert_gate(host, DRAY_HOST_OPEN, 0);
    leave_refused(host, 429, 1000);
    assert_false(dray_host_enter(host, 0, false));
    pass(1000);
    enter_times(host, 1);
    leave_failed(host, DRAY_EUNREACHABLE);
    assert_false(dray_host_enter(host, 0, false));
    assert_int_equal(look(host).in_use, 1);
    leave_failed(host, DRAY_ECANCELED);
    dray_hosts_free(hosts);
}

static void one_hosts_trouble_is_not_anothers(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);

    (void)state;
    request_that_is_refused(host_of(hosts, "a"), 429, 3000);
    request_that_fails(host_of(hosts, "b"), DRAY_EUNREACHABLE);
    assert_gate(host_of(hosts, "c"), DRAY_HOST_OPEN, 0);
    dray_hosts_free(hosts);
}

static void out_of_reach_breaks_it_and_lets_one_probe_through(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    request_that_fails(host, DRAY_EUNREACHABLE);
    assert_true(look(host).broken);
    assert_gate(host, DRAY_HOST_BROKEN, DRAY_HOST_BREAK_MS);
    pass(DRAY_HOST_BREAK_MS - 1);
    assert_gate(host, DRAY_HOST_BROKEN, 1);
    pass(1);
    for (int i = 0; i < 10; i++)
        assert_gate(host, DRAY_HOST_OPEN, 0); /* looking takes nothing away */
    assert_true(dray_host_enter(host, 0, false));
    for (int i = 0; i < 10; i++) {
        assert_gate(host, DRAY_HOST_BROKEN, DRAY_HOST_BREAK_MS);
        assert_false(dray_host_enter(host, 0, false));
    }

    dray_host_leave(host, &(struct dray_host_outcome){ .code = DRAY_OK });
    assert_false(look(host).broken);
    assert_gate(host, DRAY_HOST_OPEN, 0);
    assert_gate(host, DRAY_HOST_OPEN, 0);
    dray_hosts_free(hosts);
}

static void each_probe_that_fails_doubles_the_time_out(void **state)
{
    static const int64_t times_out_ms[] = { 10000, 20000, 40000, 60000, 60000 };
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    request_that_fails(host, DRAY_EUNREACHABLE);
    pass(DRAY_HOST_BREAK_MS);
    for (size_t i = 0; i < sizeof(times_out_ms) / sizeof(times_out_ms[0]); i++) {
        assert_gate(host, DRAY_HOST_OPEN, 0);
        request_that_fails(host, DRAY_EUNREACHABLE);
        assert_gate(host, DRAY_HOST_BROKEN, times_out_ms[i]);
        pass(times_out_ms[i]);
    }

    assert_gate(host, DRAY_HOST_OPEN, 0);
    request(host, &(struct dray_host_outcome){ .code = DRAY_OK });
    request_that_fails(host, DRAY_EUNREACHABLE);
    assert_gate(host, DRAY_HOST_BROKEN, DRAY_HOST_BREAK_MS); /* from the beginning again */
    dray_hosts_free(hosts);
}

static void requests_that_fail_together_break_it_once(void **state)
{
    struct dray_hosts *hosts = make_hosts(8);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    enter_times(host, 8);
    for (int i = 0; i < 8; i++) {
        leave_failed(host, DRAY_EUNREACHABLE);
        pass(100);
    }
    assert_gate(host, DRAY_HOST_BROKEN, DRAY_HOST_BREAK_MS - 800);
    dray_hosts_free(hosts);
}

static void a_probe_that_says_nothing_is_forgotten(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    request_that_fails(host, DRAY_EUNREACHABLE);
    for (int i = 0; i < 3; i++) {
        pass(DRAY_HOST_BREAK_MS);
        assert_gate(host, DRAY_HOST_OPEN, 0);
        request_that_fails(host, DRAY_ECANCELED);
        assert_gate(host, DRAY_HOST_BROKEN, DRAY_HOST_BREAK_MS);
    }
    dray_hosts_free(hosts);
}

static void one_bad_range_of_a_good_host_is_forgiven(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    dray_host_good_range(host, false);
    for (int i = 0; i < 5; i++) {
        for (int k = 1; k < DRAY_HOST_BAD_RANGES; k++)
            assert_false(dray_host_bad_range(host));
        dray_host_good_range(host, true);
    }
    assert_true(look(host).ranges);
    for (int k = 1; k < DRAY_HOST_BAD_RANGES; k++) {
        assert_false(dray_host_bad_range(host));
        dray_host_good_range(host, false); /* a good beginning makes up for nothing */
    }
    assert_true(dray_host_bad_range(host));
    assert_false(look(host).ranges);
    dray_hosts_free(hosts);
}

static void who_has_no_other_host_enters_though_it_is_broken(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    request_that_fails(host, DRAY_EUNREACHABLE);
    assert_false(dray_host_enter(host, 0, false));
    assert_true(dray_host_enter(host, 0, true));
    dray_host_leave(host, &(struct dray_host_outcome){ .code = DRAY_OK });
    assert_gate(host, DRAY_HOST_OPEN, 0);

    /* But a pause is kept by all. */
    request_that_is_refused(host, 503, 1000);
    assert_false(dray_host_enter(host, 0, true));
    dray_hosts_free(hosts);
}

static void a_pause_is_kept_by_the_probe_too(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    enter_times(host, 2);
    leave_refused(host, 503, DRAY_HOST_BREAK_MS + 1000);
    leave_failed(host, DRAY_EUNREACHABLE);
    /* Who has no other host would enter a broken one at once, but keeps a pause. */
    assert_gate(host, DRAY_HOST_LATER, DRAY_HOST_BREAK_MS + 1000);
    assert_false(dray_host_enter(host, 0, true));
    pass(DRAY_HOST_BREAK_MS);
    assert_gate(host, DRAY_HOST_LATER, 1000);
    pass(1000);
    assert_gate(host, DRAY_HOST_OPEN, 0);
    enter_times(host, 1);
    assert_gate(host, DRAY_HOST_BROKEN, DRAY_HOST_BREAK_MS);
    leave_failed(host, DRAY_EUNREACHABLE);
    assert_gate(host, DRAY_HOST_BROKEN, 2 * DRAY_HOST_BREAK_MS);
    dray_hosts_free(hosts);
}

static void a_slow_host_comes_last_for_longer_each_time_until_it_is_fast_again(void **state)
{
    const struct dray_host_outcome fast = { .bytes = 1 << 20,
                                            .duration_ms = 100,
                                            .first_byte_ms = 10 };
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    for (int64_t slow_ms = DRAY_HOST_SLOW_MS; slow_ms < 2 * DRAY_HOST_SLOW_MAX_MS; slow_ms *= 2) {
        assert_false(look(host).slow);
        for (int i = 0; i < 3; i++) /* who leaves it together leaves it once */
            dray_host_slow(host);
        assert_gate(host, DRAY_HOST_OPEN, 0);
        pass((slow_ms < DRAY_HOST_SLOW_MAX_MS ? slow_ms : DRAY_HOST_SLOW_MAX_MS) - 1);
        assert_true(look(host).slow);
        pass(1);
    }
    request(host, &fast);
    dray_host_slow(host);
    pass(DRAY_HOST_SLOW_MS);
    assert_false(look(host).slow);
    dray_hosts_free(hosts);
}

static void only_what_answered_mends_and_only_silence_breaks(void **state)
{
    static const struct {
        struct dray_host_outcome outcome;
        bool breaks;
        bool mends;
    } cases[] = {
        { { .code = DRAY_OK, .first_byte_ms = 3 }, false, true },
        { { .code = DRAY_EUNREACHABLE, .first_byte_ms = -1 }, true, false },
        { { .code = DRAY_EUNREACHABLE, .sys_errno = ECONNREFUSED, .first_byte_ms = -1 },
          true,
          false },
        /* TLS is spoken there, but a certificate was refused. */
        { { .code = DRAY_EUNREACHABLE, .sys_errno = EKEYREJECTED, .first_byte_ms = -1 },
          false,
          true },
        { { .code = DRAY_EUNREACHABLE, .http_status = 407, .first_byte_ms = -1 }, false, true },
        { { .code = DRAY_ETRANSIENT, .http_status = 500, .first_byte_ms = -1 }, false, true },
        { { .code = DRAY_ETRANSIENT, .first_byte_ms = 3 }, false, true },
        { { .code = DRAY_ETRANSIENT, .first_byte_ms = -1 }, false, false },
        { { .code = DRAY_ENOTFOUND, .http_status = 404, .first_byte_ms = -1 }, false, true },
        { { .code = DRAY_EAUTH, .http_status = 401, .first_byte_ms = -1 }, false, true },
        { { .code = DRAY_EDIGEST, .first_byte_ms = -1 }, false, true },
        { { .code = DRAY_EPROTO, .first_byte_ms = -1 }, false, true },
        { { .code = DRAY_EUNSUPPORTED, .first_byte_ms = -1 }, false, true },
        { { .code = DRAY_ECANCELED, .first_byte_ms = -1 }, false, false },
        { { .code = DRAY_ECANCELED, .first_byte_ms = 3 }, false, true },
        { { .code = DRAY_ENOMEM, .first_byte_ms = -1 }, false, false },
        { { .code = DRAY_EINVAL, .first_byte_ms = -1 }, false, false },
        { { .code = DRAY_ENOSPC, .first_byte_ms = -1 }, false, false },
        { { .code = DRAY_ESTORE, .first_byte_ms = -1 }, false, false },
        { { .code = DRAY_EIO, .first_byte_ms = -1 }, false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dray_hosts *hosts = make_hosts(4);
        struct dray_host *whole = host_of(hosts, "whole");
        struct dray_host *broken = host_of(hosts, "broken");

        request(whole, &cases[i].outcome);
        assert_int_equal(look(whole).broken, cases[i].breaks);
        enter_times(broken, 2);
        leave_failed(broken, DRAY_EUNREACHABLE);
        dray_host_leave(broken, &cases[i].outcome);
        assert_int_equal(look(broken).broken, !cases[i].mends);
        dray_hosts_free(hosts);
    }
}

static void overload_takes_slots_away_and_other_failures_do_not(void **state)
{
    struct dray_hosts *hosts = make_hosts(8);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    request_that_is_refused(host, 500, 0);
    request_that_fails(host, DRAY_ETRANSIENT);
    request_that_fails(host, DRAY_ENOTFOUND);
    assert_int_equal(look(host).slots, 8);
    request_that_is_refused(host, 429, 0);
    assert_int_equal(look(host).slots, 4);
    pass(DRAY_LIMITER_CUT_MS);
    request_that_is_refused(host, 503, 0);
    assert_int_equal(look(host).slots, 2);

    /* And good answers give them back. */
    enter_times(host, 2);
    assert_int_equal(look(host).in_use, 2);
    assert_false(dray_host_enter(host, 0, false));
    for (int i = 0; i < 2; i++)
        dray_host_leave(host, &(struct dray_host_outcome){ .code = DRAY_OK, .bytes = 1000 });
    assert_int_equal(look(host).slots, 3);
    dray_hosts_free(hosts);
}

static void what_was_seen_is_counted(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);
    struct dray_quota quota = { .known = true, .remaining = 76, .limit = 100, .window_s = 21600 };
    struct dray_host_view view;

    (void)state;
    request(host, &(struct dray_host_outcome){ .code = DRAY_OK, .bytes = 1000 });
    request(host, &(struct dray_host_outcome){ .code = DRAY_ECANCELED, .bytes = 500 });
    request(host, &(struct dray_host_outcome){ .code = DRAY_ENOSPC, .bytes = 50 });
    request(host, &(struct dray_host_outcome){ .code = DRAY_ETRANSIENT, .stalled = true });
    request_that_is_refused(host, 429, 0);
    request_that_is_refused(host, 503, 0);
    request_that_fails(host, DRAY_EUNREACHABLE);
    dray_host_wrong_bytes(host);
    assert_true(dray_host_bad_range(host));
    dray_host_quota(host, &quota);
    dray_host_quota(host, &(struct dray_quota){ .known = false });

    view = look(host);
    assert_int_equal(view.requests, 7);
    assert_int_equal(view.bytes, 1550);
    assert_int_equal(view.failures, 4); /* not that it was stopped here, nor our full disk */
    assert_int_equal(view.connect_failures, 1);
    assert_int_equal(view.stalls, 1);
    assert_int_equal(view.overloads, 2);
    assert_int_equal(view.wrong_blobs, 1);
    assert_false(view.ranges);
    assert_true(view.quota.known);
    assert_int_equal(view.quota.remaining, 76);
    assert_int_equal(view.quota.limit, 100);
    assert_int_equal(view.quota.window_s, 21600);
    dray_hosts_free(hosts);
}

static void download(struct dray_host *host, uint64_t bytes, int64_t body_ms)
{
    request(host, &(struct dray_host_outcome){ .code = DRAY_OK,
                                               .bytes = bytes,
                                               .first_byte_ms = 40,
                                               .duration_ms = 40 + body_ms });
}

static void the_rate_is_that_of_bodies_large_or_long_enough(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);

    (void)state;
    download(host, 1000, 1); /* a manifest */
    download(host, 0, 1000); /* nothing came at all */
    request_that_fails(host, DRAY_ETRANSIENT);
    assert_int_equal(look(host).rate_bytes_per_s, 0);
    download(host, 10000, 200); /* slow is as good a sample as large */
    assert_int_equal(look(host).rate_bytes_per_s, 50000);
    for (int i = 0; i < 50; i++)
        download(host, 256 << 10, 10);
    assert_in_range(look(host).rate_bytes_per_s, 26200000, 26214400);
    download(host, 1 << 30, 0); /* within one tick of the clock */
    assert_true(look(host).rate_bytes_per_s > 26214400);
    dray_hosts_free(hosts);
}

static void times_to_the_first_byte_are_smoothed(void **state)
{
    struct dray_hosts *hosts = make_hosts(4);
    struct dray_host *host = host_of(hosts, ORIGIN);
    struct dray_host_outcome outcome = { .code = DRAY_OK, .first_byte_ms = 100 };

    (void)state;
    request(host, &outcome);
    assert_int_equal(look(host).first_byte_ms, 100);
    outcome.first_byte_ms = 500;
    request(host, &outcome);
    assert_int_equal(look(host).first_byte_ms, 200);
    request_that_fails(host, DRAY_ETRANSIENT); /* tells nothing */
    assert_int_equal(look(host).first_byte_ms, 200);
    dray_hosts_free(hosts);
}

/* Threads that do what workers do, in an order that the seed decides. */
#define SLOTS   4
#define THREADS 8
#define STEPS   20000

struct walk {
    struct dray_hosts *hosts;
    uint32_t seed;
    atomic_int *inside; /* of each host */
    atomic_bool *wrong;
};

static uint32_t draw(uint32_t *seed, uint32_t below)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed % below;
}

static struct dray_host_outcome draw_outcome(uint32_t *seed)
{
    static const int codes[] = { DRAY_OK, DRAY_OK, DRAY_OK, DRAY_ETRANSIENT, DRAY_ECANCELED };
    static const int statuses[] = { 0, 0, 0, 429, 503, 404 };
    struct dray_host_outcome outcome = { .code = codes[draw(seed, 5)] };

    if (draw(seed, 50) == 0) /* rarely, for it keeps all out for long */
        outcome.code = DRAY_EUNREACHABLE;
    if (outcome.code == DRAY_ETRANSIENT)
        outcome.http_status = statuses[draw(seed, 6)];
    outcome.pause_ms = outcome.http_status == 429 ? draw(seed, 2000) : 0;
    outcome.first_byte_ms = outcome.code == DRAY_OK ? draw(seed, 100) : (int64_t)draw(seed, 3) - 1;
    outcome.duration_ms = outcome.first_byte_ms + draw(seed, 1000);
    outcome.bytes = draw(seed, 1 << 20);
    return outcome;
}

static void *walk(void *arg)
{
    static const char *const origins[] = { "a", "b" };
    struct walk *mine = arg;

    for (int i = 0; i < STEPS; i++) {
        uint32_t which = draw(&mine->seed, 2);
        struct dray_host *host = NULL;
        struct dray_host_outcome outcome = draw_outcome(&mine->seed);
        struct dray_host_view view;
        int64_t wait_ms = -1;
        enum dray_host_gate gate;

        if (dray_hosts_get(mine->hosts, origins[which], &host, NULL) < 0)
            break;
        gate = dray_host_gate(host, &wait_ms);
        if ((gate == DRAY_HOST_OPEN) != (wait_ms == 0) || wait_ms < 0 ||
            wait_ms > DRAY_HOST_BREAK_MAX_MS)
            atomic_store(mine->wrong, true);
        pass(draw(&mine->seed, 50));
        if (gate != DRAY_HOST_OPEN || draw(&mine->seed, 10) == 0) /* stopped before it entered */
            continue;
        if (!dray_host_enter(host, draw(&mine->seed, 2), draw(&mine->seed, 10) == 0))
            continue;
        if (atomic_fetch_add(&mine->inside[which], 1) >= SLOTS)
            atomic_store(mine->wrong, true);
        dray_host_look(host, &view);
        if (view.slots < 1 || view.slots > SLOTS || view.in_use > SLOTS)
            atomic_store(mine->wrong, true);
        atomic_fetch_sub(&mine->inside[which], 1);
        dray_host_leave(host, &outcome);
    }
    return NULL;
}

static void any_order_of_events_keeps_the_slots_and_ends_open(void **state)
{
    struct dray_hosts *hosts = make_hosts(SLOTS);
    atomic_int inside[2] = { 0 };
    atomic_bool wrong = false;
    struct walk walks[THREADS];
    pthread_t threads[THREADS];
    uint32_t seed = (uint32_t)dray_now_ms() | 1;

    (void)state;
    print_message("seed %u\n", seed);
    for (uint32_t i = 0; i < THREADS; i++) {
        walks[i] = (struct walk){ hosts, (seed + 2 * i) | 1, inside, &wrong };
        assert_int_equal(pthread_create(&threads[i], NULL, walk, &walks[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);

    assert_false(wrong);
    pass(DRAY_HOST_BREAK_MAX_MS);
    for (int i = 0; i < 2; i++) {
        struct dray_host *host = host_of(hosts, i == 0 ? "a" : "b");
        uint32_t slots;

        assert_gate(host, DRAY_HOST_OPEN, 0);
        request(host, &(struct dray_host_outcome){ .code = DRAY_OK }); /* a probe, perhaps */
        slots = look(host).slots;
        assert_int_equal(look(host).in_use, 0);
        enter_times(host, (int)slots);
        assert_false(dray_host_enter(host, 0, false));
        for (uint32_t slot = 0; slot < slots; slot++)
            leave_failed(host, DRAY_ECANCELED);
    }
    dray_hosts_free(hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_origin_is_one_host),
        cmocka_unit_test(hosts_are_listed_as_they_were_met),
        cmocka_unit_test(a_new_host_is_open_and_nothing_is_known_of_it),
        cmocka_unit_test(the_longest_pause_asked_for_is_kept_by_all),
        cmocka_unit_test(who_waited_for_a_slot_keeps_the_pause_too),
        cmocka_unit_test(one_hosts_trouble_is_not_anothers),
        cmocka_unit_test(out_of_reach_breaks_it_and_lets_one_probe_through),
        cmocka_unit_test(each_probe_that_fails_doubles_the_time_out),
        cmocka_unit_test(requests_that_fail_together_break_it_once),
        cmocka_unit_test(a_probe_that_says_nothing_is_forgotten),
        cmocka_unit_test(one_bad_range_of_a_good_host_is_forgiven),
        cmocka_unit_test(who_has_no_other_host_enters_though_it_is_broken),
        cmocka_unit_test(a_pause_is_kept_by_the_probe_too),
        cmocka_unit_test(a_slow_host_comes_last_for_longer_each_time_until_it_is_fast_again),
        cmocka_unit_test(only_what_answered_mends_and_only_silence_breaks),
        cmocka_unit_test(overload_takes_slots_away_and_other_failures_do_not),
        cmocka_unit_test(what_was_seen_is_counted),
        cmocka_unit_test(the_rate_is_that_of_bodies_large_or_long_enough),
        cmocka_unit_test(times_to_the_first_byte_are_smoothed),
        cmocka_unit_test(any_order_of_events_keeps_the_slots_and_ends_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
