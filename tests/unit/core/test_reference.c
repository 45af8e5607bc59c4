/* References: Docker's rules for short names, distribution's grammar, and texts that help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <dray/reference.h>

#include "core/error.h"

#define HEX64  "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a"
#define DIGEST "sha256:" HEX64

static void fill(char *buf, size_t len, char c)
{
    memset(buf, c, len);
    buf[len] = '\0';
}

static void assert_refused(const char *name, const char *reason)
{
    struct dray_reference untouched = { .domain = "before" };
    struct dray_error err = { 0 };

    if (dray_reference_parse(name, &untouched, &err) != DRAY_EINVAL)
        fail_msg("\"%s\" was not refused", name);
    assert_int_equal(err.code, DRAY_EINVAL);
    if (!strstr(err.text, reason))
        fail_msg("\"%s\" was refused with \"%s\", not \"%s\"", name, err.text, reason);
    for (const char *at = err.text; *at; at++)
        assert_in_range((unsigned char)*at, ' ', '~');
    assert_string_equal(untouched.domain, "before");
}

/* R-1. The familiar and the canonical form of each must read back as the same. */
static const struct {
    const char *name;
    const char *domain;
    const char *path;
    const char *familiar;
} names[] = {
    { "ubuntu", "docker.io", "library/ubuntu", "ubuntu" },
    { "library/ubuntu", "docker.io", "library/ubuntu", "ubuntu" },
    { "docker.io/ubuntu", "docker.io", "library/ubuntu", "ubuntu" },
    { "docker.io/library/ubuntu", "docker.io", "library/ubuntu", "ubuntu" },
    { "index.docker.io/ubuntu", "docker.io", "library/ubuntu", "ubuntu" },
    { "index.docker.io/library/ubuntu-12.04-base", "docker.io", "library/ubuntu-12.04-base",
      "ubuntu-12.04-base" },
    { "index.docker.io/fooo/bar", "docker.io", "fooo/bar", "fooo/bar" },
    { "nonlibrary/ubuntu", "docker.io", "nonlibrary/ubuntu", "nonlibrary/ubuntu" },
    { "other/library", "docker.io", "other/library", "other/library" },
    { "library/foo/bar", "docker.io", "library/foo/bar", "library/foo/bar" },
    { "store/foo/bar", "docker.io", "store/foo/bar", "store/foo/bar" },
    { "test_com/foo", "docker.io", "test_com/foo", "test_com/foo" },
    { "d/docker", "docker.io", "d/docker", "d/docker" },
    { "docker---rules/docker", "docker.io", "docker---rules/docker", "docker---rules/docker" },
    { "dock__er/a.b_c-d", "docker.io", "dock__er/a.b_c-d", "dock__er/a.b_c-d" },
    /* only a first component of several can be a host */
    { "localhost", "docker.io", "library/localhost", "localhost" },
    { "example.com", "docker.io", "library/example.com", "example.com" },
    /* other registries */
    { "localhost/foo", "localhost", "foo", "localhost/foo" },
    { "localhost:5000/scratch", "localhost:5000", "scratch", "localhost:5000/scratch" },
    { "127.0.0.1:8000/private/moonbase", "127.0.0.1:8000", "private/moonbase",
      "127.0.0.1:8000/private/moonbase" },
    { "127.0.0.1:8000/privatebase", "127.0.0.1:8000", "privatebase", "127.0.0.1:8000/privatebase" },
    { "example.com/private/moonbase", "example.com", "private/moonbase",
      "example.com/private/moonbase" },
    { "example.com:8000/privatebase", "example.com:8000", "privatebase",
      "example.com:8000/privatebase" },
    { "test-com:65535/foo", "test-com:65535", "foo", "test-com:65535/foo" },
    { "xn--n3h.com:18080/foo", "xn--n3h.com:18080", "foo", "xn--n3h.com:18080/foo" },
    { "Foo/bar", "Foo", "bar", "Foo/bar" },
    { "FOO/bar", "FOO", "bar", "FOO/bar" },
    { "[::1]/foo", "[::1]", "foo", "[::1]/foo" },
    { "[fc00::1]:5000/docker/docker", "[fc00::1]:5000", "docker/docker",
      "[fc00::1]:5000/docker/docker" },
    { "[FC00:1:2:3:4:5:6:7]:5000/library/debian", "[FC00:1:2:3:4:5:6:7]:5000", "library/debian",
      "[FC00:1:2:3:4:5:6:7]:5000/library/debian" },
    /* the name of the Hub's machine is a registry as any other, for Docker too */
    { "registry-1.docker.io/library/foo", "registry-1.docker.io", "library/foo",
      "registry-1.docker.io/library/foo" },
    { "docker.io:443/foo", "docker.io:443", "foo", "docker.io:443/foo" },
    /* short forms that would be read as a host keep theirs */
    { "docker.io/localhost/foo", "docker.io", "localhost/foo", "docker.io/localhost/foo" },
    { "docker.io/foo.bar/baz", "docker.io", "foo.bar/baz", "docker.io/foo.bar/baz" },
    /* an image ID is refused only where it stands alone */
    { "docker.io/" HEX64, "docker.io", "library/" HEX64, HEX64 },
    { "0" HEX64, "docker.io", "library/0" HEX64, "0" HEX64 },
    { "thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev", "docker.io",
      "library/thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev",
      "thisisthesongthatneverendsitgoesonandonandonthisisthesongthatnev" },
    { "scratch/foo", "docker.io", "scratch/foo", "scratch/foo" },
};

