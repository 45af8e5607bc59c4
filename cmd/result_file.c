#include "cmd/result_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/fault.h"

/* The system's reason is told, not kept: it is not the store's trouble, whatever it is. */
static int fail(struct dray_error *err, int sys_errno, const char *path)
{
    return dray_fault_set(err, DRAY_EIO, "cannot write %s: %s", path, strerror(sys_errno));
}

/* Nobody may read along in a pipe yet; that is an error now and not a wait for ever. Later writes
 * wait as they should. */
static int open_in_place(struct dray_result_file *file, struct dray_error *err)
{
    file->fd = open(file->path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file->fd < 0 || fcntl(file->fd, F_SETFL, 0) < 0)
        return fail(err, errno, file->path);
    return DRAY_OK;
}

/* Make the file that takes the name of path in the end. */
static int make_temp(struct dray_result_file *file, struct dray_error *err)
{
    const char *slash = strrchr(file->path, '/');
    int folder_len = slash ? (int)(slash + 1 - file->path) : 0;

    if (asprintf(&file->temp, "%.*s.dray-XXXXXX", folder_len, file->path) < 0) {
        file->temp = NULL;
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    }
    file->fd = mkostemp(file->temp, O_CLOEXEC);
    if (file->fd < 0) {
        int saved = errno;

        free(file->temp);
        file->temp = NULL;
        return fail(err, saved, file->path);
    }
    return DRAY_OK;
}

static void drop_temp(struct dray_result_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    if (file->temp)
        unlink(file->temp);
    free(file->temp);
    file->temp = NULL;
    file->fd = -1;
}

/* See that the file can be made; it is not kept, for nobody would remove it after a kill. */
static int try_beside(struct dray_result_file *file, struct dray_error *err)
{
    mode_t mask = umask(0);
    int rc;

    umask(mask);
    file->mode = 0666 & ~mask;
    rc = make_temp(file, err);
    drop_temp(file);
    return rc;
}

/* Is it the file that standard output or error was sent to, perhaps by the name /dev/stdout? What
 * is written there would be lost once another file takes its name. */
static bool is_in_use(const struct stat *status)
{
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        struct stat stream;

        if (fstat(fd, &stream) == 0 && stream.st_dev == status->st_dev &&
            stream.st_ino == status->st_ino)
            return true;
    }
    return false;
}

int dray_result_file_open(const char *path, struct dray_result_file *ret_file,
                          struct dray_error *err)
{
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct stat status;
    bool is_there = stat(path, &status) == 0;
    bool is_regular = is_there && S_ISREG(status.st_mode);
    int rc;

    if (!*path || (is_there && S_ISDIR(status.st_mode)))
        return fail(err, *path ? EISDIR : ENOENT, path);
    if (is_regular && is_in_use(&status))
        return dray_fault_set(err, DRAY_EIO, "cannot write %s: our own output goes there", path);
    file.path = is_regular ? realpath(path, NULL) : strdup(path);
    if (!file.path)
        return fail(err, errno, path);
    rc = is_there && !is_regular ? open_in_place(&file, err) : try_beside(&file, err);
    if (rc < 0)
        dray_result_file_done(&file);
    else
        *ret_file = file;
    return rc;
}

static int write_all(struct dray_result_file *file, const char *text, size_t len,
                     struct dray_error *err)
{
    int fd = file->fd;

    while (len > 0) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, errno, file->path);
        text += n;
        len -= (size_t)n;
    }
    /* Else the name might reach the disk before what it names. */
    if (file->temp && fsync(fd) < 0)
        return fail(err, errno, file->path);
    file->fd = -1;
    if (close(fd) < 0 && errno != EINTR) /* NFS and quotas tell it only now */
        return fail(err, errno, file->path);
    return DRAY_OK;
}

int dray_result_file_commit(struct dray_result_file *file, const char *text, size_t len,
                            struct dray_error *err)
{
    int rc = file->fd >= 0 ? DRAY_OK : make_temp(file, err);

    if (rc == DRAY_OK && file->temp && fchmod(file->fd, file->mode) < 0)
        rc = fail(err, errno, file->path);
    if (rc == DRAY_OK)
        rc = write_all(file, text, len, err);
    if (rc == DRAY_OK && file->temp && rename(file->temp, file->path) < 0)
        rc = fail(err, errno, file->path);
    if (rc == DRAY_OK) {
        free(file->temp);
        file->temp = NULL;
    }
    drop_temp(file);
    return rc;
}

void dray_result_file_done(struct dray_result_file *file)
{
    drop_temp(file);
    free(file->path);
    *file = DRAY_RESULT_FILE_NONE;
}
