#include "storage/segment_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/error.h"

#define GRANULE 100

static struct dray_segment_map make_map(uint64_t size_bytes)
{
    struct dray_segment_map map;

    dray_segment_map_init(&map, size_bytes, GRANULE);
    return map;
}

static void add(struct dray_segment_map *map, uint64_t begin, uint64_t end, uint32_t origin)
{
    assert_int_equal(dray_segment_map_add(map, begin, end, origin), DRAY_OK);
}

static void claim(struct dray_segment_map *map, uint64_t max_bytes, uint64_t begin, uint64_t end,
                  struct dray_segment *ret_segment)
{
    assert_true(dray_segment_map_claim(map, max_bytes, 3, ret_segment));
    assert_int_equal(ret_segment->at, begin);
    assert_int_equal(ret_segment->end, end);
}

/* Write len bytes of which some are passed over; return how many were written. */
static size_t bring(struct dray_segment_map *map, struct dray_segment *segment, size_t len)
{
    size_t written = 0;

    while (len > 0) {
        size_t skipped;
        size_t run;

        assert_int_equal(dray_segment_map_begin_write(map, segment, len, &skipped), DRAY_OK);
        run = (size_t)(segment->writing_end - segment->at);
        assert_true(skipped + run > 0 && skipped + run <= len);
        dray_segment_map_end_write(map, segment, run);
        written += run;
        len -= skipped + run;
    }
    return written;
}

static void an_empty_blob_has_nothing_to_claim(void **state)
{
    struct dray_segment_map map = make_map(0);
    struct dray_segment segment;

    (void)state;
    assert_false(dray_segment_map_claim(&map, UINT64_MAX, 0, &segment));
    assert_int_equal(dray_segment_map_unclaimed(&map), 0);
    assert_int_equal(dray_segment_map_held_until(&map, 0, 0), 0);
    assert_int_equal(dray_segment_map_complete_bytes(&map), 0);
    assert_int_equal(dray_segment_map_origins(&map), 0);
    dray_segment_map_done(&map);
}

static void a_blob_of_one_byte_is_one_granule(void **state)
{
    struct dray_segment_map map = make_map(1);
    struct dray_segment segment;
    uint64_t first;
    uint64_t past;

    (void)state;
    claim(&map, UINT64_MAX, 0, 1, &segment);
    assert_int_equal(dray_segment_map_unclaimed(&map), 0);
    assert_int_equal(bring(&map, &segment, 1), 1);
    assert_false(dray_segment_map_needs(&map, &segment));
    dray_segment_map_complete_granules(&map, 0, 1, &first, &past);
    assert_int_equal(first, 0);
    assert_int_equal(past, 1);
    assert_int_equal(dray_segment_map_complete_bytes(&map), 1);
    dray_segment_map_release(&map, &segment);
    assert_false(dray_segment_map_claim(&map, 1, 0, &segment));
    dray_segment_map_done(&map);
}

static void claims_end_at_granules_where_they_can(void **state)
{
    struct dray_segment_map map = make_map(1050);
    struct dray_segment segments[7];

    (void)state;
    add(&map, 0, 130, 0);
    claim(&map, 250, 130, 300, &segments[0]); /* down from 380 */
    claim(&map, 20, 300, 320, &segments[1]);  /* nothing would be left */
    claim(&map, 80, 320, 400, &segments[2]);
    claim(&map, 1, 400, 401, &segments[3]);
    claim(&map, 200, 401, 600, &segments[4]);
    claim(&map, 400, 600, 1000, &segments[5]);
    claim(&map, UINT64_MAX, 1000, 1050, &segments[6]); /* the end of the blob is no granule's */
    assert_int_equal(dray_segment_map_unclaimed(&map), 0);
    dray_segment_map_done(&map);
}

