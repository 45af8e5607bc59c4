#include "registry/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>

#include "core/cancel.h"
#include "core/limits.h"
#include "tests/unit/registry/fixture.h"

struct setup {
    struct test_server *server;
    struct dray_registry *registry;
    struct dray_client *client;
    struct dray_cancel *cancel;
    struct dray_endpoint endpoint;
    struct dray_http_response response;
    struct dray_error err;
};

static void setup_with(struct setup *setup, struct test_server *server,
                       struct dray_registry_options options)
{
    *setup = (struct setup){ .server = server };
    if (options.stall_timeout_ms == 0)
        options.stall_timeout_ms = 5000;
    setup->registry = make_registry(&options);
    assert_ok(dray_cancel_new(&setup->cancel, NULL));
    setup->client = make_client(setup->registry, setup->cancel);
    setup->endpoint = endpoint_at(test_server_url(server));
}

static void done(struct setup *setup)
{
    dray_http_response_done(&setup->response);
    endpoint_done(&setup->endpoint);
    dray_client_free(setup->client);
    dray_registry_free(setup->registry);
    dray_cancel_free(setup->cancel);
    test_server_stop(setup->server);
}

static int get(struct setup *setup, const char *path)
{
    DRAY_AUTO_URL struct dray_url url = url_of(test_server_url(setup->server), path);
    struct dray_http_request request = {
        .method = DRAY_HTTP_GET,
        .url = &url,
        .endpoint = &setup->endpoint,
        .body_max_bytes = 1000,
    };

    return dray_http_exchange(setup->client, &request, &setup->response, &setup->err);
}

/* What the next request gets: its path says. */
static void behave(void *ctx, const struct test_request *request,
                   struct test_connection *connection)
{
    static char junk[70000];
    const char *what = request->target;

    (void)ctx;
    memset(junk, 'x', sizeof(junk));
    if (strcmp(what, "/plain") == 0) {
        test_answer(connection, 200, "X-One: 1\r\nx-two:  two words \t\r\nX-One: again\r\n",
                    "hello");
    } else if (strcmp(what, "/chunked") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5\r\nhello\r\n0\r\nX-Trailer: x\r\n\r\n");
    } else if (strcmp(what, "/until-close") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\n\r\nhello");
        test_close(connection, false);
    } else if (strcmp(what, "/hints") == 0) {
        test_sendf(connection, "HTTP/1.1 103 Early Hints\r\nX-One: early\r\n\r\n");
        test_answer(connection, 200, "", "hello");
    } else if (strcmp(what, "/folded") == 0) {
        test_answer(connection, 200, "X-One: a\r\n  b\r\n\tc\r\n", "hello");
    } else if (strcmp(what, "/nul") == 0) {
        test_send(connection, "HTTP/1.1 200 OK\r\nX: \0\r\n\r\n", 24);
    } else if (strcmp(what, "/huge-header") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 20; i++)
            test_sendf(connection, "X-%d: %.60000s\r\n", i, junk);
    } else if (strcmp(what, "/many-headers") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 20000; i++)
            test_sendf(connection, "X-%d: some value\r\n", i);
    } else if (strcmp(what, "/endless-hints") == 0) {
        for (int i = 0; i < 20000; i++)
            test_sendf(connection, "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n");
    } else if (strcmp(what, "/in-header") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Le");
        test_close(connection, false);
    } else if (strcmp(what, "/long-body") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n%.1001s", junk);
    } else if (strcmp(what, "/long-error") == 0) {
        test_sendf(connection, "HTTP/1.1 500 No\r\nContent-Length: 10000000\r\n\r\n%.70000s", junk);
        test_stall(connection);
    } else if (strcmp(what, "/short-body") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        test_close(connection, false);
    } else if (strcmp(what, "/reset") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        test_close(connection, true);
    } else if (strcmp(what, "/two-lengths") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n"
                               "hello");
        test_close(connection, false);
    } else if (strcmp(what, "/no-http") == 0) {
        test_sendf(connection, "220 mail.test ESMTP\r\n");
        test_close(connection, false);
    } else if (strcmp(what, "/stall") == 0) {
        test_stall(connection);
    } else if (strcmp(what, "/stall-in-body") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        test_stall(connection);
    } else if (strcmp(what, "/drip") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        for (int i = 0; i < 100; i++) {
            test_send(connection, "x", 1);
            usleep(20000);
        }
        test_close(connection, false);
    } else if (strcmp(what, "/two-drops") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        usleep(100000);
        test_send(connection, "hello", 5);
        usleep(700000);
        test_send(connection, "world", 5);
    } else if (strcmp(what, "/slow") == 0) { /* 400 bytes a second */
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n");
        for (int i = 0; i < 20; i++) {
            test_send(connection, junk, 20);
            usleep(50000);
        }
    } else {
        test_answer(connection, 404, "", "");
    }
}

