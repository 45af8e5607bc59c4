#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>

#include "core/cancel.h"
#include "core/sync.h"
#include "tests/unit/storage/staging_fixture.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void claim(struct dray_staging *staging, uint64_t bytes, uint32_t origin,
                  struct dray_segment *ret_segment)
{
    assert_true(dray_staging_claim(staging, bytes, origin, ret_segment));
}

static void bring(struct dray_staging *staging, struct dray_segment *segment, const uint8_t *bytes,
                  uint64_t len)
{
    assert_ok(dray_staging_write(staging, segment, bytes + segment->at, len, NULL));
}

static void several_segments_make_one_blob(void **state)
{
    const uint64_t size = 4 * GRANULE + 17;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_segment segments[3];

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_unclaimed(staging), size);
    claim(staging, GRANULE, 0, &segments[0]);
    claim(staging, 2 * GRANULE + 5, 1, &segments[1]);
    claim(staging, UINT64_MAX, 62, &segments[2]);
    assert_int_equal(dray_staging_unclaimed(staging), 0);
    assert_int_equal(segments[1].at, GRANULE);
    assert_int_equal(segments[2].at, 3 * GRANULE);
    assert_int_equal(segments[2].end, size);

    assert_false(exists(map_path(*state, &digest)));
    bring(staging, &segments[2], bytes, GRANULE + 17);
    assert_true(exists(map_path(*state, &digest)));
    bring(staging, &segments[0], bytes, 100);
    bring(staging, &segments[1], bytes, 2 * GRANULE);
    bring(staging, &segments[0], bytes, GRANULE - 100);
    for (size_t i = 0; i < 3; i++)
        dray_staging_release(staging, &segments[i]);
    assert_int_equal(dray_staging_held(staging), size);
    assert_int_equal(dray_staging_origins(staging), UINT64_C(1) << 62 | 3);
    assert_int_equal(dray_staging_liars(staging), 0);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void what_comes_beyond_a_cut_is_passed_over(void **state)
{
    const uint64_t size = 4 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_segment busy;
    struct dray_segment idle;

    staging = open_staging(store, &blob);
    claim(staging, UINT64_MAX, 0, &busy);
    bring(staging, &busy, bytes, GRANULE / 2);
    assert_false(dray_staging_split(staging, &busy, 2 * GRANULE, 1, &idle));
    assert_true(dray_staging_split(staging, &busy, GRANULE, 1, &idle));
    assert_int_equal(idle.at, 2 * GRANULE);
    bring(staging, &busy, bytes, 2 * GRANULE); /* half a granule too much */
    assert_int_equal(busy.at, busy.end);
    assert_true(busy.cut);
    assert_false(dray_staging_needs(staging, &busy));
    assert_int_equal(dray_staging_held(staging), 2 * GRANULE);
    bring(staging, &idle, bytes, 2 * GRANULE);
    dray_staging_release(staging, &busy);
    dray_staging_release(staging, &idle);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void bytes_that_come_in_order_need_no_map(void **state)
{
    const uint64_t size = 4 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_segment segment;

    staging = open_staging(store, &blob);
    for (uint64_t at = 0; at < size; at += GRANULE) {
        claim(staging, GRANULE, 0, &segment);
        bring(staging, &segment, bytes, GRANULE / 2);
        bring(staging, &segment, bytes, GRANULE / 2);
        dray_staging_release(staging, &segment);
    }
    assert_false(exists(map_path(*state, &digest)));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void of_two_who_bring_the_same_bytes_the_loser_is_told(void **state)
{
    const uint64_t size = GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    DRAY_AUTO_FREE uint8_t *wrong = calloc(1, size);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_segment slow;
    struct dray_segment fast;

    assert_non_null(wrong);
    staging = open_staging(store, &blob);
    claim(staging, UINT64_MAX, 0, &slow);
    bring(staging, &slow, bytes, 1000);
    assert_true(dray_staging_claim_again(staging, &slow, 1, &fast));
    assert_int_equal(fast.at, 1000);
    bring(staging, &fast, bytes, 2000);
    assert_true(dray_staging_needs(staging, &slow));
    /* Nobody writes over what is here: the hash may have seen it. */
    assert_ok(dray_staging_write(staging, &slow, wrong, 2000, NULL));
    assert_int_equal(slow.at, 3000);
    assert_int_equal(dray_staging_held(staging), 3000);
    bring(staging, &slow, bytes, 500);
    bring(staging, &fast, bytes, size - 3000);
    assert_false(dray_staging_needs(staging, &slow));
    assert_false(dray_staging_needs(staging, &fast));
    dray_staging_release(staging, &slow);
    dray_staging_release(staging, &fast);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void more_than_the_segment_is_refused(void **state)
{
    const uint64_t size = 2 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_segment segment;
    struct dray_error err = { 0 };

    staging = open_staging(store, &blob);
    claim(staging, GRANULE, 0, &segment);
    bring(staging, &segment, bytes, 10);
    assert_int_equal(dray_staging_write(staging, &segment, bytes, GRANULE - 9, &err), DRAY_EDIGEST);
    assert_non_null(strstr(err.text, digest.text));
    assert_int_equal(segment.at, 10);
    assert_int_equal(dray_staging_held(staging), 10);
    dray_staging_release(staging, &segment);
}

/* Leave a hole: bytes 0 to 100, two granules from the second one on, and half of another. */
static void leave_holes(struct dray_staging *staging, const uint8_t *bytes)
{
    struct dray_segment segments[3];

    claim(staging, GRANULE, 0, &segments[0]);
    claim(staging, 2 * GRANULE, 0, &segments[1]);
    claim(staging, UINT64_MAX, 0, &segments[2]);
    bring(staging, &segments[2], bytes, GRANULE / 2);
    bring(staging, &segments[1], bytes, 2 * GRANULE);
    bring(staging, &segments[0], bytes, 100);
    for (size_t i = 0; i < 3; i++)
        dray_staging_release(staging, &segments[i]);
}

static void what_is_complete_is_resumed_after_holes(void **state)
{
    const uint64_t size = 5 * GRANULE + 17;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_staging *staging = open_staging(store, &blob);

    leave_holes(staging, bytes);
    assert_int_equal(dray_staging_held(staging), 100 + 2 * GRANULE + GRANULE / 2);
    dray_staging_close(staging);
    assert_int_equal(dray_staging_peek(store, &blob), 2 * GRANULE);

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 2 * GRANULE);
    assert_int_equal(dray_staging_unclaimed(staging), size - 2 * GRANULE);
    assert_int_equal(dray_staging_origins(staging), UINT64_C(1) << DRAY_ORIGIN_RESUMED);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void a_front_that_is_more_than_the_rest_is_kept_without_a_map(void **state)
{
    const uint64_t size = 5 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_staging *staging = open_staging(store, &blob);
    struct dray_segment segments[2];

    claim(staging, 2 * GRANULE, 0, &segments[0]);
    claim(staging, UINT64_MAX, 0, &segments[1]);
    bring(staging, &segments[1], bytes, 10);
    bring(staging, &segments[0], bytes, GRANULE + 77);
    dray_staging_release(staging, &segments[0]);
    dray_staging_release(staging, &segments[1]);
    dray_staging_close(staging);
    assert_false(exists(map_path(*state, &digest)));

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), GRANULE + 77);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(*state), 1);
}

