/* How bytes get into a staging, and into its hash. */
#include "storage/staging.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/cancel.h"
#include "core/error.h"
#include "storage/file.h"
#include "storage/staging_state.h"

/* How much is read back at once, and at the most by one write. */
#define READ_BACK_BYTES (256u << 10)
#define COMPARE_BYTES   (16u << 10)

/* Measured on ext4 with a 700 MB blob and with many of 1 and 10 MB (write, hash, fsync, rename):
 * starting the writeback of each 8 MiB as soon as it is written, so that the last fsync finds
 * little left to do, took 0.78 of the time. */
#define WRITEBACK_WINDOW_BYTES (8u << 20)

/* Some bytes of a segment that one pwrite() brings. */
struct run {
    size_t skipped; /* bytes before it that are not written */
    size_t len;
    bool at_frontier; /* we have the hasher, and the run begins where it stands */
};

/* Hash [*at, end) from the file, which is held, so that nobody writes there. We have the hasher.
 * *at follows what is hashed, also on failure. */
static int hash_file(struct dray_staging *staging, uint64_t *at, uint64_t end,
                     struct dray_error *err)
{
    if (!staging->read_back)
        staging->read_back = malloc(READ_BACK_BYTES);
    if (!staging->read_back)
        return dray_error_nomem(err);

    while (*at < end) {
        const size_t want = end - *at < READ_BACK_BYTES ? (size_t)(end - *at) : READ_BACK_BYTES;
        ssize_t got = pread(staging->fd, staging->read_back, want, (off_t)*at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) /* nothing: somebody cut our file */
            return dray_error_errno(err, got < 0 ? errno : EIO, "read %s/%s", staging->store->root,
                                    staging->path);
        dray_hasher_update(staging->hasher, staging->read_back, (size_t)got);
        *at += (uint64_t)got;
    }
    return DRAY_OK;
}

static bool is_behind(const struct dray_staging *staging) DRAY_REQUIRES(&staging->mu);
static bool is_behind(const struct dray_staging *staging)
{
    return !staging->hashing && staging->hashed < staging->size_bytes &&
           dray_segment_map_held_until(&staging->held, staging->hashed, staging->hashed + 1) >
               staging->hashed;
}

/* Let the hash follow, one piece of what is held behind its frontier, unless another thread is at
 * it. */
static int follow(struct dray_staging *staging, struct dray_error *err)
{
    uint64_t at = 0;
    uint64_t end = 0;
    bool behind;
    int rc;

    dray_mutex_lock(&staging->mu);
    behind = is_behind(staging);
    if (behind) {
        const uint64_t left = staging->size_bytes - staging->hashed;

        at = staging->hashed;
        end = dray_segment_map_held_until(
            &staging->held, at, left < READ_BACK_BYTES ? at + left : at + READ_BACK_BYTES);
        staging->hashing = true;
    }
    dray_mutex_unlock(&staging->mu);
    if (!behind)
        return DRAY_OK;

    rc = hash_file(staging, &at, end, err);

    dray_mutex_lock(&staging->mu);
    staging->hashed = at;
    staging->hashing = false;
    dray_mutex_unlock(&staging->mu);
    return rc;
}

int dray_staging_hash_rest(struct dray_staging *staging, const struct dray_cancel *cancel,
                           struct dray_error *err)
{
    for (;;) {
        bool behind;
        int rc;

        dray_mutex_lock(&staging->mu);
        behind = is_behind(staging);
        dray_mutex_unlock(&staging->mu);
        if (!behind)
            return DRAY_OK;
        if (dray_cancel_fired(cancel))
            return dray_error_set(err, DRAY_ECANCELED, "canceled while reading what is there of %s",
                                  staging->digest.text);
        rc = follow(staging, err);
        if (rc < 0)
            return rc;
    }
}

bool dray_staging_split(struct dray_staging *staging, const struct dray_segment *other,
                        uint64_t least_bytes, uint32_t origin, struct dray_segment *ret_segment)
{
    bool claimed;

    dray_mutex_lock(&staging->mu);
    claimed = dray_segment_map_split(&staging->held, other, least_bytes, origin, ret_segment);
    dray_mutex_unlock(&staging->mu);
    return claimed;
}

