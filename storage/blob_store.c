#include "storage/blob_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "storage/file.h"

#define BLOB_MODE 0444

void dray_blob_path(const struct dray_digest *digest, char *buf)
{
    snprintf(buf, DRAY_BLOB_PATH_MAX, "blobs/%s/%s", dray_digest_alg_name(digest->alg),
             dray_digest_hex(digest));
}

bool dray_blob_exists(struct dray_store *store, const struct dray_digest *digest,
                      uint64_t size_bytes)
{
    char path[DRAY_BLOB_PATH_MAX];
    struct stat st;

    dray_blob_path(digest, path);
    if (fstatat(store->root_fd, path, &st, 0) < 0)
        return false;
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size == size_bytes)
        return true;
    dray_log(&store->log, DRAY_LOG_WARNING,
             "%s/%s is damaged: it has %" PRIu64 " bytes instead of %" PRIu64, store->root, path,
             (uint64_t)st.st_size, size_bytes);
    return false;
}

int dray_blob_put(struct dray_store *store, const struct dray_digest *digest, const void *data,
                  size_t len, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf there = DRAY_BUF_INIT;
    char path[64];
    uint64_t unique;
    int rc;

    assert(store->mode == DRAY_STORE_WRITE);
    rc = dray_digest_verify(digest, data, len, err);
    if (rc < 0)
        return rc;
    /* What is there may have decayed since; the bytes to mend it with are at hand. */
    if (dray_blob_exists(store, digest, len) &&
        dray_blob_read(store, digest, len, &there, NULL) == DRAY_OK)
        return DRAY_OK;

    /* Processes that put one blob at once do not wait for one another: the last rename wins. */
    if (getrandom(&unique, sizeof(unique), 0) != sizeof(unique))
        return dray_error_errno(err, errno, "name a temporary file");
    snprintf(path, sizeof(path), "dray/staging/%016" PRIx64 ".tmp", unique);

    rc = dray_file_write(store, path, data, len, BLOB_MODE, err);
    if (rc < 0)
        return rc;
    rc = dray_blob_publish(store, path, digest, err);
    if (rc < 0)
        unlinkat(store->root_fd, path, 0);
    return rc;
}

int dray_blob_read(struct dray_store *store, const struct dray_digest *digest, size_t max_len,
                   struct dray_buf *ret_data, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf data = DRAY_BUF_INIT;
    char path[DRAY_BLOB_PATH_MAX];
    int rc;

    dray_blob_path(digest, path);
    rc = dray_file_read(store, path, max_len, &data, err);
    if (rc < 0)
        return rc;
    rc = dray_digest_verify(digest, dray_buf_text(&data), data.len, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "%s/%s is damaged", store->root, path);

    dray_buf_done(ret_data);
    *ret_data = data;
    data = (struct dray_buf)DRAY_BUF_INIT;
    return DRAY_OK;
}

/* The directory of an algorithm that this store has not held yet. */
static int make_dir(struct dray_store *store, enum dray_digest_alg alg, struct dray_error *err)
{
    char path[DRAY_BLOB_PATH_MAX];

    snprintf(path, sizeof(path), "blobs/%s", dray_digest_alg_name(alg));
    if (mkdirat(store->root_fd, path, 0755) < 0 && errno != EEXIST)
        return dray_error_errno(err, errno, "make %s/%s", store->root, path);
    return dray_file_sync_dir(store, "blobs", err);
}

int dray_blob_publish(struct dray_store *store, const char *path, const struct dray_digest *digest,
                      struct dray_error *err)
{
    char blob_path[DRAY_BLOB_PATH_MAX];
    int rc;

    dray_blob_path(digest, blob_path);
    if (renameat(store->root_fd, path, store->root_fd, blob_path) == 0)
        return DRAY_OK;
    if (errno == ENOENT) {
        rc = make_dir(store, digest->alg, err);
        if (rc < 0)
            return rc;
        if (renameat(store->root_fd, path, store->root_fd, blob_path) == 0)
            return DRAY_OK;
    }
    return dray_error_errno(err, errno, "rename %s/%s to %s", store->root, path, blob_path);
}

int dray_blob_barrier(struct dray_store *store, struct dray_error *err)
{
    static const enum dray_digest_alg algs[] = { DRAY_SHA256, DRAY_SHA384, DRAY_SHA512 };

    for (size_t i = 0; i < sizeof(algs) / sizeof(algs[0]); i++) {
        char path[DRAY_BLOB_PATH_MAX];
        int rc;

        snprintf(path, sizeof(path), "blobs/%s", dray_digest_alg_name(algs[i]));
        if (faccessat(store->root_fd, path, F_OK, 0) < 0 && errno == ENOENT)
            continue; /* no blob of this algorithm was ever here */
        rc = dray_file_sync_dir(store, path, err);
        if (rc < 0)
            return rc;
    }
    return DRAY_OK;
}

int dray_blob_remove(struct dray_store *store, const struct dray_digest *digest, bool *ret_removed,
                     struct dray_error *err)
{
    char path[DRAY_BLOB_PATH_MAX];

    dray_blob_path(digest, path);
    *ret_removed = unlinkat(store->root_fd, path, 0) == 0;
    if (!*ret_removed && errno != ENOENT)
        return dray_error_errno(err, errno, "delete %s/%s", store->root, path);
    return DRAY_OK;
}
