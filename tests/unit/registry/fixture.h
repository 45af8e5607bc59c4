/* What the tests of registry/ share: cmocka's includes, the libraries' set-up, a client. */
#ifndef TESTS_UNIT_REGISTRY_FIXTURE_H
#define TESTS_UNIT_REGISTRY_FIXTURE_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <curl/curl.h>
#include <sodium.h>

#include "core/sync.h"
#include "registry/endpoint.h"
#include "registry/http.h"
#include "registry/registry.h"
#include "tests/support/http_server.h"

#define UNUSED __attribute__((unused))

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        int fixture_rc = (call);                                                                   \
        if (fixture_rc != DRAY_OK)                                                                 \
            fail_msg("%s: %s", #call, dray_code_text(fixture_rc));                                 \
    } while (0)

#define assert_contains(text, part)                                                                \
    do {                                                                                           \
        if (!strstr(text, part))                                                                   \
            fail_msg("\"%s\" is not in \"%s\"", part, text);                                       \
    } while (0)

#define assert_lacks(text, part)                                                                   \
    do {                                                                                           \
        if (strstr(text, part))                                                                    \
            fail_msg("\"%s\" is in \"%s\"", part, text);                                           \
    } while (0)

/* Group setup: the libraries, and an environment without proxies and credentials. */
static UNUSED int set_up_libraries(void **state)
{
    static const char *const names[] = {
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "HOME",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
        "REGISTRY_AUTH_FILE",
        "DOCKER_AUTH_CONFIG",
        "CREDENTIALS_DIRECTORY",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
    setenv("DOCKER_CONFIG", "/nonexistent", 1);
    return sodium_init() < 0 || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK ? -1 : 0;
}

static UNUSED int tear_down_libraries(void **state)
{
    (void)state;
    curl_global_cleanup();
    return 0;
}

static UNUSED struct dray_registry *make_registry(const struct dray_registry_options *options)
{
    struct dray_registry *registry = NULL;
    struct dray_error err = { 0 };

    if (dray_registry_new(options, NULL, &registry, &err) != DRAY_OK)
        fail_msg("registry: %s", err.text);
    return registry;
}

static UNUSED struct dray_client *make_client(struct dray_registry *registry,
                                              const struct dray_cancel *cancel)
{
    struct dray_client *client = NULL;

    assert_ok(dray_client_new(registry, cancel, &client, NULL));
    return client;
}

/* An endpoint of a server on loopback; its strings belong to the caller's url. */
static UNUSED struct dray_endpoint endpoint_at(const char *url)
{
    static char host[] = "registry.test";
    struct dray_endpoint endpoint = { .host = host };

    endpoint.url = strdup(url);
    endpoint.origin = strdup(url);
    return endpoint;
}

static UNUSED void endpoint_done(struct dray_endpoint *endpoint)
{
    free(endpoint->url);
    free(endpoint->origin);
}

static UNUSED struct dray_url url_of(const char *base, const char *path)
{
    struct dray_url url = { 0 };
    char text[512];

    snprintf(text, sizeof(text), "%s%s", base, path);
    assert_ok(dray_url_parse(text, &url, NULL));
    return url;
}

/* Write a file to throw away. @return its path, valid until the next call; unlink it */
static UNUSED const char *write_scratch(const char *content)
{
    static char path[64];
    int fd;

    snprintf(path, sizeof(path), "/tmp/dray-test-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
    return path;
}

#endif
