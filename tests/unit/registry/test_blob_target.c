#include "registry/blob_target.h"

#include <stdatomic.h>

#include "core/cancel.h"
#include "core/digest.h"
#include "registry/v2.h"
#include "tests/unit/registry/fixture.h"

#define BLOB_BYTES 80000
#define PART_BYTES 10000

/* A registry that sends everybody away, and who has the bytes. */
struct setup {
    struct test_server *home;
    struct test_server *away;
    uint8_t *bytes;
    struct dray_descriptor blob;
    struct dray_registry *registry;
    struct dray_client *client;
    struct dray_cancel *cancel;
    struct dray_endpoint endpoint;
    struct dray_blob_target target;
    struct dray_blob_answer answer;
    struct dray_error err;
    _Atomic int refusals;       /* so many requests get ... */
    _Atomic int refusal_status; /* this status there; 0: half of a body */
};

static void send_away(struct setup *setup, int status, struct test_connection *connection)
{
    char fields[256];

    snprintf(fields, sizeof(fields), "Location: %s/blob?sig=hunter2\r\nRateLimit-Remaining: 5\r\n",
             test_server_url(setup->away));
    test_answer(connection, status, fields, "moved");
}

static void at_home(void *ctx, const struct test_request *request,
                    struct test_connection *connection)
{
    struct setup *setup = ctx;
    char field[64];
    int status;

    if (sscanf(request->target, "/v2/away-%d/", &status) == 1) {
        send_away(setup, status, connection);
    } else if (strncmp(request->target, "/v2/locked/", 11) == 0) {
        if (test_request_field(request, "Authorization", field, sizeof(field))[0])
            send_away(setup, 307, connection);
        else
            test_answer(connection, 401, "WWW-Authenticate: Basic realm=\"x\"\r\n", "");
    } else if (strncmp(request->target, "/v2/near/", 9) == 0) {
        test_answer(connection, 307, "Location: /here\r\n", "");
    } else {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BLOB_BYTES);
        test_send(connection, setup->bytes, BLOB_BYTES);
    }
}

static void at_away(void *ctx, const struct test_request *request,
                    struct test_connection *connection)
{
    struct setup *setup = ctx;
    int status = atomic_load(&setup->refusal_status);
    bool refused = atomic_load(&setup->refusals) > 0;
    size_t begin = 0;
    size_t end = BLOB_BYTES;
    char range[64];

    if (refused)
        atomic_fetch_sub(&setup->refusals, 1);
    if (refused && status != 0) {
        test_answer(connection, status, "Location: /elsewhere\r\nRateLimit-Remaining: 9\r\n", "");
        return;
    }
    test_request_field(request, "Range", range, sizeof(range));
    if (range[0]) {
        assert_int_equal(sscanf(range, "bytes=%zu-%zu", &begin, &end), 2);
        end++;
        test_sendf(connection, "HTTP/1.1 206 Part\r\nContent-Range: bytes %zu-%zu/%d\r\n", begin,
                   end - 1, BLOB_BYTES);
    } else {
        test_sendf(connection, "HTTP/1.1 200 OK\r\n");
    }
    test_sendf(connection, "Content-Length: %zu\r\n\r\n", end - begin);
    if (refused) {
        test_send(connection, setup->bytes + begin, (end - begin) / 2);
        test_close(connection, false);
    } else {
        test_send(connection, setup->bytes + begin, end - begin);
    }
}

static int set_up(void **state)
{
    static const char *const headers[] = { "X-Meta-Key: sesame", NULL };
    struct dray_registry_options options = { .headers = headers,
                                             .credentials = "me:letmein",
                                             .stall_timeout_ms = 2000 };
    struct setup *setup = calloc(1, sizeof(*setup));

    setup->bytes = malloc(BLOB_BYTES);
    for (size_t i = 0; i < BLOB_BYTES; i++)
        setup->bytes[i] = (uint8_t)(i * 7 + i / 251);
    setup->blob.size_bytes = BLOB_BYTES;
    assert_ok(dray_digest_of(DRAY_SHA256, setup->bytes, BLOB_BYTES, &setup->blob.digest));
    setup->away = test_server_start(at_away, setup);
    setup->home = test_server_start(at_home, setup);
    setup->registry = make_registry(&options);
    assert_ok(dray_cancel_new(&setup->cancel, NULL));
    setup->client = make_client(setup->registry, setup->cancel);
    setup->endpoint = endpoint_at(test_server_url(setup->home));
    *state = setup;
    return 0;
}

static int tear_down(void **state)
{
    struct setup *setup = *state;

    dray_blob_target_done(&setup->target);
    dray_client_free(setup->client);
    dray_registry_free(setup->registry);
    endpoint_done(&setup->endpoint);
    dray_cancel_free(setup->cancel);
    test_server_stop(setup->home);
    test_server_stop(setup->away);
    free(setup->bytes);
    free(setup);
    return 0;
}

/* Holds the bytes to the blob's. */
struct sink {
    struct setup *setup;
    uint64_t at;
    bool target_known; /* when the answer began */
    bool cancel;       /* then */
    int starts;
    int write_rc;
};

