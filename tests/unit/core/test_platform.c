/* Platforms: how they are written, and which image a machine prefers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/error.h"
#include "core/platform.h"

static struct dray_platform platform(const char *text)
{
    struct dray_platform parsed;

    if (dray_platform_parse(text, &parsed, NULL) < 0)
        fail_msg("\"%s\" was refused", text);
    return parsed;
}

static void assert_formats(const struct dray_platform *given, const char *expected)
{
    char text[DRAY_PLATFORM_TEXT_MAX];

    dray_platform_format(given, text);
    assert_string_equal(text, expected);
}

static void spellings_become_canonical(void **state)
{
    static const char *const table[][2] = {
        { "linux/amd64", "linux/amd64" },
        { "linux/amd64/v1", "linux/amd64" },
        { "linux/amd64/v3", "linux/amd64/v3" },
        { "linux/x86_64", "linux/amd64" },
        { "Linux/X86-64/V2", "linux/amd64/v2" },
        { "linux/i386", "linux/386" },
        { "linux/i386/sse2", "linux/386" },
        { "linux/386", "linux/386" },
        { "linux/aarch64", "linux/arm64" },
        { "linux/aarch64/8", "linux/arm64" },
        { "linux/arm64/v8", "linux/arm64" },
        { "linux/arm64/v8.0", "linux/arm64" },
        { "linux/arm64/v8.2", "linux/arm64/v8.2" },
        { "linux/arm64/9", "linux/arm64/v9" },
        { "linux/arm", "linux/arm/v7" },
        { "linux/arm/5", "linux/arm/v5" },
        { "linux/arm/6", "linux/arm/v6" },
        { "linux/arm/7", "linux/arm/v7" },
        { "linux/arm/8", "linux/arm/v8" },
        { "linux/arm/v6", "linux/arm/v6" },
        { "linux/armhf", "linux/arm/v7" },
        { "linux/armhf/v6", "linux/arm/v7" },
        { "linux/armel", "linux/arm/v6" },
        { "macOS/arm64", "darwin/arm64" },
        { "windows/amd64", "windows/amd64" },
        { "linux/riscv64", "linux/riscv64" },
        { "plan11/vax/old", "plan11/vax/old" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct dray_platform parsed = platform(table[i][0]);

        assert_formats(&parsed, table[i][1]);
        dray_platform_normalise(&parsed); /* once more changes nothing */
        assert_formats(&parsed, table[i][1]);
    }
}

static void half_a_platform_takes_the_other_half_from_the_host(void **state)
{
    struct dray_platform host;
    struct dray_platform parsed;

    (void)state;
    dray_platform_host(&host);

    parsed = platform("arm64");
    assert_string_equal(parsed.os, host.os);
    assert_string_equal(parsed.architecture, "arm64");
    assert_string_equal(parsed.variant, "");

    parsed = platform("armhf");
    assert_string_equal(parsed.architecture, "arm");
    assert_string_equal(parsed.variant, "v7");

    parsed = platform("x86_64"); /* named, so that it is level 1 on every host */
    assert_string_equal(parsed.architecture, "amd64");
    assert_string_equal(parsed.variant, "");

    parsed = platform("macos");
    assert_string_equal(parsed.os, "darwin");
    assert_string_equal(parsed.architecture, host.architecture);
    assert_string_equal(parsed.variant, host.variant);
}

static void what_is_no_platform_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        "/",
        "linux/",
        "/amd64",
        "linux//v7",
        "linux/arm/v7/",
        "linux/arm/v7/x",
        "linux/*",
        "linux/amd 64",
        "linux/amd64\n",
        "linux/\x1b[31m",
        "linux/\xc3\xa4",
        "vax",
        "all",
        "linux,amd64",
        "linux/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    };
    struct dray_platform untouched = { .os = "before" };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct dray_error err = { 0 };

        if (dray_platform_parse(texts[i], &untouched, &err) != DRAY_EINVAL)
            fail_msg("\"%s\" was not refused", texts[i]);
        assert_int_not_equal(err.text[0], '\0');
        for (const char *at = err.text; *at; at++)
            assert_in_range((unsigned char)*at, ' ', '~');
    }
    assert_string_equal(untouched.os, "before");
}

static void the_longest_parts_fit(void **state)
{
    struct dray_platform parsed;
    char text[3 * (DRAY_PLATFORM_PART_MAX + 1)];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[DRAY_PLATFORM_PART_MAX] = '/';
    text[2 * DRAY_PLATFORM_PART_MAX + 1] = '/';
    text[sizeof(text) - 1] = '\0';
    parsed = platform(text);
    assert_formats(&parsed, text);
}

