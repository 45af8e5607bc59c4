#include "storage/blob_store.h"

#include <pthread.h>

#include "tests/unit/storage/scratch.h"

static const char *blob_path(const char *root, const struct dray_digest *digest)
{
    char path[DRAY_BLOB_PATH_MAX];

    dray_blob_path(digest, path);
    return below(root, "%s", path);
}

static void a_blob_that_was_put_can_be_read(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_BUF struct dray_buf data = DRAY_BUF_INIT;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(70000, 1, &digest);

    assert_false(dray_blob_exists(store, &digest, 70000));
    assert_ok(dray_blob_put(store, &digest, bytes, 70000, NULL));
    assert_ok(dray_blob_barrier(store, NULL));
    assert_true(dray_blob_exists(store, &digest, 70000));
    assert_int_equal(verify_blobs(*state), 1);

    assert_ok(dray_blob_read(store, &digest, 70000, &data, NULL));
    assert_int_equal(data.len, 70000);
    assert_memory_equal(data.data, bytes, 70000);
}

static void an_empty_blob_can_be_read(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_BUF struct dray_buf data = DRAY_BUF_INIT;
    struct dray_digest digest;

    assert_ok(dray_digest_of(DRAY_SHA256, "", 0, &digest));
    assert_ok(dray_blob_put(store, &digest, "", 0, NULL));
    assert_ok(dray_blob_read(store, &digest, 0, &data, NULL));
    assert_int_equal(data.len, 0);
}

static void the_right_bytes_under_another_digest_are_refused(void **state) /* H-46 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digests[2];
    DRAY_AUTO_FREE uint8_t *a = make_bytes(100, 1, &digests[0]);
    DRAY_AUTO_FREE uint8_t *b = make_bytes(100, 2, &digests[1]);

    assert_int_equal(dray_blob_put(store, &digests[0], b, 100, NULL), DRAY_EDIGEST);
    assert_int_equal(dray_blob_put(store, &digests[1], a, 100, NULL), DRAY_EDIGEST);
    assert_int_equal(count_names(below(*state, "blobs/sha256")), 0);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void a_blob_that_is_there_is_not_written_again(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(100, 1, &digest);
    struct stat before;
    struct stat after;

    assert_ok(dray_blob_put(store, &digest, bytes, 100, NULL));
    assert_int_equal(stat(blob_path(*state, &digest), &before), 0);
    assert_ok(dray_blob_put(store, &digest, bytes, 100, NULL));
    assert_int_equal(stat(blob_path(*state, &digest), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void a_blob_of_another_size_is_absent_until_it_is_replaced(void **state)
{
    struct scratch_log log = { 0 };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, &log);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(100, 1, &digest);

    write_text(blob_path(*state, &digest), "cut off");
    assert_false(dray_blob_exists(store, &digest, 100));
    assert_int_equal(log.count, 1);
    assert_non_null(strstr(log.text, digest.text + 7));
    assert_ok(dray_blob_put(store, &digest, bytes, 100, NULL));
    assert_true(dray_blob_exists(store, &digest, 100));
    assert_int_equal(verify_blobs(*state), 1);
}

static void what_cannot_be_read_says_why(void **state) /* H-63 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_BUF struct dray_buf data = DRAY_BUF_INIT;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(100, 1, &digest);
    struct dray_error err = { 0 };
    const char *path = blob_path(*state, &digest);

    assert_int_equal(dray_blob_read(store, &digest, 100, &data, &err), DRAY_ENOTFOUND);
    assert_non_null(strstr(err.text, path));

    assert_ok(dray_blob_put(store, &digest, bytes, 100, NULL));
    assert_int_equal(dray_blob_read(store, &digest, 99, &data, &err), DRAY_EPROTO);

    assert_int_equal(chmod(path, 0644), 0);
    write_text(path, "rotten");
    assert_int_equal(dray_blob_read(store, &digest, 100, &data, &err), DRAY_EDIGEST);
    assert_non_null(strstr(err.text, path));

    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0644), 0);
    assert_int_equal(dray_blob_read(store, &digest, 100, &data, &err), DRAY_EIO);
    assert_false(dray_blob_exists(store, &digest, 0));
    assert_int_equal(data.len, 0);
}

static void other_algorithms_get_their_directory(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;

    assert_ok(dray_digest_of(DRAY_SHA512, "abc", 3, &digest));
    assert_ok(dray_blob_put(store, &digest, "abc", 3, NULL));
    assert_ok(dray_blob_barrier(store, NULL));
    assert_true(exists(below(*state, "blobs/sha512/%s", dray_digest_hex(&digest))));
}

static void removing_says_whether_it_was_there(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(100, 1, &digest);
    bool removed;

    assert_ok(dray_blob_put(store, &digest, bytes, 100, NULL));
    assert_ok(dray_blob_remove(store, &digest, &removed, NULL));
    assert_true(removed);
    assert_false(dray_blob_exists(store, &digest, 100));
    assert_ok(dray_blob_remove(store, &digest, &removed, NULL));
    assert_false(removed);
}

#define THREADS 8
#define BLOBS   5

struct put {
    struct dray_store *store;
    struct dray_digest digests[BLOBS];
    uint8_t *bytes[BLOBS];
};

static void *put_all(void *arg)
{
    const struct put *put = arg;

    for (size_t i = 0; i < BLOBS; i++)
        if (dray_blob_put(put->store, &put->digests[i], put->bytes[i], 50000, NULL) != DRAY_OK)
            return arg;
    return NULL;
}

static void many_threads_may_put_one_blob(void **state)
{
    struct put put;
    pthread_t threads[THREADS];

    put.store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    for (size_t i = 0; i < BLOBS; i++)
        put.bytes[i] = make_bytes(50000, i, &put.digests[i]);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, put_all, &put), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(verify_blobs(*state), BLOBS);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
    for (size_t i = 0; i < BLOBS; i++)
        free(put.bytes[i]);
    dray_store_close(put.store);
}

static int put_until_killed(void *ctx)
{
    DRAY_AUTO_STORE struct dray_store *store = NULL;

    if (dray_store_open(ctx, DRAY_STORE_WRITE, NULL, &store, NULL) != DRAY_OK)
        return 1;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        struct dray_digest digest;
        uint64_t own = ((uint64_t)getpid() << 16) + seed;
        DRAY_AUTO_FREE uint8_t *bytes = make_bytes(20000, own, &digest);

        if (dray_blob_put(store, &digest, bytes, 20000, NULL) != DRAY_OK)
            return 1;
        if (seed == 0)
            raise(SIGSTOP);
    }
    return 0;
}

static void a_kill_at_any_instant_shows_no_wrong_blob(void **state) /* H-55 */
{
    uint64_t random_state = 20260103;

    for (int round = 0; round < 50; round++) {
        pid_t pid = start_child(put_until_killed, *state);

        wait_for_child(pid);
        kill_child(pid, &random_state, 8000);
    }
    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    assert_true(verify_blobs(*state) >= 50);
}

