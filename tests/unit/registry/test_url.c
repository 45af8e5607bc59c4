#include "registry/url.h"

#include <arpa/inet.h>

#include "tests/unit/registry/fixture.h"

static void an_origin_is_scheme_host_and_port_in_one_spelling(void **state)
{
    static const char *const rows[][2] = {
        { "https://Registry.Example/v2/", "https://registry.example" },
        { "HTTPS://registry.example:443/x", "https://registry.example" },
        { "http://registry.example:80", "http://registry.example" },
        { "https://registry.example:80/", "https://registry.example:80" },
        { "http://[::1]:5000/", "http://[::1]:5000" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        DRAY_AUTO_URL struct dray_url url = { 0 };

        assert_ok(dray_url_parse(rows[i][0], &url, NULL));
        assert_string_equal(url.origin, rows[i][1]);
    }
}

static void what_is_shown_has_no_query(void **state)
{
    DRAY_AUTO_URL struct dray_url url = { 0 };

    (void)state;
    assert_ok(dray_url_parse("https://cdn.example/blob?X-Signature=secret#part", &url, NULL));
    assert_string_equal(url.shown, "https://cdn.example/blob");
    assert_string_equal(url.text, "https://cdn.example/blob?X-Signature=secret");
}

static void urls_that_are_not_for_us_are_refused_without_being_quoted(void **state)
{
    static const char *const rows[] = {
        "ftp://host/x",
        "file:///etc/passwd",
        "gopher://host/",
        "https://user:hunter2@host/",
        "https://user@host/",
        "https://",
        "registry.example/path",
        "https://host/\x01hunter2",
        "https://ho st/",
        "http://host:99999/",
        "",
        "//host/x",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dray_url url = { 0 };
        struct dray_error err = { 0 };

        if (dray_url_parse(rows[i], &url, &err) != DRAY_EINVAL)
            fail_msg("accepted: %s", rows[i]);
        assert_lacks(err.text, "hunter2");
    }
}

static void a_location_is_resolved_against_the_url_it_came_from(void **state)
{
    static const char *const rows[][2] = {
        { "https://other.example/b?q=1", "https://other.example/b?q=1" },
        { "/b", "https://host.example:5000/b" },
        { "b", "https://host.example:5000/v2/x/b" },
        { "../../b", "https://host.example:5000/b" },
        { "//other.example/b", "https://other.example/b" },
        { "/with space", "https://host.example:5000/with%20space" },
    };
    DRAY_AUTO_URL struct dray_url base = { 0 };

    (void)state;
    assert_ok(dray_url_parse("https://host.example:5000/v2/x/a?secret", &base, NULL));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        DRAY_AUTO_URL struct dray_url url = { 0 };

        assert_ok(dray_url_resolve(&base, rows[i][0], &url, NULL));
        assert_string_equal(url.text, rows[i][1]);
    }
}

static void query_parameters_are_encoded_and_appended(void **state)
{
    DRAY_AUTO_URL struct dray_url url = { 0 };

    (void)state;
    assert_ok(dray_url_parse("https://auth.example/token?a=b", &url, NULL));
    assert_ok(dray_url_add_query(&url, "service", "x&y=z"));
    assert_string_equal(url.text, "https://auth.example/token?a=b&service=x%26y%3dz");
    assert_string_equal(url.shown, "https://auth.example/token");
}

