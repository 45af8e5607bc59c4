/* Resolving: from a reference to the manifests of what shall be pulled, by the endpoint walk. */
#ifndef DRAY_WORKERS_RESOLVE_H
#define DRAY_WORKERS_RESOLVE_H

#include <stdbool.h>

#include "core/manifest.h"
#include "registry/endpoint.h"
#include "registry/http.h"
#include "storage/tag_store.h"
#include "workers/engine.h"

/** What to resolve, and with what. Everything is borrowed. */
struct dray_resolve_request {
    const struct dray_engine *engine;
    struct dray_client *client;
    const struct dray_reference *reference;
    const struct dray_endpoint_list *endpoints;
    const struct dray_platform *platform;
    bool platform_asked; /* the user named it */
    bool all_platforms;
    /* Told before each endpoint is asked. */
    void (*on_endpoint)(void *ctx, const struct dray_endpoint *endpoint);
    void *ctx;
};

/** The outcome. Initialise it with = { 0 }. */
struct dray_resolution {
    struct dray_digest source_digest; /* what the name points at in the registry */
    struct dray_descriptor root;      /* what the local tag shall point at */
    bool unchanged;  /* the local tag points at it, and all of it is in the store: nothing to do */
    size_t endpoint; /* place of the endpoint that answered in the list */
    /* The image manifests below root; their documents, and those of indexes, are in the store. */
    struct dray_manifest **images;
    size_t image_count;
};

/**
 * Walk the endpoints until one serves the manifest; choose the platform's image from an index.
 *
 * An unchanged tag costs one request, an unchanged digest none. A manifest that is in the store is
 * not fetched again.
 *
 * @return DRAY_OK; or as dray_v2_get_manifest() with every endpoint's own text, one a line;
 *         DRAY_EUNSUPPORTED when the index has nothing for the platform; DRAY_ENOSPC, DRAY_EIO
 */
int dray_resolve(const struct dray_resolve_request *request, struct dray_resolution *ret_resolution,
                 struct dray_error *err);

void dray_resolution_done(struct dray_resolution *resolution);

#define DRAY_AUTO_RESOLUTION DRAY_CLEANUP(dray_resolution_done)

#endif
