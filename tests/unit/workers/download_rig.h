/* What the tests of the download stand on: sites that serve a blob and misbehave as told, and a rig
 * with a store, hosts, a pool and clients around one download. */
#ifndef TESTS_UNIT_WORKERS_DOWNLOAD_RIG_H
#define TESTS_UNIT_WORKERS_DOWNLOAD_RIG_H

#include "workers/download.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdatomic.h>
#include <time.h>

#include <dray/dray.h>

#include "core/cancel.h"
#include "core/limits.h"
#include "core/sync.h"
#include "registry/client.h"
#include "registry/registry.h"
#include "storage/blob_store.h"
#include "tests/support/http_server.h"
#include "tests/unit/storage/scratch.h"
#include "workers/download_state.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)

/* A hang fails the test. None takes a tenth of it, but for sanitizers. */
#define WATCHDOG_S 120

/* A host that is known to be so slow is asked for the smallest parts there are, and any help is
 * worth while. */
#define PART_BYTES        MIB
#define SLOW_BYTES_PER_S  UINT64_C(100000)
#define GATHER_TIMEOUT_MS 20000
#define RANGES_MAX        512

/* Under a throttle nobody is thought to be slow, so that no byte is asked for twice because this
 * machine is. */
#define PLENTY_BYTES_PER_S (UINT64_C(1) << 50)

#define ROUNDS 10

enum manners {
    SERVES_PARTS,
    IGNORES_RANGES, /* 200 and all of it, whatever was asked for */
    REFUSES_RANGES, /* 416 to each */
    ANSWERS_416,    /* to everything */
    ANSWERS_STATUS, /* whatever status says */
};

enum lies {
    NEVER_LIES,
    LIES_IN_PARTS, /* but sends the whole as it is */
    ALWAYS_LIES,
};

struct site {
    bool is_away; /* nobody listens at its address */
    enum manners manners;
    int status;         /* for ANSWERS_STATUS */
    const char *fields; /* go with it; may be NULL */
    size_t first_only;  /* has these manners for so many requests, then serves parts; 0: for all */
    enum lies lies;
    uint64_t wrong_at;          /* the byte that is wrong then */
    uint64_t dies_after_bytes;  /* of bodies; then it resets every connection; 0: never */
    size_t piece_bytes;         /* how much it sends at once; 0: 64 KiB */
    unsigned pause_us;          /* before each piece */
    size_t gathers;             /* no body goes out before so many requests are here */
    void (*on_step)(void *ctx); /* before each answer and each piece; NULL: nothing */
    void *ctx;

    const uint8_t *bytes;
    uint64_t size_bytes;
    struct test_server *server;
    _Atomic bool stalls; /* from now on it says nothing more */
    _Atomic bool stops;
    struct dray_mutex mu; /* guards the rest */
    struct dray_cond gathered;
    size_t requests;
    uint64_t sent_bytes; /* as far as it may die */
    struct range {
        uint64_t begin;
        uint64_t end;
        bool whole; /* no range was asked for */
    } ranges[RANGES_MAX];
};

/* How a download went. */
struct result {
    int rc;
    struct dray_error error;
    uint32_t laters;   /* how often nothing could be done for a while */
    int64_t due_in_ms; /* the longest such while */
    struct dray_blob_figures figures;
    struct dray_blob_origin origins[2];
};

/* The first ones are the test's to set; rig_start() does the rest. */
struct rig {
    struct site sites[2]; /* a mirror and the upstream, or only the upstream */
    size_t site_count;    /* 0: 1 */
    uint32_t helpers;
    uint64_t size_bytes;
    uint64_t rate_bytes_per_s; /* of the throttle; 0: PLENTY_BYTES_PER_S */
    bool judges_speed;         /* who is slow is relieved: there is no throttle */

