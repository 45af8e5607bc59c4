/* Watching: the states of image pulls and their transfers become events, in one thread.
 *
 * Workers and coordinators only keep their states; nobody queues events, so a slow callback costs
 * nobody else anything, and memory does not grow with time. */
#ifndef DRAY_WORKERS_WATCH_H
#define DRAY_WORKERS_WATCH_H

#include <dray/event.h>

#include "workers/coordinator.h"

/** What has been told about one image. Belongs to the watching thread. */
struct dray_watch;

/** @param image_index  its place in the call  @return DRAY_OK or DRAY_ENOMEM */
int dray_watch_new(struct dray_image_pull *pull, uint32_t image_index,
                   struct dray_watch **ret_watch, struct dray_error *err);

/** Tell what has changed since the last look; after the image's end has been told, nothing. */
void dray_watch_tell(struct dray_watch *watch, dray_event_fn *on_event, void *ctx);

/** NULL is allowed. */
void dray_watch_free(struct dray_watch *watch);

#endif
