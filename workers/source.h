/* A source: where the blobs of one image come from. Shared by its transfers, which may outlive the
 * pull that made it; immutable but for its count, so any thread may use it. */
#ifndef DRAY_WORKERS_SOURCE_H
#define DRAY_WORKERS_SOURCE_H

#include <stdatomic.h>
#include <stdint.h>

#include "registry/endpoint.h"
#include "workers/engine.h"

struct dray_source {
    const struct dray_engine *engine;
    char repository[DRAY_PATH_MAX + 1];
    struct dray_endpoint_list endpoints; /* owned */
    size_t first; /* the endpoint that knew the manifest; earlier ones failed */
    int lock_fd;  /* the store lock, shared, held as long as anything may still be written */

    _Atomic uint32_t references;
};

struct dray_source *dray_source_hold(struct dray_source *source);

/** Release; the last one frees. NULL is allowed. */
void dray_source_release(struct dray_source *source);

DRAY_DEFINE_CLEANUP(struct dray_source, dray_source_release);
#define DRAY_AUTO_SOURCE DRAY_CLEANUP(dray_source_releasep)

#endif