static void a_whole_answer_comes_back_whatever_its_framing(void **state)
{
    static const char *const paths[] = { "/plain", "/chunked", "/until-close", "/hints" };
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    for (size_t i = 0; i < 4; i++) {
        assert_ok(get(&setup, paths[i]));
        assert_int_equal(setup.response.status, 200);
        assert_string_equal(dray_buf_text(&setup.response.body), "hello");
        assert_int_equal(setup.response.has_length, i == 0 || i == 3);
        if (i > 0)
            assert_null(dray_http_response_header(&setup.response, "X-One", 0));
        assert_null(dray_http_response_header(&setup.response, "X-Trailer", 0));
    }
    done(&setup);
}

static void header_lines_are_found_by_name_and_place(void **state)
{
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    assert_ok(get(&setup, "/plain"));
    assert_string_equal(dray_http_response_header(&setup.response, "x-ONE", 0), "1");
    assert_string_equal(dray_http_response_header(&setup.response, "X-One", 1), "again");
    assert_null(dray_http_response_header(&setup.response, "X-One", 2));
    assert_string_equal(dray_http_response_header(&setup.response, "X-Two", 0), "two words");
    assert_null(dray_http_response_header(&setup.response, "X-On", 0));

    assert_ok(get(&setup, "/folded"));
    assert_string_equal(dray_http_response_header(&setup.response, "X-One", 0), "a   b \tc");
    done(&setup);
}

/* H-1, H-2, H-5, H-6, H-8, H-31 */
static void broken_answers_are_told_apart(void **state)
{
    static const struct {
        const char *path;
        int want;
    } rows[] = {
        { "/nul", DRAY_EPROTO },
        { "/huge-header", DRAY_EPROTO },
        { "/many-headers", DRAY_EPROTO },
        { "/endless-hints", DRAY_EPROTO },
        { "/long-body", DRAY_EPROTO },
        { "/two-lengths", DRAY_EPROTO },
        { "/no-http", DRAY_EPROTO },
        { "/in-header", DRAY_ETRANSIENT },
        { "/short-body", DRAY_ETRANSIENT },
        { "/reset", DRAY_ETRANSIENT },
    };
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int rc = get(&setup, rows[i].path);

        if (rc != rows[i].want)
            fail_msg("%s: %d %s", rows[i].path, rc, setup.err.text);
        assert_contains(setup.err.text, rows[i].path);
        /* and the client is none the worse for it */
        assert_ok(get(&setup, "/plain"));
        assert_string_equal(dray_buf_text(&setup.response.body), "hello");
    }
    done(&setup);
}

static void of_an_error_s_body_enough_is_enough(void **state)
{
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    assert_ok(get(&setup, "/long-error"));
    assert_int_equal(setup.response.status, 500);
    assert_int_equal(setup.response.body.len, DRAY_ERROR_BODY_MAX_BYTES);
    assert_ok(get(&setup, "/plain"));
    done(&setup);
}

static void requests_share_a_connection(void **state)
{
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    for (int i = 0; i < 5; i++)
        assert_ok(get(&setup, i == 2 ? "/missing" : "/plain"));
    assert_int_equal(test_server_connections(setup.server), 1);
    done(&setup);
}

