/* The in-flight table: each blob is fetched once, its outcome reaches all who want it, and what
 * nobody wants stops. */
#include "workers/inflight.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <time.h>

#include "core/error.h"
#include "core/sync.h"
#include "storage/staging.h"
#include "tests/unit/storage/scratch.h"

static uint64_t seed; /* of the run */

static void never_run(struct dray_job *job, void *state)
{
    (void)job;
    (void)state;
    abort();
}

static struct dray_source *make_source(void)
{
    struct dray_source *source = calloc(1, sizeof(*source));

    assert_non_null(source);
    source->references = 1;
    source->lock_fd = -1;
    return source;
}

static struct dray_descriptor blob_of(const char *text, uint64_t size_bytes)
{
    struct dray_descriptor blob = { .size_bytes = size_bytes };

    assert_int_equal(dray_digest_of(DRAY_SHA256, text, strlen(text), &blob.digest), DRAY_OK);
    return blob;
}

static struct dray_transfer *join(struct dray_inflight *table, struct dray_source *source,
                                  const struct dray_descriptor *blob, bool expect_owner)
{
    struct dray_transfer *transfer;
    bool owner;

    assert_int_equal(dray_inflight_join(table, blob, source, never_run, &transfer, &owner, NULL),
                     DRAY_OK);
    assert_int_equal(owner, expect_owner);
    return transfer;
}

static void the_second_who_wants_a_blob_joins_the_first(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_descriptor b = blob_of("b", 1);
    struct dray_transfer *first;
    struct dray_transfer *second;
    struct dray_transfer *other;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    first = join(table, source, &a, true);
    second = join(table, source, &a, false);
    other = join(table, source, &b, true);
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, other);

    dray_transfer_finish(first, DRAY_OK, NULL);
    dray_transfer_finish(other, DRAY_OK, NULL);
    dray_inflight_leave(first);
    dray_inflight_leave(second);
    dray_inflight_leave(other);
}

static void one_digest_with_two_sizes_is_two_transfers(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor small = blob_of("a", 1);
    struct dray_descriptor large = blob_of("a", 2);
    struct dray_transfer *first;
    struct dray_transfer *second;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    first = join(table, source, &small, true);
    second = join(table, source, &large, true);
    dray_transfer_finish(first, DRAY_OK, NULL);
    dray_transfer_finish(second, DRAY_OK, NULL);
    dray_inflight_leave(first);
    dray_inflight_leave(second);
}

static void a_failure_reaches_everyone_who_waits(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_error cause = { 0 };
    struct dray_error seen = { 0 };
    struct dray_transfer_view view;
    struct dray_transfer *first;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    first = join(table, source, &a, true);
    join(table, source, &a, false);
    dray_error_set(&cause, DRAY_ENOTFOUND, "gone");
    dray_transfer_finish(first, DRAY_ENOTFOUND, &cause);

    dray_transfer_look(first, &view, &seen);
    assert_int_equal(view.phase, DRAY_TRANSFER_FAILED);
    assert_string_equal(seen.text, "gone");
    dray_inflight_leave(first);
    dray_transfer_look(first, &view, &seen); /* the second still holds it */
    assert_string_equal(seen.text, "gone");
    dray_inflight_leave(first);
}

static void a_finished_key_is_gone_and_the_next_starts_afresh(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_transfer *first;
    struct dray_transfer *next;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    first = join(table, source, &a, true);
    dray_transfer_finish(first, DRAY_OK, NULL);
    next = join(table, source, &a, true);
    assert_ptr_not_equal(first, next);
    dray_transfer_finish(next, DRAY_OK, NULL);
    dray_inflight_leave(first);
    dray_inflight_leave(next);
}

