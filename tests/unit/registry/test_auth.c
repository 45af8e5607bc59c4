#include "registry/auth.h"

#include <inttypes.h>

#include "core/cancel.h"
#include "registry/v2.h"
#include "tests/unit/registry/fixture.h"

/* A registry and its token server; the token server is also a server of its own. */
struct setup {
    struct test_server *server;
    struct test_server *other;
    const char *challenge; /* header lines; '$' is the registry's URL */
    _Atomic int good;      /* the token that is accepted: "token-N" */
    _Atomic int issued;    /* the last one issued */
    _Atomic int refuse_all;
    const char *answer; /* of the token server; '$' is the number of the token */
    int answer_status;
    int delay_ms;         /* of the token server */
    int expired_status;   /* for a wrong token */
    const char *accepted; /* an Authorization that is good as well, "" if none */
    char form[4096];
    struct dray_registry *registry;
    struct dray_client *client;
    struct dray_endpoint endpoint;
    struct dray_error err;
};

/* Copy a text with every '$' replaced. */
static void fill(const char *text, const char *value, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (; *text; text++)
        len += (size_t)snprintf(buf + len, size - len, *text == '$' ? "%s" : "%.1s",
                                *text == '$' ? value : text);
}

static void answer_token(struct setup *setup, const struct test_request *request,
                         struct test_connection *connection)
{
    char body[8192];
    char text[16];
    int number = setup->issued + 1;

    setup->issued = number;
    if (strcmp(request->method, "POST") == 0)
        snprintf(setup->form, sizeof(setup->form), "%s", request->body);
    usleep((useconds_t)setup->delay_ms * 1000);
    snprintf(text, sizeof(text), "%d", number);
    fill(setup->answer, text, body, sizeof(body));
    test_answer(connection, setup->answer_status, "", body);
}

static void handle(void *ctx, const struct test_request *request,
                   struct test_connection *connection)
{
    struct setup *setup = ctx;
    char sent[8192];
    char want[64];
    char fields[4096];

    if (strncmp(request->target, "/token", 6) == 0) {
        answer_token(setup, request, connection);
        return;
    }
    test_request_field(request, "Authorization", sent, sizeof(sent));
    snprintf(want, sizeof(want), "Bearer token-%d", setup->good);
    if (!setup->refuse_all && (strcmp(sent, want) == 0 || strcmp(sent, setup->accepted) == 0)) {
        test_answer(connection, 200, "", "{}");
        return;
    }
    fill(setup->challenge, test_server_url(setup->server), fields, sizeof(fields));
    test_answer(connection, sent[0] ? setup->expired_status : 401, fields,
                "{\"errors\":[{\"code\":\"UNAUTHORIZED\"}]}");
}

#define BEARER                                                                                     \
    "WWW-Authenticate: Bearer realm=\"$/token?a=b\",service=\"srv\","                              \
    "scope=\"repository:team/app:pull\"\r\n"

static int set_up(void **state)
{
    struct setup *setup = calloc(1, sizeof(*setup));

    setup->challenge = BEARER;
    setup->answer = "{\"token\":\"token-$\",\"expires_in\":300}";
    setup->answer_status = 200;
    setup->expired_status = 401;
    setup->accepted = "none";
    setup->good = 1;
    setup->other = test_server_start(handle, setup);
    setup->server = test_server_start(handle, setup);
    setup->endpoint = endpoint_at(test_server_url(setup->server));
    *state = setup;
    return 0;
}

static int tear_down(void **state)
{
    struct setup *setup = *state;

    dray_client_free(setup->client);
    dray_registry_free(setup->registry);
    endpoint_done(&setup->endpoint);
    test_server_stop(setup->server);
    test_server_stop(setup->other);
    free(setup);
    return 0;
}

static void connect_with(struct setup *setup, struct dray_registry_options options)
{
    setup->registry = make_registry(&options);
    setup->client = make_client(setup->registry, NULL);
}

static void connect_with_file(struct setup *setup, const char *json)
{
    const char *path = write_scratch(json);

    connect_with(setup, (struct dray_registry_options){ .auth_file = path });
    unlink(path);
}

static int pull_with(struct setup *setup, struct dray_client *client, const char *repository,
                     struct dray_error *err)
{
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    *err = (struct dray_error){ 0 };
    return dray_v2_get_manifest(client, &setup->endpoint, repository, "latest", NULL, false,
                                &manifest, err);
}

