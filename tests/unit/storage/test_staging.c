#include "storage/staging.h"

#include <pthread.h>
#include <stdatomic.h>

#include "core/cancel.h"
#include "core/sync.h"
#include "tests/unit/storage/staging_fixture.h"

#define BLOB_BYTES 300000

/* Try until nobody else has the blob. NULL: it is in the store. */
static int wait_for_staging(struct dray_store *store, const struct dray_descriptor *blob,
                            struct dray_staging **ret_staging)
{
    enum dray_staging_outcome outcome;
    int rc;

    while ((rc = try_staging(store, blob, &outcome, ret_staging)) == DRAY_OK &&
           outcome == DRAY_STAGING_BUSY)
        usleep(1000);
    return rc;
}

static void bytes_become_visible_at_the_commit(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 0);
    for (size_t at = 0; at < BLOB_BYTES; at += 10000)
        assert_ok(put(staging, bytes + at, 10000, NULL));
    assert_int_equal(dray_staging_held(staging), BLOB_BYTES);
    assert_false(exists(blob_path(*state, &digest)));

    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_true(dray_blob_exists(store, &digest, BLOB_BYTES));
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void an_empty_blob_is_a_blob(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_descriptor blob = { 0 };

    assert_ok(dray_digest_of(DRAY_SHA512, "", 0, &blob.digest));
    staging = open_staging(store, &blob);
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
    assert_true(exists(below(*state, "blobs/sha512/%s", dray_digest_hex(&blob.digest))));
}

static void one_wrong_bit_is_found(void **state) /* H-43 */
{
    static const size_t places[] = { 0, BLOB_BYTES / 2, BLOB_BYTES - 1 };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);

    for (size_t i = 0; i < 3; i++) {
        struct dray_staging *staging = open_staging(store, &blob);
        struct dray_error err = { 0 };

        bytes[places[i]] ^= 1;
        assert_ok(put(staging, bytes, BLOB_BYTES, NULL));
        assert_int_equal(dray_staging_commit(staging, NULL, &err), DRAY_EDIGEST);
        assert_non_null(strstr(err.text, digest.text));
        assert_false(exists(blob_path(*state, &digest)));
        assert_int_equal(dray_staging_held(staging), 0);
        bytes[places[i]] ^= 1;
        dray_staging_close(staging);
        assert_false(exists(part_path(*state, &digest)));
    }
}

static void after_a_wrong_digest_writing_starts_again(void **state) /* H-48 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);

    staging = open_staging(store, &blob);
    bytes[7] ^= 1;
    assert_ok(put(staging, bytes, BLOB_BYTES, NULL));
    assert_int_equal(dray_staging_commit(staging, NULL, NULL), DRAY_EDIGEST);
    bytes[7] ^= 1;
    assert_ok(put(staging, bytes, BLOB_BYTES, NULL));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void the_size_is_kept_to(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES - 1);

    staging = open_staging(store, &blob);
    assert_ok(put(staging, bytes, 1000, NULL));
    assert_int_equal(put(staging, bytes, BLOB_BYTES - 1000, NULL), DRAY_EDIGEST);
    assert_int_equal(dray_staging_held(staging), 1000);
    assert_int_equal(dray_staging_commit(staging, NULL, NULL), DRAY_EDIGEST); /* too few */
    assert_int_equal(count_names(below(*state, "blobs/sha256")), 0);
}

static void a_partial_file_is_resumed(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_staging *staging;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);

    staging = open_staging(store, &blob);
    assert_ok(put(staging, bytes, 270001, NULL));
    dray_staging_close(staging);
    assert_true(exists(part_path(*state, &digest)));

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 270001);
    assert_ok(put(staging, bytes + 270001, BLOB_BYTES - 270001, NULL));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(*state), 1);
}

