#include "registry/v2.h"

#include <inttypes.h>

#include "core/cancel.h"
#include "core/digest.h"
#include "core/limits.h"
#include "tests/unit/registry/fixture.h"

#define BLOB_BYTES 200000

/* One registry whose answers depend on the repository's name. */
struct setup {
    struct test_server *server;
    uint8_t *bytes;
    struct dray_descriptor blob;
    struct dray_registry *registry;
    struct dray_client *client;
    struct dray_cancel *cancel;
    struct dray_endpoint endpoint;
    struct dray_blob_answer answer;
    struct dray_error err;
    char accept[1024];
};

static const char manifest_text[] = "{\"schemaVersion\":2}";

static void answer_manifest(struct setup *setup, const struct test_request *request,
                            const char *name, struct test_connection *connection)
{
    static char body[DRAY_MANIFEST_MAX_BYTES + 2];
    struct dray_digest digest;
    char fields[512];

    assert_ok(dray_digest_of(DRAY_SHA256, manifest_text, strlen(manifest_text), &digest));
    snprintf(fields, sizeof(fields), "Content-Type: %s\r\nDocker-Content-Digest: %s\r\n",
             DRAY_MT_OCI_MANIFEST, digest.text);
    if (strcmp(name, "good") == 0) {
        test_request_field(request, "Accept", setup->accept, sizeof(setup->accept));
        test_answer(connection, 200, fields, manifest_text);
    } else if (strcmp(name, "silent") == 0) {
        test_answer(connection, 200, "", manifest_text);
    } else if (strcmp(name, "counted") == 0) {
        test_answer(connection, 200,
                    "RateLimit-Limit: 100;w=21600\r\nRateLimit-Remaining: 1;w=21600\r\n",
                    manifest_text);
    } else if (strcmp(name, "used-up") == 0) {
        test_answer(connection, 429, "RateLimit-Remaining: 0;w=21600\r\n", "");
    } else if (strcmp(name, "sha1") == 0) {
        test_answer(connection, 200,
                    "Docker-Content-Digest: sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709\r\n",
                    manifest_text);
    } else if (strcmp(name, "malformed") == 0) {
        test_answer(connection, 200, "Docker-Content-Digest: sha256:../../x\r\n", manifest_text);
    } else if (strcmp(name, "other") == 0) {
        test_answer(connection, 200, fields, "{}");
    } else if (strcmp(name, "gzip") == 0) {
        test_answer(connection, 200, "Content-Encoding: gzip\r\n", manifest_text);
    } else if (strcmp(name, "large") == 0) {
        memset(body, ' ', sizeof(body) - 1);
        test_answer(connection, 200, "", body);
    } else if (strcmp(name, "empty") == 0) {
        test_answer(connection, 200, "", "");
    } else if (strcmp(name, "nohead") == 0) {
        if (strcmp(request->method, "HEAD") == 0)
            test_answer(connection, 405, "", "");
        else
            test_answer(connection, 200, fields, manifest_text);
    } else if (strcmp(name, "long-type") == 0) {
        snprintf(fields, sizeof(fields), "Content-Type: %0300d\r\n", 0);
        test_answer(connection, 200, fields, manifest_text);
    } else {
        test_answer(connection, 404, "",
                    "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"no\"}]}");
    }
}

/* A 206 with these bytes and lines. */
static void answer_part(struct setup *setup, size_t begin, size_t end, const char *fields,
                        struct test_connection *connection)
{
    test_sendf(connection, "HTTP/1.1 206 Partial\r\n%sContent-Length: %zu\r\n\r\n", fields,
               end - begin);
    test_send(connection, setup->bytes + begin, end - begin);
}

/* The right Content-Range line. */
static const char *range_line(char *buf, size_t size, size_t begin, size_t end)
{
    snprintf(buf, size, "Content-Range: bytes %zu-%zu/%d\r\n", begin, end - 1, BLOB_BYTES);
    return buf;
}

static void answer_whole(struct setup *setup, const char *fields, size_t len,
                         struct test_connection *connection)
{
    test_sendf(connection, "HTTP/1.1 200 OK\r\n%s\r\n", fields);
    test_send(connection, setup->bytes, len < BLOB_BYTES ? len : BLOB_BYTES);
    if (len > BLOB_BYTES)
        test_send(connection, "more", len - BLOB_BYTES);
}

static void answer_blob(struct setup *setup, const struct test_request *request, const char *name,
                        struct test_connection *connection)
{
    char range[64];
    char line[128];
    char fields[256];
    size_t begin = 0;
    size_t end = BLOB_BYTES;

