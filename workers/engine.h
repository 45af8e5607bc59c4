/* The engine: what all work of one puller shares. Immutable while anything runs; what it points to
 * locks itself. */
#ifndef DRAY_WORKERS_ENGINE_H
#define DRAY_WORKERS_ENGINE_H

#include <dray/cancel.h>
#include <dray/log.h>

#include "registry/registry.h"
#include "storage/store.h"
#include "workers/cpu_gauge.h"
#include "workers/host.h"
#include "workers/pool.h"
#include "workers/throttle.h"

struct dray_engine {
    struct dray_store *store;
    struct dray_registry *registry;
    struct dray_hosts *hosts;
    struct dray_throttle *throttle;
    struct dray_cpu_gauge *cpu_gauge;
    struct dray_pool *pool;
    const struct dray_cancel *cancel;
    struct dray_log log;
    uint32_t retries;              /* of one blob or document at one endpoint */
    uint32_t connections_per_blob; /* at once, at least 1 */
};

#endif
