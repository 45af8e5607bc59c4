/* Result files: whole or not at all, and never in the way of what stood there. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/fault.h"
#include "cmd/result_file.h"

struct folder {
    char path[64];
    char file[96]; /* a path in it */
};

static int set_up(void **state)
{
    struct folder *folder = calloc(1, sizeof(*folder));

    assert_non_null(folder);
    snprintf(folder->path, sizeof(folder->path), "/tmp/dray-test-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
    snprintf(folder->file, sizeof(folder->file), "%s/report.json", folder->path);
    *state = folder;
    return 0;
}

/* Everything in the folder is one of these; that nothing else is shows when it is removed. */
static int tear_down(void **state)
{
    struct folder *folder = *state;
    char link_path[112];

    snprintf(link_path, sizeof(link_path), "%s.link", folder->file);
    unlink(link_path);
    unlink(folder->file);
    assert_int_equal(rmdir(folder->path), 0);
    free(folder);
    return 0;
}

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void expect_content(const char *path, const char *text)
{
    char content[64] = "";
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    content[fread(content, 1, sizeof(content) - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(content, text);
}

static void what_stands_there_stays_until_the_commit(void **state)
{
    struct folder *folder = *state;
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };

    put(folder->file, "old");
    assert_int_equal(dray_result_file_open(folder->file, &file, &err), DRAY_OK);
    expect_content(folder->file, "old");
    assert_int_equal(dray_result_file_commit(&file, "new\n", 4, &err), DRAY_OK);
    dray_result_file_done(&file);
    expect_content(folder->file, "new\n");
}

/* What stands beside it until then must not need a longer name. */
static void the_longest_name_will_do(void **state)
{
    struct folder *folder = *state;
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };
    char path[512];

    snprintf(path, sizeof(path), "%s/%0255d", folder->path, 0);
    assert_int_equal(dray_result_file_open(path, &file, &err), DRAY_OK);
    assert_int_equal(dray_result_file_commit(&file, "new", 3, &err), DRAY_OK);
    dray_result_file_done(&file);
    expect_content(path, "new");
    assert_int_equal(unlink(path), 0);
}

static void nothing_is_left_without_a_commit(void **state)
{
    struct folder *folder = *state;
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };

    dray_result_file_done(&file); /* never opened */
    assert_int_equal(dray_result_file_open(folder->file, &file, &err), DRAY_OK);
    dray_result_file_done(&file);
    assert_int_not_equal(access(folder->file, F_OK), 0);
}

static void the_mode_is_the_users_choice(void **state)
{
    struct folder *folder = *state;
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };
    struct stat status;
    mode_t before = umask(027);

    assert_int_equal(dray_result_file_open(folder->file, &file, &err), DRAY_OK);
    assert_int_equal(umask(before), 027); /* it is as it was */
    assert_int_equal(dray_result_file_commit(&file, "", 0, &err), DRAY_OK);
    dray_result_file_done(&file);
    assert_int_equal(stat(folder->file, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640);
}

static void a_symbolic_link_goes_on_pointing(void **state)
{
    struct folder *folder = *state;
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };
    struct stat status;
    char path[112];

    snprintf(path, sizeof(path), "%s.link", folder->file);
    put(folder->file, "old");
    assert_int_equal(symlink("report.json", path), 0);
    assert_int_equal(dray_result_file_open(path, &file, &err), DRAY_OK);
    assert_int_equal(dray_result_file_commit(&file, "new", 3, &err), DRAY_OK);
    dray_result_file_done(&file);
    expect_content(folder->file, "new");
    assert_int_equal(lstat(path, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
}

static void a_pipe_is_written_in_place(void **state)
{
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };
    char path[32];
    char content[8] = "";
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    snprintf(path, sizeof(path), "/dev/fd/%d", fds[1]);
    assert_int_equal(dray_result_file_open(path, &file, &err), DRAY_OK);
    assert_int_equal(dray_result_file_commit(&file, "new", 3, &err), DRAY_OK);
    dray_result_file_done(&file);
    assert_int_equal(read(fds[0], content, sizeof(content)), 3);
    assert_string_equal(content, "new");
    close(fds[0]);
    close(fds[1]);
}

static void expect_refusal(const char *path, const char *reason)
{
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };

    assert_int_equal(dray_result_file_open(path, &file, &err), DRAY_EIO);
    assert_int_equal(dray_fault_exit(&err), DRAY_EXIT_FAILED);
    assert_non_null(strstr(err.text, path));
    assert_non_null(strstr(err.text, reason));
    assert_int_equal(file.fd, -1);
}

static void what_cannot_be_written_is_refused_at_once(void **state)
{
    struct folder *folder = *state;
    char path[112];

    expect_refusal("", "No such file or directory");
    expect_refusal(folder->path, "Is a directory");
    snprintf(path, sizeof(path), "%s/nosuch/report.json", folder->path);
    expect_refusal(path, "No such file or directory");
    assert_int_equal(mkfifo(folder->file, 0600), 0);
    expect_refusal(folder->file, "No such device"); /* nobody reads along */
}

/* As --report /dev/stdout > FILE would have it. */
static void the_file_that_output_goes_to_is_refused(void **state)
{
    struct folder *folder = *state;
    int saved = dup(STDERR_FILENO);

    put(folder->file, "");
    assert_true(saved >= 0);
    assert_non_null(freopen(folder->file, "a", stderr));
    expect_refusal(folder->file, "our own output goes there");
    assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
    close(saved);
}

static void a_full_disk_is_told(void **state)
{
    struct dray_result_file file = DRAY_RESULT_FILE_NONE;
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dray_result_file_open("/dev/full", &file, &err), DRAY_OK);
    assert_int_equal(dray_result_file_commit(&file, "new", 3, &err), DRAY_EIO);
    assert_string_equal(err.text, "cannot write /dev/full: No space left on device");
    dray_result_file_done(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_stands_there_stays_until_the_commit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_longest_name_will_do, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_left_without_a_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_mode_is_the_users_choice, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_symbolic_link_goes_on_pointing, set_up, tear_down),
        cmocka_unit_test(a_pipe_is_written_in_place),
        cmocka_unit_test_setup_teardown(what_cannot_be_written_is_refused_at_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_file_that_output_goes_to_is_refused, set_up, tear_down),
        cmocka_unit_test(a_full_disk_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