static int pull(struct setup *setup)
{
    return pull_with(setup, setup->client, "team/app", &setup->err);
}

static size_t token_requests(struct setup *setup)
{
    return test_server_count(setup->server, " /token");
}

static void an_anonymous_token_is_fetched_once_and_sent_at_once(void **state)
{
    struct setup *setup = *state;

    connect_with(setup, (struct dray_registry_options){ 0 });
    for (int i = 0; i < 3; i++)
        assert_ok(pull(setup));
    assert_int_equal(token_requests(setup), 1);
    assert_int_equal(
        test_server_count(setup->server,
                          "GET /token?a=b&service=srv&scope=repository%3ateam%2fapp%3apull HTTP"),
        1);
    assert_int_equal(test_server_count(setup->server, "/v2/"), 4); /* one 401 */
    assert_int_equal(test_server_count(setup->server, "Authorization: Basic"), 0);
}

static void each_repository_has_its_token(void **state)
{
    struct setup *setup = *state;

    setup->answer = "{\"token\":\"token-1\"}";
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_ok(pull_with(setup, setup->client, "team/app", &setup->err));
    assert_ok(pull_with(setup, setup->client, "team/other", &setup->err));
    assert_ok(pull_with(setup, setup->client, "team/app", &setup->err));
    assert_int_equal(token_requests(setup), 2);
}

/* H-22 */
static void the_scope_is_made_up_where_the_challenge_has_none(void **state)
{
    struct setup *setup = *state;

    setup->challenge = "WWW-Authenticate: Bearer realm=\"$/token\"\r\n";
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_ok(pull(setup));
    assert_int_equal(
        test_server_count(setup->server, "GET /token?scope=repository%3ateam%2fapp%3apull HTTP"),
        1);
}

static void several_scopes_are_sent_one_by_one(void **state)
{
    struct setup *setup = *state;

    setup->challenge = "WWW-Authenticate: Bearer realm=\"$/token\",scope=\"a:pull  b:pull\"\r\n";
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_ok(pull(setup));
    assert_int_equal(
        test_server_count(setup->server, "GET /token?scope=a%3apull&scope=b%3apull HTTP"), 1);
}

static void basic_credentials_go_to_the_token_server(void **state)
{
    struct setup *setup = *state;

    connect_with(setup, (struct dray_registry_options){ .credentials = "me:pw" });
    assert_ok(pull(setup));
    assert_int_equal(test_server_count(setup->server, "Authorization: Basic bWU6cHc="), 1);
    assert_int_equal(test_server_count(setup->server, "/token"), 1);
}

static void a_mirror_never_sees_the_upstream_s_credentials(void **state)
{
    struct setup *setup = *state;

    connect_with(setup, (struct dray_registry_options){ .credentials = "me:pw" });
    setup->endpoint.mirror = true;
    assert_ok(pull(setup));
    assert_int_equal(test_server_count(setup->server, "Basic"), 0);
}

static void the_access_token_wins_over_the_token(void **state)
{
    struct setup *setup = *state;

    setup->answer = "{\"token\":\"other\",\"access_token\":\"token-$\"}";
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_ok(pull(setup));
}

static void an_identity_token_is_traded_by_post(void **state)
{
    struct setup *setup = *state;

    setup->answer = "{\"access_token\":\"token-$\"}";
    connect_with_file(setup, "{\"auths\":{\"registry.test\":{\"identitytoken\":\"a+b/c=\"}}}");
    assert_ok(pull(setup));
    assert_string_equal(setup->form,
                        "grant_type=refresh_token&client_id=dray&service=srv&"
                        "scope=repository%3Ateam%2Fapp%3Apull&refresh_token=a%2Bb%2Fc%3D");
    assert_int_equal(test_server_count(setup->server, "POST /token?a=b HTTP"), 1);
}

static void a_registry_token_is_sent_as_it_is(void **state)
{
    struct setup *setup = *state;

    connect_with_file(setup, "{\"auths\":{\"registry.test\":{\"registrytoken\":\"token-1\"}}}");
    assert_ok(pull(setup));
    assert_int_equal(token_requests(setup), 0);
    setup->good = 2;
    assert_int_equal(pull(setup), DRAY_EAUTH);
}

