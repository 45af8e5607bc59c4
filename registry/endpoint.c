#include "registry/endpoint.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "registry/shared.h"

#define HUB_URL "https://registry-1.docker.io"

void dray_endpoint_list_done(struct dray_endpoint_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].url);
        free(list->items[i].origin);
        free(list->items[i].host);
        free(list->items[i].upstream);
    }
    free(list->items);
    *list = (struct dray_endpoint_list){ 0 };
}

/* Origin and path, without the slash at the end. */
static char *make_url(const struct dray_url *url)
{
    size_t len = strlen(url->path);
    char *text = NULL;

    while (len > 0 && url->path[len - 1] == '/')
        len--;
    if (asprintf(&text, "%s%.*s", url->origin, (int)len, url->path) < 0)
        return NULL;
    return text;
}

static int add(struct dray_endpoint_list *list, const struct dray_url *url, const char *host,
               const char *upstream, bool skip_verify)
{
    struct dray_endpoint *endpoint = &list->items[list->count];

    endpoint->url = make_url(url);
    endpoint->origin = strdup(url->origin);
    endpoint->host = strdup(host);
    endpoint->upstream = upstream ? strdup(upstream) : NULL;
    endpoint->mirror = upstream != NULL;
    endpoint->skip_verify = skip_verify;
    list->count++; /* whole or not, the list releases it */
    if (!endpoint->url || !endpoint->origin || !endpoint->host || (upstream && !endpoint->upstream))
        return DRAY_ENOMEM;
    return DRAY_OK;
}

static int add_text(struct dray_endpoint_list *list, const char *text, const char *host,
                    bool skip_verify, struct dray_error *err)
{
    DRAY_AUTO_URL struct dray_url url = { 0 };
    int rc = dray_url_parse(text, &url, err);

    if (rc < 0)
        return dray_error_wrap(err, rc, "%s", text);
    if (add(list, &url, host, NULL, skip_verify) < 0)
        return dray_error_nomem(err);
    return DRAY_OK;
}

/* The host without its port. */
static bool domain_is_loopback(const char *domain)
{
    char host[DRAY_DOMAIN_MAX + 1];
    size_t len = domain[0] == '[' ? strcspn(domain, "]") + 1 : strcspn(domain, ":");

    snprintf(host, sizeof(host), "%.*s", (int)len, domain);
    return dray_reach_of_host(host) == DRAY_REACH_LOOPBACK;
}

static int add_upstream(const struct dray_registry *registry,
                        const struct dray_reference *reference, struct dray_endpoint_list *list,
                        struct dray_error *err)
{
    const char *domain = reference->domain;
    char text[sizeof("https://") + DRAY_DOMAIN_MAX];
    int rc = DRAY_OK;

    if (strcmp(domain, DRAY_HUB_DOMAIN) == 0)
        return add_text(list, HUB_URL, DRAY_HUB_DOMAIN, false, err);
    if (!registry->plain_http) {
        snprintf(text, sizeof(text), "https://%s", domain);
        rc = add_text(list, text, domain, registry->insecure, err);
    }
    if (rc == DRAY_OK &&
        (registry->plain_http || registry->insecure || domain_is_loopback(domain))) {
        snprintf(text, sizeof(text), "http://%s", domain);
        rc = add_text(list, text, domain, registry->insecure, err);
    }
    return rc;
}

/* host[:port] of an origin */
static const char *authority_of(const char *origin)
{
    return strstr(origin, "://") + 3;
}

int dray_endpoint_list_make(const struct dray_registry *registry,
                            const struct dray_reference *reference,
                            struct dray_endpoint_list *ret_list, struct dray_error *err)
{
    DRAY_AUTO_ENDPOINT_LIST struct dray_endpoint_list list = { 0 };
    int rc;

    assert(reference);
    list.items = calloc(registry->mirror_count + 2, sizeof(*list.items));
    if (!list.items)
        return dray_error_nomem(err);
    for (size_t i = 0; i < registry->mirror_count; i++) {
        const struct dray_mirror *mirror = &registry->mirrors[i];

        if (strcmp(mirror->domain, reference->domain) != 0)
            continue;
        if (add(&list, &mirror->url, authority_of(mirror->url.origin), reference->domain,
                registry->insecure) < 0)
            return dray_error_nomem(err);
    }
    rc = add_upstream(registry, reference, &list, err);
    if (rc < 0)
        return rc;
    *ret_list = DRAY_MOVE(list);
    return DRAY_OK;
}