static int sink_start(void *ctx, uint64_t begin, uint64_t end, struct dray_error *err)
{
    struct sink *sink = ctx;

    (void)end;
    (void)err;
    sink->at = begin;
    sink->starts++;
    sink->target_known = dray_blob_target_set(&sink->setup->target);
    if (sink->cancel)
        dray_cancel_fire(sink->setup->cancel);
    return DRAY_OK;
}

static int sink_write(void *ctx, const uint8_t *data, size_t len, struct dray_error *err)
{
    struct sink *sink = ctx;

    (void)err;
    assert_true(len <= BLOB_BYTES - sink->at);
    assert_memory_equal(data, sink->setup->bytes + sink->at, len);
    sink->at += len;
    return sink->write_rc;
}

static int get(struct setup *setup, const char *name, uint64_t begin, struct sink *sink)
{
    struct dray_blob_request request = {
        .endpoint = &setup->endpoint,
        .repository = name,
        .blob = &setup->blob,
        .begin = begin,
        .end = begin + PART_BYTES,
        .sink = { .start = sink_start, .write = sink_write, .ctx = sink },
    };
    int rc;

    sink->setup = setup;
    setup->err = (struct dray_error){ 0 };
    rc = dray_v2_get_blob_unverified(setup->client, &request, &setup->target, &setup->answer,
                                     &setup->err);
    assert_lacks(setup->err.text, "hunter2");
    return rc;
}

static void expect_part(struct setup *setup, const char *name, uint64_t begin)
{
    struct sink sink = { 0 };

    if (get(setup, name, begin, &sink) != DRAY_OK)
        fail_msg("%s: %s", name, setup->err.text);
    assert_int_equal(sink.at, begin + PART_BYTES);
}

static void the_registry_is_asked_once_for_all_parts(void **state)
{
    static const char *const names[] = { "away-301", "away-302", "away-303", "away-307",
                                         "away-308" };
    struct setup *setup = *state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        dray_blob_target_done(&setup->target);
        for (uint64_t begin = 0; begin < BLOB_BYTES; begin += PART_BYTES) {
            expect_part(setup, names[i], begin);
            assert_true(setup->answer.redirected);
            assert_true(dray_blob_target_set(&setup->target));
            /* only the first answer was the registry's own */
            assert_int_equal(setup->answer.quota.known, begin == 0);
        }
        assert_int_equal(test_server_count(setup->home, ""), i + 1);
        assert_int_equal(test_server_count(setup->away, "GET /blob?sig=hunter2 "), (i + 1) * 8);
    }
    assert_int_equal(test_server_connections(setup->home), 1);
    assert_int_equal(test_server_connections(setup->away), 1);
}

static void going_to_and_fro_keeps_the_connections(void **state)
{
    struct setup *setup = *state;

    for (int i = 0; i < 8; i++) {
        dray_blob_target_done(&setup->target);
        expect_part(setup, "away-307", 0);
    }
    assert_int_equal(test_server_count(setup->home, ""), 8);
    assert_int_equal(test_server_connections(setup->home), 1);
    assert_int_equal(test_server_connections(setup->away), 1);
}

static void no_secret_goes_to_the_target(void **state)
{
    struct setup *setup = *state;

    for (uint64_t begin = 0; begin < BLOB_BYTES; begin += PART_BYTES)
        expect_part(setup, "locked", begin);
    assert_int_equal(test_server_count(setup->home, ""), 2);
    assert_int_equal(test_server_count(setup->home, "Authorization: Basic"), 1);
    assert_int_equal(test_server_count(setup->home, "sesame"), 2);
    assert_int_equal(test_server_count(setup->away, ""), 8);
    assert_int_equal(test_server_count(setup->away, "Authorization"), 0);
    assert_int_equal(test_server_count(setup->away, "sesame"), 0);
}

static void what_came_from_the_registry_s_own_origin_is_asked_for_there_again(void **state)
{
    static const char *const names[] = { "near", "here" };
    struct setup *setup = *state;
    struct sink sink = { 0 };

    for (size_t i = 0; i < 2; i++) {
        assert_ok(get(setup, names[i], 0, &sink));
        assert_int_equal(sink.at, BLOB_BYTES);
        assert_false(dray_blob_target_set(&setup->target));
        assert_false(setup->answer.redirected);
    }
}

/* H-30 */
static void a_target_that_expired_is_named_anew_within_the_call(void **state)
{
    static const int statuses[] = { 400, 401, 403, 404, 410, 302 };
    struct setup *setup = *state;

    expect_part(setup, "away-307", 0);
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        atomic_store(&setup->refusal_status, statuses[i]);
        atomic_store(&setup->refusals, 1);
        expect_part(setup, "away-307", 0);
        assert_true(dray_blob_target_set(&setup->target));
        assert_int_equal(test_server_count(setup->home, ""), i + 2);
        assert_int_equal(test_server_count(setup->away, ""), 2 * i + 3);
    }
    assert_int_equal(test_server_count(setup->away, "GET /elsewhere"), 0);
}

