#include "storage/staging_map.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "storage/file.h"

#define CHUNK_GRANULES 4096

struct header {
    char magic[8];
    uint64_t granule_bytes;
    uint64_t size_bytes;
};

static struct header make_header(const struct dray_staging_map *map)
{
    return (struct header){ .magic = { 'd', 'r', 'a', 'y', 'm', 'a', 'p', '1' },
                            .granule_bytes = htole64(DRAY_STAGING_GRANULE_BYTES),
                            .size_bytes = htole64(map->size_bytes) };
}

static uint64_t granules(const struct dray_staging_map *map)
{
    return map->size_bytes / DRAY_STAGING_GRANULE_BYTES +
           (map->size_bytes % DRAY_STAGING_GRANULE_BYTES > 0);
}

static off_t place_of(uint64_t granule)
{
    return (off_t)(sizeof(struct header) + granule);
}

static ssize_t read_at(int fd, void *data, size_t len, off_t at)
{
    ssize_t got;

    do
        got = pread(fd, data, len, at);
    while (got < 0 && errno == EINTR);
    return got;
}

/* @return 0 or an errno */
static int write_at(int fd, const void *data, size_t len, off_t at)
{
    const uint8_t *bytes = data;

    while (len > 0) {
        ssize_t done = pwrite(fd, bytes, len, at);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        bytes += done;
        at += done;
        len -= (size_t)done;
    }
    return 0;
}

/* @return 0 or an errno */
static int set_marks(const struct dray_staging_map *map, uint64_t first, uint64_t past,
                     uint8_t value)
{
    uint8_t marks[CHUNK_GRANULES];
    int sys_errno = 0;

    if (first >= past)
        return 0;
    memset(marks, value, past - first < sizeof(marks) ? past - first : sizeof(marks));
    while (first < past && sys_errno == 0) {
        const size_t len = past - first < sizeof(marks) ? past - first : sizeof(marks);

        sys_errno = write_at(map->fd, marks, len, place_of(first));
        first += len;
    }
    return sys_errno;
}

void dray_staging_path(const struct dray_digest *digest, const char *suffix, char *buf)
{
    snprintf(buf, DRAY_STAGING_PATH_MAX, "dray/staging/%s-%s%s", dray_digest_alg_name(digest->alg),
             dray_digest_hex(digest), suffix);
}

void dray_staging_map_init(struct dray_staging_map *map, const struct dray_store *store,
                           const struct dray_descriptor *blob)
{
    *map = (struct dray_staging_map){ .store = store, .size_bytes = blob->size_bytes, .fd = -1 };
    dray_staging_path(&blob->digest, ".map", map->path);
}

void dray_staging_map_done(struct dray_staging_map *map)
{
    if (map->fd >= 0)
        close(map->fd);
    map->fd = -1;
}

static bool is_whole(const struct dray_staging_map *map, int fd)
{
    const struct header want = make_header(map);
    struct header have;
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == place_of(granules(map)) &&
           read_at(fd, &have, sizeof(have), 0) == sizeof(have) &&
           memcmp(&have, &want, sizeof(have)) == 0;
}

/* Enter the granules that are marked.
 * @param ret_stale  behind the last mark of a granule that the partial file is too short for; 0:
 *                   there is none */
static int read_marks(const struct dray_staging_map *map, int fd, uint64_t part_bytes,
                      struct dray_segment_map *held, uint64_t *ret_stale, struct dray_error *err)
{
    const uint64_t count = granules(map);
    uint8_t marks[CHUNK_GRANULES];

    *ret_stale = 0;
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t begin = i * DRAY_STAGING_GRANULE_BYTES;
        const uint64_t end = i + 1 == count ? map->size_bytes : begin + DRAY_STAGING_GRANULE_BYTES;
        const size_t place = i % CHUNK_GRANULES;

