#include "storage/store.h"

#include <pthread.h>

#include "core/cancel.h"
#include "storage/file.h"
#include "storage/tag_store.h"
#include "tests/unit/storage/scratch.h"

#define LAYOUT "{\"imageLayoutVersion\":\"1.0.0\"}"

static void assert_text(const char *path, const char *want)
{
    DRAY_AUTO_FREE char *text = read_text(path);

    assert_string_equal(text, want);
}

static void assert_open_fails(const char *root, enum dray_store_mode mode, int code,
                              const char *why)
{
    struct dray_store *store = NULL;
    struct dray_error err = { 0 };

    assert_int_equal(dray_store_open(root, mode, NULL, &store, &err), code);
    assert_null(store);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, why) || !strstr(err.text, root))
        fail_msg("\"%s\" names neither \"%s\" nor %s", err.text, why, root);
}

static void a_new_store_is_an_oci_layout(void **state)
{
    const char *root = below(*state, "a/b//c/");
    struct stat st;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(root, DRAY_STORE_WRITE, NULL);

    assert_string_equal(dray_store_root(store), root);
    assert_text(below(root, "oci-layout"), LAYOUT);
    assert_text(below(root, "index.json"),
                "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
                "\"manifests\":[]}");
    assert_text(below(root, "dray/version"), "1\n");
    assert_int_equal(stat(below(root, "blobs/sha256"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(stat(below(root, "index.json"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_false(exists(below(root, DRAY_STORE_TEMP_PATH)));
}

static void opening_again_changes_nothing(void **state)
{
    struct stat before;
    struct stat after;

    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    assert_int_equal(stat(*state, &before), 0);
    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    dray_store_close(scratch_open(*state, DRAY_STORE_READ, NULL));
    assert_int_equal(stat(*state, &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof(before.st_mtim));
}

static void reading_needs_a_store(void **state)
{
    assert_open_fails(below(*state, "none"), DRAY_STORE_READ, DRAY_ENOTFOUND, "no store");
    assert_open_fails(*state, DRAY_STORE_READ, DRAY_ENOTFOUND, "no store");
    assert_int_equal(count_names(*state), 0);
}

static void other_files_are_not_mixed_with_a_store(void **state)
{
    static const char *const names[] = { "letter.txt", "blobs", "index.json" };

    for (size_t i = 0; i < 3; i++) {
        write_text(below(*state, "%s", names[i]), "mine");
        assert_open_fails(*state, DRAY_STORE_WRITE, DRAY_ESTORE, "is not a store");
        assert_open_fails(*state, DRAY_STORE_READ, DRAY_ESTORE, "is not a store");
        assert_int_equal(count_names(*state), 1);
        assert_int_equal(unlink(below(*state, "%s", names[i])), 0);
    }
    /* Somebody's directory that only has our name. */
    assert_int_equal(mkdir(below(*state, "dray"), 0755), 0);
    write_text(below(*state, "dray/README"), "mine");
    assert_open_fails(*state, DRAY_STORE_WRITE, DRAY_ESTORE, "is not a store");

    write_text(below(*state, "file"), "");
    assert_open_fails(below(*state, "file"), DRAY_STORE_WRITE, DRAY_ESTORE, "not a directory");
}

static void a_fresh_file_system_becomes_a_store(void **state)
{
    assert_int_equal(mkdir(below(*state, "lost+found"), 0700), 0);
    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
}

static void a_newer_format_is_refused(void **state)
{
    struct dray_store *store = NULL;
    struct dray_error err = { 0 };

    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    write_text(below(*state, "dray/version"), "2\n");
    for (int mode = DRAY_STORE_READ; mode <= DRAY_STORE_WRITE; mode++) {
        assert_int_equal(dray_store_open(*state, (enum dray_store_mode)mode, NULL, &store, &err),
                         DRAY_ESTORE);
        assert_non_null(strstr(err.text, "format 2"));
        assert_non_null(strstr(err.hint, "newer dray"));
    }
    assert_text(below(*state, "dray/version"), "2\n");
}

static void damaged_marks_are_refused(void **state)
{
    static const char *const versions[] = { "", "0\n", "-1\n", "x\n", "1", "1\n\n", "1 2\n" };
    static const char *const layouts[] = {
        "", "{", "[]", "{}", "{\"imageLayoutVersion\":1}", "{\"imageLayoutVersion\":\"2.0.0\"}"
    };

    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        write_text(below(*state, "dray/version"), versions[i]);
        assert_open_fails(*state, DRAY_STORE_WRITE, DRAY_ESTORE, "dray/version");
    }
    write_text(below(*state, "dray/version"), "1\n");
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
        write_text(below(*state, "oci-layout"), layouts[i]);
        assert_open_fails(*state, DRAY_STORE_READ, DRAY_ESTORE, "oci-layout");
    }
}

static void a_layout_of_another_tool_is_adopted(void **state)
{
    write_text(below(*state, "oci-layout"), LAYOUT);
    write_text(below(*state, "index.json"), "{\"schemaVersion\":2,\"manifests\":null}");
    assert_int_equal(mkdir(below(*state, "blobs"), 0755), 0);

    dray_store_close(scratch_open(*state, DRAY_STORE_READ, NULL));
    assert_int_equal(count_names(*state), 3);

    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    assert_text(below(*state, "index.json"), "{\"schemaVersion\":2,\"manifests\":null}");
    assert_text(below(*state, "dray/version"), "1\n");
    assert_true(exists(below(*state, "dray/staging")));
}

static void a_layout_without_an_index_is_not_papered_over(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    struct dray_tag_list list;

    write_text(below(*state, "oci-layout"), LAYOUT);
    store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    assert_false(exists(below(*state, "index.json")));
    assert_int_equal(dray_tag_list_read(store, &list, NULL), DRAY_ESTORE);
}

static void an_unfinished_store_is_finished(void **state)
{
    /* In the order in which a store is made; each round stops one step later. */
    static const char *const steps[] = { "dray/",    "dray/index.lock", "dray/staging/",
                                         "blobs/",   "blobs/sha256/",   "dray/index.tmp",
                                         "dray/lock" };

    for (size_t done = 1; done <= sizeof(steps) / sizeof(steps[0]); done++) {
        const char *root = below(*state, "%zu", done);

        assert_int_equal(mkdir(root, 0755), 0);
        for (size_t i = 0; i < done; i++) {
            if (steps[i][strlen(steps[i]) - 1] == '/')
                assert_int_equal(mkdir(below(root, "%s", steps[i]), 0755), 0);
            else
                write_text(below(root, "%s", steps[i]), "");
        }
        assert_open_fails(root, DRAY_STORE_READ, DRAY_ENOTFOUND, "no store");
        dray_store_close(scratch_open(root, DRAY_STORE_WRITE, NULL));
        dray_store_close(scratch_open(root, DRAY_STORE_READ, NULL));
        assert_text(below(root, "oci-layout"), LAYOUT);
    }
}

static void staging_that_was_deleted_is_made_again(void **state)
{
    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    assert_int_equal(rmdir(below(*state, "dray/staging")), 0);
    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    assert_true(exists(below(*state, "dray/staging")));
}

static int open_for_writing(void *ctx)
{
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    struct dray_error err = { 0 };

    if (dray_store_open(ctx, DRAY_STORE_WRITE, NULL, &store, &err) != DRAY_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return 0;
}

static void many_processes_make_one_store(void **state)
{
    for (int round = 0; round < 10; round++) {
        const char *root = below(*state, "%d/store", round);
        pid_t pids[8];

        for (size_t i = 0; i < 8; i++)
            pids[i] = start_child(open_for_writing, (void *)(uintptr_t)root);
        for (size_t i = 0; i < 8; i++)
            assert_int_equal(end_child(pids[i]), 0);
        dray_store_close(scratch_open(root, DRAY_STORE_READ, NULL));
    }
}

static void a_store_opens_after_a_kill_at_any_instant(void **state) /* H-55 */
{
    uint64_t random_state = 20260102;

    for (int round = 0; round < 50; round++) {
        const char *root = below(*state, "%d", round);

        kill_child(start_child(open_for_writing, (void *)(uintptr_t)root), &random_state, 3000);
        dray_store_close(scratch_open(root, DRAY_STORE_WRITE, NULL));
        dray_store_close(scratch_open(root, DRAY_STORE_READ, NULL));
        assert_text(below(root, "oci-layout"), LAYOUT);
    }
}

static int open_as_nobody(void *ctx)
{
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    DRAY_AUTO_FD int lock_fd = -1;
    struct dray_error err = { 0 };

    if (drop_privileges() < 0)
        return 1;
    if (dray_store_open(ctx, DRAY_STORE_WRITE, NULL, &store, &err) != DRAY_EIO ||
        err.sys_errno != EACCES || !strstr(err.text, ctx))
        return 2;
    if (dray_store_open(ctx, DRAY_STORE_READ, NULL, &store, &err) != DRAY_OK)
        return 3;
    if (dray_store_lock(store, DRAY_LOCK_SHARED, NULL, &lock_fd, &err) != DRAY_OK)
        return 4;
    return lock_fd >= 0 ? 0 : 50;
}

static void a_store_that_may_not_be_written_can_be_read(void **state) /* H-58 */
{
    static const char *const dirs[] = { ".", "dray", "dray/staging", "blobs", "blobs/sha256" };

    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(chmod(below(*state, "%s", dirs[i]), 0555), 0);
    assert_int_equal(end_child(start_child(open_as_nobody, *state)), 0);

    /* Without a lock file, and without the right to make one, it is read unlocked. */
    assert_int_equal(chmod(below(*state, "dray"), 0755), 0);
    assert_int_equal(unlink(below(*state, "dray/lock")), 0);
    assert_int_equal(chmod(below(*state, "dray"), 0555), 0);
    assert_int_equal(end_child(start_child(open_as_nobody, *state)), 50);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(chmod(below(*state, "%s", dirs[i]), 0755), 0);
}

static int open_read_only_file_system(void *ctx)
{
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    DRAY_AUTO_FD int lock_fd = -1;
    struct dray_error err = { 0 };

    if (!enter_private_mounts() || mount(ctx, ctx, NULL, MS_BIND, NULL) < 0 ||
        mount(NULL, ctx, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
        return NOT_PERMITTED;
    if (dray_store_open(ctx, DRAY_STORE_WRITE, NULL, &store, &err) != DRAY_EIO ||
        err.sys_errno != EROFS)
        return 1;
    if (dray_store_open(ctx, DRAY_STORE_READ, NULL, &store, &err) != DRAY_OK)
        return 2;
    if (dray_store_lock(store, DRAY_LOCK_SHARED, NULL, &lock_fd, &err) != DRAY_OK)
        return 3;
    return 0;
}

static void a_read_only_file_system_can_be_read(void **state) /* H-58 */
{
    int status;

    dray_store_close(scratch_open(*state, DRAY_STORE_WRITE, NULL));
    status = end_child(start_child(open_read_only_file_system, *state));
    if (status == NOT_PERMITTED)
        skip();
    assert_int_equal(status, 0);
    assert_int_equal(unlink(below(*state, "dray/lock")), 0);
    assert_int_equal(end_child(start_child(open_read_only_file_system, *state)), 0);
}

struct locker {
    struct dray_store *store;
    int fd;
    int rc;
};

static void *lock_exclusively(void *arg)
{
    struct locker *locker = arg;

    locker->rc = dray_store_lock(locker->store, DRAY_LOCK_EXCLUSIVE, NULL, &locker->fd, NULL);
    return NULL;
}

static void waiting_for_the_store_lock_is_logged(void **state)
{
    struct scratch_log log = { 0 };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, &log);
    struct locker locker = { .store = store, .fd = -1, .rc = 1 };
    int shared[2];
    pthread_t thread;

    assert_ok(dray_store_lock(store, DRAY_LOCK_SHARED, NULL, &shared[0], NULL));
    assert_ok(dray_store_lock(store, DRAY_LOCK_SHARED, NULL, &shared[1], NULL));
    assert_int_equal(log.count, 0);
    assert_int_equal(pthread_create(&thread, NULL, lock_exclusively, &locker), 0);
    usleep(20000);
    close(shared[0]);
    close(shared[1]);
    pthread_join(thread, NULL);
    assert_int_equal(locker.rc, DRAY_OK);
    assert_int_equal(log.count, 1);
    assert_non_null(strstr(log.text, "waiting"));
    close(locker.fd);
}

static void the_default_root_follows_the_environment(void **state)
{
    static const char *const names[] = { "DRAY_STORE", "XDG_DATA_HOME", "HOME" };
    static const struct {
        const char *values[3];
        const char *root;
    } cases[] = {
        { { "/s", "/x", "/h" }, "/s" },
        { { "", "/x", "/h" }, "/x/dray" },
        { { NULL, "/x", "/h" }, "/x/dray" },
        { { NULL, "relative", "/h" }, "/h/.local/share/dray" },
        { { NULL, NULL, "/h" }, "/h/.local/share/dray" },
        { { NULL, NULL, NULL }, NULL },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        DRAY_AUTO_FREE char *root = NULL;
        const char *want = cases[i].root;

        for (size_t j = 0; j < 3; j++)
            cases[i].values[j] ? setenv(names[j], cases[i].values[j], 1) : unsetenv(names[j]);
        if (geteuid() == 0 && i > 0)
            want = "/var/lib/dray";
        root = dray_store_default_root();
        if (want)
            assert_string_equal(root, want);
        else
            assert_null(root);
    }
}

static void a_failed_write_asks_for_room_only_where_room_is_lacking(void **state)
{
    char root[] = "store";
    struct dray_store store = { .root = root };
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dray_file_write_error(&store, "x", 5, ENOSPC, &err), DRAY_ENOSPC);
    assert_non_null(strstr(err.text, "store/x: 5 more bytes needed"));
    assert_int_equal(dray_file_write_error(&store, "x", 5, EMFILE, &err), DRAY_EIO);
    assert_non_null(strstr(err.text, "store/x: Too many open files"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_new_store_is_an_oci_layout),
        scratch_test(opening_again_changes_nothing),
        scratch_test(reading_needs_a_store),
        scratch_test(other_files_are_not_mixed_with_a_store),
        scratch_test(a_fresh_file_system_becomes_a_store),
        scratch_test(a_newer_format_is_refused),
        scratch_test(damaged_marks_are_refused),
        scratch_test(a_layout_of_another_tool_is_adopted),
        scratch_test(a_layout_without_an_index_is_not_papered_over),
        scratch_test(an_unfinished_store_is_finished),
        scratch_test(staging_that_was_deleted_is_made_again),
        scratch_test(many_processes_make_one_store),
        scratch_test(a_store_opens_after_a_kill_at_any_instant),
        scratch_test(a_store_that_may_not_be_written_can_be_read),
        scratch_test(a_read_only_file_system_can_be_read),
        scratch_test(waiting_for_the_store_lock_is_logged),
        scratch_test(the_default_root_follows_the_environment),
        cmocka_unit_test(a_failed_write_asks_for_room_only_where_room_is_lacking),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
