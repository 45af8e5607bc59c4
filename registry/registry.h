/* The face of the room: what all threads share when they talk to registries.
 *
 * dray_registry holds the options, the host rules, the credentials, the token cache and libcurl's
 * shared DNS and TLS session caches; it locks itself and may be used from any thread.
 * dray_client (registry/client.h) belongs to one thread. */
#ifndef DRAY_REGISTRY_REGISTRY_H
#define DRAY_REGISTRY_REGISTRY_H

#include <stdint.h>

#include <dray/pull.h>

#include "core/cleanup.h"

struct dray_registry;

/**
 * @param options  copied; files are read now, so a missing CA or auth file fails here
 * @param log      copied; may be NULL
 * @return DRAY_OK, DRAY_EINVAL (an option: the text names it), DRAY_EIO, DRAY_ENOMEM
 */
int dray_registry_new(const struct dray_registry_options *options, const struct dray_log *log,
                      struct dray_registry **ret_registry, struct dray_error *err);

/**
 * Prepare for callbacks that keep to a rate: buffers small enough for the limit to be felt at the
 * server's end at once, not only when a buffer of some seconds' worth has filled. Called before the
 * first client is made; it does not limit anything by itself.
 *
 * @param rate_bytes_per_s  of all connections together; 0: there is no limit
 * @param connections       that will share it, 1 or more
 */
void dray_registry_set_limit(struct dray_registry *registry, uint64_t rate_bytes_per_s,
                             uint32_t connections);

/** Free; NULL is allowed. Every client made from it has been freed. */
void dray_registry_free(struct dray_registry *registry);

DRAY_DEFINE_CLEANUP(struct dray_registry, dray_registry_free);
#define DRAY_AUTO_REGISTRY DRAY_CLEANUP(dray_registry_freep)

#endif