    const char *root;
    uint8_t *bytes;
    struct dray_descriptor blob;
    struct dray_store *store;
    struct dray_hosts *hosts;
    struct dray_host *host[2];
    struct dray_throttle throttle;
    struct dray_cpu_gauge cpu_gauge;
    struct dray_cancel *cancel;
    struct dray_registry *registry;
    struct dray_pool *pool;
    struct dray_client *client; /* the test's own */
    struct dray_engine engine;
    struct dray_endpoint endpoints[2];
    struct dray_source source;
    _Atomic uint32_t wanted;
    _Atomic uint32_t steps; /* for fall_silent() */
    struct result result;   /* of the last fetch() */

    struct dray_mutex mu;      /* guards the rest */
    struct dray_cond happened; /* settled, or visitors fell */
    struct dray_download *download;
    uint32_t visitors; /* helpers that may be in it */
    bool settled;      /* a helper was the last one, and this is how it ended: */
    struct dray_download_outcome outcome;
};

static uint64_t seed;   /* of the run */
static unsigned rounds; /* of whatever_the_endpoints_do_it_ends() */

/* ---- sites ---- */

static void step(struct site *site, struct test_connection *connection)
{
    if (site->on_step)
        site->on_step(site->ctx);
    if (atomic_load(&site->stalls))
        test_stall(connection);
}

/* @return the request's number */
static size_t note(struct site *site, const struct range *range)
{
    size_t number;

    dray_mutex_lock(&site->mu);
    number = site->requests++;
    if (number == RANGES_MAX)
        abort();
    site->ranges[number] = *range;
    dray_cond_broadcast(&site->gathered);
    dray_mutex_unlock(&site->mu);
    return number;
}

static void gather(struct site *site)
{
    int64_t deadline_ms = dray_now_ms() + GATHER_TIMEOUT_MS;

    dray_mutex_lock(&site->mu);
    while (site->requests < site->gathers &&
           dray_cond_wait_until(&site->gathered, &site->mu, deadline_ms))
        ;
    dray_mutex_unlock(&site->mu);
}

/* How much of a piece it still sends before it dies. */
static size_t take_life(struct site *site, size_t len)
{
    uint64_t left;

    if (site->dies_after_bytes == 0)
        return len;
    dray_mutex_lock(&site->mu);
    left = site->dies_after_bytes - site->sent_bytes;
    if (len > left)
        len = (size_t)left;
    site->sent_bytes += len;
    dray_mutex_unlock(&site->mu);
    return len;
}

static bool is_dead(struct site *site)
{
    bool dead;

    dray_mutex_lock(&site->mu);
    dead = site->dies_after_bytes > 0 && site->sent_bytes == site->dies_after_bytes;
    dray_mutex_unlock(&site->mu);
    return dead;
}

static void send_piece(const struct site *site, uint64_t begin, size_t len, bool lies,
                       struct test_connection *connection)
{
    const uint64_t end = begin + len;
    uint8_t wrong;

    if (!lies || site->wrong_at < begin || site->wrong_at >= end) {
        test_send(connection, site->bytes + begin, len);
        return;
    }
    wrong = site->bytes[site->wrong_at] ^ 1;
    test_send(connection, site->bytes + begin, site->wrong_at - begin);
    test_send(connection, &wrong, 1);
    test_send(connection, site->bytes + site->wrong_at + 1, end - site->wrong_at - 1);
}

static void send_body(struct site *site, const struct range *range,
                      struct test_connection *connection)
{
    const size_t piece_bytes = site->piece_bytes > 0 ? site->piece_bytes : 64 * KIB;
    const bool lies = site->lies == ALWAYS_LIES || (site->lies == LIES_IN_PARTS && !range->whole);