static void pieces_that_complete_nothing_leave_nothing(void **state)
{
    const uint64_t size = 5 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_staging *staging = open_staging(store, &blob);
    struct dray_segment segments[2];

    claim(staging, GRANULE, 0, &segments[0]);
    claim(staging, UINT64_MAX, 0, &segments[1]);
    bring(staging, &segments[1], bytes, GRANULE - 1);
    dray_staging_release(staging, &segments[0]);
    dray_staging_release(staging, &segments[1]);
    dray_staging_close(staging);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void a_map_whose_file_is_gone_says_nothing(void **state)
{
    const uint64_t size = 5 * GRANULE + 17;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);

    staging = open_staging(store, &blob);
    leave_holes(staging, bytes);
    dray_staging_close(DRAY_TAKE(staging));
    assert_int_equal(unlink(part_path(*state, &digest)), 0);

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 0);
    assert_false(exists(map_path(*state, &digest)));
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void what_is_left_of_a_blob_that_is_there_goes(void **state)
{
    const uint64_t size = 5 * GRANULE + 17;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_staging *staging = open_staging(store, &blob);
    enum dray_staging_outcome outcome;

    leave_holes(staging, bytes);
    dray_staging_close(staging);
    assert_true(exists(map_path(*state, &digest)));
    assert_ok(dray_blob_put(store, &digest, bytes, size, NULL));
    assert_ok(try_staging(store, &blob, &outcome, &staging));
    assert_int_equal(outcome, DRAY_STAGING_EXISTS);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void after_a_wrong_digest_the_liar_is_named(void **state)
{
    const uint64_t size = 4 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_staging *staging = open_staging(store, &blob);
    struct dray_segment segments[4];

    /* What was there, and two of three who bring the rest, are right. */
    assert_ok(put(staging, bytes, GRANULE, NULL));
    dray_staging_close(staging);
    staging = open_staging(store, &blob);
    for (uint32_t i = 1; i < 4; i++)
        claim(staging, GRANULE, i, &segments[i]);
    bytes[2 * GRANULE + 12345] ^= 1;
    for (uint32_t i = 3; i > 0; i--) {
        bring(staging, &segments[i], bytes, GRANULE);
        dray_staging_release(staging, &segments[i]);
    }
    assert_int_equal(dray_staging_commit(staging, NULL, NULL), DRAY_EDIGEST);
    assert_false(exists(blob_path(*state, &digest)));
    assert_int_equal(dray_staging_held(staging), 0);
    assert_int_equal(dray_staging_unclaimed(staging), size);
    assert_int_equal(dray_staging_origins(staging), 0);
    assert_int_equal(dray_staging_peek(store, &blob), 0);

    bytes[2 * GRANULE + 12345] ^= 1;
    claim(staging, UINT64_MAX, 0, &segments[0]);
    for (uint64_t at = 0; at < size; at += 100001)
        bring(staging, &segments[0], bytes, min_u64(100001, size - at));
    dray_staging_release(staging, &segments[0]);
    assert_int_equal(dray_staging_liars(staging), 0); /* not known before the digest is right */
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(dray_staging_liars(staging), 1 << 2);
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void bring_all(struct dray_staging *staging, const uint8_t *bytes, uint32_t origin)
{
    struct dray_segment segment;

    claim(staging, UINT64_MAX, origin, &segment);
    bring(staging, &segment, bytes, segment.end - segment.at);
    dray_staging_release(staging, &segment);
}

static void who_lied_last_is_named(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(GRANULE, 1, &digest);
    struct dray_descriptor blob = describe(&digest, GRANULE);

    staging = open_staging(store, &blob);
    for (uint32_t origin = 5; origin < 7; origin++) {
        bytes[origin] ^= 1;
        bring_all(staging, bytes, origin);
        assert_int_equal(dray_staging_commit(staging, NULL, NULL), DRAY_EDIGEST);
        bytes[origin] ^= 1;
    }
    bring_all(staging, bytes, 7);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(dray_staging_liars(staging), 1 << 6);
    assert_int_equal(verify_blobs(*state), 1);
}

static void what_was_resumed_can_lie_too(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(GRANULE, 1, &digest);
    struct dray_descriptor blob = describe(&digest, GRANULE);

    write_text(part_path(*state, &digest), "zeros after a power cut");
    staging = open_staging(store, &blob);
    assert_ok(put_rest(staging, bytes));
    assert_int_equal(dray_staging_commit(staging, NULL, NULL), DRAY_EDIGEST);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(dray_staging_liars(staging), UINT64_C(1) << DRAY_ORIGIN_RESUMED);
    assert_int_equal(verify_blobs(*state), 1);
}

static int die_after_a_wrong_digest(void *ctx)
{
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(3 * GRANULE, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 3 * GRANULE);
    struct dray_store *store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    struct dray_staging *staging = open_staging(store, &blob);

    bytes[0] ^= 1;
    if (put_rest(staging, bytes) != DRAY_OK ||
        dray_staging_commit(staging, NULL, NULL) != DRAY_EDIGEST)
        return 1;
    bytes[0] ^= 1;
    if (put(staging, bytes, GRANULE + 3, NULL) != DRAY_OK)
        return 2;
    return raise(SIGKILL);
}

static void wrong_bytes_are_not_resumed(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(3 * GRANULE, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 3 * GRANULE);

    assert_int_equal(end_child(start_child(die_after_a_wrong_digest, *state)), 128 + SIGKILL);
    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), GRANULE);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void a_canceled_commit_can_be_tried_again(void **state)
{
    const uint64_t size = 3 * GRANULE;
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_segment segments[2];

    staging = open_staging(store, &blob);
    claim(staging, GRANULE, 0, &segments[0]);
    claim(staging, UINT64_MAX, 0, &segments[1]);
    bring(staging, &segments[1], bytes, 2 * GRANULE); /* beyond the frontier: to be read back */
    bring(staging, &segments[0], bytes, GRANULE);
    dray_staging_release(staging, &segments[0]);
    dray_staging_release(staging, &segments[1]);

    assert_ok(dray_cancel_new(&cancel, NULL));
    dray_cancel_fire(cancel);
    assert_int_equal(dray_staging_commit(staging, cancel, NULL), DRAY_ECANCELED);
    assert_int_equal(dray_staging_held(staging), size);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void the_hash_follows_the_writers(void **state)
{
    const uint64_t size = 9 * GRANULE;
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_segment segments[2];

    staging = open_staging(store, &blob);
    claim(staging, GRANULE, 0, &segments[0]);
    claim(staging, UINT64_MAX, 0, &segments[1]);
    bring(staging, &segments[1], bytes, 5 * GRANULE);
    bring(staging, &segments[0], bytes, GRANULE); /* closes the gap */
    while (segments[1].at < size)
        bring(staging, &segments[1], bytes, GRANULE / 8);
    dray_staging_release(staging, &segments[0]);
    dray_staging_release(staging, &segments[1]);

    /* Nothing is left to read, so there is nothing to cancel. */
    assert_ok(dray_cancel_new(&cancel, NULL));
    dray_cancel_fire(cancel);
    assert_ok(dray_staging_commit(staging, cancel, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static int write_past_the_limit(void *ctx)
{
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(3 * GRANULE, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 3 * GRANULE);
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = open_staging(store, &blob);
    struct dray_error err = { 0 };
    struct dray_segment segments[2];

    claim(staging, GRANULE, 0, &segments[0]);
    claim(staging, UINT64_MAX, 1, &segments[1]);
    if (!limit_file_size(GRANULE + 1000))
        return 1;
    /* The first part fits: a short write, then the error. */
    if (dray_staging_write(staging, &segments[1], bytes + GRANULE, GRANULE, &err) != DRAY_EIO ||
        err.sys_errno != EFBIG)
        return 3;
    if (dray_staging_held(staging) != 1000 || segments[1].at != GRANULE + 1000)
        return 4;
    bring(staging, &segments[0], bytes, GRANULE); /* the others are not disturbed */
    if (!limit_file_size(RLIM_INFINITY))
        return 5;
    dray_staging_release(staging, &segments[0]);
    dray_staging_release(staging, &segments[1]);
    if (dray_staging_unclaimed(staging) != 2 * GRANULE - 1000 ||
        put_rest(staging, bytes) != DRAY_OK)
        return 6;
    return dray_staging_commit(staging, NULL, NULL) == DRAY_OK ? 0 : 7;
}

static void what_could_not_be_written_is_free_again(void **state)
{
    assert_int_equal(end_child(start_child(write_past_the_limit, *state)), 0);
    assert_int_equal(verify_blobs(*state), 1);
}

static int make_no_map(void *ctx)
{
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(3 * GRANULE, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 3 * GRANULE);
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = open_staging(store, &blob);
    struct dray_error err = { 0 };
    struct dray_segment segments[2];

    claim(staging, GRANULE, 0, &segments[0]);
    claim(staging, UINT64_MAX, 1, &segments[1]);
    if (!limit_file_size(10)) /* less than a map has */
        return 1;
    if (dray_staging_write(staging, &segments[1], bytes + GRANULE, 100, &err) != DRAY_EIO ||
        !strstr(err.text, map_path(ctx, &digest)))
        return 3;
    if (!limit_file_size(RLIM_INFINITY))
        return 4;
    /* Without its map nothing was written out of order. */
    if (dray_staging_held(staging) != 0 || dray_staging_peek(store, &blob) != 0 ||
        exists(map_path(ctx, &digest)))
        return 5;
    bring(staging, &segments[1], bytes, 100);
    bring(staging, &segments[0], bytes, 100);
    dray_staging_release(staging, &segments[0]);
    dray_staging_release(staging, &segments[1]);
    if (put_rest(staging, bytes) != DRAY_OK)
        return 6;
    return dray_staging_commit(staging, NULL, NULL) == DRAY_OK ? 0 : 7;
}

static void without_a_map_nothing_is_written_out_of_order(void **state)
{
    assert_int_equal(end_child(start_child(make_no_map, *state)), 0);
    assert_int_equal(verify_blobs(*state), 1);
}

#define WRITERS 256

struct writer;

struct work {
    struct dray_staging *staging;
    const uint8_t *bytes;
    uint64_t seed;
    struct writer *writers;
    size_t count;
    atomic_int failures;
};

struct writer {
    struct work *work;
    uint32_t number;
    struct dray_segment segment;
    pthread_t thread;
};

/* Claim what is free, else half of what another writer has left. */
static bool claim_anything(struct writer *writer, uint64_t *random_state)
{
    struct work *work = writer->work;
    const struct writer *other = &work->writers[next_random(random_state) % work->count];

    return dray_staging_claim(work->staging, 1 + next_random(random_state) % (2 * GRANULE),
                              writer->number % 60, &writer->segment) ||
           dray_staging_split(work->staging, &other->segment, 1 + next_random(random_state) % 5000,
                              writer->number % 60, &writer->segment);
}

/* Claim anything, write it in pieces, give some of it up in the middle. */
static void *write_at_random(void *arg)
{
    struct writer *writer = arg;
    struct work *work = writer->work;
    struct dray_segment *segment = &writer->segment;
    uint64_t random_state = work->seed + writer->number;

    while (claim_anything(writer, &random_state)) {
        while (segment->at < segment->end && next_random(&random_state) % 16 != 0) {
            const uint64_t len = 1 + next_random(&random_state) % 100000;

            if (dray_staging_write(work->staging, segment, work->bytes + segment->at,
                                   min_u64(len, segment->end - segment->at), NULL) != DRAY_OK)
                atomic_fetch_add(&work->failures, 1);
        }
        dray_staging_release(work->staging, segment);
    }
    return NULL;
}

static void run_writers(struct work *work, size_t count)
{
    struct writer *writers = calloc(count, sizeof(*writers));

    assert_non_null(writers);
    work->writers = writers;
    work->count = count;
    for (size_t i = 0; i < count; i++) {
        writers[i].work = work;
        writers[i].number = (uint32_t)i;
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_at_random, &writers[i]), 0);
    }
    for (size_t i = 0; i < count; i++)
        pthread_join(writers[i].thread, NULL);
    free(writers);
}

static void many_writers_who_come_and_go_make_one_blob(void **state)
{
    const uint64_t size = 40 * GRANULE + 12345;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct work work = { .bytes = bytes, .seed = (uint64_t)time(NULL) };

    print_message("seed %llu\n", (unsigned long long)work.seed);
    staging = open_staging(store, &blob);
    work.staging = staging;
    run_writers(&work, WRITERS);
    assert_int_equal(work.failures, 0);
    /* Who came last to a claim may have given up the rest of it. */
    assert_ok(put_rest(staging, bytes));
    assert_int_equal(dray_staging_held(staging), size);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

struct race {
    struct dray_staging *staging;
    struct dray_segment segment;
    const uint8_t *bytes;
    uint64_t seed;
    atomic_int *failures;
};

static void *bring_what_is_needed(void *arg)
{
    struct race *race = arg;
    uint64_t random_state = race->seed;

    while (dray_staging_needs(race->staging, &race->segment)) {
        const uint64_t left = race->segment.end - race->segment.at;
        const uint64_t len = min_u64(left, 1 + next_random(&random_state) % 30000);

        if (dray_staging_write(race->staging, &race->segment, race->bytes + race->segment.at, len,
                               NULL) != DRAY_OK)
            atomic_fetch_add(race->failures, 1);
    }
    dray_staging_release(race->staging, &race->segment);
    return NULL;
}

static void writers_who_race_over_the_same_bytes_make_one_blob(void **state)
{
    enum { RACERS = 8 };
    const uint64_t size = 20 * GRANULE + 3;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct race races[RACERS];
    pthread_t threads[RACERS];
    atomic_int failures = 0;

    staging = open_staging(store, &blob);
    for (size_t i = 0; i < RACERS; i++) {
        races[i].staging = staging;
        races[i].bytes = bytes;
        races[i].seed = i + 1;
        races[i].failures = &failures;
        if (i % 2 == 0)
            claim(staging, 4 * GRANULE, (uint32_t)i, &races[i].segment);
        else
            assert_true(dray_staging_claim_again(staging, &races[i - 1].segment, (uint32_t)i,
                                                 &races[i].segment));
    }
    assert_true(dray_staging_claim_all(staging, &races[RACERS - 1].segment));
    for (size_t i = 0; i < RACERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, bring_what_is_needed, &races[i]), 0);
    for (size_t i = 0; i < RACERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failures, 0);
    assert_int_equal(dray_staging_held(staging), size);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

#define VICTIMS      8
#define VICTIM_BYTES (96 * GRANULE)

struct victim {
    const char *root;
    uint8_t *bytes;
    struct dray_descriptor blob;
    _Atomic uint64_t *held; /* shared with the parent */
};

/* Eight writers, each with its own part of the blob, until killed. */
static void *write_steadily(void *arg)
{
    struct work *work = arg;
    struct dray_segment segment;

    while (dray_staging_claim(work->staging, 4 * GRANULE, 0, &segment)) {
        while (segment.at < segment.end &&
               dray_staging_write(work->staging, &segment, work->bytes + segment.at,
                                  min_u64(16384, segment.end - segment.at), NULL) == DRAY_OK)
            ;
        dray_staging_release(work->staging, &segment);
    }
    return NULL;
}

static __attribute__((noreturn)) int write_until_killed(void *ctx)
{
    const struct victim *victim = ctx;
    struct work work = { .bytes = victim->bytes };
    struct dray_store *store = scratch_open(victim->root, DRAY_STORE_WRITE, NULL);
    pthread_t threads[VICTIMS];

    work.staging = open_staging(store, &victim->blob);
    for (size_t i = 0; i < VICTIMS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_steadily, &work), 0);
    for (;;)
        atomic_store(victim->held, dray_staging_held(work.staging));
}

static void a_kill_costs_each_writer_less_than_a_mebibyte(void **state)
{
    struct dray_digest digest;
    struct victim victim = { .root = *state, .bytes = make_bytes(VICTIM_BYTES, 5, &digest) };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    uint64_t resumed = 0;
    int rounds = 0;

    victim.blob = describe(&digest, VICTIM_BYTES);
    victim.held =
        mmap(NULL, sizeof(*victim.held), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(victim.held != MAP_FAILED);
    while (resumed < VICTIM_BYTES * 3 / 4) {
        const pid_t pid = start_child(write_until_killed, &victim);
        struct dray_staging *staging;
        uint64_t held;

        atomic_store(victim.held, 0);
        while (atomic_load(victim.held) < min_u64(resumed + 24 * GRANULE + 5000, VICTIM_BYTES))
            usleep(100);
        kill(pid, SIGKILL);
        end_child(pid);
        held = atomic_load(victim.held);

        staging = open_staging(store, &victim.blob);
        resumed = dray_staging_held(staging);
        assert_true(resumed + VICTIMS * (UINT64_C(1) << 20) > held);
        rounds++;
        if (resumed >= VICTIM_BYTES * 3 / 4) {
            assert_ok(put_rest(staging, victim.bytes));
            assert_ok(dray_staging_commit(staging, NULL, NULL));
        }
        dray_staging_close(staging);
    }
    assert_true(rounds >= 1);
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
    munmap(victim.held, sizeof(*victim.held));
    free(victim.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(several_segments_make_one_blob),
        scratch_test(what_comes_beyond_a_cut_is_passed_over),
        scratch_test(bytes_that_come_in_order_need_no_map),
        scratch_test(of_two_who_bring_the_same_bytes_the_loser_is_told),
        scratch_test(more_than_the_segment_is_refused),
        scratch_test(what_is_complete_is_resumed_after_holes),
        scratch_test(a_front_that_is_more_than_the_rest_is_kept_without_a_map),
        scratch_test(pieces_that_complete_nothing_leave_nothing),
        scratch_test(a_map_whose_file_is_gone_says_nothing),
        scratch_test(what_is_left_of_a_blob_that_is_there_goes),
        scratch_test(after_a_wrong_digest_the_liar_is_named),
        scratch_test(who_lied_last_is_named),
        scratch_test(what_was_resumed_can_lie_too),
        scratch_test(wrong_bytes_are_not_resumed),
        scratch_test(a_canceled_commit_can_be_tried_again),
        scratch_test(the_hash_follows_the_writers),
        scratch_test(what_could_not_be_written_is_free_again),
        scratch_test(without_a_map_nothing_is_written_out_of_order),
        scratch_test(many_writers_who_come_and_go_make_one_blob),
        scratch_test(writers_who_race_over_the_same_bytes_make_one_blob),
        scratch_test(a_kill_costs_each_writer_less_than_a_mebibyte),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
