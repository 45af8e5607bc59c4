/* What the tests of storage/ share: a directory to throw away, blobs to put there, a log to look
 * at. */
#ifndef TESTS_UNIT_STORAGE_SCRATCH_H
#define TESTS_UNIT_STORAGE_SCRATCH_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/digest.h"
#include "storage/store.h"

#define UNUSED __attribute__((unused))

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        int scratch_rc = (call);                                                                   \
        if (scratch_rc != DRAY_OK)                                                                 \
            fail_msg("%s: %s", #call, dray_code_text(scratch_rc));                                 \
    } while (0)

/* The last line that was logged, and how many there were. */
struct scratch_log {
    int count;
    char text[4096];
};

static UNUSED void scratch_log_write(void *ctx, enum dray_log_level level, const char *text)
{
    struct scratch_log *log = ctx;

    (void)level;
    log->count++;
    snprintf(log->text, sizeof(log->text), "%s", text);
}

/* A new directory, also as the fixture's state; free it with scratch_teardown(). */
static UNUSED int scratch_setup(void **state)
{
    const char *base = getenv("TMPDIR");
    char *dir;

    if (asprintf(&dir, "%s/dray-test-XXXXXX", base ? base : "/tmp") < 0 || !mkdtemp(dir))
        return -1;
    /* Children that drop their privileges still get in. */
    if (chmod(dir, 0755) < 0)
        return -1;
    *state = dir;
    return 0;
}

static UNUSED int scratch_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static UNUSED void scratch_remove(const char *dir)
{
    nftw(dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static UNUSED int scratch_teardown(void **state)
{
    scratch_remove(*state);
    free(*state);
    return 0;
}

#define scratch_test(fn) cmocka_unit_test_setup_teardown(fn, scratch_setup, scratch_teardown)

static UNUSED struct dray_store *scratch_open(const char *root, enum dray_store_mode mode,
                                              struct scratch_log *log)
{
    struct dray_log sink = { .write = scratch_log_write, .ctx = log, .level = DRAY_LOG_INFO };
    struct dray_store *store = NULL;
    struct dray_error err = { 0 };

    if (dray_store_open(root, mode, log ? &sink : NULL, &store, &err) != DRAY_OK)
        fail_msg("open %s: %s", root, err.text);
    return store;
}

/* printf a path below a directory; valid for 32 calls. */
static UNUSED __attribute__((format(printf, 2, 3))) const char *below(const char *dir,
                                                                      const char *fmt, ...)
{
    static char paths[32][1024];
    static unsigned next;
    char *path = paths[next++ % 32];
    int len = snprintf(path, sizeof(paths[0]), "%s/", dir);
    va_list args;

    va_start(args, fmt);
    vsnprintf(path + len, sizeof(paths[0]) - (size_t)len, fmt, args);
    va_end(args);
    return path;
}

static UNUSED void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fputs(text, file) >= 0, 1);
    assert_int_equal(fclose(file), 0);
}

/* The whole of a file, NUL-terminated; free() it. */
static UNUSED char *read_text(const char *path)
{
    struct stat st;
    char *text;
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    text = calloc(1, (size_t)st.st_size + 1);
    assert_non_null(text);
    assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
    close(fd);
    return text;
}

static UNUSED bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static UNUSED size_t count_names(const char *dir)
{
    struct dirent *entry;
    size_t count = 0;
    DIR *d = opendir(dir);

    assert_non_null(d);
    while ((entry = readdir(d)))
        count += entry->d_name[0] != '.';
    closedir(d);
    return count;
}

/* Numbers that are the same in every run (xorshift64). */
static UNUSED uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A blob that no other seed gives; free() it. */
static UNUSED uint8_t *make_bytes(size_t len, uint64_t seed, struct dray_digest *ret_digest)
{
    uint8_t *bytes = malloc(len + 1);
    uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    assert_non_null(bytes);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)next_random(&state);
    assert_int_equal(dray_digest_of(DRAY_SHA256, bytes, len, ret_digest), DRAY_OK);
    return bytes;
}