static void what_nobody_wants_is_told_to_stop_and_not_joined(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_transfer *first;
    struct dray_transfer *next;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    first = join(table, source, &a, true);
    join(table, source, &a, false);
    dray_inflight_leave(first);
    assert_int_equal(first->wanted, 1); /* one of two left: the other goes on */
    dray_inflight_leave(first);
    assert_int_equal(first->wanted, 0);
    next = join(table, source, &a, true);
    assert_ptr_not_equal(first, next);
    dray_transfer_finish(first, DRAY_ECANCELED, &(struct dray_error){ .code = DRAY_ECANCELED });
    dray_transfer_finish(next, DRAY_OK, NULL);
    dray_inflight_leave(next);
}

static void what_is_parked_is_sent_on_once_when_its_time_has_come(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_transfer_view view;
    struct dray_transfer *transfer;
    uint64_t seen;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    transfer = join(table, source, &a, true);
    join(table, source, &a, false);
    assert_false(dray_transfer_unpark(transfer, true)); /* it is queued */
    assert_null(dray_transfer_begin(transfer));
    assert_false(dray_transfer_unpark(transfer, true)); /* it runs */

    seen = dray_inflight_changes(table);
    dray_transfer_park(transfer, dray_now_ms() + 3600000);
    assert_int_not_equal(dray_inflight_wait(table, seen, INT64_MAX), seen);
    dray_transfer_look(transfer, &view, NULL);
    assert_int_equal(view.phase, DRAY_TRANSFER_PARKED);
    assert_false(dray_transfer_unpark(transfer, false)); /* not yet */
    assert_true(dray_transfer_unpark(transfer, true));   /* but if need be */
    assert_false(dray_transfer_unpark(transfer, true));  /* one of the two pushes it */

    dray_transfer_begin(transfer);
    dray_transfer_park(transfer, dray_now_ms());
    assert_true(dray_transfer_unpark(transfer, false));
    dray_transfer_begin(transfer);
    dray_transfer_finish(transfer, DRAY_OK, NULL);
    dray_inflight_leave(transfer);
    dray_inflight_leave(transfer);
}

static void what_is_parked_goes_with_the_last_who_wants_it(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_transfer *transfer;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    transfer = join(table, source, &a, true);
    join(table, source, &a, false);
    dray_transfer_begin(transfer);
    dray_transfer_park(transfer, dray_now_ms() + 3600000);
    dray_inflight_leave(transfer);
    assert_false(dray_transfer_unpark(transfer, false)); /* the second still wants it */
    dray_inflight_leave(transfer);

    /* Nobody wants it already when it would be parked. */
    transfer = join(table, source, &a, true);
    dray_transfer_begin(transfer);
    dray_inflight_leave(transfer);
    dray_transfer_park(transfer, dray_now_ms() + 3600000);

    transfer = join(table, source, &a, true); /* and it is gone */
    dray_transfer_finish(transfer, DRAY_OK, NULL);
    dray_inflight_leave(transfer);
}

/* An engine that can begin downloads, though nobody runs them. */
struct setup {
    struct dray_store *store;
    struct dray_hosts *hosts;
    struct dray_engine engine;
    struct dray_endpoint endpoint;
    struct dray_source source;
    struct dray_inflight *table;
};

static void setup_init(struct setup *setup, const char *root)
{
    static char origin[] = "http://registry.test";

    *setup = (struct setup){ .store = scratch_open(root, DRAY_STORE_WRITE, NULL) };
    assert_ok(dray_hosts_new(1, &setup->hosts, NULL));
    assert_ok(dray_inflight_new(&setup->table, NULL));
    setup->engine = (struct dray_engine){ .store = setup->store, .hosts = setup->hosts };
    setup->endpoint = (struct dray_endpoint){ .url = origin,
                                              .origin = origin,
                                              .host = origin + strlen("http://") };
    setup->source = (struct dray_source){ .engine = &setup->engine,
                                          .endpoints = { &setup->endpoint, 1 },
                                          .lock_fd = -1,
                                          .references = 1 };
}

