/* The route: which endpoint is asked next, and whose fault a wrong whole was. */
#include "workers/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/error.h"
#include "storage/segment_map.h"

#define PLACES 4

/* Two mirrors, then the upstream by https and by http. */
struct fixture {
    struct dray_hosts *hosts;
    struct dray_engine engine;
    struct dray_endpoint endpoints[PLACES];
    struct dray_source source;
    struct dray_route route;
};

enum { MIRROR_A, MIRROR_B, UPSTREAM, UPSTREAM_HTTP };

static int set_up(void **state)
{
    static char origins[PLACES][24] = { "http://a.test", "http://b.test", "https://up.test",
                                        "http://up.test" };
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    assert_int_equal(dray_hosts_new(8, &fixture->hosts, NULL), DRAY_OK);
    fixture->engine.hosts = fixture->hosts;
    fixture->engine.retries = 2;
    for (size_t i = 0; i < PLACES; i++)
        fixture->endpoints[i] = (struct dray_endpoint){ .url = origins[i],
                                                        .origin = origins[i],
                                                        .mirror = i < UPSTREAM };
    fixture->source.engine = &fixture->engine;
    fixture->source.endpoints.items = fixture->endpoints;
    fixture->source.endpoints.count = PLACES;
    assert_int_equal(dray_route_init(&fixture->route, &fixture->source, NULL), DRAY_OK);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    dray_route_done(&fixture->route);
    dray_hosts_free(fixture->hosts);
    free(fixture);
    return 0;
}

/* The place that is chosen; -1: none, -2: later. */
static int choose(struct fixture *fixture, enum dray_route_purpose purpose, size_t slow_place)
{
    int64_t wait_ms = 0;
    size_t place = 0;

    switch (dray_route_choose(&fixture->route, purpose, slow_place, &place, &wait_ms)) {
    case DRAY_ROUTE_GO:
        return (int)place;
    case DRAY_ROUTE_LATER:
        assert_true(wait_ms > 0);
        return -2;
    case DRAY_ROUTE_NONE:
        break;
    }
    return -1;
}

static int first(struct fixture *fixture)
{
    return choose(fixture, DRAY_ROUTE_FIRST, 0);
}

/* A request there brought this many bytes in a second. */
static void measure(struct fixture *fixture, size_t place, uint64_t bytes)
{
    struct dray_host *host = fixture->route.places[place].host;
    const struct dray_host_outcome outcome = { .bytes = bytes,
                                               .duration_ms = 1000,
                                               .first_byte_ms = 1 };

    assert_true(dray_host_enter(host, 0, false));
    dray_host_leave(host, &outcome);
}

static bool lose(struct fixture *fixture, size_t place, int code)
{
    struct dray_error err = { 0 };
    int64_t delay_ms;

    dray_error_set(&err, code, "%s: trouble", fixture->endpoints[place].origin);
    return dray_route_failed(&fixture->route, place, &err, dray_now_ms(), 0, false, &delay_ms);
}

static void mirrors_come_first_and_in_order(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(first(fixture), MIRROR_A);
    assert_false(lose(fixture, MIRROR_A, DRAY_ENOTFOUND));
    assert_int_equal(first(fixture), MIRROR_B);
    assert_false(lose(fixture, MIRROR_B, DRAY_ENOTFOUND));
    assert_int_equal(first(fixture), UPSTREAM);
}

static void plain_http_comes_only_after_https_could_not_be_reached(void **state)
{
    struct fixture *fixture = *state;

    lose(fixture, MIRROR_A, DRAY_ENOTFOUND);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    assert_int_equal(first(fixture), UPSTREAM);
    assert_false(lose(fixture, UPSTREAM, DRAY_EUNREACHABLE));
    assert_int_equal(first(fixture), UPSTREAM_HTTP);
}

static void plain_http_comes_at_once_where_nobody_speaks_https_any_more(void **state)
{
    struct fixture *fixture = *state;
    struct dray_host *host = fixture->route.places[UPSTREAM].host;
    const struct dray_host_outcome lost = { .code = DRAY_EUNREACHABLE, .first_byte_ms = -1 };

    lose(fixture, MIRROR_A, DRAY_ENOTFOUND);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    assert_true(dray_host_enter(host, 0, false));
    dray_host_leave(host, &lost); /* with another blob */
    assert_int_equal(first(fixture), UPSTREAM_HTTP);
}

static void plain_http_never_comes_after_https_answered(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };

    lose(fixture, MIRROR_A, DRAY_ENOTFOUND);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    assert_false(lose(fixture, UPSTREAM, DRAY_EAUTH));
    assert_int_equal(first(fixture), -1);
    assert_int_equal(dray_route_error(&fixture->route, &err), DRAY_EAUTH);
    assert_non_null(strstr(err.text, "http://a.test: trouble"));
    assert_non_null(strstr(err.text, "https://up.test: trouble"));
}

