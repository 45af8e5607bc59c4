/* Tallies: every byte is counted once, whichever of several images tells of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/tally.h"
#include "tests/unit/cmd/events.h"

static void tell(struct dray_tally *tally, uint32_t image, enum dray_event_kind kind,
                 const struct dray_digest *digest, uint64_t current, uint64_t total)
{
    struct dray_event event = events_layer(kind, 0, digest, current, total);

    event.image_index = image;
    dray_tally_event(tally, &event);
}

static void tell_end(struct dray_tally *tally, uint32_t image, enum dray_event_kind kind,
                     const struct dray_digest *digest, const struct dray_blob_figures *figures)
{
    struct dray_event event = events_layer(kind, 0, digest, 0, 1000);
    struct dray_error error = { .code = DRAY_EPROTO, .text = "no" };

    event.image_index = image;
    event.figures = figures;
    event.error = kind == DRAY_EVENT_BLOB_FAILED ? &error : NULL;
    dray_tally_event(tally, &event);
}

static struct dray_tally_totals finish(struct dray_tally *tally)
{
    struct dray_tally_totals totals;

    dray_tally_finish(tally);
    dray_tally_sum(tally, &totals);
    return totals;
}

static void a_fetched_blob_keeps_its_figures(void **state)
{
    char endpoint[] = "https://reg.example";
    struct dray_blob_origin origin = { .endpoint = endpoint, .bytes = 1100, .requests = 3 };
    const struct dray_blob_figures figures = { .received_bytes = 1100,
                                               .resumed_bytes = 200,
                                               .duration_ms = 40,
                                               .first_byte_ms = 5,
                                               .requests = 3,
                                               .retries = 1,
                                               .connections = 2,
                                               .origins = &origin,
                                               .origin_count = 1 };
    struct dray_digest digest = events_digest(1);
    struct dray_tally tally;
    const struct dray_tally_blob *blob;
    struct dray_tally_totals totals;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 1), DRAY_OK);
    tell(&tally, 0, DRAY_EVENT_BLOB_QUEUED, &digest, 0, 1200);
    tell(&tally, 0, DRAY_EVENT_BLOB_STARTED, &digest, 200, 1200);
    tell(&tally, 0, DRAY_EVENT_BLOB_RETRY, &digest, 0, 1200);
    tell_end(&tally, 0, DRAY_EVENT_BLOB_DONE, &digest, &figures);
    memset(endpoint, 'x', sizeof(endpoint) - 1); /* it was valid in the callback only */
    totals = finish(&tally);

    blob = &tally.images[0].blobs[0];
    assert_int_equal(blob->status, DRAY_TALLY_FETCHED);
    assert_int_equal(blob->figures.connections, 2);
    assert_string_equal(blob->figures.origins[0].endpoint, "https://reg.example");
    assert_int_equal(totals.blobs[DRAY_TALLY_FETCHED], 1);
    assert_int_equal(totals.received_bytes, 1100);
    assert_int_equal(totals.resumed_bytes, 200);
    assert_int_equal(totals.requests, 3);
    assert_int_equal(totals.retries, 1); /* the figures', not the event's in addition */
    assert_false(tally.lost);
    dray_tally_done(&tally);
}

static void a_blob_that_needed_no_download_of_its_own_counts_no_bytes(void **state)
{
    struct dray_digest digest = events_digest(1);
    struct dray_tally tally;
    struct dray_tally_totals totals;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 3), DRAY_OK);
    tell(&tally, 0, DRAY_EVENT_BLOB_EXISTS, &digest, 0, 700);
    tell(&tally, 1, DRAY_EVENT_BLOB_STARTED, &digest, 0, 700);
    tell(&tally, 1, DRAY_EVENT_BLOB_PROGRESS, &digest, 600, 700);
    tell_end(&tally, 1, DRAY_EVENT_BLOB_DONE, &digest, NULL);
    tell(&tally, 2, DRAY_EVENT_BLOB_PROGRESS, &digest, 600, 700);
    tell_end(&tally, 2, DRAY_EVENT_BLOB_DONE, &digest, NULL);
    totals = finish(&tally);
    assert_int_equal(totals.blobs[DRAY_TALLY_PRESENT], 1);
    assert_int_equal(totals.blobs[DRAY_TALLY_SHARED], 2);
    assert_int_equal(totals.present_bytes, 700);
    assert_int_equal(totals.received_bytes, 0);
    dray_tally_done(&tally);
}

