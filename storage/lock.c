#include "storage/lock.h"

#include <errno.h>
#include <sys/file.h>

#include "core/cancel.h"
#include "core/error.h"

/* flock() cannot be woken by a cancel token, so a cancellable wait asks again and again. */
#define POLL_FIRST_MS 2
#define POLL_MAX_MS   250

static int lock_fd(int fd, enum dray_lock_kind kind, int flags, bool *ret_locked,
                   struct dray_error *err)
{
    int operation = (kind == DRAY_LOCK_EXCLUSIVE ? LOCK_EX : LOCK_SH) | flags;

    while (flock(fd, operation) < 0) {
        if (errno == EWOULDBLOCK) {
            *ret_locked = false;
            return DRAY_OK;
        }
        if (errno != EINTR)
            return dray_error_errno(err, errno, "lock a file");
    }
    *ret_locked = true;
    return DRAY_OK;
}

int dray_lock_fd_try(int fd, enum dray_lock_kind kind, bool *ret_locked, struct dray_error *err)
{
    return lock_fd(fd, kind, LOCK_NB, ret_locked, err);
}

int dray_lock_fd(int fd, enum dray_lock_kind kind, const struct dray_cancel *cancel,
                 struct dray_error *err)
{
    int64_t delay_ms = POLL_FIRST_MS;
    bool locked;
    int rc;

    if (!cancel)
        return lock_fd(fd, kind, 0, &locked, err);

    for (;;) {
        rc = dray_lock_fd_try(fd, kind, &locked, err);
        if (rc < 0 || locked)
            return rc;
        rc = dray_cancel_sleep(cancel, delay_ms);
        if (rc < 0)
            return dray_error_set(err, rc, "canceled while waiting for a lock");
        delay_ms = delay_ms * 2 < POLL_MAX_MS ? delay_ms * 2 : POLL_MAX_MS;
    }
}