    test_request_field(request, "Range", range, sizeof(range));
    if (range[0]) { /* always bounded */
        assert_int_equal(sscanf(range, "bytes=%zu-%zu", &begin, &end), 2);
        end++;
    }
    range_line(line, sizeof(line), begin, end);
    if (strcmp(name, "good") == 0 && range[0]) {
        answer_part(setup, begin, end, line, connection);
    } else if (strcmp(name, "good") == 0 || strcmp(name, "ignores-range") == 0) {
        answer_whole(setup, "Content-Length: 200000\r\n", BLOB_BYTES, connection);
    } else if (strcmp(name, "until-close") == 0) {
        answer_whole(setup, "", BLOB_BYTES, connection);
        test_close(connection, false);
    } else if (strcmp(name, "cut-until-close") == 0) {
        answer_whole(setup, "", BLOB_BYTES - 1, connection);
        test_close(connection, false);
    } else if (strcmp(name, "cut") == 0) {
        answer_whole(setup, "Content-Length: 200000\r\n", 1000, connection);
        test_close(connection, false);
    } else if (strcmp(name, "reset") == 0) {
        answer_whole(setup, "Content-Length: 200000\r\n", 1000, connection);
        test_close(connection, true);
    } else if (strcmp(name, "more") == 0) {
        answer_whole(setup, "", BLOB_BYTES + 1, connection);
        test_close(connection, false);
    } else if (strcmp(name, "longer") == 0) {
        answer_whole(setup, "Content-Length: 200001\r\n", BLOB_BYTES + 1, connection);
    } else if (strcmp(name, "shorter") == 0) {
        answer_whole(setup, "Content-Length: 199999\r\n", BLOB_BYTES - 1, connection);
    } else if (strcmp(name, "gzip") == 0) {
        answer_whole(setup, "Content-Length: 200000\r\nContent-Encoding: gzip\r\n", BLOB_BYTES,
                     connection);
    } else if (strcmp(name, "identity") == 0) {
        answer_whole(setup, "Content-Length: 200000\r\nContent-Encoding: identity\r\n", BLOB_BYTES,
                     connection);
    } else if (strcmp(name, "star-total") == 0) {
        answer_part(setup, begin, end, "Content-Range: bytes 1000-199999/*\r\n", connection);
    } else if (strcmp(name, "other-start") == 0) {
        answer_part(setup, begin, end, "Content-Range: bytes 999-199999/200000\r\n", connection);
    } else if (strcmp(name, "other-end") == 0) {
        answer_part(setup, begin, end, "Content-Range: bytes 1000-199998/200000\r\n", connection);
    } else if (strcmp(name, "other-total") == 0) {
        answer_part(setup, begin, end, "Content-Range: bytes 1000-199999/200001\r\n", connection);
    } else if (strcmp(name, "junk-range") == 0) {
        answer_part(setup, begin, end, "Content-Range: bytes hello\r\n", connection);
    } else if (strcmp(name, "no-range") == 0) {
        answer_part(setup, begin, end, "Content-Type: multipart/byteranges; boundary=x\r\n",
                    connection);
    } else if (strcmp(name, "two-ranges") == 0) {
        answer_part(setup, begin, end,
                    "Content-Range: bytes 1000-199999/200000\r\n"
                    "Content-Range: bytes 1000-199999/200000\r\n",
                    connection);
    } else if (strcmp(name, "multipart") == 0) {
        snprintf(fields, sizeof(fields), "%sContent-Type: Multipart/ByteRanges; boundary=x\r\n",
                 line);
        answer_part(setup, begin, end, fields, connection);
    } else if (strcmp(name, "part-too-long") == 0) {
        test_sendf(connection, "HTTP/1.1 206 Partial\r\n%s\r\n", line);
        test_send(connection, setup->bytes + begin, end - begin + 1);
        test_close(connection, false);
    } else if (strcmp(name, "part-too-short") == 0) {
        test_sendf(connection, "HTTP/1.1 206 Partial\r\n%s\r\n", line);
        test_send(connection, setup->bytes + begin, end - begin - 1);
        test_close(connection, false);
    } else if (strcmp(name, "part-cut") == 0) {
        test_sendf(connection, "HTTP/1.1 206 Partial\r\n%sContent-Length: %zu\r\n\r\n", line,
                   end - begin);
        test_send(connection, setup->bytes + begin, (end - begin) / 2);
        test_close(connection, true);
    } else if (strcmp(name, "other-length") == 0) {
        test_sendf(connection, "HTTP/1.1 206 Partial\r\n%sContent-Length: %d\r\n\r\n", line,
                   BLOB_BYTES);
        test_close(connection, false);
    } else if (strcmp(name, "part-as-200") == 0) {
        test_sendf(connection, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", end - begin);
        test_send(connection, setup->bytes + begin, end - begin);
    } else if (strcmp(name, "late") == 0) {
        usleep(100000);
        test_sendf(connection, "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n");
        usleep(100000);
        answer_whole(setup, "Content-Length: 200000\r\nRateLimit-Remaining: 7;w=60\r\n", BLOB_BYTES,
                     connection);
    } else if (strcmp(name, "unasked") == 0) {
        answer_part(setup, 0, BLOB_BYTES, "Content-Range: bytes 0-199999/200000\r\n", connection);
    } else if (strcmp(name, "status-416") == 0) {
        test_answer(connection, 416, "Content-Range: bytes */200000\r\n", "");
    } else if (strcmp(name, "status-202") == 0) {
        test_answer(connection, 202, "", "");
    } else if (strcmp(name, "status-429") == 0) {
        test_answer(connection, 429, "Retry-After: 3\r\nRateLimit-Remaining: 0;w=60\r\n", "");
    } else if (strcmp(name, "stall") == 0) {
        answer_whole(setup, "Content-Length: 200000\r\n", 1000, connection);
        test_stall(connection);
    } else if (strcmp(name, "nothing") == 0) {
        test_answer(connection, 200, "", "");
    } else {
        test_answer(connection, 404, "", "");
    }
}

static void handle(void *ctx, const struct test_request *request,
                   struct test_connection *connection)
{
    struct setup *setup = ctx;
    char name[64];