static void a_partial_file_with_wrong_bytes_is_never_believed(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);

    write_text(part_path(*state, &digest), "zeros after a power cut");
    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 23);
    assert_ok(put(staging, bytes + 23, BLOB_BYTES - 23, NULL));
    assert_int_equal(dray_staging_commit(staging, NULL, NULL), DRAY_EDIGEST);
    assert_int_equal(verify_blobs(*state), 0);
    assert_ok(put(staging, bytes, BLOB_BYTES, NULL));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void a_partial_file_that_is_too_long_is_emptied(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(5, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 5);

    write_text(part_path(*state, &digest), "six by");
    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 0);
    assert_ok(put(staging, bytes, 5, NULL));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void an_answer_from_byte_0_passes_over_what_is_there(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);
    struct dray_segment segment;

    staging = open_staging(store, &blob);
    assert_ok(put(staging, bytes, 1000, NULL));
    assert_true(dray_staging_claim(staging, 5000, 0, &segment));
    assert_int_equal(segment.at, 1000);
    assert_int_equal(segment.end, 6000);

    assert_true(dray_staging_claim_all(staging, &segment));
    assert_int_equal(segment.at, 0);
    assert_int_equal(segment.end, BLOB_BYTES);
    bytes[0] ^= 1; /* what is there is not written again */
    assert_ok(dray_staging_write(staging, &segment, bytes, 600, NULL));
    assert_int_equal(dray_staging_held(staging), 1000);
    assert_ok(dray_staging_write(staging, &segment, bytes + 600, 1400, NULL));
    assert_int_equal(dray_staging_held(staging), 2000);
    assert_ok(dray_staging_write(staging, &segment, bytes + 2000, BLOB_BYTES - 2000, NULL));
    dray_staging_release(staging, &segment);
    assert_false(exists(map_path(*state, &digest))); /* the bytes came in order */
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void what_was_not_begun_leaves_nothing(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    struct dray_descriptor blob;

    assert_ok(dray_digest_of(DRAY_SHA256, "abc", 3, &digest));
    blob = describe(&digest, UINT64_C(3) << 20);
    dray_staging_close(open_staging(store, &blob));
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void space_is_reserved_first_and_given_back_at_close(void **state)
{
    const uint64_t size_bytes = UINT64_C(64) << 20;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size_bytes);
    struct dray_staging *staging = open_staging(store, &blob);
    struct stat st;

    assert_int_equal(stat(part_path(*state, &digest), &st), 0);
    assert_int_equal(st.st_size, 0);
    if ((uint64_t)st.st_blocks * 512 < size_bytes) {
        dray_staging_close(staging);
        skip(); /* a file system that cannot reserve */
    }
    assert_ok(put(staging, bytes, BLOB_BYTES, NULL));
    dray_staging_close(staging);
    assert_int_equal(stat(part_path(*state, &digest), &st), 0);
    assert_int_equal(st.st_size, BLOB_BYTES);
    assert_true((uint64_t)st.st_blocks * 512 < 2 * BLOB_BYTES);
}

/* Else a pull that was killed, and one that waits for another process, would want the same room
 * twice. */
static void what_is_reserved_needs_no_room(void **state) /* H-57 */
{
    const uint64_t size_bytes = UINT64_C(8) << 20;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size_bytes);
    struct dray_staging *staging;
    struct stat st;

    assert_int_equal(dray_staging_room_needed(store, &blob), size_bytes);
    staging = open_staging(store, &blob);
    assert_ok(put(staging, bytes, BLOB_BYTES, NULL));
    assert_int_equal(stat(part_path(*state, &digest), &st), 0);
    if ((uint64_t)st.st_blocks * 512 < size_bytes) {
        dray_staging_close(staging);
        skip(); /* a file system that cannot reserve */
    }
    assert_int_equal(dray_staging_room_needed(store, &blob), 0);
    dray_staging_close(staging);
    assert_in_range(dray_staging_room_needed(store, &blob), size_bytes - 2 * BLOB_BYTES,
                    size_bytes - BLOB_BYTES);
}

/* After a power cut the length may be on the disk, and the bytes are not. */
static void a_hole_in_a_partial_file_is_not_resumed(void **state)
{
    const uint64_t size_bytes = 4 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size_bytes, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size_bytes);
    int fd = open(part_path(*state, &digest), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct dray_staging *staging;

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, GRANULE, 0), GRANULE);
    assert_int_equal(pwrite(fd, bytes + 3 * GRANULE, GRANULE, 3 * GRANULE), GRANULE);
    if (lseek(fd, 0, SEEK_HOLE) != (off_t)GRANULE) {
        close(fd);
        skip(); /* a file system that knows no holes */
    }
    close(fd);

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), GRANULE);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(*state), 1);
}