static void gaps_are_claimed_from_the_front(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment segments[4];

    (void)state;
    add(&map, 100, 200, 0);
    add(&map, 350, 360, 1);
    add(&map, 360, 500, 2);
    add(&map, 900, 1000, 0);
    assert_int_equal(dray_segment_map_unclaimed(&map), 100 + 150 + 400);
    claim(&map, UINT64_MAX, 0, 100, &segments[0]);
    claim(&map, 100, 200, 300, &segments[1]);
    claim(&map, UINT64_MAX, 300, 350, &segments[2]);
    assert_int_equal(dray_segment_map_unclaimed(&map), 400);
    claim(&map, UINT64_MAX, 500, 900, &segments[3]);
    assert_int_equal(dray_segment_map_unclaimed(&map), 0);
    assert_false(dray_segment_map_claim(&map, UINT64_MAX, 0, &segments[0]));
    dray_segment_map_done(&map);
}

static void what_was_not_brought_is_free_again(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment first;
    struct dray_segment second;

    (void)state;
    claim(&map, 500, 0, 500, &first);
    claim(&map, 500, 500, 1000, &second);
    assert_int_equal(bring(&map, &first, 120), 120);
    assert_int_equal(dray_segment_map_unclaimed(&map), 0);
    dray_segment_map_release(&map, &first);
    assert_int_equal(dray_segment_map_unclaimed(&map), 380);
    claim(&map, UINT64_MAX, 120, 500, &first);
    dray_segment_map_release(&map, &second);
    claim(&map, UINT64_MAX, 500, 1000, &second);
    dray_segment_map_done(&map);
}

static void a_failed_write_holds_what_was_written_only(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment segment;
    size_t skipped;

    (void)state;
    claim(&map, UINT64_MAX, 0, 1000, &segment);
    assert_int_equal(dray_segment_map_begin_write(&map, &segment, 300, &skipped), DRAY_OK);
    dray_segment_map_end_write(&map, &segment, 7);
    assert_int_equal(map.held_bytes, 7);
    assert_int_equal(segment.at, 7);
    assert_int_equal(dray_segment_map_begin_write(&map, &segment, 300, &skipped), DRAY_OK);
    dray_segment_map_end_write(&map, &segment, 0);
    assert_int_equal(map.held_bytes, 7);
    dray_segment_map_release(&map, &segment);
    assert_int_equal(dray_segment_map_unclaimed(&map), 993);
    dray_segment_map_done(&map);
}

static void of_two_with_the_same_bytes_each_is_written_by_the_first(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment slow;
    struct dray_segment fast;
    size_t skipped;

    (void)state;
    claim(&map, UINT64_MAX, 0, 1000, &slow);
    assert_int_equal(bring(&map, &slow, 100), 100);
    assert_int_equal(dray_segment_map_begin_write(&map, &slow, 50, &skipped), DRAY_OK);

    /* What the slow one is just writing is left to it. */
    assert_true(dray_segment_map_claim_again(&map, &slow, 5, &fast));
    assert_int_equal(fast.at, 150);
    assert_int_equal(fast.end, 1000);
    assert_int_equal(bring(&map, &fast, 250), 250);
    dray_segment_map_end_write(&map, &slow, 50);

    assert_int_equal(bring(&map, &slow, 300), 50); /* 150 to 400 is there */
    assert_int_equal(slow.at, 450);
    assert_int_equal(dray_segment_map_begin_write(&map, &slow, 100, &skipped), DRAY_OK);
    assert_int_equal(skipped, 0);
    assert_int_equal(bring(&map, &fast, 600), 450); /* 400 to 550 is there or being written */
    assert_int_equal(fast.at, 1000);
    dray_segment_map_end_write(&map, &slow, 100);

    assert_false(dray_segment_map_needs(&map, &slow));
    assert_false(dray_segment_map_needs(&map, &fast));
    assert_int_equal(map.held_bytes, 1000);
    assert_int_equal(dray_segment_map_origins(&map), 1 << 3 | 1 << 5);
    dray_segment_map_release(&map, &slow);
    dray_segment_map_release(&map, &fast);
    dray_segment_map_done(&map);
}