/* */
static void bearer_is_preferred_over_basic(void **state)
{
    struct setup *setup = *state;

    setup->challenge = "WWW-Authenticate: Basic realm=\"r\"\r\n" BEARER;
    connect_with(setup, (struct dray_registry_options){ .credentials = "me:pw" });
    assert_ok(pull(setup));
    assert_int_equal(token_requests(setup), 1);
}

static void basic_is_answered_with_credentials_and_then_sent_at_once(void **state)
{
    struct setup *setup = *state;

    setup->challenge = "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm=\"r\"\r\n";
    setup->accepted = "Basic bWU6cHc=";
    connect_with(setup, (struct dray_registry_options){ .credentials = "me:pw" });
    assert_ok(pull(setup));
    assert_ok(pull(setup));
    assert_int_equal(test_server_count(setup->server, "/v2/"), 3);
}

static void without_credentials_a_basic_challenge_is_the_user_s_matter(void **state)
{
    struct setup *setup = *state;

    setup->challenge = "WWW-Authenticate: Basic realm=\"r\"\r\n";
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_int_equal(pull(setup), DRAY_EAUTH);
    assert_int_equal(setup->err.http_status, 401);
    assert_contains(setup->err.text, "UNAUTHORIZED");
    assert_contains(setup->err.hint, "registry.test");
    assert_int_equal(test_server_count(setup->server, "/v2/"), 1);
}

static void wrong_basic_credentials_are_sent_once(void **state)
{
    struct setup *setup = *state;

    setup->challenge = "WWW-Authenticate: Basic realm=\"r\"\r\n";
    connect_with(setup, (struct dray_registry_options){ .credentials = "me:hunter2" });
    assert_int_equal(pull(setup), DRAY_EAUTH);
    assert_lacks(setup->err.text, "hunter2");
    assert_int_equal(test_server_count(setup->server, "Basic"), 1);
}

/* H-30, R-5 */
static void a_token_the_registry_no_longer_takes_is_renewed_once(void **state)
{
    struct setup *setup = *state;

    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_ok(pull(setup));
    setup->good = 2;
    assert_ok(pull(setup));
    assert_int_equal(token_requests(setup), 2);
}

/* H-24 */
static void an_expired_token_may_be_answered_by_400(void **state)
{
    struct setup *setup = *state;

    setup->expired_status = 400;
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_ok(pull(setup));
    setup->good = 2;
    setup->challenge = "X-Nothing: x\r\n";
    assert_ok(pull(setup));
    setup->refuse_all = 1;
    assert_int_equal(pull(setup), DRAY_EPROTO);
    assert_int_equal(token_requests(setup), 3);
}

/* H-23 */
static void a_fresh_token_that_is_refused_is_the_end(void **state)
{
    struct setup *setup = *state;

    setup->refuse_all = 1;
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_int_equal(pull(setup), DRAY_EAUTH);
    assert_int_equal(token_requests(setup), 1);
    assert_int_equal(test_server_count(setup->server, "/v2/"), 2);
    assert_lacks(setup->err.text, "token-");
    assert_int_equal(pull(setup), DRAY_EAUTH);
    assert_int_equal(token_requests(setup), 2); /* the one in the cache is renewed once */
}

static void what_the_token_server_says_decides(void **state)
{
    static const struct {
        int status;
        int want;
    } rows[] = {
        { 401, DRAY_EAUTH },      { 403, DRAY_EAUTH },      { 400, DRAY_EAUTH },
        { 429, DRAY_ETRANSIENT }, { 503, DRAY_ETRANSIENT }, { 404, DRAY_EPROTO },
        { 204, DRAY_EPROTO },
    };
    struct setup *setup = *state;

    connect_with(setup, (struct dray_registry_options){ 0 });
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        setup->answer_status = rows[i].status;
        assert_int_equal(pull(setup), rows[i].want);
        assert_int_equal(setup->err.code, rows[i].want);
        assert_int_equal(setup->err.http_status, rows[i].status);
        assert_contains(setup->err.text, "token server");
    }
}

static void an_answer_without_a_usable_token_is_refused_without_being_quoted(void **state)
{
    static const char *const answers[] = {
        "hunter2",
        "{}",
        "[]",
        "{\"token\":5}",
        "{\"token\":\"\"}",
        "{\"token\":\"hunter2\\r\\nX-Evil: 1\"}",
        "{\"token\":\"hunter2 \"}",
        "{\"access_token\":\"hunter2\\u00e4\",\"token\":\"token-1\"}",
    };
    struct setup *setup = *state;

    connect_with(setup, (struct dray_registry_options){ 0 });
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        setup->answer = answers[i];
        assert_int_equal(pull(setup), DRAY_EPROTO);
        assert_int_equal(setup->err.http_status, 401);
        assert_lacks(setup->err.text, "hunter2");
    }
}