static void a_hole_that_the_map_marks_is_not_resumed(void **state)
{
    const uint64_t size_bytes = 4 * GRANULE;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size_bytes, 1, &digest);
    struct dray_descriptor blob = describe(&digest, size_bytes);
    int fd = open(part_path(*state, &digest), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct dray_staging_map map;
    struct dray_staging *staging;

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, GRANULE, 0), GRANULE);
    assert_int_equal(pwrite(fd, bytes + 2 * GRANULE, 2 * GRANULE, 2 * GRANULE), 2 * GRANULE);
    if (lseek(fd, 0, SEEK_HOLE) != (off_t)GRANULE) {
        close(fd);
        skip(); /* a file system that knows no holes */
    }
    close(fd);
    dray_staging_map_init(&map, store, &blob);
    assert_ok(dray_staging_map_create(&map, 0, NULL));
    dray_staging_map_mark(&map, 0, 3);
    dray_staging_map_done(&map);

    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 2 * GRANULE);
    assert_ok(put_rest(staging, bytes));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    dray_staging_close(staging);
    assert_int_equal(verify_blobs(*state), 1);
}

static void a_blob_that_is_there_needs_no_staging(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(100, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 100);
    enum dray_staging_outcome outcome;
    struct dray_staging *staging;

    assert_ok(dray_blob_put(store, &digest, bytes, 100, NULL));
    assert_ok(try_staging(store, &blob, &outcome, &staging));
    assert_int_equal(outcome, DRAY_STAGING_EXISTS);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void a_damaged_blob_is_replaced(void **state)
{
    struct scratch_log log = { 0 };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, &log);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(100, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 100);

    write_text(blob_path(*state, &digest), "short");
    staging = open_staging(store, &blob);
    assert_non_null(staging);
    assert_non_null(strstr(log.text, "damaged"));
    assert_ok(put(staging, bytes, 100, NULL));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

static void of_two_who_want_a_blob_one_is_told_at_once(void **state) /* H-59 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STORE struct dray_store *other = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);
    struct dray_staging *staging = open_staging(store, &blob);
    enum dray_staging_outcome outcome;
    struct dray_staging *second;

    assert_ok(try_staging(store, &blob, &outcome, &second));
    assert_int_equal(outcome, DRAY_STAGING_BUSY);
    assert_ok(put(staging, bytes, BLOB_BYTES, NULL));
    assert_ok(try_staging(other, &blob, &outcome, &second));
    assert_int_equal(outcome, DRAY_STAGING_BUSY);
    assert_ok(dray_staging_commit(staging, NULL, NULL)); /* the owner was not disturbed */
    dray_staging_close(staging);

    assert_ok(try_staging(other, &blob, &outcome, &second));
    assert_int_equal(outcome, DRAY_STAGING_EXISTS);
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
}

static void the_next_one_goes_on_where_the_other_gave_up(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);
    struct dray_staging *staging = open_staging(store, &blob);
    enum dray_staging_outcome outcome;
    struct dray_staging *next;

    assert_ok(put(staging, bytes, 1234, NULL));
    assert_ok(try_staging(store, &blob, &outcome, &next));
    assert_int_equal(outcome, DRAY_STAGING_BUSY);
    dray_staging_close(staging);

    next = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(next), 1234);
    dray_staging_close(next);
}

static void canceled_hashing_loses_nothing(void **state)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);
    struct dray_staging *staging = open_staging(store, &blob);
    enum dray_staging_outcome outcome;

    assert_ok(put(staging, bytes, 200000, NULL));
    dray_staging_close(staging);

    assert_ok(dray_cancel_new(&cancel, NULL));
    dray_cancel_fire(cancel);
    assert_int_equal(dray_staging_open(store, &blob, cancel, &outcome, &staging, NULL),
                     DRAY_ECANCELED);
    staging = open_staging(store, &blob);
    assert_int_equal(dray_staging_held(staging), 200000);
    dray_staging_close(staging);
}

#define SHARED_BLOBS 6
#define THREADS      4

