#include <time.h>

#include "tests/unit/storage/staging_fixture.h"

#define HOUR_S (INT64_C(3600))

static void make_older(const char *path, int64_t age_s)
{
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = time(NULL) - age_s } };

    assert_int_equal(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* A file of the staging directory, this old; return its path. */
static const char *leave(const char *root, const char *name, int64_t age_s)
{
    const char *path = below(root, "dray/staging/%s", name);

    write_text(path, "left");
    make_older(path, age_s);
    return path;
}

static struct dray_digest digest_of(const char *text)
{
    struct dray_digest digest;

    assert_ok(dray_digest_of(DRAY_SHA256, text, strlen(text), &digest));
    return digest;
}

static void old_partial_files_go_with_their_maps(void **state)
{
    struct scratch_log log = { 0 };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, &log);
    struct dray_digest old = digest_of("old");
    struct dray_digest mapped = digest_of("mapped");
    struct dray_digest young = digest_of("young");

    write_text(part_path(*state, &old), "old");
    make_older(part_path(*state, &old), 10 * HOUR_S);
    write_text(part_path(*state, &mapped), "mapped");
    make_older(part_path(*state, &mapped), 10 * HOUR_S);
    write_text(map_path(*state, &mapped), "");
    write_text(part_path(*state, &young), "young");
    make_older(part_path(*state, &young), 9 * HOUR_S - 60);
    write_text(map_path(*state, &young), "");
    make_older(map_path(*state, &young), 20 * HOUR_S);

    dray_staging_sweep(store, 9 * HOUR_S);
    assert_int_equal(log.count, 2);
    assert_non_null(strstr(log.text, "/dray/staging/sha256-"));
    assert_int_equal(count_names(below(*state, "dray/staging")), 2);
    assert_true(exists(part_path(*state, &young)));
    assert_true(exists(map_path(*state, &young)));
}

static void a_map_alone_goes(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest = digest_of("map");

    write_text(map_path(*state, &digest), "");
    dray_staging_sweep(store, HOUR_S);
    assert_true(exists(map_path(*state, &digest)));
    make_older(map_path(*state, &digest), HOUR_S + 60);
    dray_staging_sweep(store, HOUR_S);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void what_somebody_has_open_stays(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(1000, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 1000);
    struct dray_staging *staging = open_staging(store, &blob);

    assert_ok(put(staging, bytes, 500, NULL));
    make_older(part_path(*state, &digest), 100 * HOUR_S);
    dray_staging_sweep(store, HOUR_S);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(*state), 1);
}

static void temporary_files_go_after_a_day(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    const char *young = leave(*state, "0123456789abcdef.tmp", 23 * HOUR_S);
    const char *old = leave(*state, "fedcba9876543210.tmp", 25 * HOUR_S);

    dray_staging_sweep(store, DRAY_STAGING_MAX_AGE_S);
    assert_true(exists(young));
    assert_false(exists(old));
}

static void what_we_did_not_name_stays(void **state)
{
    static const char *const names[] = {
        "notes",
        ".tmp",
        "0123456789abcde.tmp",
        "0123456789abcdeX.tmp",
        "sha256-abc.part",
        "sha256.part",
        ".part",
        "md5-00000000000000000000000000000000.part",
        "sha256-ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.part.bak",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.part",
    };
    const size_t count = sizeof(names) / sizeof(names[0]);
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest = digest_of("a directory");

    for (size_t i = 0; i < count; i++)
        leave(*state, names[i], 100 * HOUR_S);
    assert_int_equal(mkdir(part_path(*state, &digest), 0700), 0);
    make_older(part_path(*state, &digest), 100 * HOUR_S);
    dray_staging_sweep(store, HOUR_S);
    for (size_t i = 0; i < count; i++)
        assert_true(exists(below(*state, "dray/staging/%s", names[i])));
    assert_true(exists(part_path(*state, &digest)));
}

static void peeking_tells_what_is_there(void **state)
{
    const uint64_t size = 4 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STORE struct dray_store *reader = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size);
    struct dray_staging *staging;
    struct dray_segment segments[2];

    reader = scratch_open(*state, DRAY_STORE_READ, NULL);
    assert_int_equal(dray_staging_peek(reader, &blob), 0);
    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_peek(reader, &blob), 0);
    assert_ok(put(staging, bytes, 1234, NULL));
    assert_int_equal(dray_staging_peek(reader, &blob), 1234);

    assert_true(dray_staging_claim(staging, 2 * GRANULE, 0, &segments[0]));
    assert_true(dray_staging_claim(staging, UINT64_MAX, 0, &segments[1]));
    assert_ok(dray_staging_write(staging, &segments[1], bytes + segments[1].at, GRANULE, NULL));
    assert_int_equal(dray_staging_peek(reader, &blob), GRANULE);
    dray_staging_release(staging, &segments[0]);
    dray_staging_release(staging, &segments[1]);

    /* The owner was not disturbed. */
    assert_ok(put_rest(staging, bytes));
    assert_int_equal(dray_staging_peek(reader, &blob), size);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(dray_staging_peek(reader, &blob), 0);
    assert_int_equal(verify_blobs(*state), 1);
}

static void peeking_at_nonsense_finds_nothing(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest = digest_of("abc");
    struct dray_descriptor blob = describe(&digest, 3);

    write_text(part_path(*state, &digest), "too long");
    assert_int_equal(dray_staging_peek(store, &blob), 0);
    assert_int_equal(unlink(part_path(*state, &digest)), 0);
    assert_int_equal(mkdir(part_path(*state, &digest), 0700), 0);
    assert_int_equal(dray_staging_peek(store, &blob), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(old_partial_files_go_with_their_maps),
        scratch_test(a_map_alone_goes),
        scratch_test(what_somebody_has_open_stays),
        scratch_test(temporary_files_go_after_a_day),
        scratch_test(what_we_did_not_name_stays),
        scratch_test(peeking_tells_what_is_there),
        scratch_test(peeking_at_nonsense_finds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