static void of_an_unfinished_blob_counts_what_it_took_until_then(void **state)
{
    const struct dray_blob_figures figures = {
        .received_bytes = 600, .resumed_bytes = 300, .requests = 2, .retries = 1
    };
    struct dray_digest digest = events_digest(1);
    struct dray_tally tally;
    struct dray_tally_totals totals;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 1), DRAY_OK);
    tell(&tally, 0, DRAY_EVENT_BLOB_QUEUED, &digest, 0, 1000);
    tell(&tally, 0, DRAY_EVENT_BLOB_STARTED, &digest, 300, 1000);
    tell(&tally, 0, DRAY_EVENT_BLOB_RETRY, &digest, 0, 1000);
    tell(&tally, 0, DRAY_EVENT_BLOB_PROGRESS, &digest, 900, 1000);
    tell_end(&tally, 0, DRAY_EVENT_BLOB_STOPPED, &digest, &figures);
    totals = finish(&tally);
    assert_int_equal(totals.blobs[DRAY_TALLY_UNFINISHED], 1);
    assert_int_equal(totals.received_bytes, 600);
    assert_int_equal(totals.resumed_bytes, 300);
    assert_int_equal(totals.requests, 2);
    assert_int_equal(totals.retries, 1);
    dray_tally_done(&tally);
}

/* Another process brings it: its progress is shown, but nothing was received here. */
static void what_others_bring_is_not_received(void **state)
{
    struct dray_digest digest = events_digest(1);
    struct dray_tally tally;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 3), DRAY_OK);
    for (uint32_t i = 0; i < 3; i++) {
        tell(&tally, i, DRAY_EVENT_BLOB_PROGRESS, &digest, 600, 1000);
        tell_end(&tally, i, DRAY_EVENT_BLOB_STOPPED, &digest, NULL);
    }
    assert_int_equal(finish(&tally).received_bytes, 0);
    dray_tally_done(&tally);
}

/* The image that began it failed; another one went on waiting. */
static void the_image_that_saw_the_end_tells_all(void **state)
{
    const struct dray_blob_figures figures = { .received_bytes = 1000, .requests = 1 };
    struct dray_digest digest = events_digest(1);
    struct dray_tally tally;
    struct dray_tally_totals totals;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 2), DRAY_OK);
    tell(&tally, 0, DRAY_EVENT_BLOB_PROGRESS, &digest, 600, 1000);
    tell_end(&tally, 0, DRAY_EVENT_BLOB_STOPPED, &digest, NULL);
    tell(&tally, 1, DRAY_EVENT_BLOB_PROGRESS, &digest, 600, 1000);
    tell_end(&tally, 1, DRAY_EVENT_BLOB_DONE, &digest, &figures);
    totals = finish(&tally);
    assert_int_equal(totals.received_bytes, 1000);
    assert_int_equal(totals.blobs[DRAY_TALLY_UNFINISHED], 1);
    assert_int_equal(totals.blobs[DRAY_TALLY_FETCHED], 1);
    dray_tally_done(&tally);
}

static void a_failed_blob_keeps_its_error(void **state)
{
    const struct dray_blob_figures figures = { .received_bytes = 10, .requests = 6, .retries = 5 };
    struct dray_digest digest = events_digest(1);
    struct dray_tally tally;
    struct dray_tally_totals totals;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 2), DRAY_OK);
    tell_end(&tally, 0, DRAY_EVENT_BLOB_FAILED, &digest, &figures);
    tell_end(&tally, 1, DRAY_EVENT_BLOB_FAILED, &digest, NULL);
    totals = finish(&tally);
    assert_int_equal(totals.blobs[DRAY_TALLY_FAILED], 2);
    assert_int_equal(totals.received_bytes, 10);
    assert_string_equal(tally.images[0].blobs[0].error->text, "no");
    assert_string_equal(tally.images[1].blobs[0].error->text, "no");
    dray_tally_done(&tally);
}

static void blobs_may_be_named_in_any_order(void **state)
{
    struct dray_digest digest = events_digest(1);
    struct dray_event event = events_layer(DRAY_EVENT_BLOB_EXISTS, 0, &digest, 0, 5);
    struct dray_tally tally;
    struct dray_tally_totals totals;

    (void)state;
    assert_int_equal(dray_tally_init(&tally, 1), DRAY_OK);
    for (uint32_t i = 0; i < 40; i++) {
        event.blob_index = i * 37 % 100;
        dray_tally_event(&tally, &event);
    }
    event.image_index = 1; /* of no image there is */
    dray_tally_event(&tally, &event);
    totals = finish(&tally);
    assert_int_equal(totals.blobs[DRAY_TALLY_PRESENT], 40);
    assert_int_equal(totals.present_bytes, 200);
    dray_tally_done(&tally);
}

static void a_rate_needs_time(void **state)
{
    (void)state;
    assert_int_equal(dray_tally_rate(1500, 500), 3000);
    assert_int_equal(dray_tally_rate(1500, 0), 0);
    assert_int_equal(dray_tally_rate(1500, -1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fetched_blob_keeps_its_figures),
        cmocka_unit_test(a_blob_that_needed_no_download_of_its_own_counts_no_bytes),
        cmocka_unit_test(of_an_unfinished_blob_counts_what_it_took_until_then),
        cmocka_unit_test(what_others_bring_is_not_received),
        cmocka_unit_test(the_image_that_saw_the_end_tells_all),
        cmocka_unit_test(a_failed_blob_keeps_its_error),
        cmocka_unit_test(blobs_may_be_named_in_any_order),
        cmocka_unit_test(a_rate_needs_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
