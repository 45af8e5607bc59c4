#include "storage/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"

#define READ_CHUNK_BYTES 16384

int dray_file_read(const struct dray_store *store, const char *path, size_t max_len,
                   struct dray_buf *ret_data, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf data = DRAY_BUF_INIT;
    DRAY_AUTO_FD int fd = -1;
    struct stat st;

    /* O_NONBLOCK: a fifo in the file's place is refused below, not waited for. */
    fd = openat(store->root_fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return dray_error_set(err, DRAY_ENOTFOUND, "%s/%s does not exist", store->root, path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return dray_error_errno(err, errno, "open %s/%s", store->root, path);
    if (!S_ISREG(st.st_mode))
        return dray_error_set(err, DRAY_EIO, "%s/%s is not a regular file", store->root, path);

    for (;;) {
        uint8_t chunk[READ_CHUNK_BYTES];
        ssize_t got = read(fd, chunk, sizeof(chunk));
        int rc;

        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return dray_error_errno(err, errno, "read %s/%s", store->root, path);
        rc = dray_buf_append(&data, chunk, (size_t)got, max_len);
        if (rc == DRAY_EPROTO)
            return dray_error_set(err, rc, "%s/%s is longer than %zu bytes", store->root, path,
                                  max_len);
        if (rc < 0)
            return dray_error_nomem(err);
    }

    dray_buf_done(ret_data);
    *ret_data = data;
    data = (struct dray_buf)DRAY_BUF_INIT;
    return DRAY_OK;
}

/* @return 0 or an errno */
static int write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t done = write(fd, data, len);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        data += done;
        len -= (size_t)done;
    }
    return 0;
}

int dray_file_write(const struct dray_store *store, const char *path, const void *data, size_t len,
                    mode_t mode, struct dray_error *err)
{
    DRAY_AUTO_FD int fd = -1;
    int sys_errno;

    fd = openat(store->root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return dray_file_write_error(store, path, len, errno, err);

    sys_errno = write_all(fd, data, len);
    if (sys_errno == 0 && (fchmod(fd, mode) < 0 || fsync(fd) < 0))
        sys_errno = errno;
    if (sys_errno == 0)
        return DRAY_OK;

    unlinkat(store->root_fd, path, 0);
    return dray_file_write_error(store, path, len, sys_errno, err);
}

int dray_file_sync_dir(const struct dray_store *store, const char *path, struct dray_error *err)
{
    DRAY_AUTO_FD int fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0)
        return dray_error_errno(err, errno, "make %s/%s durable", store->root, path);
    return DRAY_OK;
}

int dray_file_write_error(const struct dray_store *store, const char *path, uint64_t needed_bytes,
                          int sys_errno, struct dray_error *err)
{
    int rc;

    /* The number helps only where room is what is lacking. */
    if (sys_errno != ENOSPC && sys_errno != EDQUOT && sys_errno != EFBIG)
        return dray_error_errno(err, sys_errno, "write %s/%s", store->root, path);
    rc = dray_error_errno(err, sys_errno, "write %s/%s: %" PRIu64 " more bytes needed", store->root,
                          path, needed_bytes);
    if (rc == DRAY_ENOSPC)
        dray_error_hint(err, "make room in %s, or choose another store", store->root);
    return rc;
}