/* H-3, H-4 */
static void a_server_that_sends_too_little_is_left(void **state)
{
    static const char *const paths[] = { "/stall", "/stall-in-body", "/drip" };
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL),
               (struct dray_registry_options){ .stall_timeout_ms = 300 });
    for (size_t i = 0; i < 3; i++) {
        int64_t start_ms = dray_now_ms();
        int64_t took_ms;

        assert_int_equal(get(&setup, paths[i]), DRAY_ETRANSIENT);
        assert_contains(setup.err.text, "stalled");
        took_ms = dray_now_ms() - start_ms;
        if (took_ms < 250 || took_ms > 2000)
            fail_msg("%s took %" PRId64 " ms", paths[i], took_ms);
    }
    done(&setup);
}

static void a_slow_server_is_waited_for(void **state)
{
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL),
               (struct dray_registry_options){ .stall_timeout_ms = 500 });
    assert_ok(get(&setup, "/slow")); /* takes a second */
    assert_int_equal(setup.response.body.len, 400);
    done(&setup);
}

static int take_time(void *ctx, const uint8_t *data, size_t len, struct dray_error *err)
{
    size_t *received = ctx;

    (void)data;
    (void)err;
    if (*received == 0)
        usleep(600000);
    *received += len;
    return DRAY_OK;
}

static int get_slowly(struct setup *setup, const char *path, size_t *received)
{
    DRAY_AUTO_URL struct dray_url url = url_of(test_server_url(setup->server), path);
    struct dray_http_request request = {
        .method = DRAY_HTTP_GET,
        .url = &url,
        .endpoint = &setup->endpoint,
        .on_body = take_time,
        .ctx = received,
    };

    *received = 0;
    return dray_http_exchange(setup->client, &request, &setup->response, &setup->err);
}

/* A rate limit or a slow disk, while little has come yet. */
static void the_caller_s_own_time_is_not_the_peer_s(void **state)
{
    struct setup setup;
    size_t received;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL),
               (struct dray_registry_options){ .stall_timeout_ms = 500 });
    assert_ok(get_slowly(&setup, "/two-drops", &received));
    assert_int_equal(received, 10);
    assert_false(setup.response.stalled);

    /* but a peer that stalls is still found out */
    assert_int_equal(get_slowly(&setup, "/stall-in-body", &received), DRAY_ETRANSIENT);
    assert_int_equal(received, 5);
    assert_true(setup.response.stalled);
    done(&setup);
}

static bool until_then(void *ctx)
{
    const int64_t *then_ms = ctx;

    return dray_now_ms() < *then_ms;
}

static void what_nobody_wants_any_more_is_left_however_long_the_peer_may_stall(void **state)
{
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL),
               (struct dray_registry_options){ .stall_timeout_ms = 30000 });
    DRAY_AUTO_URL struct dray_url url = url_of(test_server_url(setup.server), "/stall");
    int64_t then_ms = dray_now_ms() + 300;
    struct dray_http_request request = {
        .method = DRAY_HTTP_GET,
        .url = &url,
        .endpoint = &setup.endpoint,
        .wanted = until_then,
        .ctx = &then_ms,
    };
    assert_int_equal(dray_http_exchange(setup.client, &request, &setup.response, &setup.err),
                     DRAY_ECANCELED);
    assert_string_equal(setup.err.text, "no longer wanted");
    assert_true(dray_now_ms() >= then_ms);
    assert_true(dray_now_ms() < then_ms + 500);
    done(&setup);
}

/* SO_RCVBUF of this process's connection to a port. */
static int receive_buffer_to(int port)
{
    for (int fd = 3; fd < 256; fd++) {
        struct sockaddr_in peer = { 0 };
        socklen_t peer_len = sizeof(peer);
        int bytes = 0;
        socklen_t len = sizeof(bytes);

        if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0 &&
            peer.sin_family == AF_INET && ntohs(peer.sin_port) == port &&
            getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len) == 0)
            return bytes;
    }
    fail_msg("no connection to port %d", port);
    return 0;
}

static void under_a_rate_limit_little_waits_in_the_receive_buffer(void **state)
{
    static const struct {
        uint64_t rate;
        uint32_t connections;
        int want; /* twice what was asked for: the kernel adds its own needs */
    } rows[] = {
        { 8 * 200 * 1000, 8, 2 * 100 * 1000 },
        { 1000, 8, 2 * 64 * 1024 },
    };
    struct setup setup;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
        dray_registry_set_limit(setup.registry, rows[i].rate, rows[i].connections);
        assert_ok(get(&setup, "/plain"));
        assert_int_equal(receive_buffer_to(test_server_port(setup.server)), rows[i].want);
        done(&setup);
    }
}

