/* The store's root (public face: dray/store.h): format, directories, locks.
 *
 *   ROOT/oci-layout, ROOT/index.json, ROOT/blobs/<alg>/<hex>     an OCI image layout
 *   ROOT/dray/version      format number
 *   ROOT/dray/lock         shared by readers and pulls, exclusive by remove and gc
 *   ROOT/dray/index.lock   exclusive around each change of index.json, and while a store is made
 *   ROOT/dray/index.tmp    what is being written under that lock
 *   ROOT/dray/staging/     partial blobs
 *
 * A store is made in an order that any instant may interrupt: oci-layout, which makes the directory
 * an OCI layout, comes last, and whoever opens an unfinished store goes on with it.
 *
 * A struct dray_store may be used from any thread; only its immutable members are read. */
#ifndef DRAY_STORAGE_STORE_H
#define DRAY_STORAGE_STORE_H

#include <dray/store.h>

#include "core/cleanup.h"
#include "storage/lock.h"

#define DRAY_STORE_FORMAT 1

#define DRAY_STORE_TEMP_PATH "dray/index.tmp"

/* Everything is opened relative to root_fd, so a root that is renamed meanwhile is fine. */
struct dray_store {
    char *root; /* for error texts */
    int root_fd;
    enum dray_store_mode mode;
    struct dray_log log;
};

/**
 * Take the store lock; a line in the log says so when that means waiting. A pull holds it shared
 * from before its first look-up until its tag is written, so nothing it found can vanish under it.
 *
 * A store opened for reading is not locked when there is no lock file and none can be made: another
 * tool's layout, a read-only file system, no permission. A line in the log says so.
 *
 * @param ret_fd  close it to unlock; -1 when there is nothing to lock
 * @return DRAY_OK, DRAY_ECANCELED, DRAY_EIO
 */
int dray_store_lock(struct dray_store *store, enum dray_lock_kind kind,
                    const struct dray_cancel *cancel, int *ret_fd, struct dray_error *err);

/**
 * Take the lock of index.json exclusively, for a change of a few milliseconds.
 *
 * @param cancel  ends the wait; may be NULL
 * @param ret_fd  close it to unlock
 * @return DRAY_OK, DRAY_ECANCELED, DRAY_ENOSPC or DRAY_EIO
 */
int dray_store_lock_index(struct dray_store *store, const struct dray_cancel *cancel, int *ret_fd,
                          struct dray_error *err);

DRAY_DEFINE_CLEANUP(struct dray_store, dray_store_close);
#define DRAY_AUTO_STORE DRAY_CLEANUP(dray_store_closep)

#endif
