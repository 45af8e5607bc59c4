/* The in-flight table: each blob is fetched once, its outcome reaches all who want it, and what
 * nobody wants stops. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "core/digest.h"
#include "core/error.h"
#include "workers/inflight.h"

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

static void a_retry_can_be_seen(void **state)
{
    DRAY_AUTO_INFLIGHT struct dray_inflight *table = NULL;
    DRAY_AUTO_SOURCE struct dray_source *source = make_source();
    struct dray_descriptor a = blob_of("a", 1);
    struct dray_error cause = { 0 };
    struct dray_error seen = { 0 };
    struct dray_transfer_view view;
    struct dray_transfer *transfer;

    (void)state;
    assert_int_equal(dray_inflight_new(&table, NULL), DRAY_OK);
    transfer = join(table, source, &a, true);
    dray_transfer_look(transfer, &view, &seen);
    assert_int_equal(view.phase, DRAY_TRANSFER_QUEUED);
    assert_string_equal(seen.text, "");
    dray_transfer_at(transfer, "https://r.example");
    dray_error_set(&cause, DRAY_ETRANSIENT, "reset");
    dray_transfer_retrying(transfer, &cause, 250);
    dray_transfer_look(transfer, &view, &seen);
    assert_int_equal(view.phase, DRAY_TRANSFER_RUNNING);
    assert_string_equal(view.endpoint, "https://r.example");
    assert_int_equal(view.retries, 1);
    assert_int_equal(view.retry_delay_ms, 250);
    assert_string_equal(seen.text, "reset");
    dray_transfer_finish(transfer, DRAY_OK, NULL);
    dray_inflight_leave(transfer);
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
            dray_transfer_at(transfer, "e");
            crowd->running[pick]--;
            dray_transfer_finish(transfer, DRAY_OK, NULL);
        }
        dray_transfer_look(transfer, &view, NULL);
        while (view.phase != DRAY_TRANSFER_DONE) {
            seen = dray_inflight_wait(crowd->table, seen);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_who_wants_a_blob_joins_the_first),
        cmocka_unit_test(one_digest_with_two_sizes_is_two_transfers),
        cmocka_unit_test(a_failure_reaches_everyone_who_waits),
        cmocka_unit_test(a_finished_key_is_gone_and_the_next_starts_afresh),
        cmocka_unit_test(what_nobody_wants_is_told_to_stop_and_not_joined),
        cmocka_unit_test(a_retry_can_be_seen),
        cmocka_unit_test(a_crowd_never_fetches_one_blob_twice_at_once),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
