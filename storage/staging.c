#include "storage/staging.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"
#include "storage/blob_store.h"
#include "storage/file.h"
#include "storage/staging_part.h"
#include "storage/staging_state.h"

/* Reserving the space first took 0.9 of the time, measured as in staging_write.c, because the file
 * system then allocates once. Below 1 MiB it made no difference. */
#define RESERVE_MIN_BYTES (1u << 20)

#define BLOB_MODE 0444

/* Forget everything. After it the file is empty and has no map. */
static int discard(struct dray_staging *staging, struct dray_error *err)
{
    while (ftruncate(staging->fd, 0) < 0)
        if (errno != EINTR)
            return dray_error_errno(err, errno, "empty %s/%s", staging->store->root, staging->path);
    dray_staging_map_remove(&staging->map_file);
    dray_hasher_reset(staging->hasher);
    dray_segment_map_done(&staging->suspects);

    dray_mutex_lock(&staging->mu);
    dray_segment_map_done(&staging->held);
    staging->map_state = DRAY_STAGING_MAP_NONE;
    staging->hashed = 0;
    dray_mutex_unlock(&staging->mu);
    return DRAY_OK;
}

/* How far the file's data goes on from a place, at most to limit. File systems that know no holes
 * say that all of it is data. */
static uint64_t data_until(const struct dray_staging *staging, uint64_t at, uint64_t limit)
{
    off_t hole = lseek(staging->fd, (off_t)at, SEEK_HOLE);

    return hole < 0 || (uint64_t)hole > limit ? limit : (uint64_t)hole;
}

/* Take from [begin, end), which is said to be here, what is no hole. */
static int add_data(const struct dray_staging *staging, uint64_t begin, uint64_t end,
                    struct dray_segment_map *held)
{
    while (begin < end) {
        uint64_t until = data_until(staging, begin, end);
        off_t data;

        if (until > begin && dray_segment_map_add(held, begin, until, DRAY_ORIGIN_RESUMED) < 0)
            return DRAY_ENOMEM;
        data = until < end ? lseek(staging->fd, (off_t)until, SEEK_DATA) : -1;
        begin = data < 0 ? end : (uint64_t)data;
    }
    return DRAY_OK;
}

/* What an earlier download left, as its map or its length tells. After a power cut both may speak
 * of more than has reached the disk: what is a hole there is not here. Nothing is held yet. */
static int load(struct dray_staging *staging, uint64_t file_bytes, struct dray_error *err)
{
    struct dray_segment_map told;
    struct dray_segment_map held;
    int rc;

    dray_segment_map_init(&told, staging->size_bytes, DRAY_STAGING_GRANULE_BYTES);
    dray_segment_map_init(&held, staging->size_bytes, DRAY_STAGING_GRANULE_BYTES);
    rc = dray_staging_map_load(&staging->map_file, file_bytes, &told, err);
    if (rc == DRAY_OK && staging->map_file.fd < 0)
        rc = add_data(staging, 0, data_until(staging, 0, file_bytes), &held);
    for (size_t i = 0; rc == DRAY_OK && i < told.count; i++)
        rc = add_data(staging, told.extents[i].begin, told.extents[i].end, &held);
    dray_segment_map_done(&told);
    if (rc == DRAY_ENOMEM)
        dray_error_nomem(err);

    dray_mutex_lock(&staging->mu);
    staging->held = held;
    staging->map_state = staging->map_file.fd < 0 ? DRAY_STAGING_MAP_NONE : DRAY_STAGING_MAP_THERE;
    dray_mutex_unlock(&staging->mu);
    return rc;
}

/* Take over what an earlier download left. What cannot be taken over is thrown away: the network
 * has it too. */
static int resume(struct dray_staging *staging, const struct dray_cancel *cancel,
                  struct dray_error *err)
{
    struct stat st;
    int rc;

    if (fstat(staging->fd, &st) < 0)
        return dray_error_errno(err, errno, "open %s/%s", staging->store->root, staging->path);
    if ((uint64_t)st.st_size > staging->size_bytes)
        return discard(staging, err);
    rc = load(staging, (uint64_t)st.st_size, err);
    if (rc == DRAY_OK && dray_staging_held(staging) == 0)
        return st.st_size == 0 && staging->map_file.fd < 0 ? DRAY_OK : discard(staging, err);
    if (rc == DRAY_OK) {
        posix_fadvise(staging->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        rc = dray_staging_hash_rest(staging, cancel, err);
    }
    if (rc != DRAY_EIO)
        return rc;
    dray_log(&staging->store->log, DRAY_LOG_WARNING, "%s/%s cannot be read and is downloaded again",
             staging->store->root, staging->path);
    return discard(staging, err);
}

/* Ask for the space before the download. File systems that cannot reserve any say so at the
 * write that finds none. */
static int reserve(struct dray_staging *staging, struct dray_error *err)
{
    uint64_t missing;
    uint64_t front;

    dray_mutex_lock(&staging->mu);
    missing = staging->size_bytes - staging->held.held_bytes;
    front = staging->hashed;
    dray_mutex_unlock(&staging->mu);

    if (missing < RESERVE_MIN_BYTES)
        return DRAY_OK;
    while (fallocate(staging->fd, FALLOC_FL_KEEP_SIZE, (off_t)front,
                     (off_t)(staging->size_bytes - front)) < 0) {
        if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
            return dray_file_write_error(staging->store, staging->path, missing, errno, err);
        if (errno != EINTR)
            break;
    }
    return DRAY_OK;
}

static int create(struct dray_store *store, const struct dray_descriptor *blob,
                  struct dray_staging **ret_staging, struct dray_error *err)
{
    struct dray_staging *staging = calloc(1, sizeof(*staging));
    int rc;