/* Each list is what a machine takes, best first. */
static void a_machine_prefers_the_image_that_uses_most_of_it(void **state)
{
    static const char *const lists[][12] = {
        { "linux/amd64/v4", "linux/amd64/v4", "linux/amd64/v3", "linux/amd64/v2", "linux/amd64" },
        { "linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v1" },
        { "linux/amd64", "linux/amd64" },
        { "linux/arm/v8", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5" },
        { "linux/arm", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5" },
        { "linux/arm/v6", "linux/arm/v6", "linux/arm/v5" },
        { "linux/arm/v5", "linux/arm/v5" },
        { "linux/arm64", "linux/arm64/v8", "linux/arm/v8", "linux/arm", "linux/arm/v6",
          "linux/arm/v5" },
        { "linux/arm64/v8.1", "linux/arm64/v8.1", "linux/arm64", "linux/arm/v8", "linux/arm/v5" },
        { "linux/arm64/v9.1", "linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6",
          "linux/arm64/v8.5", "linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6",
          "linux/arm/v5" },
        { "linux/riscv64", "linux/riscv64" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        const struct dray_platform wanted = platform(lists[i][0]);
        const struct dray_platform same = platform(lists[i][1]);
        int before = dray_platform_rank(&wanted, &same);

        assert_int_equal(before, dray_platform_rank(&wanted, &wanted));
        for (size_t k = 2; k < 12 && lists[i][k]; k++) {
            const struct dray_platform offered = platform(lists[i][k]);
            const int rank = dray_platform_rank(&wanted, &offered);

            if (rank <= 0 || rank >= before)
                fail_msg("%s ranks %s at %d after %d", lists[i][0], lists[i][k], rank, before);
            before = rank;
        }
        assert_true(before > 0);
    }
}

static void what_a_machine_cannot_run_has_no_rank(void **state)
{
    static const char *const pairs[][2] = {
        { "linux/amd64", "linux/amd64/v2" },      { "linux/amd64/v3", "linux/amd64/v4" },
        { "linux/amd64", "linux/386" },           { "linux/386", "linux/amd64" },
        { "linux/amd64", "windows/amd64" },       { "linux/amd64", "linux/arm64" },
        { "linux/amd64/v3", "linux/386" },        { "linux/arm64", "linux/amd64" },
        { "linux/arm", "linux/arm/v8" },          { "linux/arm/v6", "linux/arm" },
        { "linux/arm/v7", "linux/arm/v4" },       { "linux/arm/v8", "linux/arm64" },
        { "linux/arm64", "linux/arm64/v9" },      { "linux/arm64", "linux/arm64/v8.1" },
        { "linux/arm64", "linux/arm/v4" },        { "linux/arm64", "windows/arm/v7" },
        { "linux/arm64/v9", "linux/arm64/v8.6" }, { "linux/arm64/vnext", "linux/arm/v7" },
        { "linux/amd64", "unknown/unknown" },     { "linux/amd64/v3", "linux/amd64/haswell" },
        { "linux/amd64/haswell", "linux/amd64" }, { "linux/riscv64", "linux/riscv64/rva23" },
        { "linux/ppc64le", "linux/ppc64" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        const struct dray_platform wanted = platform(pairs[i][0]);
        const struct dray_platform offered = platform(pairs[i][1]);

        if (dray_platform_rank(&wanted, &offered) != 0)
            fail_msg("%s takes %s", pairs[i][0], pairs[i][1]);
    }
}

static void ranking_reads_other_spellings(void **state)
{
    const struct dray_platform wanted = { .os = "linux", .architecture = "aarch64" };
    const struct dray_platform canonical = platform("linux/arm64");
    const struct dray_platform offered = { "Linux", "arm64", "v8" };
    const struct dray_platform empty = { 0 };

    (void)state;
    assert_int_equal(dray_platform_rank(&wanted, &offered),
                     dray_platform_rank(&canonical, &canonical));
    assert_int_equal(dray_platform_rank(&wanted, &empty), 0);
}

#if defined(__x86_64__) && defined(__linux__)

/* The dynamic linker chooses libraries by the same levels, and tells which ones it takes. */
static void the_host_has_the_level_that_the_dynamic_linker_finds(void **state)
{
    FILE *help = popen("/lib64/ld-linux-x86-64.so.2 --help 2>&1", "re");
    struct dray_platform host;
    bool told = false;
    int level = 1;
    char line[256];
    char expected[DRAY_PLATFORM_TEXT_MAX] = "linux/amd64";

    (void)state;
    assert_non_null(help);
    while (fgets(line, sizeof(line), help)) {
        int named = 0;
        int end = 0;

        sscanf(line, " x86-64-v%d %n", &named, &end);
        told = told || end > 0;
        if (end > 0 && named > level && strncmp(line + end, "(supported", 10) == 0)
            level = named;
    }
    pclose(help);
    if (!told) /* not glibc, or one before 2.33 */
        skip();

    if (level > 1)
        snprintf(expected, sizeof(expected), "linux/amd64/v%d", level);
    dray_platform_host(&host);
    assert_formats(&host, expected);
}

/* As under setarch(8): the kernel then says i686. */
static void a_32_bit_personality_is_a_386(void **state)
{
    int status;
    pid_t child;

    (void)state;
    child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        struct dray_platform host;
        struct utsname name;

        if (personality(PER_LINUX32) == -1 || uname(&name) < 0 || strcmp(name.machine, "i686") != 0)
            _exit(2);
        dray_platform_host(&host);
        _exit(strcmp(host.architecture, "386") == 0 && host.variant[0] == '\0' ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

#endif

static void the_host_is_canonical_and_takes_its_own_images(void **state)
{
    struct dray_platform host;
    struct dray_platform again;
    char text[DRAY_PLATFORM_TEXT_MAX];

    (void)state;
    dray_platform_host(&host);
    dray_platform_format(&host, text);
    again = platform(text);
    assert_formats(&again, text);
    assert_string_equal(host.os, "linux");
    assert_true(dray_platform_rank(&host, &again) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings_become_canonical),
        cmocka_unit_test(half_a_platform_takes_the_other_half_from_the_host),
        cmocka_unit_test(what_is_no_platform_is_refused),
        cmocka_unit_test(the_longest_parts_fit),
        cmocka_unit_test(a_machine_prefers_the_image_that_uses_most_of_it),
        cmocka_unit_test(what_a_machine_cannot_run_has_no_rank),
        cmocka_unit_test(ranking_reads_other_spellings),
        cmocka_unit_test(the_host_is_canonical_and_takes_its_own_images),
#if defined(__x86_64__) && defined(__linux__)
        cmocka_unit_test(the_host_has_the_level_that_the_dynamic_linker_finds),
        cmocka_unit_test(a_32_bit_personality_is_a_386),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
