/* Staging: one blob on its way into the store.
 *
 * The bytes go to ROOT/dray/staging/<alg>-<hex>.part, which is flock'ed by whoever downloads it:
 * of two threads or processes that want one blob, one downloads and the other is told so. They are
 * hashed as they are written, while the CPU's cache has them. A partial file outlives its process
 * and is resumed by the next one, after being hashed again; nothing that is in it is believed
 * until the digest of the whole matches.
 *
 * A struct dray_staging belongs to one thread at a time. */
#ifndef DRAY_STORAGE_STAGING_H
#define DRAY_STORAGE_STAGING_H

#include "core/descriptor.h"
#include "storage/store.h"

struct dray_staging;

enum dray_staging_outcome {
    DRAY_STAGING_OPENED, /* this staging is its only owner */
    DRAY_STAGING_EXISTS, /* the blob is in the store: there is nothing left to do */
    DRAY_STAGING_BUSY,   /* another thread or process has it, or let go of it during this call: try
                            again in a moment */
};

/**
 * Open the staging file of a blob, lock it, and hash what it holds. Never waits for another owner.
 *
 * @param cancel       ends the hashing; may be NULL
 * @param ret_outcome  set on DRAY_OK
 * @param ret_staging  set for DRAY_STAGING_OPENED only
 * @return DRAY_OK, DRAY_ECANCELED, DRAY_ENOSPC, DRAY_EIO, DRAY_ENOMEM
 */
int dray_staging_open(struct dray_store *store, const struct dray_descriptor *blob,
                      const struct dray_cancel *cancel, enum dray_staging_outcome *ret_outcome,
                      struct dray_staging **ret_staging, struct dray_error *err);

/** How many bytes from the start are there and hashed. */
uint64_t dray_staging_offset(const struct dray_staging *staging);

/** Append bytes at the offset. More than the blob's size: DRAY_EDIGEST, nothing is written.
 *  @return DRAY_OK, DRAY_EDIGEST, DRAY_ENOSPC (the text names path and bytes needed), DRAY_EIO */
int dray_staging_write(struct dray_staging *staging, const void *data, size_t len,
                       struct dray_error *err);

/** Forget everything written so far: the server starts from byte 0, or the bytes proved wrong.
 *  @return DRAY_OK or DRAY_EIO */
int dray_staging_restart(struct dray_staging *staging, struct dray_error *err);

/**
 * Hold the whole to size and digest, make the data durable, then visible under its digest by
 * rename, read-only. Durable under its name after dray_blob_barrier().
 *
 * @return DRAY_OK; DRAY_EDIGEST: nothing became visible and the partial file is emptied, so that
 *         writing may start again; DRAY_ENOSPC, DRAY_EIO: the staging can only be closed
 */
int dray_staging_commit(struct dray_staging *staging, struct dray_error *err);

/** Unlock and free. What was not committed stays on disk for the next try, unless it is empty.
 *  NULL is allowed. */
void dray_staging_close(struct dray_staging *staging);

DRAY_DEFINE_CLEANUP(struct dray_staging, dray_staging_close);
#define DRAY_AUTO_STAGING DRAY_CLEANUP(dray_staging_closep)

#endif