    if (!staging)
        return dray_error_nomem(err);
    staging->store = store;
    staging->digest = blob->digest;
    staging->size_bytes = blob->size_bytes;
    staging->fd = -1;
    dray_staging_path(&blob->digest, ".part", staging->path);
    dray_staging_map_init(&staging->map_file, store, blob);
    dray_segment_map_init(&staging->suspects, blob->size_bytes, DRAY_STAGING_GRANULE_BYTES);
    dray_segment_map_init(&staging->held, blob->size_bytes, DRAY_STAGING_GRANULE_BYTES);
    dray_mutex_init(&staging->mu);
    dray_cond_init(&staging->map_is_settled);
    rc = dray_hasher_new(blob->digest.alg, &staging->hasher, err);
    if (rc < 0) {
        dray_staging_close(staging);
        return rc;
    }
    *ret_staging = staging;
    return DRAY_OK;
}

int dray_staging_open(struct dray_store *store, const struct dray_descriptor *blob,
                      const struct dray_cancel *cancel, enum dray_staging_outcome *ret_outcome,
                      struct dray_staging **ret_staging, struct dray_error *err)
{
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    int rc;

    assert(store->mode == DRAY_STORE_WRITE);
    rc = create(store, blob, &staging, err);
    if (rc < 0)
        return rc;

    rc = dray_staging_part_open(store, staging->path, staging->size_bytes, &staging->fd, err);
    if (rc < 0)
        return rc;
    if (staging->fd < 0) {
        *ret_outcome = DRAY_STAGING_BUSY;
        return DRAY_OK;
    }
    /* Only now: before the lock was ours, its owner could still make the blob visible. */
    if (dray_blob_exists(store, &staging->digest, staging->size_bytes)) {
        dray_staging_map_remove(&staging->map_file);
        unlinkat(store->root_fd, staging->path, 0);
        *ret_outcome = DRAY_STAGING_EXISTS;
        return DRAY_OK;
    }
    rc = resume(staging, cancel, err);
    if (rc < 0)
        return rc;
    staging->loaded = true;
    rc = reserve(staging, err);
    if (rc < 0)
        return rc;

    *ret_outcome = DRAY_STAGING_OPENED;
    *ret_staging = DRAY_TAKE(staging);
    return DRAY_OK;
}

uint64_t dray_staging_held(struct dray_staging *staging)
{
    uint64_t bytes;

    dray_mutex_lock(&staging->mu);
    bytes = staging->held.held_bytes;
    dray_mutex_unlock(&staging->mu);
    return bytes;
}

uint64_t dray_staging_unclaimed(struct dray_staging *staging)
{
    uint64_t bytes;

    dray_mutex_lock(&staging->mu);
    bytes = dray_segment_map_unclaimed(&staging->held);
    dray_mutex_unlock(&staging->mu);
    return bytes;
}

uint64_t dray_staging_origins(struct dray_staging *staging)
{
    uint64_t origins;

    dray_mutex_lock(&staging->mu);
    origins = dray_segment_map_origins(&staging->held);
    dray_mutex_unlock(&staging->mu);
    return origins;
}

bool dray_staging_claim(struct dray_staging *staging, uint64_t max_bytes, uint32_t origin,
                        struct dray_segment *ret_segment)
{
    bool claimed;