static void the_faster_mirror_is_preferred(void **state)
{
    struct fixture *fixture = *state;

    measure(fixture, MIRROR_A, 1 << 20);
    assert_int_equal(first(fixture), MIRROR_A); /* b is unknown */
    measure(fixture, MIRROR_B, 3 << 20);
    assert_int_equal(first(fixture), MIRROR_B);
}

static void a_second_connection_tries_an_unknown_mirror(void **state)
{
    struct fixture *fixture = *state;

    measure(fixture, MIRROR_A, 1 << 20);
    assert_int_equal(choose(fixture, DRAY_ROUTE_BESIDE, 0), MIRROR_B);
    /* One trial at a time. */
    assert_true(dray_host_enter(fixture->route.places[MIRROR_B].host, 0, false));
    assert_int_equal(choose(fixture, DRAY_ROUTE_BESIDE, 0), MIRROR_A);
    dray_host_leave(fixture->route.places[MIRROR_B].host, &(struct dray_host_outcome){ 0 });
}

static void the_upstream_is_spared_unless_it_is_several_times_faster(void **state)
{
    struct fixture *fixture = *state;

    measure(fixture, MIRROR_A, 1 << 20);
    measure(fixture, MIRROR_B, 1 << 20);
    measure(fixture, UPSTREAM, 3 << 20);
    assert_int_equal(first(fixture), MIRROR_A);
    for (int i = 0; i < 20; i++)
        measure(fixture, UPSTREAM, 50 << 20);
    assert_int_equal(first(fixture), UPSTREAM);
}

static void a_slow_endpoint_is_left_while_there_is_a_better_one(void **state)
{
    struct fixture *fixture = *state;

    measure(fixture, MIRROR_A, 4 << 20);
    measure(fixture, MIRROR_B, 1 << 20);
    measure(fixture, UPSTREAM, 1 << 20);
    assert_false(dray_route_leave_slow(&fixture->route, MIRROR_A, 300 << 10));
    assert_int_equal(first(fixture), MIRROR_A);
    assert_true(dray_route_leave_slow(&fixture->route, MIRROR_A, 200 << 10));
    assert_int_equal(first(fixture), MIRROR_B);
    assert_false(dray_route_leave_slow(&fixture->route, MIRROR_B, 1 << 20));
}

static void in_place_of_a_slow_one_another_is_asked(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(choose(fixture, DRAY_ROUTE_INSTEAD, MIRROR_A), MIRROR_B);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    assert_int_equal(choose(fixture, DRAY_ROUTE_INSTEAD, MIRROR_A), UPSTREAM);
    lose(fixture, UPSTREAM, DRAY_ENOTFOUND);
    assert_int_equal(choose(fixture, DRAY_ROUTE_INSTEAD, MIRROR_A), MIRROR_A); /* the only one */
}

static void a_silent_endpoint_is_left_once_and_then_has_to_stall(void **state)
{
    struct fixture *fixture = *state;

    assert_true(dray_route_leave_slow(&fixture->route, MIRROR_A, 0));
    assert_false(dray_route_leave_slow(&fixture->route, MIRROR_A, 0));
    dray_route_succeeded(&fixture->route, MIRROR_A);
    assert_true(dray_route_leave_slow(&fixture->route, MIRROR_A, 0));
}

static void requests_that_fail_together_are_one_failure(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };
    int64_t before_ms = dray_now_ms() - 1000;
    int64_t delay_ms;

    dray_error_set(&err, DRAY_ETRANSIENT, "reset");
    for (int i = 0; i < 50; i++)
        assert_true(
            dray_route_failed(&fixture->route, UPSTREAM, &err, before_ms, 0, false, &delay_ms));
    assert_int_equal(fixture->route.places[UPSTREAM].retry.failures, 1);
}

static void a_refusal_beside_a_request_that_goes_on_is_no_failure(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };
    int64_t delay_ms;

    dray_error_set(&err, DRAY_ETRANSIENT, "HTTP 503");
    err.http_status = 503;
    for (int i = 0; i < 50; i++)
        assert_true(
            dray_route_failed(&fixture->route, UPSTREAM, &err, INT64_MAX, 0, true, &delay_ms));
    assert_int_equal(fixture->route.places[UPSTREAM].retry.failures, 0);
    for (int i = 0; i < 2; i++)
        assert_true(
            dray_route_failed(&fixture->route, UPSTREAM, &err, INT64_MAX, 0, false, &delay_ms));
    assert_false(
        dray_route_failed(&fixture->route, UPSTREAM, &err, INT64_MAX, 0, false, &delay_ms));
}