    for (uint64_t at = range->begin; at < range->end && !atomic_load(&site->stops);
         at += piece_bytes) {
        size_t len = range->end - at < piece_bytes ? (size_t)(range->end - at) : piece_bytes;
        size_t alive;

        if (site->pause_us > 0)
            usleep(site->pause_us);
        step(site, connection);
        alive = take_life(site, len);
        send_piece(site, at, alive, lies, connection);
        if (alive < len) {
            usleep(50000); /* a reset overtakes what was sent: the client shall have that first */
            test_close(connection, true);
            return;
        }
    }
}

static void answer_blob(struct site *site, const struct range *range,
                        struct test_connection *connection)
{
    if (range->whole)
        test_sendf(connection, "HTTP/1.1 200 OK\r\n");
    else
        test_sendf(connection,
                   "HTTP/1.1 206 Partial\r\nContent-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64
                   "\r\n",
                   range->begin, range->end - 1, site->size_bytes);
    test_sendf(connection, "Content-Length: %" PRIu64 "\r\n\r\n", range->end - range->begin);
    gather(site);
    send_body(site, range, connection);
}

static void serve(void *ctx, const struct test_request *request, struct test_connection *connection)
{
    struct site *site = ctx;
    const struct range whole = { .end = site->size_bytes, .whole = true };
    struct range asked = whole;
    enum manners manners = site->manners;
    char field[64];
    size_t number;

    if (!strstr(request->target, "/v2/library/test/blobs/sha256:"))
        abort();
    if (test_request_field(request, "Range", field, sizeof(field))[0]) { /* always bounded */
        if (sscanf(field, "bytes=%" SCNu64 "-%" SCNu64, &asked.begin, &asked.end) != 2)
            abort();
        asked.end++;
        asked.whole = false;
    }
    number = note(site, &asked);
    step(site, connection);
    if (site->first_only > 0 && number >= site->first_only)
        manners = SERVES_PARTS;

    if (is_dead(site))
        test_close(connection, true);
    else if (manners == ANSWERS_STATUS)
        test_answer(connection, site->status, site->fields ? site->fields : "", "");
    else if (manners == ANSWERS_416 || (manners == REFUSES_RANGES && !asked.whole))
        test_answer(connection, 416, "", "");
    else
        answer_blob(site, manners == IGNORES_RANGES ? &whole : &asked, connection);
}

static void site_start(struct site *site, const uint8_t *bytes, uint64_t size_bytes)
{
    site->bytes = bytes;
    site->size_bytes = size_bytes;
    dray_mutex_init(&site->mu);
    dray_cond_init(&site->gathered);
    site->server = test_server_start(serve, site);
}

static void site_stop(struct site *site)
{
    atomic_store(&site->stops, true);
    test_server_stop(site->server);
    dray_cond_done(&site->gathered);
    dray_mutex_done(&site->mu);
}

static size_t whole_requests(const struct site *site)
{
    size_t count = 0;

    for (size_t i = 0; i < site->requests; i++)
        count += site->ranges[i].whole;
    return count;
}

static int compare_ranges(const void *one, const void *other)
{
    const struct range *a = one;
    const struct range *b = other;

    return a->begin < b->begin ? -1 : a->begin > b->begin;
}

/* Was each byte of the blob asked for once? Sorts what the site has noted. */
static bool was_asked_for_once(struct site *site)
{
    uint64_t at = 0;

    qsort(site->ranges, site->requests, sizeof(site->ranges[0]), compare_ranges);
    for (size_t i = 0; i < site->requests; i++) {
        if (site->ranges[i].begin != at)
            return false;
        at = site->ranges[i].end;
    }
    return at == site->size_bytes;
}

/* ---- the rig ---- */

static int client_new(void *ctx, void **ret_state, struct dray_error *err)
{
    struct rig *rig = ctx;
    struct dray_client *client;
    int rc = dray_client_new(rig->registry, rig->cancel, &client, err);

    if (rc == DRAY_OK)
        *ret_state = client;
    return rc;
}

static void client_free(void *state)
{
    dray_client_free(state);
}