uint64_t dray_staging_left(struct dray_staging *staging, const struct dray_segment *segment)
{
    uint64_t bytes;

    dray_mutex_lock(&staging->mu);
    bytes = segment->end - segment->at;
    dray_mutex_unlock(&staging->mu);
    return bytes;
}

/* Only an early start: if it fails, the fsync of the commit tells. */
static void start_writeback(struct dray_staging *staging, struct dray_segment *segment)
{
    sync_file_range(staging->fd, (off_t)segment->synced_from,
                    (off_t)(segment->at - segment->synced_from), SYNC_FILE_RANGE_WRITE);
    segment->synced_from = segment->at;
}

void dray_staging_release(struct dray_staging *staging, struct dray_segment *segment)
{
    bool is_last;

    dray_mutex_lock(&staging->mu);
    dray_segment_map_release(&staging->held, segment);
    is_last = staging->held.held_bytes == staging->size_bytes;
    dray_mutex_unlock(&staging->mu);

    if (!is_last && segment->at > segment->synced_from) /* else the fsync is about to come */
        start_writeback(staging, segment);
}

/* Is it the first byte that is missing? Only there may one write without a map. */
static bool is_front(const struct dray_staging *staging, uint64_t at) DRAY_REQUIRES(&staging->mu);
static bool is_front(const struct dray_staging *staging, uint64_t at)
{
    return dray_segment_map_held_until(&staging->held, 0, staging->size_bytes) == at;
}

static void await_map(struct dray_staging *staging) DRAY_REQUIRES(&staging->mu);
static void await_map(struct dray_staging *staging)
{
    while (staging->map_state == DRAY_STAGING_MAP_BEING_MADE)
        dray_cond_wait(&staging->map_is_settled, &staging->mu);
}

/* Somebody has to make the map, and map_state says it is us. Writers at the front go on meanwhile,
 * up to their next mark; those beyond it wait. */
static int make_map(struct dray_staging *staging, uint64_t front, struct dray_error *err)
{
    int rc = dray_staging_map_create(&staging->map_file, front, err);

    dray_mutex_lock(&staging->mu);
    staging->map_state = rc == DRAY_OK ? DRAY_STAGING_MAP_THERE : DRAY_STAGING_MAP_NONE;
    dray_cond_broadcast(&staging->map_is_settled);
    dray_mutex_unlock(&staging->mu);
    return rc;
}

/* Find the next bytes of the segment to write, and mark them as being written. */
static int begin_run(struct dray_staging *staging, struct dray_segment *segment, size_t len,
                     struct run *ret_run, struct dray_error *err)
{
    struct run run = { 0 };
    bool makes_map = false;
    uint64_t front = 0;
    int rc;

    dray_mutex_lock(&staging->mu);
    rc = dray_segment_map_begin_write(&staging->held, segment, len, &run.skipped);
    run.len = (size_t)(segment->writing_end - segment->at);
    if (rc == DRAY_OK && run.len > 0) {
        if (staging->map_state == DRAY_STAGING_MAP_BEING_MADE && !is_front(staging, segment->at))
            await_map(staging);
        makes_map = staging->map_state == DRAY_STAGING_MAP_NONE && !is_front(staging, segment->at);
        if (makes_map) {
            staging->map_state = DRAY_STAGING_MAP_BEING_MADE;
            front = dray_segment_map_held_until(&staging->held, 0, staging->size_bytes);
        }
        run.at_frontier = segment->at == staging->hashed;
        if (run.at_frontier) {
            assert(!staging->hashing); /* who hashes there has the byte, or is writing it */
            staging->hashing = true;
        }
    }
    dray_mutex_unlock(&staging->mu);
    if (rc < 0)
        return dray_error_nomem(err);
    *ret_run = run;
    return makes_map ? make_map(staging, front, err) : DRAY_OK;
}

/* Whose suspect bytes were other than these, which are about to take their place? What cannot be
 * read back accuses nobody. */