static void a_limit_that_no_buffer_need_serve_leaves_the_kernel_its_choice(void **state)
{
    static const uint64_t rates[] = { 0, 100 << 20, UINT64_MAX };
    struct setup setup;
    int untouched;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    assert_ok(get(&setup, "/plain"));
    untouched = receive_buffer_to(test_server_port(setup.server));
    done(&setup);
    for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
        setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
        dray_registry_set_limit(setup.registry, rates[i], 8);
        assert_ok(get(&setup, "/plain"));
        assert_int_equal(receive_buffer_to(test_server_port(setup.server)), untouched);
        done(&setup);
    }
}

static void *fire_soon(void *ctx)
{
    usleep(100000);
    dray_cancel_fire(ctx);
    return NULL;
}

/* H-68 */
static void cancel_wakes_a_stalled_exchange(void **state)
{
    struct setup setup;
    int64_t start_ms;
    pthread_t thread;

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    start_ms = dray_now_ms();
    assert_int_equal(pthread_create(&thread, NULL, fire_soon, setup.cancel), 0);
    assert_int_equal(get(&setup, "/stall-in-body"), DRAY_ECANCELED);
    assert_true(dray_now_ms() - start_ms < 1000);
    pthread_join(thread, NULL);
    assert_int_equal(get(&setup, "/plain"), DRAY_ECANCELED);
    assert_int_equal(test_server_count(setup.server, "/plain"), 0);
    done(&setup);
}

static void nobody_there_is_unreachable(void **state)
{
    struct setup setup;
    struct test_server *gone = test_server_start(behave, NULL);
    char text[64];

    (void)state;
    snprintf(text, sizeof(text), "%s/", test_server_url(gone));
    test_server_stop(gone);
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    DRAY_AUTO_URL struct dray_url url = url_of(text, "");
    struct dray_http_request request = { .url = &url, .endpoint = &setup.endpoint };
    assert_int_equal(dray_http_exchange(setup.client, &request, &setup.response, &setup.err),
                     DRAY_EUNREACHABLE);
    assert_int_equal(setup.err.sys_errno, ECONNREFUSED);
    done(&setup);
}

/* H-17 */
static void tls_is_verified_unless_the_endpoint_says_otherwise(void **state)
{
    struct test_server *server = test_server_start_tls(behave, NULL);
    struct setup setup;

    (void)state;
    setup_with(&setup, server, (struct dray_registry_options){ 0 });
    assert_int_equal(get(&setup, "/plain"), DRAY_EUNREACHABLE);
    assert_int_equal(setup.err.sys_errno, EKEYREJECTED);
    assert_contains(setup.err.hint, "--cacert");
    setup.endpoint.skip_verify = true;
    assert_ok(get(&setup, "/plain"));
    setup.endpoint.skip_verify = false; /* what was connected without is not used now */
    assert_int_equal(get(&setup, "/plain"), DRAY_EUNREACHABLE);
    done(&setup);
}

static void the_user_s_authority_is_trusted(void **state)
{
    struct test_server *server = test_server_start_tls(behave, NULL);
    struct setup setup;

    (void)state;
    setup_with(&setup, server,
               (struct dray_registry_options){ .ca_file = test_server_cert(server) });
    assert_ok(get(&setup, "/plain"));
    assert_string_equal(dray_buf_text(&setup.response.body), "hello");
    done(&setup);
}

static void https_to_an_http_server_says_what_to_do(void **state)
{
    struct setup setup;
    char text[64];

    (void)state;
    setup_with(&setup, test_server_start(behave, NULL), (struct dray_registry_options){ 0 });
    snprintf(text, sizeof(text), "https://127.0.0.1:%d/plain", test_server_port(setup.server));
    DRAY_AUTO_URL struct dray_url url = url_of(text, "");
    struct dray_http_request request = { .url = &url, .endpoint = &setup.endpoint };
    assert_int_equal(dray_http_exchange(setup.client, &request, &setup.response, &setup.err),
                     DRAY_EUNREACHABLE);
    assert_int_not_equal(setup.err.sys_errno, EKEYREJECTED);
    assert_contains(setup.err.hint, "--plain-http");
    done(&setup);
}

