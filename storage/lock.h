/* Locks between processes: flock(2) on a file, released by the kernel when its holder dies. */
#ifndef DRAY_STORAGE_LOCK_H
#define DRAY_STORAGE_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include <dray/cancel.h>
#include <dray/error.h>

enum dray_lock_kind {
    DRAY_LOCK_SHARED,
    DRAY_LOCK_EXCLUSIVE,
};

/**
 * Lock an open file, waiting for other holders. Two opens of one file exclude each other also
 * within one process, so this holds between threads too. Closing the descriptor unlocks.
 *
 * @param cancel  ends the wait; may be NULL
 * @return DRAY_OK, DRAY_ECANCELED or DRAY_EIO
 */
int dray_lock_fd(int fd, enum dray_lock_kind kind, const struct dray_cancel *cancel,
                 struct dray_error *err);

/** Lock without waiting. *ret_locked says whether it worked. @return DRAY_OK or DRAY_EIO */
int dray_lock_fd_try(int fd, enum dray_lock_kind kind, bool *ret_locked, struct dray_error *err);

#endif