struct shared {
    struct dray_store *store;
    uint8_t *bytes[SHARED_BLOBS];
    struct dray_descriptor blobs[SHARED_BLOBS];
    atomic_int *commits;
};

static int stage_one(struct shared *shared, size_t i)
{
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    int rc = wait_for_staging(shared->store, &shared->blobs[i], &staging);

    while (rc == DRAY_OK && staging && dray_staging_held(staging) < BLOB_BYTES) {
        const uint64_t at = dray_staging_held(staging);
        const size_t len = BLOB_BYTES - at < 50000 ? (size_t)(BLOB_BYTES - at) : 50000;

        rc = put(staging, shared->bytes[i] + at, len, NULL);
    }
    if (rc == DRAY_OK && staging) {
        rc = dray_staging_commit(staging, NULL, NULL);
        if (rc == DRAY_OK && shared->commits)
            atomic_fetch_add(shared->commits, 1);
    }
    return rc;
}

static int stage_all(void *ctx)
{
    struct shared *shared = ctx;

    for (size_t i = 0; i < SHARED_BLOBS; i++)
        if (stage_one(shared, i) != DRAY_OK)
            return 1;
    return 0;
}

static void *stage_all_in_thread(void *ctx)
{
    return stage_all(ctx) == 0 ? NULL : ctx;
}

static void make_shared(struct shared *shared)
{
    for (size_t i = 0; i < SHARED_BLOBS; i++) {
        struct dray_digest digest;

        shared->bytes[i] = make_bytes(BLOB_BYTES, 100 + i, &digest);
        shared->blobs[i] = describe(&digest, BLOB_BYTES);
    }
}

static void free_shared(struct shared *shared)
{
    for (size_t i = 0; i < SHARED_BLOBS; i++)
        free(shared->bytes[i]);
}

static void many_threads_commit_each_blob_once(void **state)
{
    atomic_int commits = 0;
    struct shared shared = { .commits = &commits };
    pthread_t threads[THREADS];

    make_shared(&shared);
    shared.store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, stage_all_in_thread, &shared), 0);
    for (size_t i = 0; i < THREADS; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(commits, SHARED_BLOBS);
    assert_int_equal(verify_blobs(*state), SHARED_BLOBS);
    dray_store_close(shared.store);
    free_shared(&shared);
}

struct racer {
    struct dray_store *store;
    struct dray_descriptor blob;
    const char *path;
    int64_t deadline_ms;
};

/* Take the file and give it up, which deletes it, as often as possible. */
static void *take_and_give_up(void *arg)
{
    const struct racer *racer = arg;

    while (dray_now_ms() < racer->deadline_ms) {
        DRAY_AUTO_STAGING struct dray_staging *staging = NULL;

        if (wait_for_staging(racer->store, &racer->blob, &staging) != DRAY_OK || !staging ||
            !exists(racer->path))
            return arg;
    }
    return NULL;
}

static void a_file_that_was_deleted_meanwhile_is_not_taken(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct racer racer = { .store = store, .deadline_ms = dray_now_ms() + 700 };
    struct dray_digest digest;
    pthread_t threads[16];
    int wrong = 0;

    assert_ok(dray_digest_of(DRAY_SHA256, "abc", 3, &digest));
    racer.blob = describe(&digest, 3);
    racer.path = part_path(*state, &digest);
    for (size_t i = 0; i < 16; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give_up, &racer), 0);
    for (size_t i = 0; i < 16; i++) {
        void *failed;

        pthread_join(threads[i], &failed);
        wrong += failed != NULL;
    }
    assert_int_equal(wrong, 0);
}

struct crash {
    const char *root;
    struct shared shared;
};

static int stage_until_killed(void *ctx)
{
    struct crash *crash = ctx;

    if (dray_store_open(crash->root, DRAY_STORE_WRITE, NULL, &crash->shared.store, NULL) < 0)
        return 1;
    return stage_all(&crash->shared);
}

