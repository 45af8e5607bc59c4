/* One thread's HTTP client: its libcurl handles and kept-alive connections. */
#ifndef DRAY_REGISTRY_CLIENT_H
#define DRAY_REGISTRY_CLIENT_H

#include <dray/cancel.h>
#include <dray/error.h>

#include "core/cleanup.h"

struct dray_client;
struct dray_registry;

/**
 * Make the client of the calling thread. It holds up to a handful of idle connections.
 *
 * @param cancel  ends any request within a fraction of a second once fired; may be NULL
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_client_new(struct dray_registry *registry, const struct dray_cancel *cancel,
                    struct dray_client **ret_client, struct dray_error *err);

void dray_client_free(struct dray_client *client);

DRAY_DEFINE_CLEANUP(struct dray_client, dray_client_free);
#define DRAY_AUTO_CLIENT DRAY_CLEANUP(dray_client_freep)

/* From here on: between the files of this room. */

struct dray_registry *dray_client_registry(const struct dray_client *client);
const struct dray_cancel *dray_client_cancel(const struct dray_client *client);

#endif