static void names_are_normalised_as_docker_does(void **state)
{
    static const char *const endings[][3] = {
        { "", "latest", "" },
        { ":1.0", "1.0", "" },
        { "@" DIGEST, "", DIGEST },
        { ":1.0@" DIGEST, "1.0", DIGEST },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        for (size_t k = 0; k < sizeof(endings) / sizeof(endings[0]); k++) {
            char input[512];
            char expected[DRAY_REFERENCE_TEXT_MAX];
            char text[DRAY_REFERENCE_TEXT_MAX];
            struct dray_reference reference;
            struct dray_reference again;

            snprintf(input, sizeof(input), "%s%s", names[i].name, endings[k][0]);
            if (dray_reference_parse(input, &reference, NULL) != DRAY_OK)
                fail_msg("\"%s\" was refused", input);
            assert_string_equal(reference.domain, names[i].domain);
            assert_string_equal(reference.path, names[i].path);
            assert_string_equal(reference.tag, endings[k][1]);
            assert_string_equal(reference.digest.text, endings[k][2]);

            snprintf(expected, sizeof(expected), "%s/%s%s", names[i].domain, names[i].path,
                     k == 0 ? ":latest" : endings[k][0]);
            dray_reference_canonical(&reference, text);
            assert_string_equal(text, expected);
            assert_int_equal(dray_reference_parse(text, &again, NULL), DRAY_OK);
            assert_memory_equal(&again, &reference, sizeof(again));

            snprintf(expected, sizeof(expected), "%s%s", names[i].familiar,
                     k == 0 ? ":latest" : endings[k][0]);
            dray_reference_familiar(&reference, text);
            assert_string_equal(text, expected);
            assert_int_equal(dray_reference_parse(text, &again, NULL), DRAY_OK);
            assert_memory_equal(&again, &reference, sizeof(again));
        }
    }
}

static void tags_and_ports_are_told_apart(void **state)
{
    struct dray_reference reference;

    (void)state;
    assert_int_equal(dray_reference_parse("192.168.0.1:80", &reference, NULL), DRAY_OK);
    assert_string_equal(reference.path, "library/192.168.0.1");
    assert_string_equal(reference.tag, "80");
    assert_int_equal(dray_reference_parse("localhost:5000/a:5001", &reference, NULL), DRAY_OK);
    assert_string_equal(reference.domain, "localhost:5000");
    assert_string_equal(reference.path, "a");
    assert_string_equal(reference.tag, "5001");
    assert_int_equal(dray_reference_parse("a:_A.b-C", &reference, NULL), DRAY_OK);
    assert_string_equal(reference.tag, "_A.b-C");
}

