#include "storage/staging_map.h"

#include "tests/unit/storage/staging_fixture.h"

#define HEADER_BYTES 24
#define BLOB_BYTES   (5 * DRAY_STAGING_GRANULE_BYTES + 17) /* six granules */

struct fixture {
    struct dray_store *store;
    struct dray_descriptor blob;
    struct dray_staging_map map;
    struct dray_segment_map held;
    const char *path;
};

static void open_fixture(struct fixture *fixture, const char *root, uint64_t size_bytes)
{
    struct dray_digest digest;

    assert_ok(dray_digest_of(DRAY_SHA256, "abc", 3, &digest));
    fixture->store = scratch_open(root, DRAY_STORE_WRITE, NULL);
    fixture->blob = describe(&digest, size_bytes);
    fixture->path = map_path(root, &digest);
    dray_staging_map_init(&fixture->map, fixture->store, &fixture->blob);
    dray_segment_map_init(&fixture->held, size_bytes, DRAY_STAGING_GRANULE_BYTES);
}

static void close_fixture(struct fixture *fixture)
{
    dray_segment_map_done(&fixture->held);
    dray_staging_map_done(&fixture->map);
    dray_store_close(fixture->store);
}

/* Read the map anew; return how many bytes it says are held. */
static uint64_t reload(struct fixture *fixture, uint64_t part_bytes)
{
    dray_staging_map_done(&fixture->map);
    dray_segment_map_done(&fixture->held);
    assert_ok(dray_staging_map_load(&fixture->map, part_bytes, &fixture->held, NULL));
    return fixture->held.held_bytes;
}

static void change(const struct fixture *fixture, off_t at, char byte)
{
    int fd = open(fixture->path, O_WRONLY);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void marks_are_there_again(void **state)
{
    struct fixture fixture;

    open_fixture(&fixture, *state, BLOB_BYTES);
    assert_int_equal(reload(&fixture, BLOB_BYTES), 0);
    assert_int_equal(fixture.map.fd, -1);

    assert_ok(dray_staging_map_create(&fixture.map, GRANULE + 5, NULL));
    dray_staging_map_mark(&fixture.map, 3, 3);
    dray_staging_map_mark(&fixture.map, 4, 6);
    assert_int_equal(reload(&fixture, BLOB_BYTES), 2 * GRANULE + 17);
    assert_true(fixture.map.fd >= 0);
    assert_int_equal(fixture.held.count, 2);
    assert_int_equal(fixture.held.extents[0].end, GRANULE);
    assert_int_equal(fixture.held.extents[0].origin, DRAY_ORIGIN_RESUMED);
    assert_int_equal(fixture.held.extents[1].begin, 4 * GRANULE);
    assert_int_equal(fixture.held.extents[1].end, BLOB_BYTES);

    assert_ok(dray_staging_map_create(&fixture.map, 0, NULL)); /* anew */
    assert_int_equal(reload(&fixture, BLOB_BYTES), 0);
    assert_true(fixture.map.fd >= 0);
    dray_staging_map_remove(&fixture.map);
    assert_false(exists(fixture.path));
    close_fixture(&fixture);
}

static void a_large_blob_has_a_map_too(void **state)
{
    const uint64_t count = 10007;
    struct fixture fixture;

    open_fixture(&fixture, *state, count * GRANULE);
    assert_ok(dray_staging_map_create(&fixture.map, 9000 * GRANULE + 1, NULL));
    dray_staging_map_mark(&fixture.map, 9001, count);
    assert_int_equal(reload(&fixture, count * GRANULE), (count - 1) * GRANULE);
    assert_int_equal(fixture.held.count, 2);
    close_fixture(&fixture);
}

static void marks_beyond_the_file_are_taken_back(void **state)
{
    struct fixture fixture;

    open_fixture(&fixture, *state, BLOB_BYTES);
    assert_ok(dray_staging_map_create(&fixture.map, BLOB_BYTES, NULL));
    assert_int_equal(reload(&fixture, 3 * GRANULE - 1), 2 * GRANULE);
    assert_int_equal(reload(&fixture, BLOB_BYTES), 2 * GRANULE);
    assert_ok(dray_staging_map_create(&fixture.map, BLOB_BYTES, NULL));
    assert_int_equal(reload(&fixture, BLOB_BYTES - 1), 5 * GRANULE);
    assert_int_equal(reload(&fixture, BLOB_BYTES), 5 * GRANULE);
    close_fixture(&fixture);
}

static void what_is_not_whole_is_deleted(void **state)
{
    static const off_t lengths[] = { 0, 7, HEADER_BYTES, HEADER_BYTES + 5, HEADER_BYTES + 7 };
    struct fixture fixture;

    open_fixture(&fixture, *state, BLOB_BYTES);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        assert_ok(dray_staging_map_create(&fixture.map, BLOB_BYTES, NULL));
        assert_int_equal(truncate(fixture.path, lengths[i]), 0);
        assert_int_equal(reload(&fixture, BLOB_BYTES), 0);
        assert_int_equal(fixture.map.fd, -1);
        assert_false(exists(fixture.path));
    }
    close_fixture(&fixture);
}