static void nothing_is_left_to_claim_again_of_what_is_written_or_released(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment first;
    struct dray_segment second;
    size_t skipped;

    (void)state;
    claim(&map, UINT64_MAX, 0, 1000, &first);
    bring(&map, &first, 900);
    assert_int_equal(dray_segment_map_begin_write(&map, &first, 100, &skipped), DRAY_OK);
    assert_false(dray_segment_map_claim_again(&map, &first, 0, &second));
    dray_segment_map_end_write(&map, &first, 60);
    assert_true(dray_segment_map_claim_again(&map, &first, 0, &second));
    assert_int_equal(second.at, 960);
    dray_segment_map_release(&map, &second);
    dray_segment_map_release(&map, &first);
    assert_false(dray_segment_map_claim_again(&map, &first, 0, &second));
    dray_segment_map_done(&map);
}

static void what_two_have_is_free_once_both_gave_it_back(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment first;
    struct dray_segment second;

    (void)state;
    claim(&map, UINT64_MAX, 0, 1000, &first);
    assert_true(dray_segment_map_claim_again(&map, &first, 0, &second));
    dray_segment_map_release(&map, &first);
    assert_int_equal(dray_segment_map_unclaimed(&map), 0);
    bring(&map, &second, 10);
    dray_segment_map_release(&map, &second);
    assert_int_equal(dray_segment_map_unclaimed(&map), 990);
    dray_segment_map_done(&map);
}

static void one_segment_at_a_time_is_the_whole_blob(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment first;
    struct dray_segment second;

    (void)state;
    add(&map, 0, 50, DRAY_ORIGIN_RESUMED);
    add(&map, 300, 310, 1);
    claim(&map, 250, 50, 300, &first);
    claim(&map, UINT64_MAX, 310, 1000, &second);
    assert_true(dray_segment_map_claim_all(&map, &second));
    assert_false(dray_segment_map_claim_all(&map, &first));
    assert_int_equal(first.at, 50);
    assert_int_equal(second.at, 0);
    assert_int_equal(second.end, 1000);

    assert_int_equal(bring(&map, &first, 100), 100);
    assert_int_equal(bring(&map, &second, 1000), 1000 - 50 - 100 - 10);
    assert_false(dray_segment_map_needs(&map, &first));
    dray_segment_map_release(&map, &second);
    assert_true(dray_segment_map_claim_all(&map, &first));
    assert_true(dray_segment_map_claim_all(&map, &first)); /* again */
    assert_false(dray_segment_map_needs(&map, &first));
    dray_segment_map_release(&map, &first);
    dray_segment_map_done(&map);
}

static void extents_merge_with_the_same_origin_only(void **state)
{
    struct dray_segment_map map = make_map(1000);

    (void)state;
    add(&map, 100, 200, 1);
    add(&map, 300, 400, 1);
    add(&map, 200, 300, 1); /* closes the gap */
    assert_int_equal(map.count, 1);
    add(&map, 400, 500, 2);
    add(&map, 0, 100, 2);
    assert_int_equal(map.count, 3);
    add(&map, 500, 600, 2);
    assert_int_equal(map.count, 3);
    assert_int_equal(map.held_bytes, 600);
    assert_int_equal(dray_segment_map_held_until(&map, 0, 1000), 600);
    assert_int_equal(dray_segment_map_held_until(&map, 250, 450), 450);
    assert_int_equal(dray_segment_map_held_until(&map, 600, 1000), 600);
    assert_int_equal(dray_segment_map_origins(&map), 1 << 1 | 1 << 2);
    dray_segment_map_done(&map);
}