    if (sscanf(request->target, "/v2/%63[^/]/manifests/", name) != 1)
        abort();
    if (strstr(request->target, "/manifests/"))
        answer_manifest(setup, request, name, connection);
    else
        answer_blob(setup, request, name, connection);
}

static int set_up_with(void **state, int64_t stall_timeout_ms)
{
    struct setup *setup = calloc(1, sizeof(*setup));
    struct dray_registry_options options = { .stall_timeout_ms = stall_timeout_ms };

    setup->bytes = malloc(BLOB_BYTES + 1); /* one more for who sends too many */
    for (size_t i = 0; i <= BLOB_BYTES; i++)
        setup->bytes[i] = (uint8_t)(i * 7 + i / 251);
    setup->blob.size_bytes = BLOB_BYTES;
    assert_ok(dray_digest_of(DRAY_SHA256, setup->bytes, BLOB_BYTES, &setup->blob.digest));
    setup->server = test_server_start(handle, setup);
    setup->registry = make_registry(&options);
    assert_ok(dray_cancel_new(&setup->cancel, NULL));
    setup->client = make_client(setup->registry, setup->cancel);
    setup->endpoint = endpoint_at(test_server_url(setup->server));
    *state = setup;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, 500);
}

/* So patient that what ends a stalled transfer is nothing but what the test does. */
static int set_up_patient(void **state)
{
    return set_up_with(state, 60000);
}

static int tear_down(void **state)
{
    struct setup *setup = *state;

    dray_client_free(setup->client);
    dray_registry_free(setup->registry);
    endpoint_done(&setup->endpoint);
    dray_cancel_free(setup->cancel);
    test_server_stop(setup->server);
    free(setup->bytes);
    free(setup);
    return 0;
}

static int get_manifest(struct setup *setup, const char *name, const struct dray_digest *digest,
                        bool head, struct dray_v2_manifest *manifest)
{
    setup->err = (struct dray_error){ 0 };
    return dray_v2_get_manifest(setup->client, &setup->endpoint, name, digest ? NULL : "latest",
                                digest, head, manifest, &setup->err);
}

static struct dray_digest digest_of_text(const char *text)
{
    struct dray_digest digest;

    assert_ok(dray_digest_of(DRAY_SHA256, text, strlen(text), &digest));
    return digest;
}

static void a_manifest_comes_with_its_digest_and_type(void **state)
{
    struct setup *setup = *state;
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    assert_ok(get_manifest(setup, "good", NULL, false, &manifest));
    assert_string_equal(dray_buf_text(&manifest.body), manifest_text);
    assert_string_equal(manifest.digest.text, digest_of_text(manifest_text).text);
    assert_string_equal(manifest.media_type, DRAY_MT_OCI_MANIFEST);
    assert_contains(setup->accept, DRAY_MT_OCI_INDEX);
    assert_contains(setup->accept, DRAY_MT_DOCKER_LIST);
}