static void a_kill_at_any_instant_shows_no_wrong_blob(void **state) /* H-55 */
{
    struct crash crash = { .root = *state };
    uint64_t random_state = 20260101;

    make_shared(&crash.shared);
    for (int round = 0; round < 50; round++) {
        pid_t pids[2];

        pids[0] = start_child(stage_until_killed, &crash);
        pids[1] = start_child(stage_until_killed, &crash);
        kill_child(pids[round % 2], &random_state, 12000);
        kill_child(pids[1 - round % 2], &random_state, 6000);
        if (verify_blobs(*state) == SHARED_BLOBS) /* all done: begin again with one of them lost */
            unlink(blob_path(*state, &crash.shared.blobs[round % SHARED_BLOBS].digest));
    }

    assert_int_equal(end_child(start_child(stage_until_killed, &crash)), 0);
    assert_int_equal(verify_blobs(*state), SHARED_BLOBS);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
    free_shared(&crash.shared);
}

static int resume_read_only(void *ctx)
{
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(100, 1, &digest);
    struct dray_descriptor blob = describe(&digest, 100);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    int fd;

    if (drop_privileges() < 0)
        return 1;
    store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    fd = open(part_path(ctx, &digest), O_WRONLY | O_CREAT, 0444);
    if (fd < 0 || write(fd, bytes, 60) != 60)
        return 2;
    close(fd);
    if (wait_for_staging(store, &blob, &staging) != DRAY_OK || !staging)
        return 3;
    if (dray_staging_held(staging) != 60 || put(staging, bytes + 60, 40, NULL) != DRAY_OK)
        return 4;
    return dray_staging_commit(staging, NULL, NULL) == DRAY_OK ? 0 : 5;
}

static void a_file_that_was_about_to_be_renamed_is_taken_over(void **state)
{
    const char *root = below(*state, "own");

    assert_int_equal(mkdir(root, 0777), 0);
    assert_int_equal(chmod(root, 0777), 0);
    assert_int_equal(end_child(start_child(resume_read_only, (void *)(uintptr_t)root)), 0);
    assert_int_equal(verify_blobs(root), 1);
}

static int reserve_too_much(void *ctx)
{
    struct dray_digest digest;
    struct dray_descriptor blob;
    struct dray_error err = { 0 };
    enum dray_staging_outcome outcome;
    struct dray_staging *staging = NULL;
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    char needed[32];

    if (!mount_small(ctx))
        return NOT_PERMITTED;
    assert_ok(dray_digest_of(DRAY_SHA256, "abc", 3, &digest));
    blob = describe(&digest, UINT64_C(300) << 20);
    store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    if (dray_staging_open(store, &blob, NULL, &outcome, &staging, &err) != DRAY_ENOSPC)
        return 1;
    snprintf(needed, sizeof(needed), "%u", 300u << 20);
    if (!strstr(err.text, part_path(ctx, &digest)) || !strstr(err.text, needed) || !err.hint[0])
        return 2;
    return count_names(below(ctx, "dray/staging")) == 0 ? 0 : 3;
}

static int write_too_much(void *ctx)
{
    const size_t size = 900000; /* below what is reserved first */
    struct dray_digest digests[2];
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 1, &digests[0]);
    DRAY_AUTO_FREE uint8_t *more = make_bytes(size, 2, &digests[1]);
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    DRAY_AUTO_STAGING struct dray_staging *first = NULL;
    DRAY_AUTO_STAGING struct dray_staging *second = NULL;
    struct dray_descriptor blobs[2] = { describe(&digests[0], size), describe(&digests[1], size) };
    struct dray_error err = { 0 };
    uint64_t offset;

    if (!mount_small(ctx))
        return NOT_PERMITTED;
    store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    first = open_staging(store, &blobs[0]);
    second = open_staging(store, &blobs[1]);
    if (put(first, bytes, size, NULL) != DRAY_OK)
        return 1;
    if (put(second, more, size, &err) != DRAY_ENOSPC)
        return 2;
    if (!strstr(err.text, part_path(ctx, &digests[1])) || !strstr(err.text, "more bytes needed"))
        return 3;

    /* The first is deleted: now the second goes on with what fitted. */
    dray_staging_close(DRAY_TAKE(first));
    if (unlink(part_path(ctx, &digests[0])) < 0)
        return 4;
    offset = dray_staging_held(second);
    if (offset == 0 || offset >= size || put(second, more + offset, size - offset, NULL) != DRAY_OK)
        return 5;
    if (dray_staging_commit(second, NULL, NULL) != DRAY_OK)
        return 6;
    return verify_blobs(ctx) == 1 ? 0 : 7;
}

