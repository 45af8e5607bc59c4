#include "registry/redirect.h"

#include "core/limits.h"
#include "tests/unit/registry/fixture.h"

/* Two origins: what is asked of the first is redirected as the path says. */
struct setup {
    struct test_server *home;
    struct test_server *away;
    struct dray_registry *registry;
    struct dray_client *client;
    struct dray_endpoint endpoint;
    struct dray_secret authorization;
    struct dray_http_response response;
    struct dray_error err;
};

static void redirect(struct test_connection *connection, int status, const char *fmt, ...)
    DRAY_PRINTF(3, 4);

static void redirect(struct test_connection *connection, int status, const char *fmt, ...)
{
    char location[1024];
    char field[1100];
    va_list args;

    va_start(args, fmt);
    vsnprintf(location, sizeof(location), fmt, args);
    va_end(args);
    snprintf(field, sizeof(field), "Location: %s\r\n", location);
    test_answer(connection, status, field, "moved");
}

static void at_home(void *ctx, const struct test_request *request,
                    struct test_connection *connection)
{
    struct setup *setup = ctx;
    const char *home = test_server_url(setup->home);
    const char *away = test_server_url(setup->away);
    const char *target = request->target;
    int hops;

    if (sscanf(target, "/chain/%d", &hops) == 1 && hops > 0)
        redirect(connection, 302, "/chain/%d", hops - 1);
    else if (strcmp(target, "/loop") == 0)
        redirect(connection, 307, "/loop");
    else if (strcmp(target, "/away") == 0)
        redirect(connection, 307, "%s/blob?sig=hunter2", away);
    else if (strcmp(target, "/away-and-back") == 0)
        redirect(connection, 307, "%s/back?to=%s/end", away, home);
    else if (strcmp(target, "/relative") == 0)
        redirect(connection, 301, "end");
    else if (strcmp(target, "/user") == 0)
        redirect(connection, 302, "http://me:hunter2@127.0.0.1/");
    else if (strcmp(target, "/file") == 0)
        redirect(connection, 302, "file:///etc/passwd");
    else if (strcmp(target, "/link-local") == 0)
        redirect(connection, 302, "http://169.254.169.254/latest/meta-data/");
    else if (strcmp(target, "/nowhere") == 0)
        test_answer(connection, 302, "", "");
    else if (strcmp(target, "/gone") == 0)
        redirect(connection, 307, "http://127.0.0.1:1/");
    else if (strcmp(target, "/post") == 0)
        redirect(connection, 307, "%s/blob", away);
    else
        test_answer(connection, 200, "", "home");
}

static void at_away(void *ctx, const struct test_request *request,
                    struct test_connection *connection)
{
    (void)ctx;
    if (strncmp(request->target, "/back?to=", 9) == 0)
        redirect(connection, 307, "%s", request->target + 9);
    else
        test_answer(connection, 200, "", "away");
}

static int set_up(void **state)
{
    static const char *const headers[] = { "X-Meta-Key: sesame", NULL };
    struct dray_registry_options options = { .headers = headers };
    struct setup *setup = calloc(1, sizeof(*setup));

    setup->away = test_server_start(at_away, setup);
    setup->home = test_server_start(at_home, setup);
    setup->registry = make_registry(&options);
    setup->client = make_client(setup->registry, NULL);
    setup->endpoint = endpoint_at(test_server_url(setup->home));
    assert_ok(dray_secret_set(&setup->authorization, "Basic xyz", 9));
    *state = setup;
    return 0;
}

static int tear_down(void **state)
{
    struct setup *setup = *state;

    dray_http_response_done(&setup->response);
    dray_secret_done(&setup->authorization);
    endpoint_done(&setup->endpoint);
    dray_client_free(setup->client);
    dray_registry_free(setup->registry);
    test_server_stop(setup->home);
    test_server_stop(setup->away);
    free(setup);
    return 0;
}