static int put_too_much(void *ctx)
{
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(2u << 20, 1, &digest);
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    struct dray_error err = { 0 };

    if (!mount_small(ctx))
        return NOT_PERMITTED;
    store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    if (dray_blob_put(store, &digest, bytes, 2u << 20, &err) != DRAY_ENOSPC)
        return 1;
    if (!strstr(err.text, ctx) || !strstr(err.text, "2097152 more bytes needed") || !err.hint[0])
        return 2;
    /* Nothing of it is left, so there is room again. */
    if (count_names(below(ctx, "dray/staging")) != 0)
        return 3;
    assert_ok(dray_digest_of(DRAY_SHA256, bytes, 600000, &digest));
    return dray_blob_put(store, &digest, bytes, 600000, NULL) == DRAY_OK ? 0 : 4;
}

static void a_full_disk_is_told_and_left_as_it_was(void **state) /* H-57 */
{
    int status = end_child(start_child(put_too_much, *state));

    if (status == NOT_PERMITTED)
        skip();
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_blob_that_was_put_can_be_read),
        scratch_test(an_empty_blob_can_be_read),
        scratch_test(the_right_bytes_under_another_digest_are_refused),
        scratch_test(a_blob_that_is_there_is_not_written_again),
        scratch_test(a_blob_of_another_size_is_absent_until_it_is_replaced),
        scratch_test(what_cannot_be_read_says_why),
        scratch_test(other_algorithms_get_their_directory),
        scratch_test(removing_says_whether_it_was_there),
        scratch_test(many_threads_may_put_one_blob),
        scratch_test(a_kill_at_any_instant_shows_no_wrong_blob),
        scratch_test(a_full_disk_is_told_and_left_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