/* Nothing is left: no transfer in the table, none that holds the source, none that has a file. */
static void setup_done(struct setup *setup, const char *root)
{
    assert_null(dray_inflight_next_running(setup->table, NULL));
    dray_inflight_free(setup->table); /* asserts that it is empty */
    assert_int_equal(atomic_load(&setup->source.references), 1);
    dray_hosts_free(setup->hosts);
    dray_store_close(setup->store);
    assert_int_equal(count_names(below(root, "dray/staging")), 0);
}

/* Begin to fetch, as the transfer's worker. @return NULL: somebody else has the blob's file */
static struct dray_download *make_download(struct dray_transfer *transfer)
{
    enum dray_staging_outcome outcome;
    struct dray_staging *staging;
    struct dray_download *download = NULL;

    if (dray_staging_open(transfer->source->engine->store, &transfer->blob, NULL, &outcome,
                          &staging, NULL) < 0)
        abort();
    if (outcome == DRAY_STAGING_OPENED &&
        dray_download_new(transfer->source, &transfer->blob, staging, &transfer->wanted, &download,
                          NULL) < 0)
        abort();
    return download;
}

static void run(struct dray_transfer *transfer)
{
    struct dray_download *download = dray_transfer_begin(transfer);

    if (!download)
        download = make_download(transfer);
    assert_non_null(download);
    dray_transfer_fetch(transfer, download);
}

static enum dray_transfer_phase phase_of(struct dray_transfer *transfer)
{
    struct dray_transfer_view view;

    dray_transfer_look(transfer, &view, NULL);
    return view.phase;
}

/* Walk, and tell which of these were found: bit i for the i-th. */
static unsigned walk(struct dray_inflight *table, struct dray_transfer *const *transfers,
                     size_t count)
{
    unsigned found = 0;

    for (struct dray_transfer *at = dray_inflight_next_running(table, NULL); at;
         at = dray_inflight_next_running(table, at)) {
        size_t i = 0;

        while (i < count && transfers[i] != at)
            i++;
        assert_true(i < count);
        assert_false(found >> i & 1);
        found |= 1u << i;
    }
    return found;
}

static void a_walk_finds_what_runs_and_nothing_else(void **state)
{
    struct setup setup;
    struct dray_transfer *transfers[5];

    setup_init(&setup, *state);
    for (size_t i = 0; i < 5; i++) {
        struct dray_descriptor blob = blob_of((const char[]){ (char)('a' + i), '\0' }, 1);

        transfers[i] = join(setup.table, &setup.source, &blob, true);
    }
    assert_int_equal(walk(setup.table, transfers, 5), 0); /* all are queued */
    dray_transfer_begin(transfers[0]); /* runs, but there is nothing yet to help with */
    for (size_t i = 1; i < 5; i++)
        run(transfers[i]);
    assert_int_equal(walk(setup.table, transfers, 5), 0x1e);

    dray_transfer_park(transfers[1], dray_now_ms() + 3600000);
    dray_transfer_finish(transfers[2], DRAY_OK, NULL);
    dray_transfer_finish(transfers[3], DRAY_EIO, &(struct dray_error){ .code = DRAY_EIO });
    assert_int_equal(walk(setup.table, transfers, 5), 0x10);
    assert_true(dray_transfer_unpark(transfers[1], true));
    assert_int_equal(walk(setup.table, transfers, 5), 0x10);
    run(transfers[1]);
    assert_int_equal(walk(setup.table, transfers, 5), 0x12);

    dray_transfer_finish(transfers[0], DRAY_OK, NULL);
    dray_transfer_finish(transfers[1], DRAY_OK, NULL);
    dray_transfer_finish(transfers[4], DRAY_OK, NULL);
    for (size_t i = 0; i < 5; i++)
        dray_inflight_leave(transfers[i]);
    setup_done(&setup, *state);
}