static int follow(struct setup *setup, const char *path)
{
    DRAY_AUTO_URL struct dray_url url = url_of(test_server_url(setup->home), path);
    struct dray_http_request request = {
        .method = DRAY_HTTP_GET,
        .url = &url,
        .endpoint = &setup->endpoint,
        .authorization = &setup->authorization,
        .body_max_bytes = 1000,
    };

    setup->err = (struct dray_error){ 0 };
    return dray_redirect_follow(setup->client, &request, &setup->response, &setup->err);
}

/* H-20 */
static void ten_redirects_are_followed_and_no_more(void **state)
{
    struct setup *setup = *state;

    assert_ok(follow(setup, "/chain/10"));
    assert_string_equal(dray_buf_text(&setup->response.body), "home");
    assert_false(setup->response.foreign);
    assert_int_equal(follow(setup, "/chain/11"), DRAY_EPROTO);
    assert_int_equal(follow(setup, "/loop"), DRAY_EPROTO);
    assert_int_equal(test_server_count(setup->home, "GET /loop"), DRAY_REDIRECTS_MAX + 1);
}

static void a_relative_location_stays_at_its_origin(void **state)
{
    struct setup *setup = *state;

    assert_ok(follow(setup, "/relative"));
    assert_contains(setup->response.url.text, "/end");
    assert_int_equal(test_server_count(setup->home, "Authorization: Basic xyz"), 2);
}

/* H-21, R-6, CVE-2020-15157, GHSA-h3wm-jjqf-8jm2 */
static void secrets_stay_at_their_origin(void **state)
{
    struct setup *setup = *state;

    assert_ok(follow(setup, "/away"));
    assert_string_equal(dray_buf_text(&setup->response.body), "away");
    assert_true(setup->response.foreign);
    assert_lacks(setup->response.url.shown, "hunter2");
    assert_int_equal(test_server_count(setup->away, "GET /blob?sig=hunter2"), 1);
    assert_int_equal(test_server_count(setup->away, "Authorization"), 0);
    assert_int_equal(test_server_count(setup->away, "sesame"), 0);
    assert_int_equal(test_server_count(setup->home, "Authorization: Basic xyz"), 1);
    assert_int_equal(test_server_count(setup->home, "sesame"), 1);
}

static void secrets_are_there_again_when_a_redirect_comes_home(void **state)
{
    struct setup *setup = *state;

    assert_ok(follow(setup, "/away-and-back"));
    assert_string_equal(dray_buf_text(&setup->response.body), "home");
    assert_int_equal(test_server_count(setup->away, "Authorization"), 0);
    assert_int_equal(test_server_count(setup->home, "Authorization: Basic xyz"), 2);
    assert_int_equal(test_server_count(setup->home, "sesame"), 2);
}

static void hops_that_must_not_be_taken_are_refused(void **state)
{
    static const char *const paths[] = { "/user", "/file", "/link-local", "/nowhere" };
    struct setup *setup = *state;

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(follow(setup, paths[i]), DRAY_EPROTO);
        assert_int_equal(setup->err.code, DRAY_EPROTO);
        assert_contains(setup->err.text, paths[i]);
        assert_lacks(setup->err.text, "hunter2");
    }
}

static void a_dead_target_tells_that_the_endpoint_itself_answered(void **state)
{
    struct setup *setup = *state;

    assert_int_equal(follow(setup, "/gone"), DRAY_EUNREACHABLE);
    assert_int_equal(setup->err.http_status, 307);
}

static void a_post_is_not_sent_elsewhere(void **state)
{
    struct setup *setup = *state;
    DRAY_AUTO_URL struct dray_url url = url_of(test_server_url(setup->home), "/post");
    DRAY_AUTO_SECRET struct dray_secret form = { 0 };
    struct dray_http_request request = {
        .method = DRAY_HTTP_POST,
        .url = &url,
        .endpoint = &setup->endpoint,
        .form = &form,
        .body_max_bytes = 1000,
    };

    assert_ok(dray_secret_set(&form, "a=b", 3));
    assert_ok(dray_redirect_follow(setup->client, &request, &setup->response, &setup->err));
    assert_int_equal(setup->response.status, 307);
    assert_int_equal(test_server_count(setup->away, ""), 0);
}