/* What a worker of the pool does: help, and hand on how it ended if it was the last. */
static int64_t help(void *ctx, void *client)
{
    struct rig *rig = ctx;
    struct dray_download_outcome outcome;
    struct dray_download *download;
    bool worked;

    dray_mutex_lock(&rig->mu);
    download = rig->helpers > 0 ? rig->download : NULL;
    rig->visitors += download != NULL;
    dray_mutex_unlock(&rig->mu);
    if (!download)
        return -1;

    worked = dray_download_help(download, client, &outcome);
    dray_mutex_lock(&rig->mu);
    rig->visitors--;
    if (outcome.end != DRAY_DOWNLOAD_LEFT) {
        if (rig->settled)
            abort(); /* nobody can be the last one twice */
        rig->outcome = outcome;
        rig->settled = true;
    }
    dray_cond_broadcast(&rig->happened);
    dray_mutex_unlock(&rig->mu);
    return worked ? 0 : 5;
}

/* Other bytes in each run. */
static void make_blob(struct rig *rig)
{
    uint8_t key[randombytes_SEEDBYTES] = { 0 };

    rig->bytes = malloc(rig->size_bytes + 1);
    assert_non_null(rig->bytes);
    memcpy(key, &seed, sizeof(seed));
    randombytes_buf_deterministic(rig->bytes, rig->size_bytes, key);
    rig->blob.size_bytes = rig->size_bytes;
    assert_ok(dray_digest_of(DRAY_SHA256, rig->bytes, rig->size_bytes, &rig->blob.digest));
}

static void add_endpoint(struct rig *rig, size_t place)
{
    static char host[] = "registry.test";
    const struct site *site = &rig->sites[place];
    char *url = strdup(site->is_away ? "http://127.0.0.1:1" : test_server_url(site->server));

    assert_non_null(url);
    rig->endpoints[place] = (struct dray_endpoint){
        .url = url, .origin = url, .host = host, .mirror = place + 1 < rig->site_count
    };
    assert_ok(dray_hosts_get(rig->hosts, url, &rig->host[place], NULL));
}

static void rig_start(struct rig *rig, const char *root)
{
    const struct dray_registry_options options = { .plain_http = true };
    const struct dray_pool_options pool = {
        .workers = rig->helpers > 0 ? rig->helpers : 1,
        .capacity = 1,
        .state_new = client_new,
        .state_free = client_free,
        .spare = help,
        .ctx = rig,
    };

    rig->site_count = rig->site_count > 0 ? rig->site_count : 1;
    rig->root = root;
    rig->wanted = 1;
    make_blob(rig);
    dray_mutex_init(&rig->mu);
    dray_cond_init(&rig->happened);
    if (rig->rate_bytes_per_s == 0 && !rig->judges_speed)
        rig->rate_bytes_per_s = PLENTY_BYTES_PER_S;
    dray_throttle_init(&rig->throttle, rig->rate_bytes_per_s);
    dray_cpu_gauge_init(&rig->cpu_gauge);
    rig->cpu_gauge.cpus = DRAY_JOBS_MAX; /* on a small machine as on a large one */
    rig->store = scratch_open(root, DRAY_STORE_WRITE, NULL);
    assert_ok(dray_hosts_new(rig->helpers + 1, &rig->hosts, NULL));
    assert_ok(dray_cancel_new(&rig->cancel, NULL));
    assert_ok(dray_registry_new(&options, NULL, &rig->registry, NULL));
    assert_ok(dray_client_new(rig->registry, rig->cancel, &rig->client, NULL));
    for (size_t i = 0; i < rig->site_count; i++) {
        site_start(&rig->sites[i], rig->bytes, rig->size_bytes);
        add_endpoint(rig, i);
    }
    assert_ok(dray_pool_new(&pool, &rig->pool, NULL));
    rig->engine = (struct dray_engine){ .store = rig->store,
                                        .registry = rig->registry,
                                        .hosts = rig->hosts,
                                        .throttle = &rig->throttle,
                                        .cpu_gauge = &rig->cpu_gauge,
                                        .pool = rig->pool,
                                        .cancel = rig->cancel,
                                        .retries = 2,
                                        .connections_per_blob = rig->helpers + 1 };
    rig->source = (struct dray_source){ .engine = &rig->engine,
                                        .repository = "library/test",
                                        .endpoints = { rig->endpoints, rig->site_count },
                                        .lock_fd = -1,
                                        .references = 1 };
}

