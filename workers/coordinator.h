/* The coordinator: one image, from its name to its tag.
 *
 * It walks the endpoints, plans, hands the missing blobs to the pool, waits for them, and commits.
 * An image pull is written by its coordinator's thread only; the watching thread reads what stands
 * under the lock. */
#ifndef DRAY_WORKERS_COORDINATOR_H
#define DRAY_WORKERS_COORDINATOR_H

#include <dray/pull.h>

#include "registry/http.h"
#include "workers/engine.h"
#include "workers/inflight.h"
#include "workers/item.h"

/** What all coordinators of a puller share. Immutable while they run. */
struct dray_coordinator_shared {
    struct dray_engine engine;
    struct dray_inflight *inflight;
    struct dray_platform platform;
    bool platform_asked; /* the caller named it; else it is the host's */
    bool all_platforms;
};

enum dray_image_phase {
    DRAY_IMAGE_RESOLVING,
    DRAY_IMAGE_FETCHING, /* items are known */
    DRAY_IMAGE_FINISHED, /* result is known */
};

/** One image being pulled. */
struct dray_image_pull {
    struct dray_pull_result *result; /* the coordinator's; everyone's once finished */
    char name[DRAY_REFERENCE_TEXT_MAX];

    struct dray_mutex mu; /* guards the fields below; may be held while the table's lock is taken */
    enum dray_image_phase phase;
    char endpoint[DRAY_ORIGIN_MAX + 1]; /* origin being asked, "" before */
    struct dray_digest digest;          /* alg 0 before it is known */
    uint64_t total_bytes;
    struct dray_item *items; /* set once, with item_count */
    size_t item_count;
};

/** Make a pull of a reference. @param result filled when the phase is finished */
int dray_image_pull_new(const struct dray_reference *reference, struct dray_pull_result *result,
                        struct dray_image_pull **ret_pull, struct dray_error *err);

/** Free, leaving what transfers it still holds. NULL is allowed. */
void dray_image_pull_free(struct dray_image_pull *pull);

/** Pull the image. Blocks; the outcome stands in pull->result. client belongs to this thread. */
void dray_image_pull_run(struct dray_image_pull *pull, const struct dray_coordinator_shared *shared,
                         struct dray_client *client);

/** For a pull that cannot even begin: it is finished with this error. */
void dray_image_pull_fail(struct dray_image_pull *pull, const struct dray_error *error);

#endif