static void what_a_helper_holds_outlives_its_end(void **state)
{
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_transfer_view view;
    struct dray_transfer *transfer;
    struct dray_transfer *held;
    struct setup setup;

    setup_init(&setup, *state);
    transfer = join(setup.table, &setup.source, &a, true);
    run(transfer);
    held = dray_inflight_next_running(setup.table, NULL);
    assert_ptr_equal(held, transfer);
    assert_ptr_equal(dray_transfer_hold(held), held);
    dray_transfer_finish(transfer, DRAY_OK, NULL);
    dray_inflight_leave(transfer);
    dray_transfer_release(held);

    /* Nobody else knows of it now, but it is all there. */
    dray_transfer_look(held, &view, NULL);
    assert_int_equal(view.phase, DRAY_TRANSFER_DONE);
    assert_non_null(view.figures);
    assert_int_equal(dray_download_left_ms(held->download), 0);
    transfer = join(setup.table, &setup.source, &a, true);
    assert_ptr_not_equal(transfer, held);
    dray_transfer_release(held);
    dray_transfer_finish(transfer, DRAY_OK, NULL);
    dray_inflight_leave(transfer);
    dray_transfer_release(NULL);
    setup_done(&setup, *state);
}

static void a_walk_ends_at_what_runs_no_more(void **state)
{
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_descriptor b = blob_of("b", 1);
    struct dray_transfer *first; /* of the walk */
    struct dray_transfer *second;
    struct setup setup;

    setup_init(&setup, *state);
    second = join(setup.table, &setup.source, &a, true);
    first = join(setup.table, &setup.source, &b, true);
    run(second);
    run(first);
    assert_ptr_equal(dray_inflight_next_running(setup.table, NULL), first);
    dray_transfer_park(first, dray_now_ms());
    assert_null(dray_inflight_next_running(setup.table, first));

    /* Nor does it go on from one that is about to run again: what stood behind it may be gone. */
    assert_true(dray_transfer_unpark(first, false));
    run(first);
    assert_ptr_equal(dray_inflight_next_running(setup.table, NULL), first);
    dray_transfer_park(first, dray_now_ms());
    assert_true(dray_transfer_unpark(first, false));
    dray_transfer_begin(first);
    dray_transfer_finish(second, DRAY_OK, NULL);
    dray_inflight_leave(second);
    assert_null(dray_inflight_next_running(setup.table, first));

    dray_transfer_finish(first, DRAY_OK, NULL);
    dray_inflight_leave(first);
    setup_done(&setup, *state);
}

static void what_is_parked_has_failed_once_nobody_wants_it(void **state)
{
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_transfer_view view;
    struct dray_transfer *transfer;
    struct dray_transfer *next;
    struct setup setup;

    setup_init(&setup, *state);
    transfer = join(setup.table, &setup.source, &a, true);
    run(transfer);
    dray_transfer_park(transfer, dray_now_ms() + 3600000);
    dray_inflight_unwant(transfer);
    dray_transfer_look(transfer, &view, NULL); /* it can still be looked at */
    assert_int_equal(view.phase, DRAY_TRANSFER_FAILED);
    assert_non_null(view.figures);
    assert_int_equal(view.figures->duration_ms,
                     -1); /* the books are closed: nothing was asked for */
    assert_false(dray_transfer_unpark(transfer, true));
    next = join(setup.table, &setup.source, &a, true);
    assert_ptr_not_equal(next, transfer);
    dray_transfer_finish(next, DRAY_OK, NULL);
    dray_inflight_leave(next);
    dray_transfer_release(transfer);

    /* And so has one that nobody wants when it would be parked. */
    transfer = join(setup.table, &setup.source, &a, true);
    run(transfer);
    dray_inflight_unwant(transfer);
    assert_int_equal(phase_of(transfer), DRAY_TRANSFER_RUNNING);
    dray_transfer_park(transfer, dray_now_ms());
    assert_int_equal(phase_of(transfer), DRAY_TRANSFER_FAILED);
    dray_transfer_release(transfer);

    /* One that is queued again goes to its worker, who sees that it is not wanted. */
    transfer = join(setup.table, &setup.source, &a, true);
    run(transfer);
    dray_transfer_park(transfer, dray_now_ms());
    assert_true(dray_transfer_unpark(transfer, false));
    dray_inflight_unwant(transfer);
    assert_int_equal(phase_of(transfer), DRAY_TRANSFER_QUEUED);
    run(transfer);
    dray_transfer_finish(transfer, DRAY_ECANCELED, &(struct dray_error){ .code = DRAY_ECANCELED });
    assert_int_equal(phase_of(transfer), DRAY_TRANSFER_FAILED);
    dray_transfer_release(transfer);
    setup_done(&setup, *state);
}