static void a_passing_fault_sends_us_elsewhere_for_a_while(void **state)
{
    struct fixture *fixture = *state;

    /* The delay is random, and may be 0 or too long to wait for. */
    for (int i = 0; i < 3; i++)
        lose(fixture, MIRROR_A, DRAY_ETRANSIENT);
    assert_int_not_equal(first(fixture), -1);
    assert_int_not_equal(first(fixture), -2);
}

static void a_broken_host_is_passed_by_unless_it_is_the_only_one(void **state)
{
    struct fixture *fixture = *state;
    struct dray_host *host = fixture->route.places[MIRROR_A].host;
    const struct dray_host_outcome lost = { .code = DRAY_EUNREACHABLE, .first_byte_ms = -1 };

    assert_true(dray_host_enter(host, 0, false));
    dray_host_leave(host, &lost);
    assert_int_equal(first(fixture), MIRROR_B);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    lose(fixture, UPSTREAM, DRAY_ENOTFOUND);
    assert_int_equal(first(fixture), MIRROR_A);
}

static void a_host_without_ranges_is_asked_for_no_parts(void **state)
{
    struct fixture *fixture = *state;

    assert_true(dray_host_bad_range(fixture->route.places[MIRROR_A].host));
    assert_int_equal(choose(fixture, DRAY_ROUTE_BESIDE, 0), MIRROR_B);
    assert_int_equal(first(fixture), MIRROR_A);
    assert_true(dray_host_bad_range(fixture->route.places[MIRROR_B].host));
    assert_true(dray_host_bad_range(fixture->route.places[UPSTREAM].host));
    assert_int_equal(choose(fixture, DRAY_ROUTE_BESIDE, 0), -2);
    assert_int_equal(choose(fixture, DRAY_ROUTE_INSTEAD, MIRROR_A), -2);
}

static void a_host_without_a_free_slot_is_passed_by(void **state)
{
    struct fixture *fixture = *state;
    struct dray_host *host = fixture->route.places[MIRROR_A].host;

    for (int i = 0; i < 8; i++)
        assert_true(dray_host_enter(host, 0, false));
    assert_int_equal(first(fixture), MIRROR_B);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    lose(fixture, UPSTREAM, DRAY_ENOTFOUND);
    assert_int_equal(first(fixture), MIRROR_A); /* to wait there */
    for (int i = 0; i < 8; i++)
        dray_host_leave(host, &(struct dray_host_outcome){ .first_byte_ms = -1 });
}

static void a_slow_host_comes_last_for_all_blobs(void **state)
{
    struct fixture *fixture = *state;
    struct dray_route other;

    assert_int_equal(dray_route_init(&other, &fixture->source, NULL), DRAY_OK);
    assert_true(dray_route_leave_slow(&other, MIRROR_A, 0));
    assert_int_equal(first(fixture), MIRROR_B);
    dray_host_slow(fixture->route.places[MIRROR_B].host);
    assert_int_equal(first(fixture), UPSTREAM);
    dray_host_slow(fixture->route.places[UPSTREAM].host);
    assert_true(first(fixture) >= 0); /* slow is better than nobody */
    dray_route_done(&other);
}

static void instead_of_a_fast_host_that_hangs_no_crawling_one_is_asked(void **state)
{
    struct fixture *fixture = *state;

    measure(fixture, MIRROR_A, 40 << 20);
    measure(fixture, MIRROR_B, 10 << 10);
    measure(fixture, UPSTREAM, 10 << 10);
    assert_int_equal(choose(fixture, DRAY_ROUTE_INSTEAD, MIRROR_A), MIRROR_A);
}

/* Else a busy upstream would be given up because of a mirror that died. */
static void a_broken_endpoint_is_no_alternative(void **state)
{
    struct fixture *fixture = *state;
    struct dray_host *host = fixture->route.places[MIRROR_A].host;
    const struct dray_host_outcome lost = { .code = DRAY_EUNREACHABLE, .first_byte_ms = -1 };
    struct dray_error err = { 0 };
    int64_t delay_ms;

    assert_true(dray_host_enter(host, 0, false));
    dray_host_leave(host, &lost);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    dray_error_set(&err, DRAY_ETRANSIENT, "HTTP 503");
    err.http_status = 503;
    err.retry_after_ms = 10 * 1000;
    assert_true(
        dray_route_failed(&fixture->route, UPSTREAM, &err, dray_now_ms(), 0, false, &delay_ms));
    assert_true(delay_ms >= 10 * 1000);
}

