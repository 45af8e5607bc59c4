#include "storage/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/json.h"
#include "core/log.h"
#include "storage/file.h"

#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define INDEX_TEXT                                                                                 \
    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","              \
    "\"manifests\":[]}"

/* oci-layout and dray/version hold one line; a longer file is something else. */
#define SMALL_FILE_MAX_BYTES 4096

#define DIR_MODE  0755
#define FILE_MODE 0644

/* Does a directory hold nothing but these names? A directory that is not there holds nothing. */
static int holds_only(const struct dray_store *store, const char *path, const char *const *names,
                      bool *ret_only, struct dray_error *err)
{
    bool only = true;
    struct dirent *entry;
    DIR *dir = NULL;
    int fd;

    fd = openat(store->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        *ret_only = true;
        return DRAY_OK;
    }
    if (fd >= 0)
        dir = fdopendir(fd);
    if (!dir) {
        int rc = dray_error_errno(err, errno, "look into %s/%s", store->root, path);

        if (fd >= 0)
            close(fd);
        return rc;
    }

    while (only && (entry = readdir(dir))) {
        const char *const *name = names;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        while (*name && strcmp(*name, entry->d_name) != 0)
            name++;
        only = *name != NULL;
    }
    closedir(dir);
    *ret_only = only;
    return DRAY_OK;
}