static void what_another_image_wants_goes_on(void **state)
{
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_transfer *transfer;
    struct setup setup;

    setup_init(&setup, *state);
    transfer = join(setup.table, &setup.source, &a, true);
    join(setup.table, &setup.source, &a, false);
    run(transfer);
    dray_transfer_park(transfer, dray_now_ms() + 3600000);
    dray_inflight_unwant(transfer);
    assert_int_equal(phase_of(transfer), DRAY_TRANSFER_PARKED);
    assert_int_equal(atomic_load(&transfer->wanted), 1);
    join(setup.table, &setup.source, &a, false); /* a third may still come */
    dray_inflight_leave(transfer);
    assert_true(dray_transfer_unpark(transfer, true));
    run(transfer);
    dray_transfer_finish(transfer, DRAY_OK, NULL);
    assert_int_equal(phase_of(transfer), DRAY_TRANSFER_DONE); /* also for the first, who looks on */
    dray_transfer_release(transfer);
    dray_inflight_leave(transfer);
    setup_done(&setup, *state);
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    uint64_t seen;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    seen = dray_inflight_changes(table);
    assert_int_equal(dray_inflight_wait(table, seen, dray_now_ms() + 20), seen);
}

/* Many threads want the same few blobs; whoever owns a transfer finishes it, once. */
#define THREADS 16
#define ROUNDS  300
#define BLOBS   4

struct crowd {
    struct dray_inflight *table;
    struct dray_source *source;
    struct dray_descriptor blobs[BLOBS];
    _Atomic unsigned running[BLOBS];
    _Atomic bool twice;
};

static void *want_and_wait(void *arg)
{
    struct crowd *crowd = arg;

    for (int i = 0; i < ROUNDS; i++) {
        uint32_t pick = randombytes_uniform(BLOBS);
        struct dray_transfer_view view;
        struct dray_transfer *transfer;
        uint64_t seen = 0;
        bool owner;

        if (dray_inflight_join(crowd->table, &crowd->blobs[pick], crowd->source, never_run,
                               &transfer, &owner, NULL) < 0)
            abort();
        if (owner) {
            if (crowd->running[pick]++ > 0)
                crowd->twice = true;
            dray_transfer_begin(transfer);
            crowd->running[pick]--;
            dray_transfer_finish(transfer, DRAY_OK, NULL);
        }
        dray_transfer_look(transfer, &view, NULL);
        while (view.phase != DRAY_TRANSFER_DONE) {
            seen = dray_inflight_wait(crowd->table, seen, INT64_MAX);
            dray_transfer_look(transfer, &view, NULL);
        }
        dray_inflight_leave(transfer);
    }
    return NULL;
}

static void a_crowd_never_fetches_one_blob_twice_at_once(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct crowd crowd = { .source = source };
    pthread_t threads[THREADS];

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    crowd.table = table;
    for (int i = 0; i < BLOBS; i++)
        crowd.blobs[i] = blob_of((const char[]){ (char)('a' + i), '\0' }, 1);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, want_and_wait, &crowd), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_false(crowd.twice);
}

/* Very many threads do what workers, coordinators and helpers do, in an order that the
 * seed decides. */
#define STORM_THREADS 256
#define STORM_ROUNDS  30
#define STORM_BLOBS   24

