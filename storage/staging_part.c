#include "storage/staging_part.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "storage/file.h"

bool dray_staging_part_is_current(const struct dray_store *store, const char *path, int fd)
{
    struct stat opened;
    struct stat named;

    return fstat(fd, &opened) == 0 &&
           fstatat(store->root_fd, path, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* A process died between making its file read-only and renaming it. Whoever has the lock may undo
 * that; the file is opened again after it. */
static int make_writable(const struct dray_store *store, const char *path, int fd,
                         struct dray_error *err)
{
    struct stat st;

    if (fstat(fd, &st) == 0 && !(st.st_mode & S_IWUSR) && fchmod(fd, 0600) == 0)
        return DRAY_OK;
    return dray_error_errno(err, EACCES, "open %s/%s", store->root, path);
}

int dray_staging_part_open(const struct dray_store *store, const char *path, uint64_t size_bytes,
                           int *ret_fd, struct dray_error *err)
{
    const int flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    DRAY_AUTO_FD int fd = -1;
    bool writable = true;
    bool locked;
    int rc;

    fd = openat(store->root_fd, path, O_RDWR | O_CREAT | flags, 0600);
    if (fd < 0 && errno == EACCES) {
        fd = openat(store->root_fd, path, O_RDONLY | flags);
        if (fd < 0)
            errno = EACCES;
        writable = false;
    }
    if (fd < 0)
        return dray_file_write_error(store, path, size_bytes, errno, err);

    rc = dray_lock_fd_try(fd, DRAY_LOCK_EXCLUSIVE, &locked, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "%s/%s", store->root, path);
    *ret_fd = -1;
    if (!locked || !dray_staging_part_is_current(store, path, fd))
        return DRAY_OK;
    if (!writable)
        return make_writable(store, path, fd, err);
    *ret_fd = DRAY_TAKE_FD(fd);
    return DRAY_OK;
}