static void local_hosts_are_known_in_every_spelling(void **state)
{
    static const struct {
        const char *host;
        enum dray_reach want;
    } rows[] = {
        { "localhost", DRAY_REACH_LOOPBACK },
        { "LOCALHOST.", DRAY_REACH_LOOPBACK },
        { "registry.localhost", DRAY_REACH_LOOPBACK },
        { "127.0.0.1", DRAY_REACH_LOOPBACK },
        { "127.255.0.9", DRAY_REACH_LOOPBACK },
        { "127.1", DRAY_REACH_LOOPBACK },
        { "2130706433", DRAY_REACH_LOOPBACK },
        { "0x7f000001", DRAY_REACH_LOOPBACK },
        { "017700000001", DRAY_REACH_LOOPBACK },
        { "0.0.0.0", DRAY_REACH_LOOPBACK },
        { "[::1]", DRAY_REACH_LOOPBACK },
        { "::1", DRAY_REACH_LOOPBACK },
        { "[::]", DRAY_REACH_LOOPBACK },
        { "[::ffff:127.0.0.1]", DRAY_REACH_LOOPBACK },
        { "[::ffff:a9fe:a9fe]", DRAY_REACH_LINK },
        { "[::127.0.0.1]", DRAY_REACH_LOOPBACK },
        { "[::a9fe:a9fe]", DRAY_REACH_LINK },
        { "[64:ff9b::127.0.0.1]", DRAY_REACH_LOOPBACK },
        { "[64:ff9b::a9fe:a9fe]", DRAY_REACH_LINK },
        { "[64:ff9b::10.0.0.1]", DRAY_REACH_FAR },
        { "[64:ff9b:1::127.0.0.1]", DRAY_REACH_FAR },
        { "[fe80::1%25eth0]", DRAY_REACH_LINK },
        { "169.254.169.254", DRAY_REACH_LINK },
        { "localhost.example", DRAY_REACH_FAR },
        { "notlocalhost", DRAY_REACH_FAR },
        { ".localhost", DRAY_REACH_FAR },
        { "10.0.0.1", DRAY_REACH_FAR },
        { "[2001:db8::1]", DRAY_REACH_FAR },
        { "128.0.0.1", DRAY_REACH_FAR },
        { "", DRAY_REACH_FAR },
        { "[", DRAY_REACH_FAR },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (dray_reach_of_host(rows[i].host) != rows[i].want)
            fail_msg("%s: %d", rows[i].host, dray_reach_of_host(rows[i].host));
}

static void socket_addresses_are_judged_like_hosts(void **state)
{
    struct sockaddr_in ipv4 = { .sin_family = AF_INET };
    struct sockaddr_in6 ipv6 = { .sin6_family = AF_INET6 };

    (void)state;
    assert_int_equal(inet_pton(AF_INET, "169.254.0.1", &ipv4.sin_addr), 1);
    assert_int_equal(dray_reach_of_sockaddr((struct sockaddr *)&ipv4), DRAY_REACH_LINK);
    assert_int_equal(inet_pton(AF_INET6, "::ffff:127.0.0.1", &ipv6.sin6_addr), 1);
    assert_int_equal(dray_reach_of_sockaddr((struct sockaddr *)&ipv6), DRAY_REACH_LOOPBACK);
}

static void only_a_local_peer_names_local_targets(void **state)
{
    (void)state;
    assert_true(dray_reach_allows(DRAY_REACH_FAR, DRAY_REACH_FAR));
    assert_false(dray_reach_allows(DRAY_REACH_FAR, DRAY_REACH_LINK));
    assert_false(dray_reach_allows(DRAY_REACH_FAR, DRAY_REACH_LOOPBACK));
    assert_true(dray_reach_allows(DRAY_REACH_LOOPBACK, DRAY_REACH_LOOPBACK));
    assert_false(dray_reach_allows(DRAY_REACH_LOOPBACK, DRAY_REACH_LINK));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_origin_is_scheme_host_and_port_in_one_spelling),
        cmocka_unit_test(what_is_shown_has_no_query),
        cmocka_unit_test(urls_that_are_not_for_us_are_refused_without_being_quoted),
        cmocka_unit_test(a_location_is_resolved_against_the_url_it_came_from),
        cmocka_unit_test(query_parameters_are_encoded_and_appended),
        cmocka_unit_test(local_hosts_are_known_in_every_spelling),
        cmocka_unit_test(socket_addresses_are_judged_like_hosts),
        cmocka_unit_test(only_a_local_peer_names_local_targets),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