static bool exists(const struct dray_store *store, const char *path)
{
    return faccessat(store->root_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/*
 * May a directory without oci-layout become a store? Yes when it is empty, or when it holds what
 * an unfinished dray left there; somebody's other files are never mixed with ours.
 *
 * The looks are taken in the opposite order to that in which a store is made, since another process
 * may be making it right now.
 */
static int check_vacant(const struct dray_store *store, struct dray_error *err)
{
    static const char *const root_names[] = { "dray", "blobs", "index.json", "lost+found", NULL };
    static const char *const dray_names[] = { "index.lock", "index.tmp", "lock",
                                              "staging",    "version",   NULL };
    bool ours;
    int rc;

    rc = holds_only(store, ".", root_names, &ours, err);
    if (rc < 0)
        return rc;
    if (ours && (exists(store, "index.json") || exists(store, "blobs")))
        ours = exists(store, "dray/index.lock"); /* it was there before them */
    if (ours)
        rc = holds_only(store, "dray", dray_names, &ours, err);
    if (rc < 0 || ours)
        return rc;
    if (exists(store, "oci-layout"))
        return DRAY_OK; /* finished by another process since the caller looked */

    dray_error_set(err, DRAY_ESTORE, "%s is not a store: it holds files but no oci-layout",
                   store->root);
    dray_error_hint(err, "choose an empty directory or an OCI image layout");
    return DRAY_ESTORE;
}

/* @param ret_present  whether there is an oci-layout file, of a version that we read */
static int check_layout(const struct dray_store *store, bool *ret_present, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;
    DRAY_AUTO_JSON json_t *json = NULL;
    const char *version;
    int rc;

    rc = dray_file_read(store, "oci-layout", SMALL_FILE_MAX_BYTES, &text, err);
    if (rc == DRAY_ENOTFOUND) {
        *ret_present = false;
        return DRAY_OK;
    }
    if (rc == DRAY_OK)
        rc = dray_json_parse(text.data, text.len, SMALL_FILE_MAX_BYTES, &json, err);
    if (rc == DRAY_EPROTO) {
        if (err)
            err->code = DRAY_ESTORE;
        return dray_error_wrap(err, DRAY_ESTORE, "%s/oci-layout is damaged", store->root);
    }
    if (rc < 0)
        return rc;

    version = json_string_value(json_object_get(json, "imageLayoutVersion"));
    if (!version || strncmp(version, "1.", 2) != 0)
        return dray_error_set(err, DRAY_ESTORE, "%s/oci-layout names no version 1 of the layout",
                              store->root);
    *ret_present = true;
    return DRAY_OK;
}

/* @param ret_present  whether there is a dray/version file, of a format that we read */
static int check_version(const struct dray_store *store, bool *ret_present, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;
    long format;
    char *end;
    int rc;

    rc = dray_file_read(store, "dray/version", SMALL_FILE_MAX_BYTES, &text, err);
    if (rc == DRAY_ENOTFOUND) {
        *ret_present = false;
        return DRAY_OK;
    }
    if (rc < 0 && rc != DRAY_EPROTO)
        return rc;

    format = strtol(dray_buf_text(&text), &end, 10);
    if (rc == DRAY_EPROTO || format < 1 || strcmp(end, "\n") != 0)
        return dray_error_set(err, DRAY_ESTORE, "%s/dray/version is damaged", store->root);
    if (format > DRAY_STORE_FORMAT) {
        dray_error_set(err, DRAY_ESTORE, "%s is a store of format %ld; this dray reads up to %d",
                       store->root, format, DRAY_STORE_FORMAT);
        dray_error_hint(err, "use a newer dray for this store, or choose another store");
        return DRAY_ESTORE;
    }
    *ret_present = true;
    return DRAY_OK;
}

static int make_dir(const struct dray_store *store, const char *path, struct dray_error *err)
{
    if (mkdirat(store->root_fd, path, DIR_MODE) < 0 && errno != EEXIST)
        return dray_error_errno(err, errno, "make %s/%s", store->root, path);
    return DRAY_OK;
}

/* Make a file that is not there yet. Under the index lock. */
static int make_file(const struct dray_store *store, const char *path, const char *text,
                     struct dray_error *err)
{
    int rc;

    if (exists(store, path))
        return DRAY_OK;
    rc = dray_file_write(store, DRAY_STORE_TEMP_PATH, text, strlen(text), FILE_MODE, err);
    if (rc < 0)
        return rc;
    if (renameat(store->root_fd, DRAY_STORE_TEMP_PATH, store->root_fd, path) < 0)
        return dray_error_errno(err, errno, "make %s/%s", store->root, path);
    return DRAY_OK;
}

/* Make whatever of the store is missing. */
static int lay_out(struct dray_store *store, struct dray_error *err)
{
    static const char *const dirs[] = { "dray/staging", "blobs", "blobs/sha256" };
    DRAY_AUTO_FD int lock_fd = -1;
    char version[16];
    bool is_layout;
    int rc;

    rc = make_dir(store, "dray", err);
    if (rc < 0)
        return rc;
    rc = dray_store_lock_index(store, NULL, &lock_fd, err);
    if (rc < 0)
        return rc;

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        rc = make_dir(store, dirs[i], err);
        if (rc < 0)
            return rc;
    }
    rc = make_file(store, "dray/lock", "", err);
    if (rc < 0)
        return rc;
    snprintf(version, sizeof(version), "%d\n", DRAY_STORE_FORMAT);
    rc = make_file(store, "dray/version", version, err);
    if (rc < 0)
        return rc;

    rc = check_layout(store, &is_layout, err);
    if (rc < 0)
        return rc;
    if (!is_layout) { /* a layout without index.json is a damaged one: nothing to paper over */
        rc = make_file(store, "index.json", INDEX_TEXT, err);
        if (rc < 0)
            return rc;
    }

    rc = dray_file_sync_dir(store, "dray", err);
    if (rc < 0)
        return rc;
    rc = dray_file_sync_dir(store, "blobs", err);
    if (rc < 0)
        return rc;
    rc = dray_file_sync_dir(store, ".", err);
    if (rc < 0)
        return rc;
    rc = make_file(store, "oci-layout", LAYOUT_TEXT, err);
    if (rc < 0)
        return rc;
    return dray_file_sync_dir(store, ".", err);
}

/* Make a directory and its parents, each durable under its name. */
static int make_root(const char *root, struct dray_error *err)
{
    DRAY_AUTO_FREE char *path = strdup(root);
    char *end = path; /* of the parent that is being made */

    if (!path)
        return dray_error_nomem(err);
    while (end) {
        DRAY_AUTO_FREE char *parent = NULL;
        DRAY_AUTO_FD int fd = -1;
        int made;

        end = strchr(end + strspn(end, "/"), '/');
        if (end)
            *end = '\0';
        made = mkdir(path, DIR_MODE);
        if (made < 0 && errno != EEXIST)
            return dray_error_errno(err, errno, "make the directory %s", path);
        if (made == 0) {
            if (asprintf(&parent, "%s/..", path) < 0) {
                parent = NULL; /* asprintf() leaves it undefined */
                return dray_error_nomem(err);
            }
            /* A parent that may be searched but not read cannot be synced: left to the kernel. */
            fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (fd >= 0 && fsync(fd) < 0)
                return dray_error_errno(err, errno, "make the directory %s durable", path);
        }
        if (end)
            *end = '/';
    }
    return DRAY_OK;
}

static int open_root(struct dray_store *store, struct dray_error *err)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    int rc;

    store->root_fd = open(store->root, flags);
    if (store->root_fd < 0 && errno == ENOENT && store->mode == DRAY_STORE_WRITE) {
        rc = make_root(store->root, err);
        if (rc < 0)
            return rc;
        store->root_fd = open(store->root, flags);
    }
    if (store->root_fd >= 0)
        return DRAY_OK;
    if (errno == ENOENT)
        return dray_error_set(err, DRAY_ENOTFOUND, "no store at %s", store->root);
    if (errno == ENOTDIR)
        return dray_error_set(err, DRAY_ESTORE, "%s is not a directory", store->root);
    return dray_error_errno(err, errno, "open %s", store->root);
}

/* Refuse at once what would fail at the first write only. */
static int check_writable(const struct dray_store *store, struct dray_error *err)
{
    static const char *const dirs[] = { ".", "dray", "dray/staging", "blobs" };

    for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
        if (faccessat(store->root_fd, dirs[i], W_OK | X_OK, AT_EACCESS) == 0)
            continue;
        dray_error_errno(err, errno, "write to %s/%s", store->root, dirs[i]);
        dray_error_hint(err, "choose a store that you may write to");
        return DRAY_EIO;
    }
    return DRAY_OK;
}