        if (place == 0) {
            const size_t len = count - i < sizeof(marks) ? count - i : sizeof(marks);
            ssize_t got = read_at(fd, marks, len, place_of(i));

            if (got != (ssize_t)len)
                return dray_error_errno(err, got < 0 ? errno : EIO, "read %s/%s", map->store->root,
                                        map->path);
        }
        if (marks[place] != 1)
            continue;
        if (end > part_bytes)
            *ret_stale = i + 1;
        else if (dray_segment_map_add(held, begin, end, DRAY_ORIGIN_RESUMED) < 0)
            return dray_error_nomem(err);
    }
    return DRAY_OK;
}

static int open_map(const struct dray_staging_map *map, int flags)
{
    return openat(map->store->root_fd, map->path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
                  0600);
}

int dray_staging_map_peek(const struct dray_staging_map *map, uint64_t part_bytes,
                          struct dray_segment_map *held, bool *ret_whole, struct dray_error *err)
{
    DRAY_AUTO_FD int fd = open_map(map, O_RDONLY);
    uint64_t stale;

    if (fd < 0 && errno != ENOENT)
        return dray_error_errno(err, errno, "open %s/%s", map->store->root, map->path);
    *ret_whole = fd >= 0 && is_whole(map, fd);
    return *ret_whole ? read_marks(map, fd, part_bytes, held, &stale, err) : DRAY_OK;
}

int dray_staging_map_load(struct dray_staging_map *map, uint64_t part_bytes,
                          struct dray_segment_map *held, struct dray_error *err)
{
    DRAY_AUTO_FD int fd = open_map(map, O_RDWR);
    uint64_t stale;
    int sys_errno;
    int rc;

    if (fd < 0 && errno == ENOENT)
        return DRAY_OK;
    if (fd < 0)
        return dray_error_errno(err, errno, "open %s/%s", map->store->root, map->path);
    if (!is_whole(map, fd)) {
        dray_staging_map_remove(map);
        return DRAY_OK;
    }
    rc = read_marks(map, fd, part_bytes, held, &stale, err);
    if (rc < 0)
        return rc;

    map->fd = DRAY_TAKE_FD(fd);
    if (stale == 0)
        return DRAY_OK;
    /* Once the file grows they would seem to hold. */
    sys_errno = set_marks(map, part_bytes / DRAY_STAGING_GRANULE_BYTES, stale, 0);
    if (sys_errno != 0)
        return dray_file_write_error(map->store, map->path, 0, sys_errno, err);
    return DRAY_OK;
}

int dray_staging_map_create(struct dray_staging_map *map, uint64_t front, struct dray_error *err)
{
    const struct header header = make_header(map);
    const uint64_t count = granules(map);
    const uint64_t complete = front == map->size_bytes ? count : front / DRAY_STAGING_GRANULE_BYTES;
    int sys_errno = 0;

    /* One that is made anew is not whole for a moment. Killed then, the partial file counts as
     * being in order, and the digest finds what was not. */
    dray_staging_map_done(map);
    map->fd = open_map(map, O_RDWR | O_CREAT | O_TRUNC);
    if (map->fd < 0)
        return dray_file_write_error(map->store, map->path, sizeof(header) + count, errno, err);

    sys_errno = write_at(map->fd, &header, sizeof(header), 0);
    if (sys_errno == 0)
        sys_errno = set_marks(map, 0, complete, 1);
    while (sys_errno == 0 && ftruncate(map->fd, place_of(count)) < 0)
        sys_errno = errno == EINTR ? 0 : errno;
    if (sys_errno == 0)
        return DRAY_OK;
    dray_staging_map_remove(map);
    return dray_file_write_error(map->store, map->path, sizeof(header) + count, sys_errno, err);
}

void dray_staging_map_mark(const struct dray_staging_map *map, uint64_t first, uint64_t past)
{
    int sys_errno = set_marks(map, first, past, 1);

    if (sys_errno != 0)
        dray_log(&map->store->log, DRAY_LOG_DEBUG, "%s/%s: a mark could not be written: %s",
                 map->store->root, map->path, strerrorname_np(sys_errno));
}

void dray_staging_map_remove(struct dray_staging_map *map)
{
    dray_staging_map_done(map);
    unlinkat(map->store->root_fd, map->path, 0);
}
