/* A transfer's work: one blob from its endpoints, through staging, into the store. */
#ifndef DRAY_WORKERS_TRANSFER_H
#define DRAY_WORKERS_TRANSFER_H

#include "registry/http.h"
#include "workers/inflight.h"

/**
 * Fetch the blob: a struct dray_job's run function.
 *
 * Endpoints are tried in order, each with its retries; what one brought the next one continues.
 * The outcome goes to dray_transfer_finish().
 *
 * @param job     of a struct dray_transfer
 * @param client  the worker's struct dray_client
 */
void dray_transfer_run(struct dray_job *job, void *client);

#endif
