/* What stands in the staging directory, looked at from outside: how much of a blob there is, and
 * what nobody wants any more. */
#include "storage/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/log.h"
#include "storage/staging_map.h"
#include "storage/staging_part.h"

/* Temporary files live for milliseconds: one so old belongs to a process that died. */
#define TEMP_MAX_AGE_S (24 * 3600)
#define TEMP_HEX       16 /* digits, storage/blob_store.c */

uint64_t dray_staging_peek(const struct dray_store *store, const struct dray_descriptor *blob)
{
    char path[DRAY_STAGING_PATH_MAX];
    struct dray_staging_map map;
    struct dray_segment_map held;
    struct stat st;
    uint64_t bytes;
    bool mapped;

    dray_staging_path(&blob->digest, ".part", path);
    if (fstatat(store->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size > blob->size_bytes)
        return 0;

    dray_staging_map_init(&map, store, blob);
    dray_segment_map_init(&held, blob->size_bytes, DRAY_STAGING_GRANULE_BYTES);
    if (dray_staging_map_peek(&map, (uint64_t)st.st_size, &held, &mapped, NULL) < 0)
        bytes = 0;
    else
        bytes = mapped ? held.held_bytes : (uint64_t)st.st_size;
    dray_segment_map_done(&held);
    return bytes;
}

uint64_t dray_staging_room_needed(const struct dray_store *store,
                                  const struct dray_descriptor *blob)
{
    char path[DRAY_STAGING_PATH_MAX];
    struct stat st;
    uint64_t allocated;

    dray_staging_path(&blob->digest, ".part", path);
    if (fstatat(store->root_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return blob->size_bytes;
    allocated = (uint64_t)st.st_blocks * 512; /* stat(2): in units of 512 bytes */
    return allocated < blob->size_bytes ? blob->size_bytes - allocated : 0;
}

enum kind {
    NOT_OURS,
    PART,
    MAP,
    TEMP,
};

/* What a name means, and for PART and MAP the digest in it: <alg>-<hex><suffix>. */
static enum kind classify(const char *name, struct dray_digest *ret_digest)
{
    const char *dot = strrchr(name, '.');
    const char *dash = strchr(name, '-');
    char text[DRAY_DIGEST_TEXT_MAX];
    size_t len;

    if (!dot)
        return NOT_OURS;
    len = (size_t)(dot - name);
    if (strcmp(dot, ".tmp") == 0 && len == TEMP_HEX && strspn(name, "0123456789abcdef") == len)
        return TEMP;
    if ((strcmp(dot, ".part") != 0 && strcmp(dot, ".map") != 0) || !dash || len >= sizeof(text))
        return NOT_OURS;
    memcpy(text, name, len);
    if (dash < dot)
        text[dash - name] = ':';
    if (dray_digest_parse(text, len, ret_digest, NULL) < 0)
        return NOT_OURS;
    return strcmp(dot, ".part") == 0 ? PART : MAP;
}

static bool is_old(const struct stat *st, int64_t max_age_s)
{
    return S_ISREG(st->st_mode) && time(NULL) - st->st_mtime > max_age_s;
}

/* Delete a partial file and its map, if nobody has it. A map alone gets a partial file first: its
 * lock keeps out who might begin to use the map. */
static bool delete_partial(const struct dray_store *store, const struct dray_digest *digest,
                           enum kind kind, int64_t max_age_s)
{
    const int flags = kind == MAP ? O_RDWR | O_CREAT | O_EXCL : O_RDWR;
    char part[DRAY_STAGING_PATH_MAX];
    char map[DRAY_STAGING_PATH_MAX];
    DRAY_AUTO_FD int fd = -1;
    struct stat st;
    bool locked;

    dray_staging_path(digest, ".part", part);
    dray_staging_path(digest, ".map", map);
    fd = openat(store->root_fd, part, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0 || dray_lock_fd_try(fd, DRAY_LOCK_EXCLUSIVE, &locked, NULL) < 0 || !locked ||
        !dray_staging_part_is_current(store, part, fd))
        return false;
    /* Somebody may have gone on with it since we looked. */
    if (kind == PART && (fstat(fd, &st) < 0 || !is_old(&st, max_age_s)))
        return false;
    /* Emptied first, for without a map the file would count as being in order; its name, which its
     * lock goes by, last. */
    if (ftruncate(fd, 0) < 0)
        return false;
    unlinkat(store->root_fd, map, 0);
    return unlinkat(store->root_fd, part, 0) == 0;
}

static void sweep_name(const struct dray_store *store, int dir_fd, const char *name,
                       int64_t max_age_s)
{
    struct dray_digest digest;
    const enum kind kind = classify(name, &digest);
    const int64_t limit_s = kind == TEMP ? TEMP_MAX_AGE_S : max_age_s;
    struct stat st;
    bool deleted;

    if (kind == NOT_OURS || fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        !is_old(&st, limit_s))
        return;
    if (kind == TEMP)
        deleted = unlinkat(dir_fd, name, 0) == 0;
    else
        deleted = delete_partial(store, &digest, kind, max_age_s);
    if (deleted)
        dray_log(&store->log, DRAY_LOG_INFO,
                 "deleted %s/dray/staging/%s: nobody went on with it for %lld hours", store->root,
                 name, (long long)((time(NULL) - st.st_mtime) / 3600));
}

void dray_staging_sweep(const struct dray_store *store, int64_t max_age_s)
{
    int fd = openat(store->root_fd, "dray/staging", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;

    if (!dir) {
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(dir)))
        sweep_name(store, fd, entry->d_name, max_age_s);
    closedir(dir);
}