    dray_mutex_lock(&staging->mu);
    claimed = dray_segment_map_claim(&staging->held, max_bytes, origin, ret_segment);
    dray_mutex_unlock(&staging->mu);
    return claimed;
}

bool dray_staging_claim_again(struct dray_staging *staging, const struct dray_segment *other,
                              uint32_t origin, struct dray_segment *ret_segment)
{
    bool claimed;

    dray_mutex_lock(&staging->mu);
    claimed = dray_segment_map_claim_again(&staging->held, other, origin, ret_segment);
    dray_mutex_unlock(&staging->mu);
    return claimed;
}

bool dray_staging_claim_all(struct dray_staging *staging, struct dray_segment *segment)
{
    bool claimed;

    dray_mutex_lock(&staging->mu);
    claimed = dray_segment_map_claim_all(&staging->held, segment);
    dray_mutex_unlock(&staging->mu);
    return claimed;
}

bool dray_staging_needs(struct dray_staging *staging, const struct dray_segment *segment)
{
    bool needs;

    dray_mutex_lock(&staging->mu);
    needs = dray_segment_map_needs(&staging->held, segment);
    dray_mutex_unlock(&staging->mu);
    return needs;
}

static int verify(struct dray_staging *staging, struct dray_error *err)
{
    const uint64_t held_bytes = dray_staging_held(staging);
    struct dray_digest actual;

    if (held_bytes != staging->size_bytes)
        return dray_error_set(err, DRAY_EDIGEST, "%s has %" PRIu64 " bytes instead of %" PRIu64,
                              staging->digest.text, held_bytes, staging->size_bytes);
    dray_hasher_finish(staging->hasher, &actual);
    if (!dray_digest_equal(&actual, &staging->digest))
        return dray_error_set(err, DRAY_EDIGEST, "expected %s, got %s", staging->digest.text,
                              actual.text);
    return DRAY_OK;
}

/* The bytes are wrong, or some of them are. They stay, to be compared with the next ones; a map
 * that marks none keeps them from being resumed. */
static void suspect(struct dray_staging *staging)
{
    if (dray_staging_map_create(&staging->map_file, 0, NULL) < 0) {
        discard(staging, NULL);
        return;
    }
    dray_hasher_reset(staging->hasher);
    dray_segment_map_done(&staging->suspects);

    dray_mutex_lock(&staging->mu);
    staging->suspects = staging->held;
    dray_segment_map_init(&staging->held, staging->size_bytes, DRAY_STAGING_GRANULE_BYTES);
    staging->map_state = DRAY_STAGING_MAP_THERE;
    staging->hashed = 0;
    staging->liars = 0;
    dray_mutex_unlock(&staging->mu);
}

int dray_staging_commit(struct dray_staging *staging, const struct dray_cancel *cancel,
                        struct dray_error *err)
{
    int rc;

    rc = dray_staging_hash_rest(staging, cancel, err);
    if (rc == DRAY_ECANCELED || rc == DRAY_ENOMEM)
        return rc;
    if (rc == DRAY_OK)
        rc = verify(staging, err);
    if (rc == DRAY_EDIGEST) {
        suspect(staging);
        return rc;
    }
    /* After a failed fsync the page cache holds what the disk may not: a later reading would
     * believe it. So nothing stays, nor does a file that cannot be read. */
    if (rc == DRAY_OK && fsync(staging->fd) < 0)
        rc = dray_file_write_error(staging->store, staging->path, staging->size_bytes, errno, err);
    if (rc < 0) {
        discard(staging, NULL);
        return rc;
    }

    if (staging->map_file.fd >= 0) /* all of it is in order now */
        dray_staging_map_remove(&staging->map_file);
    if (fchmod(staging->fd, BLOB_MODE) < 0)
        return dray_error_errno(err, errno, "make %s/%s read-only", staging->store->root,
                                staging->path);
    rc = dray_blob_publish(staging->store, staging->path, &staging->digest, err);
    if (rc < 0)
        return rc;
    staging->committed = true;
    return DRAY_OK;
}

uint64_t dray_staging_liars(struct dray_staging *staging)
{
    uint64_t liars;

    dray_mutex_lock(&staging->mu);
    liars = staging->committed ? staging->liars : 0;
    dray_mutex_unlock(&staging->mu);
    return liars;
}

/* Leave what the next one can go on with: what stands before the first gap, in order and without a
 * map, or the complete granules and their map; whichever is more. */
static void settle(struct dray_staging *staging)
{
    const int root_fd = staging->store->root_fd;
    uint64_t front;
    uint64_t complete = 0;
    uint64_t end = 0;

    dray_mutex_lock(&staging->mu);
    front = dray_segment_map_held_until(&staging->held, 0, staging->size_bytes);
    if (staging->map_state == DRAY_STAGING_MAP_THERE)
        complete = dray_segment_map_complete_bytes(&staging->held);
    if (staging->held.count > 0)
        end = staging->held.extents[staging->held.count - 1].end;
    dray_mutex_unlock(&staging->mu);

    if (front == 0 && complete == 0) {
        /* Its name, which its lock goes by, last: nobody may have begun anew when the map goes. */
        if (ftruncate(staging->fd, 0) == 0) {
            dray_staging_map_remove(&staging->map_file);
            unlinkat(root_fd, staging->path, 0);
        }
        return;
    }
    /* Cutting the file frees what was reserved. */
    if (ftruncate(staging->fd, (off_t)(front < complete ? end : front)) < 0)
        dray_log(&staging->store->log, DRAY_LOG_DEBUG, "%s/%s keeps the space it reserved",
                 staging->store->root, staging->path);
    else if (front >= complete)
        dray_staging_map_remove(&staging->map_file);
}

void dray_staging_close(struct dray_staging *staging)
{
    if (!staging)
        return;
    assert(!staging->held.segments);
    if (staging->loaded && !staging->committed)
        settle(staging);
    dray_staging_map_done(&staging->map_file);
    if (staging->fd >= 0)
        close(staging->fd);
    dray_segment_map_done(&staging->suspects);
    dray_segment_map_done(&staging->held);
    dray_cond_done(&staging->map_is_settled);
    dray_mutex_done(&staging->mu);
    dray_hasher_free(staging->hasher);
    free(staging->read_back);
    free(staging);
}