static void broken_paths_are_refused(void **state)
{
    static const char *const paths[] = {
        "-docker",          "docker-",         "_docker/_docker",
        "____/____",        "-docker/docker",  "docker-/docker",
        ".docker",          "docker.",         "dock..er/docker",
        "dock___er/docker", "dock_.er/docker", "dock-.er/docker",
        "dock-_er",         "docker///docker", "docker//docker",
        "/docker",          "docker/",         "docker.io/docker//docker",
        "../docker",        "docker/..",       "docker/./docker",
        "docker.io/a/../b", "docker%2fdocker", "docker?x",
        "docker#x",         "docker$x",        "docker\\x",
        "docker/*",         "[fc00::1]",       "d\xc3\xb6ker",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_refused(paths[i], "invalid image name");
    assert_refused("localhost:5000/", "repository name is missing");
    assert_refused("docker.io/", "repository name is missing");
    assert_refused(":tag", "repository name is missing");
    assert_refused("@" DIGEST, "repository name is missing");
    assert_refused("", "empty");
}

static void broken_hosts_are_refused(void **state)
{
    (void)state;
    assert_refused("-docker.io/docker/docker", "not a host name");
    assert_refused("docker-.io/docker", "not a host name");
    assert_refused("docker..io/docker", "not a host name");
    assert_refused(".io/docker", "not a host name");
    assert_refused("docker.io./docker", "not a host name");
    assert_refused("foo_bar.com/docker", "not a host name");
    assert_refused(":5000/docker", "not a host name");
    assert_refused("Foo*/docker", "not a host name");
    assert_refused("localhost:/docker", "port");
    assert_refused("localhost:0/docker", "port");
    assert_refused("localhost:65536/docker", "port");
    assert_refused("localhost:4294967376/docker", "port");
    assert_refused("localhost:+80/docker", "port");
    assert_refused("localhost:80:80/docker", "port");
    assert_refused("nginx:tag/foo", "port");
    assert_refused("fc00::1:5000/debian", "port");
    assert_refused("[fc00::1]:/debian", "port");
    assert_refused("[fc00::1]:x/debian", "port");
    assert_refused("[fc00::1]5000/debian", "only a port");
    assert_refused("[fc00::1/debian", "not closed");
    assert_refused("[]:5000/debian", "IPv6");
    assert_refused("[:::]/debian", "IPv6");
    assert_refused("[fe80::1%eth0]:5000/debian", "IPv6");
    assert_refused("[2001:db8:3:4::192.0.2.33]:5000/debian", "IPv6");
    assert_refused("[0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]/debian", "IPv6");
}

static void broken_tags_and_digests_are_refused(void **state)
{
    (void)state;
    assert_refused("nginx:", "tag");
    assert_refused("nginx:-a", "tag");
    assert_refused("nginx:.a", "tag");
    assert_refused("nginx:a:b", "tag");
    assert_refused("nginx:a+b", "tag");
    assert_refused("a/nginx:a/b", "tag");
    assert_refused("nginx@", "digest");
    assert_refused("nginx:1@", "digest");
    assert_refused("nginx@sha256:abc", "3 hex digits instead of 64");
    assert_refused("nginx@" HEX64, "digest");
    assert_refused("nginx@" DIGEST ":tag", "digest");
    assert_refused("nginx@" DIGEST "@" DIGEST, "digest");
    assert_refused("nginx@md5:d41d8cd98f00b204e9800998ecf8427e", "md5 is not supported");
    assert_refused("nginx@sha256:../../../../../../../../../../../../../../../../../../../etc/x",
                   "before the first '/'");
    assert_refused("a/nginx@sha256:../../x", "hex digits");
}

static void upper_case_repositories_are_refused_with_the_reason(void **state)
{
    (void)state;
    assert_refused("Nginx", "repository names are lower-case");
    assert_refused("docker/Docker", "repository names are lower-case");
    assert_refused("docker.io/docker/DockeR:1", "repository names are lower-case");
}

static void an_image_id_is_not_a_name(void **state)
{
    struct dray_reference reference;

    (void)state;
    assert_refused(HEX64, "image ID");
    assert_int_equal(dray_reference_parse(HEX64 ":tag", &reference, NULL), DRAY_OK);
}

static void scratch_is_reserved_on_the_hub(void **state)
{
    (void)state;
    assert_refused("scratch", "'scratch' is a reserved name");
    assert_refused("scratch:latest", "'scratch' is a reserved name");
    assert_refused("library/scratch", "'scratch' is a reserved name");
    assert_refused("docker.io/scratch", "'scratch' is a reserved name");
    assert_refused("index.docker.io/library/scratch", "'scratch' is a reserved name");
}

static void a_scheme_is_refused_and_the_name_without_it_proposed(void **state)
{
    struct dray_reference reference;
    struct dray_error err = { 0 };

    (void)state;
    assert_refused("https://github.com/docker/docker", "scheme");
    dray_reference_parse("https://github.com/docker/docker", &reference, &err);
    assert_non_null(strstr(err.hint, "github.com/docker/docker"));
    assert_null(strstr(err.hint, "https"));
    dray_reference_parse("docker://nginx:1", &reference, &err);
    assert_non_null(strstr(err.hint, "nginx:1"));

    /* nothing is proposed that would be refused in turn */
    dray_reference_parse("https://", &reference, &err);
    assert_string_equal(err.hint, "");
    dray_reference_parse("https://docker://nginx", &reference, &err);
    assert_string_equal(err.hint, "");
}

static void credentials_in_a_name_are_not_shown(void **state)
{
    static const char *const texts[] = {
        "user:hunter2@example.com/foo",
        "https://user:hunter2@example.com/foo",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct dray_reference reference;
        struct dray_error err = { 0 };

        assert_int_equal(dray_reference_parse(texts[i], &reference, &err), DRAY_EINVAL);
        assert_null(strstr(err.text, "hunter2"));
        assert_null(strstr(err.hint, "hunter2"));
    }
}

static void every_other_byte_is_refused_and_shown_escaped(void **state)
{
    (void)state;
    for (int c = 1; c < 256; c++) {
        char name[] = "ab?cd";
        char shown[16];

        if ((c > ' ' && c < 0x7f))
            continue;
        name[2] = (char)c;
        snprintf(shown, sizeof(shown), c == ' ' ? "ab cd" : "ab\\x%02xcd", c);
        assert_refused(name, shown);
    }
    assert_refused("nginx\n", "nginx\\x0a");
    assert_refused(" nginx", "\" nginx\"");
    assert_refused("nginx:\x1b[31m", "nginx:\\x1b[31m");
    assert_refused("ex\rample.com/nginx", "\\x0d");
    assert_refused("a/nginx@sha256:\x07", "\\x07");
}

static void lengths_are_limited(void **state)
{
    struct dray_reference reference;
    char name[8192];
    char part[300];

    (void)state;
    /* the path, with library/ */
    fill(part, 255 - strlen("library/"), 'a');
    assert_int_equal(dray_reference_parse(part, &reference, NULL), DRAY_OK);
    assert_int_equal(strlen(reference.path), DRAY_PATH_MAX);
    fill(part, 256 - strlen("library/"), 'a');
    assert_refused(part, "longer than 255");
    fill(part, 255, 'a');
    snprintf(name, sizeof(name), "localhost/%s", part);
    assert_int_equal(dray_reference_parse(name, &reference, NULL), DRAY_OK);
    snprintf(name, sizeof(name), "localhost/%sa", part);
    assert_refused(name, "longer than 255");

    /* the host */
    snprintf(name, sizeof(name), "%.*s.b/c", 253, part);
    assert_int_equal(dray_reference_parse(name, &reference, NULL), DRAY_OK);
    assert_int_equal(strlen(reference.domain), DRAY_DOMAIN_MAX);
    snprintf(name, sizeof(name), "%.*s.b/c", 254, part);
    assert_refused(name, "longer than 255");

    /* the tag */
    snprintf(name, sizeof(name), "a:%.*s", 128, part);
    assert_int_equal(dray_reference_parse(name, &reference, NULL), DRAY_OK);
    assert_int_equal(strlen(reference.tag), DRAY_TAG_MAX);
    snprintf(name, sizeof(name), "a:%.*s", 129, part);
    assert_refused(name, "longer than 128");

    /* the whole, whose message is bounded too */
    fill(name, sizeof(name) - 1, '\n');
    assert_refused(name, "too long");
    fill(name, DRAY_REFERENCE_TEXT_MAX - 1, '\n');
    assert_refused(name, "...\"");
}

static void the_longest_reference_fits_its_texts(void **state)
{
    struct dray_reference reference;
    struct dray_reference again;
    char host[256];
    char path[256];
    char tag[129];
    char hex[129];
    char name[DRAY_REFERENCE_TEXT_MAX];
    char text[DRAY_REFERENCE_TEXT_MAX];

    (void)state;
    fill(host, 255, 'a');
    host[100] = '.';
    fill(path, 255, 'b');
    fill(tag, 128, 'c');
    fill(hex, 128, 'd');
    snprintf(name, sizeof(name), "%s/%s:%s@sha512:%s", host, path, tag, hex);
    assert_int_equal(strlen(name), 255 + 1 + 255 + 1 + 128 + 1 + 7 + 128);
    assert_int_equal(dray_reference_parse(name, &reference, NULL), DRAY_OK);
    dray_reference_canonical(&reference, text);
    assert_string_equal(text, name);
    dray_reference_familiar(&reference, text);
    assert_string_equal(text, name);
    assert_int_equal(dray_reference_parse(text, &again, NULL), DRAY_OK);
    assert_memory_equal(&again, &reference, sizeof(again));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_normalised_as_docker_does),
        cmocka_unit_test(tags_and_ports_are_told_apart),
        cmocka_unit_test(broken_paths_are_refused),
        cmocka_unit_test(broken_hosts_are_refused),
        cmocka_unit_test(broken_tags_and_digests_are_refused),
        cmocka_unit_test(upper_case_repositories_are_refused_with_the_reason),
        cmocka_unit_test(an_image_id_is_not_a_name),
        cmocka_unit_test(scratch_is_reserved_on_the_hub),
        cmocka_unit_test(a_scheme_is_refused_and_the_name_without_it_proposed),
        cmocka_unit_test(credentials_in_a_name_are_not_shown),
        cmocka_unit_test(every_other_byte_is_refused_and_shown_escaped),
        cmocka_unit_test(lengths_are_limited),
        cmocka_unit_test(the_longest_reference_fits_its_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