/* H-22 */
static void a_realm_that_must_not_be_asked_is_refused(void **state)
{
    static const char *const realms[] = {
        "file:///token",
        "/token",
        "https://me:hunter2@auth.test/token",
        "http://169.254.169.254/token",
        "gopher://auth.test/",
    };
    struct setup *setup = *state;
    char challenge[256];

    connect_with(setup, (struct dray_registry_options){ 0 });
    for (size_t i = 0; i < sizeof(realms) / sizeof(realms[0]); i++) {
        snprintf(challenge, sizeof(challenge), "WWW-Authenticate: Bearer realm=\"%s\"\r\n",
                 realms[i]);
        setup->challenge = challenge;
        assert_int_equal(pull(setup), DRAY_EPROTO);
        assert_contains(setup->err.text, "token server");
        assert_lacks(setup->err.text, "hunter2");
    }
}

static void the_token_server_of_an_https_registry_is_https(void **state)
{
    struct setup *setup = *state;
    struct test_server *secure;
    char challenge[256];

    snprintf(challenge, sizeof(challenge), "WWW-Authenticate: Bearer realm=\"%s/token\"\r\n",
             test_server_url(setup->other));
    setup->challenge = challenge;
    secure = test_server_start_tls(handle, setup);
    endpoint_done(&setup->endpoint);
    setup->endpoint = endpoint_at(test_server_url(secure));
    setup->endpoint.skip_verify = true;
    connect_with(setup, (struct dray_registry_options){ .credentials = "me:pw" });
    assert_int_equal(pull(setup), DRAY_EPROTO);
    assert_contains(setup->err.text, "by http");
    assert_int_equal(test_server_count(setup->other, ""), 0);
    dray_client_free(DRAY_TAKE(setup->client));
    test_server_stop(secure);
}

static void another_origin_gets_basic_but_none_of_the_user_s_headers(void **state)
{
    static const char *const headers[] = { "X-Meta-Key: sesame", NULL };
    struct setup *setup = *state;
    char challenge[256];

    snprintf(challenge, sizeof(challenge), "WWW-Authenticate: Bearer realm=\"%s/token\"\r\n",
             test_server_url(setup->other));
    setup->challenge = challenge;
    connect_with(setup,
                 (struct dray_registry_options){ .credentials = "me:pw", .headers = headers });
    assert_ok(pull(setup));
    assert_int_equal(test_server_count(setup->other, "Authorization: Basic bWU6cHc="), 1);
    assert_int_equal(test_server_count(setup->other, "sesame"), 0);
    assert_int_equal(test_server_count(setup->server, "sesame"), 2);
}

static void a_401_without_a_challenge_is_the_end(void **state)
{
    struct setup *setup = *state;

    setup->challenge = "X-Nothing: x\r\n";
    connect_with(setup, (struct dray_registry_options){ 0 });
    assert_int_equal(pull(setup), DRAY_EAUTH);
    assert_int_equal(test_server_count(setup->server, "/v2/"), 1);
}

struct puller {
    struct setup *setup;
    const struct dray_cancel *cancel;
    pthread_t thread;
    struct dray_error err;
    int rc;
};

static void *pull_in_thread(void *ctx)
{
    struct puller *puller = ctx;
    DRAY_AUTO_CLIENT struct dray_client *client =
        make_client(puller->setup->registry, puller->cancel);

    puller->rc = pull_with(puller->setup, client, "team/app", &puller->err);
    return NULL;
}

#define PULLERS 8

static void start_pullers(struct setup *setup, const struct dray_cancel *cancel,
                          struct puller *pullers)
{
    for (int i = 0; i < PULLERS; i++) {
        pullers[i] = (struct puller){ .setup = setup, .cancel = cancel };
        assert_int_equal(pthread_create(&pullers[i].thread, NULL, pull_in_thread, &pullers[i]), 0);
    }
}