static uint64_t compare(const struct dray_staging *staging, const uint8_t *bytes, uint64_t at,
                        size_t len)
{
    uint8_t old[COMPARE_BYTES];
    uint64_t liars = 0;

    while (len > 0) {
        ssize_t got = pread(staging->fd, old, len < sizeof(old) ? len : sizeof(old), (off_t)at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        liars |= dray_segment_map_differing(&staging->suspects, at, old, bytes, (size_t)got);
        bytes += got;
        at += (uint64_t)got;
        len -= (size_t)got;
    }
    return liars;
}

/* @param ret_done  how many bytes of the run are in the file, also on failure */
static int write_run(struct dray_staging *staging, const struct run *run, const uint8_t *bytes,
                     uint64_t at, size_t *ret_done, struct dray_error *err)
{
    ssize_t done;

    do
        done = pwrite(staging->fd, bytes, run->len, (off_t)at);
    while (done < 0 && errno == EINTR);
    if (done < 0) {
        const int sys_errno = errno;

        return dray_file_write_error(staging->store, staging->path,
                                     staging->size_bytes - dray_staging_held(staging), sys_errno,
                                     err);
    }
    /* Hash what is in the file, no more and no less: it may be resumed after an error. */
    if (run->at_frontier)
        dray_hasher_update(staging->hasher, bytes, (size_t)done);
    *ret_done = (size_t)done;
    return DRAY_OK;
}

/* Record what was written of a run, and mark the granules that it made complete.
 * @return whether the hash is behind and nobody at it */
static bool end_run(struct dray_staging *staging, struct dray_segment *segment,
                    const struct run *run, size_t done, uint64_t liars)
{
    uint64_t first = 0;
    uint64_t past = 0;
    bool behind;

    dray_mutex_lock(&staging->mu);
    dray_segment_map_end_write(&staging->held, segment, done);
    staging->liars |= liars;
    if (run->at_frontier) {
        staging->hashed += done;
        staging->hashing = false;
    }
    behind = is_behind(staging);
    if (done > 0) {
        await_map(staging);
        if (staging->map_state == DRAY_STAGING_MAP_THERE)
            dray_segment_map_complete_granules(&staging->held, segment->at - done, segment->at,
                                               &first, &past);
    }
    dray_mutex_unlock(&staging->mu);

    dray_staging_map_mark(&staging->map_file, first, past);
    return behind;
}

int dray_staging_write(struct dray_staging *staging, struct dray_segment *segment, const void *data,
                       size_t len, struct dray_error *err)
{
    const uint8_t *bytes = data;
    const uint64_t end = segment->end; /* is only ever lowered, and then the segment is cut */
    bool behind = false;

    if (len > end - segment->at && !segment->cut && end == staging->size_bytes)
        return dray_error_set(err, DRAY_EDIGEST, "%s has more than its %" PRIu64 " bytes",
                              staging->digest.text, staging->size_bytes);
    if (len > end - segment->at && !segment->cut)
        return dray_error_set(err, DRAY_EDIGEST, "%s: more came than up to byte %" PRIu64,
                              staging->digest.text, end);

    while (len > 0) {
        struct run run = { 0 };
        uint64_t liars = 0;
        size_t done = 0;
        int rc;

        rc = begin_run(staging, segment, len, &run, err);
        bytes += run.skipped;
        len -= run.skipped;
        if (rc == DRAY_OK && run.len > 0) {
            if (staging->suspects.count > 0)
                liars = compare(staging, bytes, segment->at, run.len);
            rc = write_run(staging, &run, bytes, segment->at, &done, err);
        }
        if (run.len > 0)
            behind = end_run(staging, segment, &run, done, liars);
        if (rc < 0)
            return rc;
        bytes += done;
        len -= done;
    }

    if (segment->at - segment->synced_from >= WRITEBACK_WINDOW_BYTES)
        start_writeback(staging, segment);
    if (behind) /* what cannot be read, the commit says */
        follow(staging, NULL);
    return DRAY_OK;
}
