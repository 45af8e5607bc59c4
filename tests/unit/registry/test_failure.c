#include "registry/failure.h"

#include <errno.h>
#include <time.h>

#include "tests/unit/registry/fixture.h"

#define NOW INT64_C(1700000000) /* Tue, 14 Nov 2023 22:13:20 GMT */

/* H-28 */
static void retry_after_takes_seconds_and_dates_and_ignores_junk(void **state)
{
    static const struct {
        const char *value;
        int64_t want_ms;
    } rows[] = {
        { NULL, 0 },
        { "", 0 },
        { "0", 0 },
        { "1", 1000 },
        { "3600", DRAY_RETRY_AFTER_MAX_MS },
        { "31536000", DRAY_RETRY_AFTER_MAX_MS },
        { "99999999999999999999999", DRAY_RETRY_AFTER_MAX_MS },
        { "-5", 0 },
        { "5x", 0 },
        { "1.5", 0 },
        { "soon", 0 },
        { "880.092\xc2\xb5s", 0 }, /* what a rate limiter of Go's made of it */
        { "120s", 0 },
        { "1e3", 0 },
        { "0x10", 0 },
        { "1, 2", 0 },
        { "Tuesday, 14-Nov-23 22:13:30 GMT", 10000 }, /* RFC 850 */
        { "Tue Nov 14 22:13:30 2023", 10000 },        /* asctime() */
        { "Tue, 99 Nov 2023 22:13:30 GMT", 0 },
        { "Fri, 31 Dec 9999 23:59:59 GMT", DRAY_RETRY_AFTER_MAX_MS },
        { "Tue, 14 Nov 2023 22:13:30 GMT", 10000 },
        { "Tue, 14 Nov 2023 22:13:20 GMT", 0 },
        { "Tue, 14 Nov 2023 22:13:10 GMT", 0 },
        { "Thu, 14 Nov 2024 22:13:10 GMT", DRAY_RETRY_AFTER_MAX_MS },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (dray_retry_after_ms(rows[i].value, NOW) != rows[i].want_ms)
            fail_msg("%s: %lld", rows[i].value, (long long)dray_retry_after_ms(rows[i].value, NOW));
}

static int judge_status(int status, const char *header, const char *body, bool foreign,
                        struct dray_error *err)
{
    DRAY_AUTO_HTTP_RESPONSE struct dray_http_response response = { 0 };

    response.status = status;
    response.foreign = foreign;
    response.url = url_of("https://registry.test", "/v2/x/manifests/y?secret");
    assert_ok(dray_buf_append(&response.header, header, strlen(header) + 1, SIZE_MAX - 1));
    assert_ok(dray_buf_append(&response.body, body, strlen(body), SIZE_MAX - 1));
    return dray_failure_from_status(&response, err);
}

/* V2-13 */
static void each_status_is_one_decision(void **state)
{
    static const struct {
        int status;
        int want;
    } rows[] = {
        { 401, DRAY_EAUTH },      { 403, DRAY_EAUTH },        { 404, DRAY_ENOTFOUND },
        { 408, DRAY_ETRANSIENT }, { 425, DRAY_ETRANSIENT },   { 429, DRAY_ETRANSIENT },
        { 500, DRAY_ETRANSIENT }, { 502, DRAY_ETRANSIENT },   { 503, DRAY_ETRANSIENT },
        { 504, DRAY_ETRANSIENT }, { 599, DRAY_ETRANSIENT },   { 400, DRAY_EPROTO },
        { 405, DRAY_EPROTO },     { 407, DRAY_EUNREACHABLE }, { 416, DRAY_EPROTO },
        { 304, DRAY_EPROTO },     { 204, DRAY_EPROTO },       { 600, DRAY_EPROTO },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dray_error err = { 0 };

        assert_int_equal(judge_status(rows[i].status, "X: y", "", false, &err), rows[i].want);
        assert_int_equal(err.code, rows[i].want);
        assert_int_equal(err.http_status, rows[i].status);
        assert_lacks(err.text, "secret");
    }
}

static void a_signed_url_that_expired_is_no_matter_of_logging_in(void **state)
{
    (void)state;
    assert_int_equal(judge_status(403, "X: y", "", true, NULL), DRAY_ETRANSIENT);
    assert_int_equal(judge_status(401, "X: y", "", true, NULL), DRAY_ETRANSIENT);
    assert_int_equal(judge_status(404, "X: y", "", true, NULL), DRAY_ENOTFOUND);
}

static void the_server_s_wish_to_wait_is_kept(void **state)
{
    struct dray_error err = { 0 };

    (void)state;
    judge_status(429, "retry-after:  7", "", false, &err);
    assert_int_equal(err.retry_after_ms, 7000);
}

static void the_first_oci_error_is_quoted_and_nothing_else(void **state)
{
    struct dray_error err = { 0 };

    (void)state;
    judge_status(404, "X: y",
                 "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no such\\u001b[31m\"},"
                 "{\"code\":\"OTHER\"}]}",
                 false, &err);
    assert_string_equal(
        err.text,
        "https://registry.test/v2/x/manifests/y: HTTP 404 (MANIFEST_UNKNOWN: no such?[31m)");

    judge_status(403, "X: y", "{\"errors\":[{\"code\":\"DENIED\"}]}", false, &err);
    assert_contains(err.text, "HTTP 403 (DENIED)");
    judge_status(500, "X: y", "<html>oops</html>", false, &err);
    assert_lacks(err.text, "oops");
    judge_status(500, "X: y", "{\"errors\":[]}", false, &err);
    judge_status(500, "X: y", "{\"errors\":{\"code\":5}}", false, &err);
    assert_lacks(err.text, "(");
}

static void a_long_message_is_cut_between_characters(void **state)
{
    struct dray_error err = { 0 };
    char body[2048];
    size_t len = (size_t)snprintf(body, sizeof(body), "{\"errors\":[{\"message\":\"x");
    const char *cut;

    (void)state;
    for (int i = 0; i < 400; i++)
        len += (size_t)snprintf(body + len, sizeof(body) - len, "\xc3\xa4");
    snprintf(body + len, sizeof(body) - len, "\"}]}");
    judge_status(400, "X: y", body, false, &err);
    cut = strchr(err.text, ')');
    assert_non_null(cut);
    assert_true(strlen(err.text) < 400);
    assert_memory_equal(cut - 2, "\xc3\xa4", 2);
}

static int judge_curl(CURLcode code, const char *detail, int sys_errno, int proxy_status,
                      struct dray_error *err)
{
    DRAY_AUTO_URL struct dray_url url = url_of("https://registry.test", "/v2/?secret");

    *err = (struct dray_error){ 0 };
    return dray_failure_from_curl(
        &(struct dray_curl_failure){
            .code = code,
            .detail = detail,
            .sys_errno = sys_errno,
            .proxy_status = proxy_status,
        },
        &url, err);
}

static void no_way_to_the_server_is_unreachable_and_a_broken_way_transient(void **state)
{
    struct dray_error err;

    (void)state;
    assert_int_equal(judge_curl(CURLE_COULDNT_RESOLVE_HOST, "no such host", 0, 0, &err),
                     DRAY_EUNREACHABLE);
    assert_string_equal(err.text, "https://registry.test/v2/: no such host");
    assert_int_equal(judge_curl(CURLE_COULDNT_CONNECT, "refused", ECONNREFUSED, 0, &err),
                     DRAY_EUNREACHABLE);
    assert_int_equal(err.sys_errno, ECONNREFUSED);
    assert_int_equal(judge_curl(CURLE_OPERATION_TIMEDOUT, "", 0, 0, &err), DRAY_EUNREACHABLE);
    assert_int_equal(judge_curl(CURLE_RECV_ERROR, "", 0, 407, &err), DRAY_EUNREACHABLE);
    assert_contains(err.text, "407");

    assert_int_equal(judge_curl(CURLE_RECV_ERROR, "reset", ECONNRESET, 0, &err), DRAY_ETRANSIENT);
    assert_int_equal(judge_curl(CURLE_RECV_ERROR, "reset", 0, 200, &err), DRAY_ETRANSIENT);
    assert_int_equal(judge_curl(CURLE_GOT_NOTHING, "", 0, 0, &err), DRAY_ETRANSIENT);
    assert_int_equal(judge_curl(CURLE_PARTIAL_FILE, "", 0, 0, &err), DRAY_ETRANSIENT);
    assert_int_equal(judge_curl(CURLE_HTTP2_STREAM, "", 0, 0, &err), DRAY_ETRANSIENT);
    assert_int_equal(judge_curl(CURLE_WEIRD_SERVER_REPLY, "", 0, 0, &err), DRAY_EPROTO);
    assert_int_equal(judge_curl(CURLE_OUT_OF_MEMORY, "", 0, 0, &err), DRAY_ENOMEM);
}

static void a_certificate_that_is_not_trusted_is_told_from_no_tls(void **state)
{
    struct dray_error err;

    (void)state;
    assert_int_equal(judge_curl(CURLE_PEER_FAILED_VERIFICATION,
                                "SSL certificate problem: unable to get local issuer", 0, 0, &err),
                     DRAY_EUNREACHABLE);
    assert_int_equal(err.sys_errno, EKEYREJECTED);
    assert_contains(err.hint, "--cacert");

    judge_curl(CURLE_PEER_FAILED_VERIFICATION, "certificate has expired", 0, 0, &err);
    assert_contains(err.hint, "clock");
    judge_curl(CURLE_PEER_FAILED_VERIFICATION,
               "SSL: no alternative certificate subject name matches", 0, 0, &err);
    assert_contains(err.hint, "another host");
    judge_curl(CURLE_RECV_ERROR, "tlsv13 alert certificate required, errno 0", 0, 0, &err);
    assert_int_equal(err.code, DRAY_EUNREACHABLE);
    assert_int_equal(err.sys_errno, EKEYREJECTED);
    assert_contains(err.hint, "--cert ");

    assert_int_equal(judge_curl(CURLE_SSL_CONNECT_ERROR, "wrong version number", 0, 0, &err),
                     DRAY_EUNREACHABLE);
    assert_int_equal(err.sys_errno, 0);
    assert_contains(err.hint, "--plain-http");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(retry_after_takes_seconds_and_dates_and_ignores_junk),
        cmocka_unit_test(each_status_is_one_decision),
        cmocka_unit_test(a_signed_url_that_expired_is_no_matter_of_logging_in),
        cmocka_unit_test(the_server_s_wish_to_wait_is_kept),
        cmocka_unit_test(the_first_oci_error_is_quoted_and_nothing_else),
        cmocka_unit_test(a_long_message_is_cut_between_characters),
        cmocka_unit_test(no_way_to_the_server_is_unreachable_and_a_broken_way_transient),
        cmocka_unit_test(a_certificate_that_is_not_trusted_is_told_from_no_tls),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