static void join_pullers(struct puller *pullers, int want)
{
    for (int i = 0; i < PULLERS; i++)
        pthread_join(pullers[i].thread, NULL);
    for (int i = 0; i < PULLERS; i++)
        if (pullers[i].rc != want)
            fail_msg("%d: %s", i, pullers[i].err.text);
}

static void one_thread_fetches_the_token_for_all(void **state)
{
    struct setup *setup = *state;
    struct puller pullers[PULLERS];

    setup->delay_ms = 200;
    connect_with(setup, (struct dray_registry_options){ 0 });
    start_pullers(setup, NULL, pullers);
    join_pullers(pullers, DRAY_OK);
    assert_int_equal(token_requests(setup), 1);

    setup->good = 2; /* and one renews it */
    start_pullers(setup, NULL, pullers);
    join_pullers(pullers, DRAY_OK);
    assert_int_equal(token_requests(setup), 2);
}

static void those_who_wait_share_the_failure(void **state)
{
    struct setup *setup = *state;
    struct puller pullers[PULLERS];

    setup->delay_ms = 300;
    setup->answer_status = 403;
    connect_with(setup, (struct dray_registry_options){ 0 });
    start_pullers(setup, NULL, pullers);
    join_pullers(pullers, DRAY_EAUTH);
    assert_true(token_requests(setup) < PULLERS);
    for (int i = 0; i < PULLERS; i++)
        assert_contains(pullers[i].err.text, "token server");
}

static void cancel_reaches_those_who_wait_for_a_token(void **state)
{
    struct setup *setup = *state;
    struct puller pullers[PULLERS];
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    int64_t start_ms;

    assert_ok(dray_cancel_new(&cancel, NULL));
    setup->delay_ms = 3000;
    connect_with(setup, (struct dray_registry_options){ 0 });
    start_pullers(setup, cancel, pullers);
    usleep(200000);
    start_ms = dray_now_ms();
    dray_cancel_fire(cancel);
    join_pullers(pullers, DRAY_ECANCELED);
    assert_true(dray_now_ms() - start_ms < 1000);
}

static void the_cache_is_bounded(void **state)
{
    struct setup *setup = *state;

    setup->answer = "{\"token\":\"token-1\"}";
    connect_with(setup, (struct dray_registry_options){ 0 });
    for (int i = 0; i < 300; i++) {
        char repository[32];

        snprintf(repository, sizeof(repository), "team/app%d", i);
        assert_ok(pull_with(setup, setup->client, repository, &setup->err));
    }
    assert_ok(pull_with(setup, setup->client, "team/app299", &setup->err));
    assert_int_equal(token_requests(setup), 300);
    assert_ok(pull_with(setup, setup->client, "team/app0", &setup->err));
    assert_int_equal(token_requests(setup), 301);
}

#define auth_test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        auth_test(an_anonymous_token_is_fetched_once_and_sent_at_once),
        auth_test(each_repository_has_its_token),
        auth_test(the_scope_is_made_up_where_the_challenge_has_none),
        auth_test(several_scopes_are_sent_one_by_one),
        auth_test(basic_credentials_go_to_the_token_server),
        auth_test(a_mirror_never_sees_the_upstream_s_credentials),
        auth_test(the_access_token_wins_over_the_token),
        auth_test(an_identity_token_is_traded_by_post),
        auth_test(a_registry_token_is_sent_as_it_is),
        auth_test(bearer_is_preferred_over_basic),
        auth_test(basic_is_answered_with_credentials_and_then_sent_at_once),
        auth_test(without_credentials_a_basic_challenge_is_the_user_s_matter),
        auth_test(wrong_basic_credentials_are_sent_once),
        auth_test(a_token_the_registry_no_longer_takes_is_renewed_once),
        auth_test(an_expired_token_may_be_answered_by_400),
        auth_test(a_fresh_token_that_is_refused_is_the_end),
        auth_test(what_the_token_server_says_decides),
        auth_test(an_answer_without_a_usable_token_is_refused_without_being_quoted),
        auth_test(a_realm_that_must_not_be_asked_is_refused),
        auth_test(the_token_server_of_an_https_registry_is_https),
        auth_test(another_origin_gets_basic_but_none_of_the_user_s_headers),
        auth_test(a_401_without_a_challenge_is_the_end),
        auth_test(one_thread_fetches_the_token_for_all),
        auth_test(those_who_wait_share_the_failure),
        auth_test(cancel_reaches_those_who_wait_for_a_token),
        auth_test(the_cache_is_bounded),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