static void https_is_not_left_for_http(void **state)
{
    struct setup *setup = *state;
    struct test_server *secure = test_server_start_tls(at_home, setup);
    struct dray_endpoint endpoint = endpoint_at(test_server_url(secure));
    DRAY_AUTO_URL struct dray_url url = url_of(test_server_url(secure), "/away");
    struct dray_http_request request = { .url = &url, .endpoint = &endpoint };

    endpoint.skip_verify = true;
    assert_int_equal(dray_redirect_follow(setup->client, &request, &setup->response, &setup->err),
                     DRAY_EPROTO);
    assert_contains(setup->err.text, "from https to http");
    assert_lacks(setup->err.text, "hunter2");
    assert_int_equal(test_server_count(setup->away, ""), 0);
    dray_client_free(DRAY_TAKE(setup->client));
    test_server_stop(secure);
    endpoint_done(&endpoint);
}

/* A name that leads here counts as much as the address: a peer far away has named it. */
static void a_name_of_this_machine_is_no_target_for_strangers(void **state)
{
    struct setup *setup = *state;
    DRAY_AUTO_URL struct dray_url url = url_of(test_server_url(setup->home), "/");
    struct dray_http_request request = {
        .url = &url,
        .endpoint = &setup->endpoint,
        .named_by_peer = true,
        .peer_reach = DRAY_REACH_FAR,
        .body_max_bytes = 1000,
    };

    assert_int_equal(dray_redirect_follow(setup->client, &request, &setup->response, &setup->err),
                     DRAY_EPROTO);
    assert_contains(setup->err.text, "local address");
    assert_int_equal(test_server_count(setup->home, ""), 0);
    request.peer_reach = DRAY_REACH_LOOPBACK;
    assert_ok(dray_redirect_follow(setup->client, &request, &setup->response, &setup->err));
}

static void as_proxy(void *ctx, const struct test_request *request,
                     struct test_connection *connection)
{
    struct setup *setup = ctx;

    assert_contains(request->target, "http://registry.invalid/");
    redirect(connection, 307, "%s/blob", test_server_url(setup->away));
}

/* A proxy plays the registry far away: its name is all that is known of it. */
static void a_registry_far_away_may_not_send_us_to_this_machine(void **state)
{
    struct setup *setup = *state;
    struct dray_registry_options options = { 0 };
    struct test_server *proxy = test_server_start(as_proxy, setup);
    struct dray_endpoint endpoint = endpoint_at("http://registry.invalid");
    DRAY_AUTO_URL struct dray_url url = url_of("http://registry.invalid", "/");
    struct dray_http_request request = { .url = &url, .endpoint = &endpoint };
    struct dray_registry *registry;
    struct dray_client *client;

    setenv("http_proxy", test_server_url(proxy), 1);
    registry = make_registry(&options);
    client = make_client(registry, NULL);
    assert_int_equal(dray_redirect_follow(client, &request, &setup->response, &setup->err),
                     DRAY_EPROTO);
    assert_contains(setup->err.text, "local address");
    assert_int_equal(test_server_count(setup->away, ""), 0);
    unsetenv("http_proxy");
    dray_client_free(client);
    dray_registry_free(registry);
    endpoint_done(&endpoint);
    test_server_stop(proxy);
}

#define redirect_test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        redirect_test(ten_redirects_are_followed_and_no_more),
        redirect_test(a_relative_location_stays_at_its_origin),
        redirect_test(secrets_stay_at_their_origin),
        redirect_test(secrets_are_there_again_when_a_redirect_comes_home),
        redirect_test(hops_that_must_not_be_taken_are_refused),
        redirect_test(a_dead_target_tells_that_the_endpoint_itself_answered),
        redirect_test(a_post_is_not_sent_elsewhere),
        redirect_test(https_is_not_left_for_http),
        redirect_test(a_name_of_this_machine_is_no_target_for_strangers),
        redirect_test(a_registry_far_away_may_not_send_us_to_this_machine),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