static void the_map_of_something_else_is_deleted(void **state)
{
    static const off_t places[] = { 0, 7, 8, 15, 16, 23 }; /* magic, granule size, blob size */
    struct fixture fixture;

    open_fixture(&fixture, *state, BLOB_BYTES);
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        assert_ok(dray_staging_map_create(&fixture.map, BLOB_BYTES, NULL));
        change(&fixture, places[i], 'x');
        assert_int_equal(reload(&fixture, BLOB_BYTES), 0);
        assert_int_equal(fixture.map.fd, -1);
        assert_false(exists(fixture.path));
    }
    close_fixture(&fixture);
}

static void only_a_mark_is_a_mark(void **state)
{
    struct fixture fixture;

    open_fixture(&fixture, *state, BLOB_BYTES);
    assert_ok(dray_staging_map_create(&fixture.map, BLOB_BYTES, NULL));
    change(&fixture, HEADER_BYTES + 2, 'x');
    assert_int_equal(reload(&fixture, BLOB_BYTES), BLOB_BYTES - GRANULE);
    close_fixture(&fixture);
}

static void peeking_changes_nothing(void **state)
{
    struct fixture fixture;
    bool whole;

    open_fixture(&fixture, *state, BLOB_BYTES);
    assert_ok(dray_staging_map_peek(&fixture.map, BLOB_BYTES, &fixture.held, &whole, NULL));
    assert_false(whole);
    assert_ok(dray_staging_map_create(&fixture.map, BLOB_BYTES, NULL));
    assert_ok(dray_staging_map_peek(&fixture.map, GRANULE, &fixture.held, &whole, NULL));
    assert_true(whole);
    assert_int_equal(fixture.held.held_bytes, GRANULE);
    assert_int_equal(reload(&fixture, BLOB_BYTES), BLOB_BYTES);

    assert_int_equal(truncate(fixture.path, 10), 0);
    dray_segment_map_done(&fixture.held);
    assert_ok(dray_staging_map_peek(&fixture.map, BLOB_BYTES, &fixture.held, &whole, NULL));
    assert_false(whole);
    assert_true(exists(fixture.path));
    close_fixture(&fixture);
}

static void a_link_in_the_maps_place_is_not_followed(void **state)
{
    const char *target = below(*state, "target");
    struct fixture fixture;

    open_fixture(&fixture, *state, BLOB_BYTES);
    write_text(target, "precious");
    assert_int_equal(symlink(target, fixture.path), 0);
    assert_int_equal(dray_staging_map_create(&fixture.map, 0, NULL), DRAY_EIO);
    assert_int_equal(dray_staging_map_load(&fixture.map, BLOB_BYTES, &fixture.held, NULL),
                     DRAY_EIO);
    DRAY_AUTO_FREE char *text = read_text(target);
    assert_string_equal(text, "precious");
    close_fixture(&fixture);
}

/* A partial file of which the first 1000 bytes are right, with this beside it as its map. */
static uint64_t held_with_map(const char *root, const char *map, off_t map_bytes)
{
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(2 * GRANULE, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 2 * GRANULE);
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(root, DRAY_STORE_WRITE, NULL);
    struct dray_staging *staging = open_staging(store, &blob);
    uint64_t held;

    assert_ok(put(staging, bytes, 1000, NULL));
    dray_staging_close(staging);
    write_text(map_path(root, &digest), map);
    assert_int_equal(truncate(map_path(root, &digest), map_bytes), 0);

    staging = open_staging(store, &blob);
    held = dray_staging_held(staging);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(root), 1);
    assert_int_equal(unlink(blob_path(root, &digest)), 0);
    assert_int_equal(count_names(below(root, "dray/staging")), 0);
    return held;
}

static void a_partial_file_with_half_a_map_is_in_order(void **state)
{
    assert_int_equal(held_with_map(*state, "", 0), 1000);
    assert_int_equal(held_with_map(*state, "draymap1", 8), 1000);
    assert_int_equal(held_with_map(*state, "draymap1", HEADER_BYTES + 2), 1000);
    assert_int_equal(held_with_map(*state, "anything", HEADER_BYTES + 2), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(marks_are_there_again),
        scratch_test(a_large_blob_has_a_map_too),
        scratch_test(marks_beyond_the_file_are_taken_back),
        scratch_test(what_is_not_whole_is_deleted),
        scratch_test(the_map_of_something_else_is_deleted),
        scratch_test(only_a_mark_is_a_mark),
        scratch_test(peeking_changes_nothing),
        scratch_test(a_link_in_the_maps_place_is_not_followed),
        scratch_test(a_partial_file_with_half_a_map_is_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