struct storm {
    struct setup setup;
    struct dray_descriptor blobs[STORM_BLOBS];
    pthread_barrier_t start;
    _Atomic uint32_t done; /* how often a transfer ... */
    _Atomic uint32_t failed;
    _Atomic uint32_t parked;
    _Atomic uint32_t walked; /* was met by a helper */
};

struct storm_thread {
    struct storm *storm;
    pthread_t thread;
    uint64_t random;
};

static uint32_t draw(struct storm_thread *self, uint32_t below_this)
{
    return (uint32_t)(next_random(&self->random) % below_this);
}

static void require(bool condition)
{
    if (!condition) /* cmocka's assertions are for the main thread */
        abort();
}

/* The worker's part. foreign_bytes, which nobody else needs here, tells that there is one only. */
static void storm_work(struct storm_thread *self, struct dray_transfer *transfer)
{
    struct dray_error gone = { .code = DRAY_ENOTFOUND, .text = "gone" };
    struct dray_error stopped = { .code = DRAY_ECANCELED, .text = "no longer wanted" };
    struct dray_download *download = dray_transfer_begin(transfer);
    bool begins = download || draw(self, 8) > 0;

    require(atomic_exchange(&transfer->foreign_bytes, 1) == 0);
    if (begins && !download)
        download = make_download(transfer);
    if (download)
        dray_transfer_fetch(transfer, download);
    sched_yield();
    require(atomic_exchange(&transfer->foreign_bytes, 0) == 1);

    if (begins && !download) {
        dray_transfer_park(transfer, dray_now_ms() + 1); /* one that stops has its file, still */
    } else if (atomic_load(&transfer->wanted) == 0) {
        dray_transfer_finish(transfer, DRAY_ECANCELED, &stopped);
    } else if (draw(self, 2) > 0) {
        atomic_fetch_add(&self->storm->parked, 1);
        dray_transfer_park(transfer, dray_now_ms() + draw(self, 3));
    } else if (draw(self, 3) > 0) {
        dray_transfer_finish(transfer, DRAY_OK, NULL);
    } else {
        dray_transfer_finish(transfer, DRAY_ENOTFOUND, &gone);
    }
}

/* The coordinator's part: see it through. */
static void storm_wait(struct storm_thread *self, struct dray_transfer *transfer)
{
    struct dray_inflight *table = self->storm->setup.table;
    struct dray_transfer_view view;
    struct dray_error error = { 0 };

    for (;;) {
        uint64_t seen = dray_inflight_changes(table);

        dray_transfer_look(transfer, &view, &error);
        if (view.phase == DRAY_TRANSFER_DONE || view.phase == DRAY_TRANSFER_FAILED)
            break;
        if (dray_transfer_unpark(transfer, draw(self, 2) > 0))
            storm_work(self, transfer);
        else
            dray_inflight_wait(table, seen, dray_now_ms() + 5);
    }
    if (view.phase == DRAY_TRANSFER_DONE) {
        atomic_fetch_add(&self->storm->done, 1);
    } else { /* it was wanted all the time, so nobody has stopped it */
        atomic_fetch_add(&self->storm->failed, 1);
        require(error.code == DRAY_ENOTFOUND && strcmp(error.text, "gone") == 0);
    }
    require(!view.figures || view.figures->requests == 0);
}

/* The helper's part. */
static void storm_walk(struct storm_thread *self)
{
    struct dray_inflight *table = self->storm->setup.table;
    struct dray_transfer *held = NULL;
    struct dray_download_outcome outcome;
    struct dray_transfer_view view;

    for (struct dray_transfer *at = dray_inflight_next_running(table, NULL); at;
         at = dray_inflight_next_running(table, at)) {
        atomic_fetch_add(&self->storm->walked, 1);
        require(dray_download_left_ms(at->download) == 0);
        if (draw(self, 4) == 0) {
            dray_transfer_release(held);
            held = dray_transfer_hold(at);
        }
        if (draw(self, 8) == 0) {
            dray_transfer_release(at);
            break;
        }
    }
    if (!held)
        return;
    sched_yield();
    require(!dray_download_help(held->download, NULL, &outcome)); /* nobody is in there */
    dray_transfer_look(held, &view, NULL);
    require(!view.figures || view.figures->requests == 0);
    dray_transfer_release(held);
}