static void granules_are_complete_whoever_brought_their_parts(void **state)
{
    struct dray_segment_map map = make_map(450);
    uint64_t first;
    uint64_t past;

    (void)state;
    add(&map, 50, 130, 1);
    dray_segment_map_complete_granules(&map, 50, 130, &first, &past);
    assert_int_equal(first, past);
    assert_int_equal(dray_segment_map_complete_bytes(&map), 0);
    add(&map, 0, 50, 2);
    dray_segment_map_complete_granules(&map, 0, 50, &first, &past);
    assert_int_equal(first, 0);
    assert_int_equal(past, 1);
    add(&map, 130, 420, 2);
    dray_segment_map_complete_granules(&map, 130, 420, &first, &past);
    assert_int_equal(first, 1);
    assert_int_equal(past, 4);
    assert_int_equal(dray_segment_map_complete_bytes(&map), 400);
    add(&map, 420, 450, 1); /* the last one is short */
    dray_segment_map_complete_granules(&map, 420, 450, &first, &past);
    assert_int_equal(first, 4);
    assert_int_equal(past, 5);
    assert_int_equal(dray_segment_map_complete_bytes(&map), 450);
    dray_segment_map_done(&map);
}

static void who_differs_is_who_brought_the_bytes_that_differ(void **state)
{
    static const uint8_t one[10] = "0123456789";
    static const uint8_t other[10] = "01x345678y";
    struct dray_segment_map map = make_map(100);

    (void)state;
    add(&map, 20, 22, 1);
    add(&map, 22, 25, 2);
    add(&map, 25, 29, 3); /* 29 was not there: nobody's */
    assert_int_equal(dray_segment_map_differing(&map, 20, one, other, 10), 1 << 2);
    assert_int_equal(dray_segment_map_differing(&map, 20, one, one, 10), 0);
    assert_int_equal(dray_segment_map_differing(&map, 16, one, other, 10), 1 << 3);
    assert_int_equal(dray_segment_map_differing(&map, 50, one, other, 10), 0);
    dray_segment_map_done(&map);
}

static void whoever_is_writing_finds_room_when_it_is_done(void **state)
{
    enum { WRITERS = 200 };
    struct dray_segment_map map = make_map(WRITERS * 1000);
    struct dray_segment segments[WRITERS];
    size_t skipped;

    (void)state;
    for (uint32_t i = 0; i < WRITERS; i++) {
        assert_true(dray_segment_map_claim(&map, 1000, i % 3, &segments[i]));
        assert_int_equal(dray_segment_map_begin_write(&map, &segments[i], 10, &skipped), DRAY_OK);
        assert_true(map.capacity >= i + 1);
    }
    for (size_t i = 0; i < WRITERS; i++)
        dray_segment_map_end_write(&map, &segments[i * 7 % WRITERS], 10);
    assert_int_equal(map.count, WRITERS);
    assert_int_equal(map.held_bytes, WRITERS * 10);
    dray_segment_map_done(&map);
}

static void many_writers_in_any_order_bring_each_byte_once(void **state)
{
    enum { WRITERS = 256, SIZE = 200003 };
    struct dray_segment_map map = make_map(SIZE);
    struct dray_segment *segments = calloc(WRITERS, sizeof(*segments));
    bool claimed[WRITERS] = { false };
    size_t written = 0;

    (void)state;
    assert_non_null(segments);
    srand(7);
    while (map.held_bytes < SIZE) {
        const int i = rand() % WRITERS;
        struct dray_segment *segment = &segments[i];
        const struct dray_segment *other = &segments[rand() % WRITERS];

        if (!claimed[i]) {
            claimed[i] = dray_segment_map_claim(&map, 1 + (uint64_t)rand() % 900,
                                                (uint32_t)(i % 60), segment) ||
                         dray_segment_map_claim_again(&map, other, (uint32_t)(i % 60), segment);
        } else if (!dray_segment_map_needs(&map, segment) || rand() % 20 == 0) {
            dray_segment_map_release(&map, segment);
            claimed[i] = false;
        } else {
            const uint64_t left = segment->end - segment->at;
            const size_t len = 1 + (size_t)rand() % 300;

            written += bring(&map, segment, len < left ? len : (size_t)left);
        }
    }
    assert_int_equal(written, SIZE);
    assert_int_equal(dray_segment_map_held_until(&map, 0, SIZE), SIZE);
    for (size_t i = 1; i < map.count; i++)
        assert_int_equal(map.extents[i - 1].end, map.extents[i].begin);
    free(segments);
    dray_segment_map_done(&map);
}