static void a_head_brings_the_digest_alone(void **state)
{
    struct setup *setup = *state;
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    assert_ok(get_manifest(setup, "good", NULL, true, &manifest));
    assert_int_equal(manifest.body.len, 0);
    assert_string_equal(manifest.digest.text, digest_of_text(manifest_text).text);
    assert_string_equal(manifest.media_type, DRAY_MT_OCI_MANIFEST);
    assert_int_equal(test_server_count(setup->server, "HEAD /v2/good/manifests/latest"), 1);
}

/* H-27 */
static void a_head_that_tells_nothing_asks_for_a_get(void **state)
{
    struct setup *setup = *state;
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    assert_int_equal(get_manifest(setup, "nohead", NULL, true, &manifest), DRAY_EUNSUPPORTED);
    assert_int_equal(get_manifest(setup, "silent", NULL, true, &manifest), DRAY_EUNSUPPORTED);
    assert_int_equal(get_manifest(setup, "sha1", NULL, true, &manifest), DRAY_EUNSUPPORTED);
    assert_ok(get_manifest(setup, "nohead", NULL, false, &manifest));
}

static void the_digest_is_computed_where_the_server_claims_none_we_know(void **state)
{
    static const char *const names[] = { "silent", "sha1" };
    struct setup *setup = *state;

    for (size_t i = 0; i < 2; i++) {
        DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

        assert_ok(get_manifest(setup, names[i], NULL, false, &manifest));
        assert_string_equal(manifest.digest.text, digest_of_text(manifest_text).text);
        assert_string_equal(manifest.media_type, "");
    }
}

static void an_empty_manifest_is_left_to_the_parser(void **state)
{
    struct setup *setup = *state;
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    assert_ok(get_manifest(setup, "empty", NULL, false, &manifest));
    assert_int_equal(manifest.body.len, 0);
    assert_string_equal(manifest.digest.text, digest_of_text("").text);
}

/* CVE-2025-24882 */
static void a_manifest_is_held_to_the_digest_asked_for(void **state)
{
    struct setup *setup = *state;
    struct dray_digest digest = digest_of_text(manifest_text);
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    assert_ok(get_manifest(setup, "good", &digest, false, &manifest));
    dray_v2_manifest_done(&manifest);
    /* that the header says so is not enough */
    assert_int_equal(get_manifest(setup, "other", &digest, false, &manifest), DRAY_EDIGEST);
    digest = digest_of_text("something else");
    assert_int_equal(get_manifest(setup, "good", &digest, false, &manifest), DRAY_EDIGEST);
    assert_int_equal(get_manifest(setup, "good", &digest, true, &manifest), DRAY_EDIGEST);
}

static void broken_manifest_answers_are_refused(void **state)
{
    static const struct {
        const char *name;
        int want;
    } rows[] = {
        { "other", DRAY_EDIGEST }, { "malformed", DRAY_EPROTO }, { "gzip", DRAY_EPROTO },
        { "large", DRAY_EPROTO },  { "long-type", DRAY_EPROTO }, { "missing", DRAY_ENOTFOUND },
    };
    struct setup *setup = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dray_v2_manifest manifest = { 0 };

        if (get_manifest(setup, rows[i].name, NULL, false, &manifest) != rows[i].want)
            fail_msg("%s: %s", rows[i].name, setup->err.text);
        assert_null(manifest.body.data);
    }
    assert_contains(setup->err.text, "MANIFEST_UNKNOWN");
    assert_int_equal(setup->err.http_status, 404);
}

static void the_registry_s_quota_is_told_with_its_answer_and_its_refusal(void **state)
{
    struct setup *setup = *state;
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    assert_ok(get_manifest(setup, "counted", NULL, false, &manifest));
    assert_true(manifest.quota.known);
    assert_int_equal(manifest.quota.remaining, 1);
    assert_int_equal(manifest.quota.limit, 100);
    assert_int_equal(manifest.quota.window_s, 21600);

    assert_int_equal(get_manifest(setup, "used-up", NULL, true, &manifest), DRAY_ETRANSIENT);
    assert_true(manifest.quota.known);
    assert_int_equal(manifest.quota.remaining, 0);
    assert_int_equal(get_manifest(setup, "missing", NULL, true, &manifest), DRAY_ENOTFOUND);
    assert_false(manifest.quota.known);
}