static void *storm_main(void *arg)
{
    struct storm_thread *self = arg;
    struct storm *storm = self->storm;

    pthread_barrier_wait(&storm->start);
    for (int i = 0; i < STORM_ROUNDS; i++) {
        const struct dray_descriptor *blob = &storm->blobs[draw(self, STORM_BLOBS)];
        struct dray_transfer *transfer;
        bool owner;

        require(dray_inflight_join(storm->setup.table, blob, &storm->setup.source, never_run,
                                   &transfer, &owner, NULL) == DRAY_OK);
        if (owner)
            storm_work(self, transfer);
        if (draw(self, 3) > 0)
            storm_wait(self, transfer);
        storm_walk(self);
        if (draw(self, 2) > 0) {
            dray_inflight_leave(transfer);
        } else {
            dray_inflight_unwant(transfer);
            phase_of(transfer);
            dray_transfer_release(transfer);
        }
    }
    return NULL;
}

static void a_storm_of_threads_leaves_an_empty_table(void **state)
{
    struct storm_thread *threads = calloc(STORM_THREADS, sizeof(*threads));
    struct storm storm = { 0 };

    assert_non_null(threads);
    setup_init(&storm.setup, *state);
    assert_int_equal(pthread_barrier_init(&storm.start, NULL, STORM_THREADS), 0);
    for (size_t i = 0; i < STORM_BLOBS; i++)
        storm.blobs[i] = blob_of((const char[]){ (char)('a' + i), '\0' }, 1000 + i);
    for (size_t i = 0; i < STORM_THREADS; i++) {
        threads[i].storm = &storm;
        threads[i].random = (seed + i) * UINT64_C(0x9e3779b97f4a7c15) + 1;
        assert_int_equal(pthread_create(&threads[i].thread, NULL, storm_main, &threads[i]), 0);
    }
    for (size_t i = 0; i < STORM_THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    pthread_barrier_destroy(&storm.start);
    print_message("%u done, %u failed, %u parked, %u met by helpers\n", storm.done, storm.failed,
                  storm.parked, storm.walked);
    assert_true(storm.done > 0 && storm.failed > 0 && storm.parked > 0 && storm.walked > 0);
    setup_done(&storm.setup, *state);
    free(threads);
}

/* test_workers_inflight [SEED] */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_who_wants_a_blob_joins_the_first),
        cmocka_unit_test(one_digest_with_two_sizes_is_two_transfers),
        cmocka_unit_test(a_failure_reaches_everyone_who_waits),
        cmocka_unit_test(a_finished_key_is_gone_and_the_next_starts_afresh),
        cmocka_unit_test(what_nobody_wants_is_told_to_stop_and_not_joined),
        cmocka_unit_test(what_is_parked_is_sent_on_once_when_its_time_has_come),
        cmocka_unit_test(what_is_parked_goes_with_the_last_who_wants_it),
        cmocka_unit_test(a_wait_ends_when_its_time_is_over),
        cmocka_unit_test(a_crowd_never_fetches_one_blob_twice_at_once),
        scratch_test(a_walk_finds_what_runs_and_nothing_else),
        scratch_test(what_a_helper_holds_outlives_its_end),
        scratch_test(a_walk_ends_at_what_runs_no_more),
        scratch_test(what_is_parked_has_failed_once_nobody_wants_it),
        scratch_test(what_another_image_wants_goes_on),
        scratch_test(a_storm_of_threads_leaves_an_empty_table),
    };

    if (sodium_init() < 0)
        return 1;
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    print_message("seed %" PRIu64 "\n", seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