static void in_small_file_system(void **state, child_fn *fn)
{
    int status = end_child(start_child(fn, *state));

    if (status == NOT_PERMITTED)
        skip();
    assert_int_equal(status, 0);
}

static void a_full_disk_is_told_before_the_download(void **state) /* H-57 */
{
    in_small_file_system(state, reserve_too_much);
}

static void a_disk_that_fills_up_keeps_what_fitted(void **state) /* H-57 */
{
    in_small_file_system(state, write_too_much);
}

static int write_past_the_limit(void *ctx)
{
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(BLOB_BYTES, 1, &digest);
    struct dray_descriptor blob = describe(&digest, BLOB_BYTES);
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = open_staging(store, &blob);
    struct dray_error err = { 0 };

    if (!limit_file_size(100000))
        return 1;
    /* The first part fits: a short write, then the error (H-57). */
    if (put(staging, bytes, BLOB_BYTES, &err) != DRAY_EIO || err.sys_errno != EFBIG)
        return 3;
    if (dray_staging_held(staging) != 100000)
        return 4;
    if (!limit_file_size(RLIM_INFINITY))
        return 5;
    if (put(staging, bytes + 100000, BLOB_BYTES - 100000, NULL) != DRAY_OK)
        return 6;
    return dray_staging_commit(staging, NULL, NULL) == DRAY_OK ? 0 : 7;
}

static void after_a_short_write_the_hash_matches_the_file(void **state)
{
    assert_int_equal(end_child(start_child(write_past_the_limit, *state)), 0);
    assert_int_equal(verify_blobs(*state), 1);
}

static void large_blobs_pass_the_writeback_windows(void **state)
{
    const size_t size = (20u << 20) + 13;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    struct dray_digest digest;
    DRAY_AUTO_FREE uint8_t *bytes = make_bytes(size, 9, &digest);
    struct dray_descriptor blob = describe(&digest, size);

    staging = open_staging(store, &blob);
    for (size_t at = 0; at < size; at += 300007)
        assert_ok(put(staging, bytes + at, size - at < 300007 ? size - at : 300007, NULL));
    assert_ok(dray_staging_commit(staging, NULL, NULL));
    assert_int_equal(verify_blobs(*state), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(bytes_become_visible_at_the_commit),
        scratch_test(an_empty_blob_is_a_blob),
        scratch_test(one_wrong_bit_is_found),
        scratch_test(after_a_wrong_digest_writing_starts_again),
        scratch_test(the_size_is_kept_to),
        scratch_test(a_partial_file_is_resumed),
        scratch_test(a_partial_file_with_wrong_bytes_is_never_believed),
        scratch_test(a_partial_file_that_is_too_long_is_emptied),
        scratch_test(an_answer_from_byte_0_passes_over_what_is_there),
        scratch_test(what_was_not_begun_leaves_nothing),
        scratch_test(space_is_reserved_first_and_given_back_at_close),
        scratch_test(what_is_reserved_needs_no_room),
        scratch_test(a_hole_in_a_partial_file_is_not_resumed),
        scratch_test(a_hole_that_the_map_marks_is_not_resumed),
        scratch_test(a_blob_that_is_there_needs_no_staging),
        scratch_test(a_damaged_blob_is_replaced),
        scratch_test(of_two_who_want_a_blob_one_is_told_at_once),
        scratch_test(the_next_one_goes_on_where_the_other_gave_up),
        scratch_test(canceled_hashing_loses_nothing),
        scratch_test(many_threads_commit_each_blob_once),
        scratch_test(a_file_that_was_deleted_meanwhile_is_not_taken),
        scratch_test(a_kill_at_any_instant_shows_no_wrong_blob),
        scratch_test(a_file_that_was_about_to_be_renamed_is_taken_over),
        scratch_test(a_full_disk_is_told_before_the_download),
        scratch_test(a_disk_that_fills_up_keeps_what_fitted),
        scratch_test(after_a_short_write_the_hash_matches_the_file),
        scratch_test(large_blobs_pass_the_writeback_windows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
