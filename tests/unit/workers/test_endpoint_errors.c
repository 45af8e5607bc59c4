/* What an endpoint walk tells the user, and which endpoints it may still try. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/error.h"
#include "workers/endpoint_errors.h"

static char mirror_url[] = "https://mirror.example";
static char https_url[] = "https://r.example:5000";
static char http_url[] = "http://r.example:5000";

static const struct dray_endpoint mirror = { .url = mirror_url, .origin = mirror_url };
static const struct dray_endpoint https = { .url = https_url, .origin = https_url };
static const struct dray_endpoint http = { .url = http_url, .origin = http_url };

static void add(struct dray_endpoint_errors *errors, const struct dray_endpoint *endpoint, int code,
                int http_status, const char *text)
{
    struct dray_error err = { 0 };

    dray_error_set(&err, code, "%s", text);
    err.http_status = http_status;
    dray_endpoint_errors_add(errors, endpoint, &err);
}

static void errors_are_joined_one_line_each_in_endpoint_order(void **state)
{
    struct dray_endpoint_errors errors = { 0 };
    struct dray_error err = { 0 };

    (void)state;
    add(&errors, &mirror, DRAY_EUNREACHABLE, 0, "mirror: down");
    add(&errors, &https, DRAY_ENOTFOUND, 404, "upstream: no such image");
    assert_int_equal(dray_endpoint_errors_join(&errors, &err), DRAY_ENOTFOUND);
    assert_string_equal(err.text, "mirror: down\nupstream: no such image");
    assert_int_equal(err.http_status, 404);
}

static void text_that_looks_like_a_format_survives(void **state)
{
    struct dray_endpoint_errors errors = { 0 };
    struct dray_error err = { 0 };

    (void)state;
    add(&errors, &https, DRAY_EPROTO, 400, "GET /v2/a%2Fb%s: 400");
    dray_endpoint_errors_join(&errors, &err);
    assert_string_equal(err.text, "GET /v2/a%2Fb%s: 400");
}

static void an_empty_walk_says_so(void **state)
{
    struct dray_endpoint_errors errors = { 0 };
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dray_endpoint_errors_join(&errors, &err), DRAY_EUNREACHABLE);
    assert_string_equal(err.text, "no endpoint to ask");
}

static void plain_http_is_not_tried_where_https_answered(void **state)
{
    static const struct {
        int code;
        int http_status;
        bool allowed;
    } cases[] = {
        { DRAY_EUNREACHABLE, 0, true },  /* refused, TLS failure */
        { DRAY_ETRANSIENT, 0, true },    /* reset in the handshake */
        { DRAY_ETRANSIENT, 503, false }, /* it answered */
        { DRAY_ENOTFOUND, 404, false },  { DRAY_EAUTH, 401, false },
        { DRAY_EDIGEST, 0, false },      { DRAY_EPROTO, 0, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dray_endpoint_errors errors = { 0 };

        add(&errors, &https, cases[i].code, cases[i].http_status, "x");
        assert_int_equal(dray_endpoint_errors_allow(&errors, &http), cases[i].allowed);
        assert_true(dray_endpoint_errors_allow(&errors, &mirror));
    }
}

static void a_refused_certificate_is_no_reason_to_try_plain_http(void **state)
{
    struct dray_endpoint_errors errors = { 0 };
    struct dray_error err = { 0 };

    (void)state;
    dray_error_set(&err, DRAY_EUNREACHABLE, "unknown authority");
    err.sys_errno = EKEYREJECTED;
    dray_endpoint_errors_add(&errors, &https, &err);
    assert_false(dray_endpoint_errors_allow(&errors, &http));
}

static void an_unreachable_https_is_not_mentioned_once_http_answered(void **state)
{
    struct dray_endpoint_errors errors = { 0 };
    struct dray_error err = { 0 };

    (void)state;
    add(&errors, &mirror, DRAY_ENOTFOUND, 404, "mirror: 404");
    add(&errors, &https, DRAY_EUNREACHABLE, 0, "TLS: wrong version number");
    add(&errors, &http, DRAY_ENOTFOUND, 404, "http: 404");
    dray_endpoint_errors_join(&errors, &err);
    assert_string_equal(err.text, "mirror: 404\nhttp: 404");
}

static void both_are_mentioned_when_neither_answers(void **state)
{
    struct dray_endpoint_errors errors = { 0 };
    struct dray_error err = { 0 };

    (void)state;
    add(&errors, &https, DRAY_EUNREACHABLE, 0, "https: refused");
    add(&errors, &http, DRAY_EUNREACHABLE, 0, "http: refused");
    dray_endpoint_errors_join(&errors, &err);
    assert_string_equal(err.text, "https: refused\nhttp: refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_joined_one_line_each_in_endpoint_order),
        cmocka_unit_test(text_that_looks_like_a_format_survives),
        cmocka_unit_test(an_empty_walk_says_so),
        cmocka_unit_test(plain_http_is_not_tried_where_https_answered),
        cmocka_unit_test(a_refused_certificate_is_no_reason_to_try_plain_http),
        cmocka_unit_test(an_unreachable_https_is_not_mentioned_once_http_answered),
        cmocka_unit_test(both_are_mentioned_when_neither_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