/* Hold every file in blobs/ to its name, and return how many there are. */
static UNUSED size_t verify_blobs(const char *root)
{
    static const char *const algs[] = { "sha256", "sha512" };
    size_t count = 0;

    for (size_t i = 0; i < 2; i++) {
        struct dirent *entry;
        DIR *dir = opendir(below(root, "blobs/%s", algs[i]));

        while (dir && (entry = readdir(dir))) {
            const char *path = below(root, "blobs/%s/%s", algs[i], entry->d_name);
            struct dray_digest digest;
            struct stat st;
            char *text;
            char want[16 + sizeof(entry->d_name)];

            if (entry->d_name[0] == '.')
                continue;
            snprintf(want, sizeof(want), "%s:%s", algs[i], entry->d_name);
            assert_int_equal(stat(path, &st), 0);
            assert_int_equal(st.st_mode & 0777, 0444);
            text = read_text(path);
            assert_int_equal(dray_digest_of(i == 0 ? DRAY_SHA256 : DRAY_SHA512, text,
                                            (size_t)st.st_size, &digest),
                             DRAY_OK);
            assert_string_equal(digest.text, want);
            free(text);
            count++;
        }
        if (dir)
            closedir(dir);
    }
    return count;
}

/* Run a function in a child process and return its exit status; a failed assertion is 1. */
typedef int child_fn(void *ctx);

static UNUSED pid_t start_child(child_fn *fn, void *ctx)
{
    pid_t pid;

    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn(ctx));
    return pid;
}

static UNUSED int end_child(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Wait until a child has come to where it stops itself by raise(SIGSTOP), and let it go on. */
static UNUSED void wait_for_child(pid_t pid)
{
    int status;

    assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(kill(pid, SIGCONT), 0);
}

/* Let a child run for a while that differs from round to round, then kill it. */
static UNUSED void kill_child(pid_t pid, uint64_t *random_state, unsigned max_us)
{
    usleep((useconds_t)(next_random(random_state) % max_us));
    kill(pid, SIGKILL);
    end_child(pid);
}

/* How long files of this process may become, RLIM_INFINITY: as long as they ever may. Beyond that
 * writing fails, also in part, and nobody is killed. */
static UNUSED bool limit_file_size(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_FSIZE, &limit) < 0)
        return false;
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    return setrlimit(RLIMIT_FSIZE, &limit) == 0;
}

static UNUSED bool write_map(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    const size_t len = strlen(text);
    const bool written = fd >= 0 && write(fd, text, len) == (ssize_t)len;

    if (fd >= 0)
        close(fd);
    return written;
}

/* May this process mount what nobody else sees? As root, or as root of a user namespace. */
static UNUSED bool enter_private_mounts(void)
{
    char uid_map[32];
    char gid_map[32];

    snprintf(uid_map, sizeof(uid_map), "0 %u 1", (unsigned)getuid());
    snprintf(gid_map, sizeof(gid_map), "0 %u 1", (unsigned)getgid());
    if (unshare(CLONE_NEWNS) < 0 &&
        (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !write_map("/proc/self/setgroups", "deny") ||
         !write_map("/proc/self/uid_map", uid_map) || !write_map("/proc/self/gid_map", gid_map)))
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* A file system of 1 MiB for this process alone. False where that is not permitted. */
static UNUSED bool mount_small(const char *dir)
{
    return enter_private_mounts() && mount("none", dir, "tmpfs", 0, "size=1m") == 0;
}

/* What a child says where it may not. */
#define NOT_PERMITTED 77

/* Become a user without privileges, for the rest of a child's life. */
static UNUSED int drop_privileges(void)
{
    if (geteuid() != 0)
        return 0;
    return setgid(65534) < 0 || setuid(65534) < 0 ? -1 : 0;
}

#endif