static void an_endpoint_is_given_up_once(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };
    const char *text;

    for (int i = 0; i < 8; i++)
        lose(fixture, MIRROR_A, DRAY_ENOTFOUND);
    lose(fixture, MIRROR_B, DRAY_ENOTFOUND);
    lose(fixture, UPSTREAM, DRAY_ENOTFOUND);
    assert_int_equal(dray_route_error(&fixture->route, &err), DRAY_ENOTFOUND);
    text = strstr(err.text, "http://a.test: trouble");
    assert_non_null(text);
    assert_null(strstr(text + 1, "http://a.test: trouble"));
}

static void who_alone_brought_wrong_bytes_is_given_up(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };

    dray_error_set(&err, DRAY_EDIGEST, "expected x, got y");
    assert_int_equal(dray_route_wrong_bytes(&fixture->route, 1u << MIRROR_A, false, &err),
                     MIRROR_A);
    assert_int_equal(first(fixture), MIRROR_B);
}

static void answers_that_do_not_fit_together_are_tried_in_one_piece(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };

    dray_error_set(&err, DRAY_EDIGEST, "expected x, got y");
    assert_int_equal(dray_route_wrong_bytes(&fixture->route, 1u << MIRROR_A, true, &err), -1);
    assert_int_equal(first(fixture), MIRROR_A);
    assert_true(fixture->route.places[MIRROR_A].in_one_piece);
    /* Only once, even if it breaks off again. */
    assert_int_equal(dray_route_wrong_bytes(&fixture->route, 1u << MIRROR_A, true, &err), MIRROR_A);
    assert_int_not_equal(first(fixture), MIRROR_A);
}

static void after_a_mixture_went_wrong_one_brings_it_all(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };

    dray_error_set(&err, DRAY_EDIGEST, "expected x, got y");
    assert_int_equal(
        dray_route_wrong_bytes(&fixture->route, 1u << MIRROR_A | 1u << MIRROR_B, true, &err), -1);
    assert_int_equal(first(fixture), UPSTREAM);
    assert_int_equal(choose(fixture, DRAY_ROUTE_BESIDE, 0), UPSTREAM);
    /* It is wrong there, too: then the next one alone. */
    assert_int_equal(dray_route_wrong_bytes(&fixture->route, 1u << UPSTREAM, false, &err),
                     UPSTREAM);
    assert_int_equal(first(fixture), MIRROR_B);
    assert_int_equal(dray_route_wrong_bytes(&fixture->route, 1u << MIRROR_B, false, &err),
                     MIRROR_B);
    assert_int_equal(dray_route_wrong_bytes(&fixture->route, 1u << MIRROR_A, false, &err),
                     MIRROR_A);
    assert_int_equal(first(fixture), -1);
    assert_int_equal(dray_route_error(&fixture->route, &err), DRAY_EDIGEST);
}

static void what_an_earlier_run_left_blames_nobody(void **state)
{
    struct fixture *fixture = *state;
    struct dray_error err = { 0 };

    dray_error_set(&err, DRAY_EDIGEST, "expected x, got y");
    assert_int_equal(dray_route_wrong_bytes(&fixture->route,
                                            1u << MIRROR_A | UINT64_C(1) << DRAY_ORIGIN_RESUMED,
                                            true, &err),
                     -1);
    assert_int_equal(
        dray_route_wrong_bytes(&fixture->route, UINT64_C(1) << DRAY_ORIGIN_RESUMED, false, &err),
        -1);
    assert_int_not_equal(first(fixture), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(mirrors_come_first_and_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain_http_comes_only_after_https_could_not_be_reached,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain_http_comes_at_once_where_nobody_speaks_https_any_more,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(plain_http_never_comes_after_https_answered, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_faster_mirror_is_preferred, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_connection_tries_an_unknown_mirror, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_upstream_is_spared_unless_it_is_several_times_faster,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_endpoint_is_left_while_there_is_a_better_one, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(in_place_of_a_slow_one_another_is_asked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_silent_endpoint_is_left_once_and_then_has_to_stall,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(requests_that_fail_together_are_one_failure, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_refusal_beside_a_request_that_goes_on_is_no_failure,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_passing_fault_sends_us_elsewhere_for_a_while, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_broken_host_is_passed_by_unless_it_is_the_only_one,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_host_without_ranges_is_asked_for_no_parts, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_host_without_a_free_slot_is_passed_by, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slow_host_comes_last_for_all_blobs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(instead_of_a_fast_host_that_hangs_no_crawling_one_is_asked,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_broken_endpoint_is_no_alternative, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_endpoint_is_given_up_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_alone_brought_wrong_bytes_is_given_up, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(answers_that_do_not_fit_together_are_tried_in_one_piece,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(after_a_mixture_went_wrong_one_brings_it_all, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_an_earlier_run_left_blames_nobody, set_up, tear_down),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