static void check_host(void *ctx, const char *origin, const struct dray_host_view *view)
{
    (void)ctx;
    (void)origin;
    assert_int_equal(view->in_use, 0);
}

/* The store holds the blob if that was fetched, and nothing else; then it is removed. */
static void rig_stop(struct rig *rig)
{
    bool removed = false;

    dray_pool_free(rig->pool);
    for (size_t i = 0; i < rig->site_count; i++)
        site_stop(&rig->sites[i]);
    dray_hosts_each(rig->hosts, check_host, NULL);
    assert_int_equal(atomic_load(&rig->source.references), 1);
    assert_int_equal(verify_blobs(rig->root), rig->result.rc == DRAY_OK);
    assert_ok(dray_blob_remove(rig->store, &rig->blob.digest, &removed, NULL));
    assert_int_equal(removed, rig->result.rc == DRAY_OK);
    if (removed)
        assert_int_equal(count_names(below(rig->root, "dray/staging")), 0);

    dray_client_free(rig->client);
    dray_registry_free(rig->registry);
    dray_cancel_free(rig->cancel);
    dray_hosts_free(rig->hosts);
    for (size_t i = 0; i < rig->site_count; i++)
        free(rig->endpoints[i].url);
    dray_cpu_gauge_done(&rig->cpu_gauge);
    dray_throttle_done(&rig->throttle);
    dray_cond_done(&rig->happened);
    dray_mutex_done(&rig->mu);
    dray_store_close(rig->store);
    free(rig->bytes);
}

/* All hosts are known to be slow, from requests before. */
static void know_hosts(struct rig *rig)
{
    const struct dray_host_outcome outcome = { .bytes = SLOW_BYTES_PER_S,
                                               .duration_ms = 1001,
                                               .first_byte_ms = 1 };

    for (size_t i = 0; i < rig->site_count; i++) {
        assert_true(dray_host_enter(rig->host[i], 0, false));
        dray_host_leave(rig->host[i], &outcome);
    }
}

static struct dray_host_view look_at_host(struct rig *rig, size_t place)
{
    struct dray_host_view view;

    dray_host_look(rig->host[place], &view);
    return view;
}

static struct dray_download *begin(struct rig *rig)
{
    enum dray_staging_outcome outcome;
    struct dray_staging *staging;
    struct dray_download *download;

    assert_ok(dray_staging_open(rig->store, &rig->blob, rig->cancel, &outcome, &staging, NULL));
    assert_int_equal(outcome, DRAY_STAGING_OPENED);
    assert_ok(dray_download_new(&rig->source, &rig->blob, staging, &rig->wanted, &download, NULL));
    return download;
}

/* Nobody is in it, and nobody has anything of it. */
static void check_empty(struct rig *rig, struct dray_download *download)
{
    dray_mutex_lock(&download->mu);
    assert_false(download->open);
    assert_null(download->fetches);
    if (download->staging) {
        assert_int_equal(download->active, 0);
        assert_int_equal(dray_staging_held(download->staging) +
                             dray_staging_unclaimed(download->staging),
                         download->blob.size_bytes);
    }
    dray_mutex_unlock(&download->mu);
    dray_hosts_each(rig->hosts, check_host, NULL);
}