static void a_mirror_is_told_whose_repository_is_meant(void **state)
{
    static char upstream[] = "docker.io";
    struct setup *setup = *state;
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest manifest = { 0 };

    setup->endpoint.mirror = true;
    setup->endpoint.upstream = upstream;
    assert_ok(get_manifest(setup, "good", NULL, false, &manifest));
    assert_int_equal(
        test_server_count(setup->server, "GET /v2/good/manifests/latest?ns=docker.io HTTP"), 1);
}

/* Where the bytes go. */
struct sink {
    uint8_t *bytes;
    uint64_t start;
    uint64_t at;
    uint64_t end;
    int starts;
    int start_rc;
    int write_rc;
    bool (*wanted)(void *ctx);
    int asked;
};

static int sink_start(void *ctx, uint64_t begin, uint64_t end, struct dray_error *err)
{
    struct sink *sink = ctx;

    sink->starts++;
    sink->start = begin;
    sink->at = begin;
    sink->end = end;
    if (sink->start_rc < 0 && err)
        snprintf(err->text, sizeof(err->text), "no room");
    return sink->start_rc;
}

static int sink_write(void *ctx, const uint8_t *data, size_t len, struct dray_error *err)
{
    struct sink *sink = ctx;

    if (sink->write_rc < 0 && err)
        snprintf(err->text, sizeof(err->text), "disk full");
    if (sink->write_rc == 0) {
        assert_true(sink->at + len <= BLOB_BYTES);
        memcpy(sink->bytes + sink->at, data, len);
    }
    sink->at += len;
    return sink->write_rc;
}

static int get_part(struct setup *setup, const char *name, uint64_t begin, uint64_t end,
                    struct sink *sink)
{
    struct dray_blob_request request = {
        .endpoint = &setup->endpoint,
        .repository = name,
        .blob = &setup->blob,
        .begin = begin,
        .end = end,
        .sink = { .start = sink_start, .write = sink_write, .wanted = sink->wanted, .ctx = sink },
    };

    setup->err = (struct dray_error){ 0 };
    return dray_v2_get_blob_unverified(setup->client, &request, NULL, &setup->answer, &setup->err);
}

static int get_blob(struct setup *setup, const char *name, uint64_t offset, struct sink *sink)
{
    return get_part(setup, name, offset, setup->blob.size_bytes, sink);
}

/* Ask for a part; another one may come. */
static void expect_part(struct setup *setup, const char *name, uint64_t begin, uint64_t end,
                        uint64_t want_begin, uint64_t want_end)
{
    struct sink sink = { .bytes = calloc(1, BLOB_BYTES) };

    if (get_part(setup, name, begin, end, &sink) != DRAY_OK)
        fail_msg("%s: %s", name, setup->err.text);
    assert_int_equal(sink.starts, 1);
    assert_int_equal(sink.start, want_begin);
    assert_int_equal(sink.end, want_end);
    assert_int_equal(sink.at, want_end);
    assert_memory_equal(sink.bytes + want_begin, setup->bytes + want_begin, want_end - want_begin);
    assert_true(setup->answer.started);
    assert_false(setup->answer.bad_range);
    free(sink.bytes);
}

static void expect_blob(struct setup *setup, const char *name, uint64_t offset, uint64_t start)
{
    expect_part(setup, name, offset, BLOB_BYTES, start, BLOB_BYTES);
}

static void expect_no_blob(struct setup *setup, const char *name, uint64_t offset, int want,
                           bool started)
{
    struct sink sink = { .bytes = calloc(1, BLOB_BYTES) };
    int rc = get_blob(setup, name, offset, &sink);

    if (rc != want)
        fail_msg("%s: %d %s", name, rc, setup->err.text);
    assert_int_equal(setup->err.code, want);
    if (sink.starts != started || setup->answer.started != started)
        fail_msg("%s: started %d times", name, sink.starts);
    assert_memory_equal(sink.bytes, setup->bytes, sink.starts ? sink.at : 0);
    free(sink.bytes);
}

static void a_blob_is_streamed_whole_and_from_an_offset(void **state)
{
    struct setup *setup = *state;

    expect_blob(setup, "good", 0, 0);
    assert_int_equal(test_server_count(setup->server, "Range:"), 0);
    expect_blob(setup, "good", 1000, 1000);
    expect_blob(setup, "good", BLOB_BYTES - 1, BLOB_BYTES - 1);
    expect_blob(setup, "star-total", 1000, 1000);
    expect_blob(setup, "until-close", 0, 0);
    expect_blob(setup, "identity", 0, 0);
}

