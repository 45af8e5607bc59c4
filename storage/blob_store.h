/* Blobs: content-addressed, read-only, visible only once verified and durable.
 * Every function may be called from any thread. */
#ifndef DRAY_STORAGE_BLOB_STORE_H
#define DRAY_STORAGE_BLOB_STORE_H

#include "core/buffer.h"
#include "core/digest.h"
#include "storage/store.h"

/**
 * Is the blob there, with this size? A file of another size is damage: it is reported as absent
 * (with a warning in the log), and a later commit replaces it.
 */
bool dray_blob_exists(struct dray_store *store, const struct dray_digest *digest,
                      uint64_t size_bytes);

/**
 * Write a small blob from memory (a manifest, inline data), verified, atomically. There already,
 * and undamaged: nothing is written. Durable after dray_blob_barrier().
 *
 * @return DRAY_OK, DRAY_EDIGEST, DRAY_ENOSPC, DRAY_EIO, DRAY_ENOMEM
 */
int dray_blob_put(struct dray_store *store, const struct dray_digest *digest, const void *data,
                  size_t len, struct dray_error *err);

/**
 * Read a small blob whole and hold it to its digest.
 *
 * @param max_len  a limit of core/limits.h
 * @return DRAY_OK, DRAY_ENOTFOUND, DRAY_EDIGEST (damaged), DRAY_EPROTO (larger), DRAY_EIO,
 *         DRAY_ENOMEM
 */
int dray_blob_read(struct dray_store *store, const struct dray_digest *digest, size_t max_len,
                   struct dray_buf *ret_data, struct dray_error *err);

/**
 * Make every blob that became visible so far durable under its name: one fsync of each blobs/<alg>
 * directory. Called once before a tag names them. @return DRAY_OK, DRAY_ENOSPC or DRAY_EIO
 */
int dray_blob_barrier(struct dray_store *store, struct dray_error *err);

/**
 * Delete a blob. The store lock is held exclusively.
 *
 * @param ret_removed  whether it was there
 * @return DRAY_OK or DRAY_EIO
 */
int dray_blob_remove(struct dray_store *store, const struct dray_digest *digest, bool *ret_removed,
                     struct dray_error *err);

/**
 * Make a finished, durable, verified file visible as a blob, by rename; a damaged blob is replaced.
 *
 * @param path  of the file, relative to the root
 * @return DRAY_OK, DRAY_ENOSPC or DRAY_EIO
 */
int dray_blob_publish(struct dray_store *store, const char *path, const struct dray_digest *digest,
                      struct dray_error *err);

/** "blobs/<alg>/<hex>", relative to the root; buf holds DRAY_BLOB_PATH_MAX. */
#define DRAY_BLOB_PATH_MAX (6 + DRAY_DIGEST_TEXT_MAX)
void dray_blob_path(const struct dray_digest *digest, char *buf);

#endif