static void a_split_takes_the_second_half_at_a_granule(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment busy;
    struct dray_segment idle;
    struct dray_segment again;

    (void)state;
    claim(&map, UINT64_MAX, 0, 1000, &busy);
    assert_int_equal(bring(&map, &busy, 150), 150);
    assert_true(dray_segment_map_split(&map, &busy, 1, 7, &idle));
    assert_int_equal(busy.end, 500); /* 150 + 850 / 2, rounded down */
    assert_true(busy.cut);
    assert_int_equal(idle.at, 500);
    assert_int_equal(idle.end, 1000);
    assert_int_equal(idle.origin, 7);
    assert_false(idle.cut || idle.shared || busy.shared);
    assert_int_equal(dray_segment_map_unclaimed(&map), 0);

    /* What comes beyond the cut is not the first one's business any more. */
    assert_int_equal(bring(&map, &busy, 400), 350);
    assert_int_equal(busy.at, 500);
    assert_int_equal(bring(&map, &busy, 100), 0);
    assert_int_equal(map.held_bytes, 500);
    assert_int_equal(bring(&map, &idle, 100), 100);
    dray_segment_map_release(&map, &busy);
    assert_false(dray_segment_map_split(&map, &busy, 1, 0, &again)); /* it is gone */
    dray_segment_map_release(&map, &idle);
    claim(&map, UINT64_MAX, 600, 1000, &again);
    dray_segment_map_done(&map);
}

static void what_is_too_short_being_written_or_shared_is_not_split(void **state)
{
    struct dray_segment_map map = make_map(1000);
    struct dray_segment busy;
    struct dray_segment other;
    size_t skipped;

    (void)state;
    claim(&map, UINT64_MAX, 0, 1000, &busy);
    assert_false(dray_segment_map_split(&map, &busy, 501, 0, &other));
    assert_int_equal(dray_segment_map_begin_write(&map, &busy, 850, &skipped), DRAY_OK);
    assert_false(
        dray_segment_map_split(&map, &busy, 60, 0, &other)); /* at 900, 50 are left of it */
    assert_int_equal(busy.end, 1000);
    dray_segment_map_end_write(&map, &busy, 100);
    assert_true(dray_segment_map_claim_again(&map, &busy, 0, &other));
    assert_false(dray_segment_map_split(&map, &busy, 1, 0, &other));
    dray_segment_map_done(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_blob_has_nothing_to_claim),
        cmocka_unit_test(a_split_takes_the_second_half_at_a_granule),
        cmocka_unit_test(what_is_too_short_being_written_or_shared_is_not_split),
        cmocka_unit_test(a_blob_of_one_byte_is_one_granule),
        cmocka_unit_test(claims_end_at_granules_where_they_can),
        cmocka_unit_test(gaps_are_claimed_from_the_front),
        cmocka_unit_test(what_was_not_brought_is_free_again),
        cmocka_unit_test(a_failed_write_holds_what_was_written_only),
        cmocka_unit_test(of_two_with_the_same_bytes_each_is_written_by_the_first),
        cmocka_unit_test(nothing_is_left_to_claim_again_of_what_is_written_or_released),
        cmocka_unit_test(what_two_have_is_free_once_both_gave_it_back),
        cmocka_unit_test(one_segment_at_a_time_is_the_whole_blob),
        cmocka_unit_test(extents_merge_with_the_same_origin_only),
        cmocka_unit_test(granules_are_complete_whoever_brought_their_parts),
        cmocka_unit_test(who_differs_is_who_brought_the_bytes_that_differ),
        cmocka_unit_test(whoever_is_writing_finds_room_when_it_is_done),
        cmocka_unit_test(many_writers_in_any_order_bring_each_byte_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
