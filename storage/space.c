#include "storage/space.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/statvfs.h>

#include "core/error.h"

int dray_store_check_room(const struct dray_store *store, uint64_t needed_bytes,
                          struct dray_error *err)
{
    struct statvfs fs;
    uint64_t free_bytes;
    int rc;

    if (needed_bytes == 0)
        return DRAY_OK;
    while (fstatvfs(store->root_fd, &fs) < 0)
        if (errno != EINTR)
            return dray_error_errno(err, errno, "look for room in %s", store->root);
    if (fs.f_blocks == 0)
        return DRAY_OK;

    if (__builtin_mul_overflow(fs.f_bavail, fs.f_frsize, &free_bytes))
        return DRAY_OK;
    if (free_bytes >= DRAY_STORE_RESERVE_BYTES &&
        needed_bytes <= free_bytes - DRAY_STORE_RESERVE_BYTES)
        return DRAY_OK;
    rc = dray_error_errno(err, ENOSPC,
                          "%s: %" PRIu64 " more bytes needed, %" PRIu64 " bytes are free",
                          store->root, needed_bytes, free_bytes);
    dray_error_hint(err, "make room in %s, or choose another store", store->root);
    return rc;
}
