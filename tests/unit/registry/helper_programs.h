/* Credential helpers for tests: shell scripts in a directory of their own, which is all of $PATH
 * but for the system's. */
#ifndef TESTS_UNIT_REGISTRY_HELPER_PROGRAMS_H
#define TESTS_UNIT_REGISTRY_HELPER_PROGRAMS_H

#include <ftw.h>
#include <sys/stat.h>

#include "tests/unit/registry/fixture.h"

/* A new directory, at the head of $PATH. test_remove_helper_dir() it. */
static UNUSED char *test_make_helper_dir(void)
{
    const char *base = getenv("TMPDIR");
    char *dir;
    char *path;

    assert_true(asprintf(&dir, "%s/dray-helpers-XXXXXX", base ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(dir));
    assert_true(asprintf(&path, "%s:/usr/bin:/bin", dir) > 0);
    assert_int_equal(setenv("PATH", path, 1), 0);
    free(path);
    return dir;
}

/* docker-credential-NAME: notes that it was called, reads $server, and does as body says. */
static UNUSED void test_write_helper(const char *dir, const char *name, const char *body)
{
    char path[1024];
    FILE *file;

    snprintf(path, sizeof(path), "%s/docker-credential-%s", dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\nread -r server\necho \"$1 $server\" >> '%s/calls'\n%s",
                        dir, body) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static UNUSED size_t test_helper_calls(const char *dir)
{
    char path[1024];
    char line[256];
    size_t count = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/calls", dir);
    file = fopen(path, "r");
    while (file && fgets(line, sizeof(line), file))
        count++;
    if (file)
        fclose(file);
    return count;
}

static UNUSED int helper_dir_remove_one(const char *path, const struct stat *st, int type,
                                        struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static UNUSED void test_remove_helper_dir(char *dir)
{
    nftw(dir, helper_dir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

#endif
