/* The board: what events add up to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/board.h"
#include "tests/unit/cmd/events.h"

static void apply(struct dray_board *board, struct dray_event event, uint32_t image, int64_t now_ms)
{
    event.image_index = image;
    assert_int_equal(dray_board_apply(board, &event, now_ms), DRAY_OK);
}

static void a_blob_goes_through_its_states(void **state)
{
    struct dray_digest digest = events_digest(7);
    const struct dray_board_blob *blob;
    struct dray_event event;
    struct dray_board board;

    (void)state;
    assert_int_equal(dray_board_init(&board, 1), DRAY_OK);
    apply(&board, events_layer(DRAY_EVENT_BLOB_QUEUED, 2, &digest, 0, 1000), 0, 0);
    blob = &board.images[0].blobs[2];
    assert_int_equal(blob->state, DRAY_BOARD_WAITING);
    assert_string_equal(blob->id, "070707070707");
    apply(&board, events_layer(DRAY_EVENT_BLOB_STARTED, 2, &digest, 400, 1000), 0, 10);
    assert_int_equal(blob->state, DRAY_BOARD_FETCHING);
    assert_true(blob->resumed);
    apply(&board, events_layer(DRAY_EVENT_BLOB_PROGRESS, 2, &digest, 600, 1000), 0, 20);
    assert_int_equal(blob->current_bytes, 600);
    assert_int_equal(board.received_bytes, 200); /* 400 were there before */
    event = events_layer(DRAY_EVENT_BLOB_RETRY, 2, &digest, 0, 1000);
    event.delay_ms = 4000;
    apply(&board, event, 0, 30);
    assert_int_equal(blob->state, DRAY_BOARD_RETRYING);
    assert_int_equal(blob->delay_ms, 4000);
    apply(&board, events_layer(DRAY_EVENT_BLOB_STARTED, 2, &digest, 0, 1000), 0, 40);
    assert_false(blob->resumed);
    apply(&board, events_layer(DRAY_EVENT_BLOB_DONE, 2, &digest, 0, 1000), 0, 50);
    assert_int_equal(blob->state, DRAY_BOARD_DONE);
    assert_int_equal(blob->current_bytes, 1000);
    assert_int_equal(board.received_bytes, 1200);
    assert_int_equal(board.images[0].blobs[1].state, DRAY_BOARD_UNKNOWN);
    dray_board_done(&board);
}

static void totals_leave_out_what_was_there_and_count_shared_blobs_once(void **state)
{
    struct dray_digest a = events_digest(1);
    struct dray_digest b = events_digest(2);
    struct dray_digest config = events_digest(3);
    struct dray_event event;
    struct dray_board_totals totals;
    struct dray_board board;

    (void)state;
    assert_int_equal(dray_board_init(&board, 2), DRAY_OK);
    for (uint32_t image = 0; image < 2; image++) {
        apply(&board, events_image(DRAY_EVENT_RESOLVED), image, 0);
        apply(&board, events_layer(DRAY_EVENT_BLOB_EXISTS, 0, &a, 0, 500), image, 0);
        apply(&board, events_layer(DRAY_EVENT_BLOB_QUEUED, 1, &b, 0, 1000), image, 0);
        event = events_layer(DRAY_EVENT_BLOB_QUEUED, 2, &config, 0, 10);
        event.role = DRAY_ROLE_CONFIG;
        apply(&board, event, image, 0);
        apply(&board, events_layer(DRAY_EVENT_BLOB_STARTED, 1, &b, 0, 1000), image, 0);
        apply(&board, events_layer(DRAY_EVENT_BLOB_PROGRESS, 1, &b, 300, 1000), image, 0);
    }
    dray_board_sum(&board, 0, &totals);
    assert_int_equal(totals.layers, 2);
    assert_int_equal(totals.layers_done, 1);
    assert_int_equal(totals.current_bytes, 300);
    assert_int_equal(totals.total_bytes, 1010);
    assert_int_equal(board.received_bytes, 300);
    assert_int_equal(totals.images_ended, 0);
    assert_int_equal(totals.remaining_ms, -1);
    dray_board_done(&board);
}

static void the_time_left_follows_from_rate_and_rest(void **state)
{
    struct dray_digest a = events_digest(1);
    struct dray_board_totals totals;
    struct dray_board board;

    (void)state;
    assert_int_equal(dray_board_init(&board, 1), DRAY_OK);
    apply(&board, events_image(DRAY_EVENT_RESOLVED), 0, 0);
    apply(&board, events_layer(DRAY_EVENT_BLOB_STARTED, 0, &a, 0, 100000), 0, 0);
    for (int64_t t = 100; t <= 5000; t += 100)
        apply(&board, events_layer(DRAY_EVENT_BLOB_PROGRESS, 0, &a, (uint64_t)t * 10, 100000), 0,
              t);
    dray_board_sum(&board, 5000, &totals);
    assert_in_range(totals.rate, 9900, 10100);
    assert_in_range(totals.remaining_ms, 4900, 5100);

    apply(&board, events_image(DRAY_EVENT_IMAGE_FAILED), 0, 5000);
    dray_board_sum(&board, 5000, &totals);
    assert_int_equal(totals.remaining_ms, -1); /* nothing more will come */
    assert_int_equal(totals.images_ended, 1);
    dray_board_done(&board);
}

static void names_are_cleaned_and_foreign_indexes_ignored(void **state)
{
    struct dray_digest a = events_digest(1);
    struct dray_event event = events_image(DRAY_EVENT_RESOLVING);
    struct dray_board board;

    (void)state;
    assert_int_equal(dray_board_init(&board, 1), DRAY_OK);
    event.image = "host/\033[2Jname";
    apply(&board, event, 0, 0);
    assert_string_equal(board.images[0].name, "host/?[2Jname");
    apply(&board, events_image(DRAY_EVENT_RESOLVED), 9, 0);
    event = events_layer(DRAY_EVENT_BLOB_QUEUED, UINT32_MAX, &a, 0, 1);
    assert_int_equal(dray_board_apply(&board, &event, 0), DRAY_ENOMEM);
    assert_int_equal(board.images[0].blob_count, 0);
    dray_board_done(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_goes_through_its_states),
        cmocka_unit_test(totals_leave_out_what_was_there_and_count_shared_blobs_once),
        cmocka_unit_test(the_time_left_follows_from_rate_and_rest),
        cmocka_unit_test(names_are_cleaned_and_foreign_indexes_ignored),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