struct echo {
    char head[4096];
};

static void keep_head(void *ctx, const struct test_request *request,
                      struct test_connection *connection)
{
    struct echo *echo = ctx;

    snprintf(echo->head, sizeof(echo->head), "%s", request->head);
    test_answer(connection, 200, "", "");
}

static void headers_of_the_user_go_to_the_endpoint_s_own_origin_only(void **state)
{
    static const char *const headers[] = { "X-Meta-Key: hunter2", NULL };
    struct dray_registry_options options = { .headers = headers, .user_agent = "test/1" };
    struct echo echo = { 0 };
    struct setup setup;

    (void)state;
    setup_with(&setup, test_server_start(keep_head, &echo), options);
    assert_ok(get(&setup, "/"));
    assert_contains(echo.head, "X-Meta-Key: hunter2\r\n");
    assert_contains(echo.head, "User-Agent: test/1\r\n");
    assert_lacks(echo.head, "Accept-Encoding");

    setup.endpoint.mirror = true;
    assert_ok(get(&setup, "/"));
    assert_lacks(echo.head, "hunter2");

    setup.endpoint.mirror = false;
    setup.endpoint.origin[strlen(setup.endpoint.origin) - 1] ^= 1; /* another port */
    assert_ok(get(&setup, "/"));
    assert_lacks(echo.head, "hunter2");
    assert_true(setup.response.foreign);
    done(&setup);
}

/* */
static void proxies_come_from_the_environment_but_not_for_this_machine(void **state)
{
    struct echo echo = { 0 };
    struct test_server *proxy = test_server_start(keep_head, &echo);
    struct setup setup;

    (void)state;
    setenv("HTTP_PROXY", test_server_url(proxy), 1);
    setup_with(&setup, test_server_start(keep_head, &echo), (struct dray_registry_options){ 0 });
    DRAY_AUTO_URL struct dray_url url = url_of("http://registry.invalid", "/far");
    struct dray_http_request request = { .url = &url, .endpoint = &setup.endpoint };
    assert_ok(dray_http_exchange(setup.client, &request, &setup.response, &setup.err));
    assert_contains(echo.head, "GET http://registry.invalid/far ");
    assert_int_equal(test_server_count(proxy, ""), 1);
    assert_ok(get(&setup, "/near"));
    assert_int_equal(test_server_count(proxy, ""), 1);

    setenv("NO_PROXY", "registry.invalid", 1);
    assert_int_equal(dray_http_exchange(setup.client, &request, &setup.response, &setup.err),
                     DRAY_EUNREACHABLE);
    unsetenv("NO_PROXY");
    unsetenv("HTTP_PROXY");
    done(&setup);
    test_server_stop(proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_answer_comes_back_whatever_its_framing),
        cmocka_unit_test(header_lines_are_found_by_name_and_place),
        cmocka_unit_test(broken_answers_are_told_apart),
        cmocka_unit_test(of_an_error_s_body_enough_is_enough),
        cmocka_unit_test(requests_share_a_connection),
        cmocka_unit_test(a_server_that_sends_too_little_is_left),
        cmocka_unit_test(a_slow_server_is_waited_for),
        cmocka_unit_test(the_caller_s_own_time_is_not_the_peer_s),
        cmocka_unit_test(what_nobody_wants_any_more_is_left_however_long_the_peer_may_stall),
        cmocka_unit_test(under_a_rate_limit_little_waits_in_the_receive_buffer),
        cmocka_unit_test(a_limit_that_no_buffer_need_serve_leaves_the_kernel_its_choice),
        cmocka_unit_test(cancel_wakes_a_stalled_exchange),
        cmocka_unit_test(nobody_there_is_unreachable),
        cmocka_unit_test(tls_is_verified_unless_the_endpoint_says_otherwise),
        cmocka_unit_test(the_user_s_authority_is_trusted),
        cmocka_unit_test(https_to_an_http_server_says_what_to_do),
        cmocka_unit_test(headers_of_the_user_go_to_the_endpoint_s_own_origin_only),
        cmocka_unit_test(proxies_come_from_the_environment_but_not_for_this_machine),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