/* H-9 */
static void a_server_that_ignores_the_range_starts_at_zero(void **state)
{
    expect_blob(*state, "ignores-range", 1000, 0);
}

static void a_part_comes_to_the_byte(void **state)
{
    struct setup *setup = *state;

    expect_part(setup, "good", 0, 1, 0, 1);
    expect_part(setup, "good", 1000, 3000, 1000, 3000);
    expect_part(setup, "good", BLOB_BYTES - 1, BLOB_BYTES, BLOB_BYTES - 1, BLOB_BYTES);
    assert_int_equal(test_server_count(setup->server, "Range: bytes=0-0\r\n"), 1);
    assert_int_equal(test_server_count(setup->server, "Range: bytes=1000-2999\r\n"), 1);
    assert_int_equal(test_server_count(setup->server, "Range: bytes=199999-199999\r\n"), 1);
    expect_part(setup, "ignores-range", 1000, 3000, 0, BLOB_BYTES);
    expect_part(setup, "ignores-range", 0, 3000, 0, BLOB_BYTES);
}

static void parts_share_a_connection(void **state)
{
    struct setup *setup = *state;

    for (uint64_t begin = 0; begin < BLOB_BYTES; begin += BLOB_BYTES / 20)
        expect_part(setup, "good", begin, begin + BLOB_BYTES / 20, begin, begin + BLOB_BYTES / 20);
    assert_int_equal(test_server_count(setup->server, "Range: "), 20);
    assert_int_equal(test_server_connections(setup->server), 1);
}

/* H-10, H-11, RFC 9110 section 15.3.7 */
static void trouble_with_ranges_is_told_from_other_trouble(void **state)
{
    static const struct {
        const char *name;
        uint64_t begin;
        int want;
        bool bad_range;
    } rows[] = {
        { "other-start", 1000, DRAY_EPROTO, true },
        { "other-end", 1000, DRAY_EPROTO, true },
        { "other-total", 1000, DRAY_EPROTO, true },
        { "junk-range", 1000, DRAY_EPROTO, true },
        { "no-range", 1000, DRAY_EPROTO, true },
        { "two-ranges", 1000, DRAY_EPROTO, true },
        { "multipart", 1000, DRAY_EPROTO, true },
        { "other-length", 1000, DRAY_EPROTO, true },
        { "part-as-200", 1000, DRAY_EPROTO, true },
        { "part-too-long", 1000, DRAY_EPROTO, true },
        { "status-416", 1000, DRAY_EPROTO, true },
        { "unasked", 0, DRAY_EPROTO, true },
        { "part-too-short", 1000, DRAY_ETRANSIENT, false },
        { "part-cut", 1000, DRAY_ETRANSIENT, false },
        { "cut", 1000, DRAY_ETRANSIENT, false },
        { "gzip", 1000, DRAY_EPROTO, false },
        { "longer", 0, DRAY_EPROTO, false },
        { "more", 0, DRAY_EPROTO, false },
        { "status-429", 1000, DRAY_ETRANSIENT, false },
        { "missing", 1000, DRAY_ENOTFOUND, false },
    };
    struct setup *setup = *state;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct sink sink = { .bytes = calloc(1, BLOB_BYTES) };
        int rc = get_blob(setup, rows[i].name, rows[i].begin, &sink);

        if (rc != rows[i].want || setup->answer.bad_range != rows[i].bad_range)
            fail_msg("%s: %d %d %s", rows[i].name, rc, setup->answer.bad_range, setup->err.text);
        free(sink.bytes);
    }
}

/* H-5, for parts: the sink's own check would fail the test */
static void a_part_that_ends_early_is_worth_another_try_and_a_longer_one_is_refused(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .bytes = calloc(1, BLOB_BYTES) };

    assert_int_equal(get_part(setup, "part-too-short", 1000, 2000, &sink), DRAY_ETRANSIENT);
    assert_contains(setup->err.text, "after 999 of 1000 bytes");
    assert_int_equal(sink.at, 1999);
    assert_int_equal(get_part(setup, "part-cut", 1000, 2000, &sink), DRAY_ETRANSIENT);
    assert_int_equal(get_part(setup, "part-too-long", 1000, 2000, &sink), DRAY_EPROTO);
    assert_contains(setup->err.text, "more than the part's 1000 bytes");
    assert_int_equal(sink.at, 2000); /* what fits is here, however it came */
    free(sink.bytes);
}