static void a_target_that_is_gone_is_named_anew_within_the_call(void **state)
{
    struct setup *setup = *state;

    assert_ok(
        dray_blob_target_remember(&setup->target, "http://127.0.0.1:1/blob", DRAY_REACH_LOOPBACK));
    expect_part(setup, "away-307", 0);
    assert_contains(setup->target.url.text, test_server_url(setup->away));
    assert_int_equal(test_server_count(setup->home, ""), 1);
}

static void the_registry_is_asked_once_more_and_not_again_and_again(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { 0 };

    expect_part(setup, "away-307", 0);
    atomic_store(&setup->refusal_status, 403);
    atomic_store(&setup->refusals, 1000);
    assert_int_equal(get(setup, "away-307", 0, &sink), DRAY_ETRANSIENT);
    assert_int_equal(setup->err.http_status, 403);
    assert_true(setup->answer.redirected);
    assert_int_equal(setup->answer.quota.remaining, 5); /* the registry's, not the target's */
    assert_false(dray_blob_target_set(&setup->target));
    assert_int_equal(test_server_count(setup->home, ""), 2);
    assert_int_equal(test_server_count(setup->away, ""), 3);
}

/* Also by codes that the sink has made up: what it was given it keeps. */
static void once_bytes_have_come_nobody_else_is_asked(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .write_rc = DRAY_EUNREACHABLE };

    expect_part(setup, "away-307", 0);
    assert_int_equal(get(setup, "away-307", 0, &sink), DRAY_EUNREACHABLE);
    assert_int_equal(sink.starts, 1);
    assert_false(dray_blob_target_set(&setup->target));
    assert_int_equal(test_server_count(setup->home, ""), 1);
}

static void after_any_other_failure_the_next_call_asks_the_registry(void **state)
{
    static const int statuses[] = { 500, 503, 429, 416, 0 };
    struct setup *setup = *state;
    size_t asked = 0;

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct sink sink = { 0 };

        expect_part(setup, "away-307", 0);
        atomic_store(&setup->refusal_status, statuses[i]);
        atomic_store(&setup->refusals, 1);
        assert_int_not_equal(get(setup, "away-307", 0, &sink), DRAY_OK);
        assert_int_equal(setup->answer.bad_range, statuses[i] == 416);
        assert_false(dray_blob_target_set(&setup->target));
        assert_int_equal(test_server_count(setup->home, ""), ++asked);
    }
}

static void the_target_is_known_when_the_bytes_begin_and_outlives_a_cancel(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .cancel = true };

    assert_int_equal(get(setup, "away-307", 0, &sink), DRAY_ECANCELED);
    assert_true(sink.target_known);
    assert_true(dray_blob_target_set(&setup->target));
}

/* The rule for redirects goes on to hold: who is far away has named it. */
static void a_target_on_this_machine_that_a_stranger_named_is_not_asked(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { 0 };

    assert_ok(
        dray_blob_target_remember(&setup->target, test_server_url(setup->away), DRAY_REACH_FAR));
    assert_int_equal(get(setup, "away-307", 0, &sink), DRAY_EPROTO);
    assert_contains(setup->err.text, "local address");
    assert_int_equal(test_server_count(setup->away, ""), 0);
    assert_false(dray_blob_target_set(&setup->target));
}

static void a_copy_is_the_same_and_its_own(void **state)
{
    struct dray_blob_target from = { 0 };
    struct dray_blob_target to = { 0 };

    (void)state;
    assert_ok(dray_blob_target_remember(&from, "http://far.test/blob?sig=1", DRAY_REACH_LINK));
    assert_ok(dray_blob_target_copy(&from, &to));
    assert_ok(dray_blob_target_remember(&from, "http://other.test/", DRAY_REACH_FAR));
    assert_string_equal(to.url.text, "http://far.test/blob?sig=1");
    assert_int_equal(to.sender_reach, DRAY_REACH_LINK);

    dray_blob_target_done(&from);
    assert_false(dray_blob_target_set(&from));
    assert_ok(dray_blob_target_copy(&from, &to));
    assert_false(dray_blob_target_set(&to));
    dray_blob_target_done(&to);
}

#define target_test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        target_test(the_registry_is_asked_once_for_all_parts),
        target_test(going_to_and_fro_keeps_the_connections),
        target_test(no_secret_goes_to_the_target),
        target_test(what_came_from_the_registry_s_own_origin_is_asked_for_there_again),
        target_test(a_target_that_expired_is_named_anew_within_the_call),
        target_test(a_target_that_is_gone_is_named_anew_within_the_call),
        target_test(the_registry_is_asked_once_more_and_not_again_and_again),
        target_test(once_bytes_have_come_nobody_else_is_asked),
        target_test(after_any_other_failure_the_next_call_asks_the_registry),
        target_test(the_target_is_known_when_the_bytes_begin_and_outlives_a_cancel),
        target_test(a_target_on_this_machine_that_a_stranger_named_is_not_asked),
        cmocka_unit_test(a_copy_is_the_same_and_its_own),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
