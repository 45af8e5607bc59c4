#include "registry/endpoint.h"

#include "tests/unit/registry/fixture.h"

/* "url host" of each endpoint; '*' before a mirror, '!' behind what is not verified. */
static const char *listed(const struct dray_registry_options *options, const char *name)
{
    static char text[2048];
    DRAY_AUTO_REGISTRY struct dray_registry *registry = make_registry(options);
    DRAY_AUTO_ENDPOINT_LIST struct dray_endpoint_list list = { 0 };
    struct dray_reference reference = { .path = "x", .tag = "latest" };
    size_t len = 0;

    snprintf(reference.domain, sizeof(reference.domain), "%s", name);
    assert_ok(dray_endpoint_list_make(registry, &reference, &list, NULL));
    text[0] = '\0';
    for (size_t i = 0; i < list.count; i++) {
        const struct dray_endpoint *endpoint = &list.items[i];

        assert_true(strncmp(endpoint->url, endpoint->origin, strlen(endpoint->origin)) == 0);
        if (endpoint->mirror)
            assert_string_equal(endpoint->upstream, name);
        else
            assert_null(endpoint->upstream);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s%s (%s)%s", i ? ", " : "",
                                endpoint->mirror ? "*" : "", endpoint->url, endpoint->host,
                                endpoint->skip_verify ? "!" : "");
    }
    return text;
}

/* */
static void docker_hub_is_one_verified_https_endpoint_whatever_the_options(void **state)
{
    static const char want[] = "https://registry-1.docker.io (docker.io)";
    struct dray_registry_options options = { 0 };

    (void)state;
    assert_string_equal(listed(&options, "docker.io"), want);
    options.insecure = true;
    assert_string_equal(listed(&options, "docker.io"), want);
    options.plain_http = true;
    assert_string_equal(listed(&options, "docker.io"), want);
}

static void a_private_registry_is_spoken_to_by_https_only(void **state)
{
    struct dray_registry_options options = { 0 };

    (void)state;
    assert_string_equal(listed(&options, "registry.test:5000"),
                        "https://registry.test:5000 (registry.test:5000)");
    assert_string_equal(listed(&options, "10.0.0.1"), "https://10.0.0.1 (10.0.0.1)");
}

static void insecure_adds_http_behind_unverified_https(void **state)
{
    struct dray_registry_options options = { .insecure = true };

    (void)state;
    assert_string_equal(listed(&options, "registry.test"),
                        "https://registry.test (registry.test)!, "
                        "http://registry.test (registry.test)!");
}

static void plain_http_is_http_alone(void **state)
{
    struct dray_registry_options options = { .plain_http = true };

    (void)state;
    assert_string_equal(listed(&options, "registry.test"), "http://registry.test (registry.test)");
}

static void this_machine_is_tried_by_verified_https_then_http(void **state)
{
    static const char *const names[] = { "localhost",       "localhost:5000", "127.0.0.1:5000",
                                         "127.9.9.9",       "[::1]:5000",     "[::1]",
                                         "x.localhost:5000" };
    struct dray_registry_options options = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char want[256];

        snprintf(want, sizeof(want), "https://%s (%s), http://%s (%s)", names[i], names[i],
                 names[i], names[i]);
        assert_string_equal(listed(&options, names[i]), want);
    }
}

static void mirrors_come_first_in_their_order_for_their_domain_alone(void **state)
{
    static const char *const mirrors[] = { "https://Mirror.test/",
                                           "registry.test=https://m3.test/x=://y",
                                           "index.docker.io=http://m2.test:80/hub/",
                                           "127.0.0.1:5000=http://[::1]:80",
                                           "https://m4.test/a=b",
                                           "registry.test=https://m5.test",
                                           NULL };
    struct dray_registry_options options = { .mirrors = mirrors };

    (void)state;
    assert_string_equal(listed(&options, "docker.io"),
                        "*https://mirror.test (mirror.test), *http://m2.test/hub (m2.test), "
                        "*https://m4.test/a=b (m4.test), "
                        "https://registry-1.docker.io (docker.io)");
    assert_string_equal(listed(&options, "registry.test"),
                        "*https://m3.test/x=://y (m3.test), *https://m5.test (m5.test), "
                        "https://registry.test (registry.test)");
    assert_string_equal(listed(&options, "127.0.0.1:5000"),
                        "*http://[::1] ([::1]), https://127.0.0.1:5000 (127.0.0.1:5000), "
                        "http://127.0.0.1:5000 (127.0.0.1:5000)");
    assert_string_equal(listed(&options, "registry.test:5000"),
                        "https://registry.test:5000 (registry.test:5000)");
    assert_string_equal(listed(&options, "quay.io"), "https://quay.io (quay.io)");
}

static void a_mirror_is_a_plain_url_for_a_host(void **state)
{
    static const char *const bad[] = { "mirror.test",
                                       "ftp://mirror.test",
                                       "https://u:hunter2@mirror.test",
                                       "https://mirror.test/?hunter2",
                                       "https://mirror.test/#hunter2",
                                       "=https://mirror.test",
                                       "quay.io=",
                                       "quay.io=mirror.test",
                                       "quay.io=quay.io=https://mirror.test",
                                       "quay.io=https://u:hunter2@mirror.test",
                                       "quay.io=https://mirror.test/?hunter2",
                                       "u:hunter2@quay.io=https://mirror.test",
                                       "quay.io/hunter2=https://mirror.test",
                                       "hunter2=https://mirror.test",
                                       "docker.io/library=https://mirror.test",
                                       "" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const mirrors[] = { "https://good.test", bad[i], NULL };
        struct dray_registry_options options = { .mirrors = mirrors };
        struct dray_registry *registry = NULL;
        struct dray_error err = { 0 };

        if (dray_registry_new(&options, NULL, &registry, &err) != DRAY_EINVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_contains(err.text, "mirror 2");
        assert_lacks(err.text, "hunter2");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(docker_hub_is_one_verified_https_endpoint_whatever_the_options),
        cmocka_unit_test(a_private_registry_is_spoken_to_by_https_only),
        cmocka_unit_test(insecure_adds_http_behind_unverified_https),
        cmocka_unit_test(plain_http_is_http_alone),
        cmocka_unit_test(this_machine_is_tried_by_verified_https_then_http),
        cmocka_unit_test(mirrors_come_first_in_their_order_for_their_domain_alone),
        cmocka_unit_test(a_mirror_is_a_plain_url_for_a_host),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