static void an_answer_tells_how_it_came(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .bytes = calloc(1, BLOB_BYTES) };

    assert_ok(get_blob(setup, "late", 0, &sink));
    assert_true(setup->answer.first_byte_ms >= 200 && setup->answer.first_byte_ms < 2000);
    assert_true(setup->answer.connect_ms < 150); /* on loopback: not the time of the answer */
    assert_false(setup->answer.redirected);
    assert_false(setup->answer.stalled);
    assert_true(setup->answer.quota.known);
    assert_int_equal(setup->answer.quota.remaining, 7);
    assert_ok(get_blob(setup, "late", 0, &sink));
    assert_int_equal(setup->answer.connect_ms, 0); /* it was there */

    assert_int_equal(get_blob(setup, "stall", 0, &sink), DRAY_ETRANSIENT);
    assert_true(setup->answer.stalled);
    assert_true(setup->answer.started);
    assert_true(setup->answer.first_byte_ms >= 0);
    assert_false(setup->answer.quota.known);

    assert_int_equal(get_blob(setup, "status-429", 0, &sink), DRAY_ETRANSIENT);
    assert_false(setup->answer.stalled);
    assert_false(setup->answer.started);
    assert_true(setup->answer.quota.known);
    assert_int_equal(setup->answer.quota.remaining, 0);
    free(sink.bytes);
}

static void nobody_there_has_no_first_byte(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .bytes = setup->bytes };

    test_server_stop(setup->server);
    assert_int_equal(get_blob(setup, "good", 0, &sink), DRAY_EUNREACHABLE);
    assert_int_equal(setup->answer.first_byte_ms, -1);
    assert_false(setup->answer.started);
    setup->server = test_server_start(handle, setup);
}

static bool never_wanted(void *ctx)
{
    (void)ctx;
    return false;
}

static bool always_wanted(void *ctx)
{
    (void)ctx;
    return true;
}

static bool wanted_for_a_while(void *ctx)
{
    struct sink *sink = ctx;

    return sink->asked++ < 2;
}

static void a_blob_nobody_wants_any_more_is_left_at_once(void **state)
{
    struct setup *setup = *state;
    struct sink whole = { .bytes = calloc(1, BLOB_BYTES), .wanted = always_wanted };
    struct sink some = { .bytes = whole.bytes, .wanted = wanted_for_a_while };
    struct sink none = { .bytes = whole.bytes, .wanted = never_wanted };

    assert_ok(get_blob(setup, "late", 0, &whole));
    assert_int_equal(get_blob(setup, "late", 0, &none), DRAY_ECANCELED);
    assert_string_equal(setup->err.text, "no longer wanted");
    assert_int_equal(none.starts, 0);

    assert_int_equal(get_blob(setup, "stall", 0, &some), DRAY_ECANCELED);
    assert_true(some.asked > 2);
    assert_false(setup->answer.stalled);
    free(whole.bytes);
}

/* H-10, H-11 */
static void a_range_that_was_not_asked_for_is_refused_before_any_byte(void **state)
{
    static const char *const names[] = { "other-start", "other-end", "other-total",
                                         "junk-range",  "no-range",  "two-ranges" };
    struct setup *setup = *state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        expect_no_blob(setup, names[i], 1000, DRAY_EPROTO, false);
    expect_no_blob(setup, "unasked", 0, DRAY_EPROTO, false);
    expect_no_blob(setup, "status-416", 1000, DRAY_EPROTO, false);
    assert_int_equal(setup->err.http_status, 416);
}

/* H-5, H-8, H-13 */
static void a_length_that_contradicts_the_descriptor_is_refused_before_any_byte(void **state)
{
    struct setup *setup = *state;

    expect_no_blob(setup, "longer", 0, DRAY_EPROTO, false);
    expect_no_blob(setup, "shorter", 0, DRAY_EPROTO, false);
    expect_no_blob(setup, "nothing", 0, DRAY_EPROTO, false);
    expect_no_blob(setup, "gzip", 0, DRAY_EPROTO, false);
    expect_no_blob(setup, "status-202", 0, DRAY_EPROTO, false);
    expect_blob(setup, "good", 0, 0);
}

/* H-5: nothing beyond the size reaches the sink; its own check would fail the test */
/* What is right of them has been handed on. */
static void more_bytes_than_the_blob_has_are_refused(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .bytes = calloc(1, BLOB_BYTES) };

    assert_int_equal(get_blob(setup, "more", 0, &sink), DRAY_EPROTO);
    assert_int_equal(sink.at, BLOB_BYTES);
    assert_memory_equal(sink.bytes, setup->bytes, BLOB_BYTES);
    free(sink.bytes);
}

