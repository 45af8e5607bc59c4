/* A transfer's work: one blob from its endpoints, through staging, into the store. */
#ifndef DRAY_WORKERS_TRANSFER_H
#define DRAY_WORKERS_TRANSFER_H

#include "registry/http.h"
#include "workers/inflight.h"

/**
 * Fetch the blob, or as much as can be done now: a struct dray_job's run function. It ends with
 * dray_transfer_finish() or dray_transfer_park(), by this worker or by a helper.
 *
 * @param job     of a struct dray_transfer
 * @param client  the worker's struct dray_client
 */
void dray_transfer_run(struct dray_job *job, void *client);

/**
 * For a worker without a job: help the transfer that has most left to do.
 *
 * @return as the pool's spare(): 0 after some work; else when to ask again, in milliseconds, or -1:
 *         when something has begun
 */
int64_t dray_transfer_help(struct dray_inflight *table, struct dray_client *client);

#endif