static void take_figures(struct rig *rig, struct dray_download *download)
{
    struct result *result = &rig->result;
    struct dray_download_view view;
    uint64_t bytes = 0;
    uint32_t requests = 0;

    result->figures = *dray_download_figures(download);
    assert_true(result->figures.origin_count <= 2);
    for (size_t i = 0; i < result->figures.origin_count; i++) {
        result->origins[i] = result->figures.origins[i];
        bytes += result->origins[i].bytes;
        requests += result->origins[i].requests;
    }
    assert_int_equal(bytes, result->figures.received_bytes);
    assert_int_equal(requests, result->figures.requests);
    dray_download_look(download, &view, NULL);
    assert_int_equal(view.received_bytes, result->figures.received_bytes);
    assert_int_equal(dray_download_left_ms(download), 0);
    if (result->rc == DRAY_OK)
        assert_int_equal(view.current_bytes, rig->size_bytes);
}

/* For the helpers; NULL: and wait until none is in it. */
static void publish(struct rig *rig, struct dray_download *download)
{
    dray_mutex_lock(&rig->mu);
    rig->download = download;
    while (!download && rig->visitors > 0)
        dray_cond_wait(&rig->happened, &rig->mu);
    dray_mutex_unlock(&rig->mu);
}

/* One stay of the test's own thread, and of those who helped it. */
static struct dray_download_outcome stay(struct rig *rig, struct dray_download *download)
{
    struct dray_download_outcome outcome;

    dray_pool_nudge(rig->pool);
    dray_download_run(download, rig->client, &outcome);
    dray_mutex_lock(&rig->mu);
    if (outcome.end == DRAY_DOWNLOAD_LEFT) {
        while (!rig->settled)
            dray_cond_wait(&rig->happened, &rig->mu);
        outcome = rig->outcome;
        rig->settled = false;
    }
    if (rig->settled)
        abort(); /* nobody can be the last one twice */
    dray_mutex_unlock(&rig->mu);
    return outcome;
}

/* Not for one that is to be stopped. */
static void wait_until_due(struct rig *rig, const struct dray_download_outcome *outcome)
{
    int64_t wait_ms = outcome->due_ms - dray_now_ms();

    rig->result.laters++;
    if (wait_ms > rig->result.due_in_ms)
        rig->result.due_in_ms = wait_ms;
    if (wait_ms > 0 && atomic_load(&rig->wanted) > 0)
        dray_cancel_sleep(rig->cancel, wait_ms);
}

/* Fetch the blob, to the end, as a job and its helpers do. */
static void fetch(struct rig *rig)
{
    struct dray_download *download = begin(rig);
    struct dray_download_outcome outcome;

    rig->result = (struct result){ 0 };
    publish(rig, download);
    for (outcome = stay(rig, download); outcome.end == DRAY_DOWNLOAD_LATER;
         outcome = stay(rig, download)) {
        check_empty(rig, download);
        wait_until_due(rig, &outcome);
    }
    publish(rig, NULL);
    assert_int_equal(outcome.end, DRAY_DOWNLOAD_ENDED);
    rig->result.rc = outcome.rc;
    rig->result.error = outcome.error;
    check_empty(rig, download);
    take_figures(rig, download);
    dray_download_free(download);
}

static void fetch_well(struct rig *rig)
{
    fetch(rig);
    if (rig->result.rc != DRAY_OK)
        fail_msg("%s", rig->result.error.text);
}

/* What an earlier run left: bytes from the first one on, and not all. */
static void leave_some(struct rig *rig, uint64_t len)
{
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    enum dray_staging_outcome outcome;
    struct dray_segment segment;

    assert_ok(dray_staging_open(rig->store, &rig->blob, NULL, &outcome, &staging, NULL));
    assert_int_equal(outcome, DRAY_STAGING_OPENED);
    assert_true(dray_staging_claim(staging, UINT64_MAX, 0, &segment));
    assert_ok(dray_staging_write(staging, &segment, rig->bytes, len, NULL));
    dray_staging_release(staging, &segment);
}

#endif