/* H-1, H-2, H-6 */
static void a_blob_cut_short_is_worth_another_try(void **state)
{
    struct setup *setup = *state;

    expect_no_blob(setup, "cut", 0, DRAY_ETRANSIENT, true);
    expect_no_blob(setup, "cut-until-close", 0, DRAY_ETRANSIENT, true);
    expect_no_blob(setup, "reset", 0, DRAY_ETRANSIENT, true);
    expect_no_blob(setup, "stall", 0, DRAY_ETRANSIENT, true);
    expect_no_blob(setup, "status-429", 0, DRAY_ETRANSIENT, false);
    assert_int_equal(setup->err.retry_after_ms, 3000);
    expect_no_blob(setup, "missing", 0, DRAY_ENOTFOUND, false);
}

static void what_the_sink_says_ends_the_transfer_as_it_is(void **state)
{
    struct setup *setup = *state;
    struct sink no_room = { .bytes = setup->bytes, .start_rc = DRAY_ESTORE };
    struct sink disk_full = { .bytes = setup->bytes, .write_rc = DRAY_ENOSPC };

    assert_int_equal(get_blob(setup, "good", 0, &no_room), DRAY_ESTORE);
    assert_string_equal(setup->err.text, "no room");
    assert_int_equal(no_room.at, 0);
    assert_int_equal(get_blob(setup, "good", 0, &disk_full), DRAY_ENOSPC);
    assert_string_equal(setup->err.text, "disk full");
    /* and what was left unread does not show up in the next answer */
    expect_blob(setup, "good", 0, 0);
}

static void an_empty_blob_is_a_blob(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .bytes = setup->bytes };

    setup->blob.size_bytes = 0;
    assert_ok(get_blob(setup, "nothing", 0, &sink));
    assert_int_equal(sink.starts, 1);
    assert_int_equal(sink.at, 0);
}

static void *fire_soon(void *ctx)
{
    usleep(100000);
    dray_cancel_fire(ctx);
    return NULL;
}

static void cancel_ends_a_stalled_blob(void **state)
{
    struct setup *setup = *state;
    struct sink sink = { .bytes = calloc(1, BLOB_BYTES) };
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, fire_soon, setup->cancel), 0);
    assert_int_equal(get_blob(setup, "stall", 0, &sink), DRAY_ECANCELED);
    assert_false(setup->answer.stalled);
    pthread_join(thread, NULL);
    free(sink.bytes);
}

#define v2_test(fn)         cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
#define v2_patient_test(fn) cmocka_unit_test_setup_teardown(fn, set_up_patient, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        v2_test(a_manifest_comes_with_its_digest_and_type),
        v2_test(a_head_brings_the_digest_alone),
        v2_test(a_head_that_tells_nothing_asks_for_a_get),
        v2_test(the_digest_is_computed_where_the_server_claims_none_we_know),
        v2_test(an_empty_manifest_is_left_to_the_parser),
        v2_test(a_manifest_is_held_to_the_digest_asked_for),
        v2_test(broken_manifest_answers_are_refused),
        v2_test(the_registry_s_quota_is_told_with_its_answer_and_its_refusal),
        v2_test(a_mirror_is_told_whose_repository_is_meant),
        v2_test(a_blob_is_streamed_whole_and_from_an_offset),
        v2_test(a_server_that_ignores_the_range_starts_at_zero),
        v2_test(a_part_comes_to_the_byte),
        v2_test(parts_share_a_connection),
        v2_test(trouble_with_ranges_is_told_from_other_trouble),
        v2_test(a_part_that_ends_early_is_worth_another_try_and_a_longer_one_is_refused),
        v2_test(an_answer_tells_how_it_came),
        v2_test(nobody_there_has_no_first_byte),
        v2_patient_test(a_blob_nobody_wants_any_more_is_left_at_once),
        v2_test(a_range_that_was_not_asked_for_is_refused_before_any_byte),
        v2_test(a_length_that_contradicts_the_descriptor_is_refused_before_any_byte),
        v2_test(more_bytes_than_the_blob_has_are_refused),
        v2_test(a_blob_cut_short_is_worth_another_try),
        v2_test(what_the_sink_says_ends_the_transfer_as_it_is),
        v2_test(an_empty_blob_is_a_blob),
        v2_patient_test(cancel_ends_a_stalled_blob),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