static int open_store(struct dray_store *store, struct dray_error *err)
{
    bool is_layout = false;
    bool has_version = false;
    int rc;

    rc = open_root(store, err);
    if (rc < 0)
        return rc;
    rc = check_version(store, &has_version, err);
    if (rc < 0)
        return rc;
    rc = check_layout(store, &is_layout, err);
    if (rc < 0)
        return rc;
    if (!is_layout) {
        rc = check_vacant(store, err);
        if (rc < 0)
            return rc;
        if (store->mode == DRAY_STORE_READ)
            return dray_error_set(err, DRAY_ENOTFOUND, "no store at %s yet", store->root);
    }
    if (store->mode == DRAY_STORE_READ)
        return DRAY_OK;

    if (!is_layout || !has_version || !exists(store, "dray/staging")) {
        rc = lay_out(store, err);
        if (rc < 0)
            return rc;
    }
    return check_writable(store, err);
}

int dray_store_open(const char *root, enum dray_store_mode mode, const struct dray_log *log,
                    struct dray_store **ret_store, struct dray_error *err)
{
    DRAY_AUTO_STORE struct dray_store *store = calloc(1, sizeof(*store));
    int rc;

    if (!store)
        return dray_error_nomem(err);
    store->root_fd = -1;
    store->mode = mode;
    if (log)
        store->log = *log;
    store->root = strdup(root);
    if (!store->root)
        return dray_error_nomem(err);

    rc = open_store(store, err);
    if (rc < 0)
        return rc;
    *ret_store = DRAY_TAKE(store);
    return DRAY_OK;
}

void dray_store_close(struct dray_store *store)
{
    if (!store)
        return;
    if (store->root_fd >= 0)
        close(store->root_fd);
    free(store->root);
    free(store);
}

const char *dray_store_root(const struct dray_store *store)
{
    return store->root;
}

char *dray_store_default_root(void)
{
    const char *store = getenv("DRAY_STORE");
    const char *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    char *root = NULL;
    int len = -1;

    if (store && store[0] != '\0')
        return strdup(store);
    if (geteuid() == 0)
        return strdup("/var/lib/dray");
    /* A relative path is to be ignored, says the XDG base directory specification. */
    if (data && data[0] == '/')
        len = asprintf(&root, "%s/dray", data);
    else if (home && home[0] != '\0')
        len = asprintf(&root, "%s/.local/share/dray", home);
    return len < 0 ? NULL : root;
}

/* *ret_fd stays -1 when a store opened for reading cannot be locked. */
static int open_lock(const struct dray_store *store, int *ret_fd, struct dray_error *err)
{
    const int flags = store->mode == DRAY_STORE_WRITE ? O_RDWR : O_RDONLY;
    int fd = openat(store->root_fd, "dray/lock", flags | O_CREAT | O_CLOEXEC, FILE_MODE);

    if (fd < 0 && store->mode == DRAY_STORE_READ) { /* O_CREAT alone may be what is denied */
        fd = openat(store->root_fd, "dray/lock", flags | O_CLOEXEC);
        if (fd < 0 && (errno == ENOENT || errno == EACCES || errno == EPERM || errno == EROFS)) {
            dray_log(&store->log, DRAY_LOG_DEBUG, "%s is read without a lock: %s", store->root,
                     strerrorname_np(errno));
            return DRAY_OK;
        }
    }
    if (fd < 0)
        return dray_error_errno(err, errno, "open %s/dray/lock", store->root);
    *ret_fd = fd;
    return DRAY_OK;
}

int dray_store_lock(struct dray_store *store, enum dray_lock_kind kind,
                    const struct dray_cancel *cancel, int *ret_fd, struct dray_error *err)
{
    DRAY_AUTO_FD int fd = -1;
    bool locked;
    int rc;

    rc = open_lock(store, &fd, err);
    if (rc < 0)
        return rc;
    if (fd >= 0) {
        rc = dray_lock_fd_try(fd, kind, &locked, err);
        if (rc == DRAY_OK && !locked) {
            dray_log(&store->log, DRAY_LOG_INFO, "waiting for another user of %s to finish",
                     store->root);
            rc = dray_lock_fd(fd, kind, cancel, err);
        }
        if (rc < 0)
            return dray_error_wrap(err, rc, "%s/dray/lock", store->root);
    }
    *ret_fd = DRAY_TAKE_FD(fd);
    return DRAY_OK;
}

int dray_store_lock_index(struct dray_store *store, const struct dray_cancel *cancel, int *ret_fd,
                          struct dray_error *err)
{
    DRAY_AUTO_FD int fd = -1;
    int rc;

    fd = openat(store->root_fd, "dray/index.lock", O_RDWR | O_CREAT | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return dray_error_errno(err, errno, "open %s/dray/index.lock", store->root);
    rc = dray_lock_fd(fd, DRAY_LOCK_EXCLUSIVE, cancel, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "%s/dray/index.lock", store->root);
    *ret_fd = DRAY_TAKE_FD(fd);
    return DRAY_OK;
}
