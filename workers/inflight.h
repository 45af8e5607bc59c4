/* The in-flight table: each blob is fetched once, however many images want it.
 *
 * A transfer is one blob on its way. The first image that wants it owns it: the transfer goes by
 * that image's endpoints. Others join. A transfer that nobody wants any more stops.
 *
 * Every function may be called from any thread. */
#ifndef DRAY_WORKERS_INFLIGHT_H
#define DRAY_WORKERS_INFLIGHT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/descriptor.h"
#include "core/sync.h"
#include "workers/pool.h"
#include "workers/source.h"

struct dray_inflight;

/* scheme://host:port */
#define DRAY_ORIGIN_MAX (sizeof("https://:65535") + DRAY_DOMAIN_MAX)

enum dray_transfer_phase {
    DRAY_TRANSFER_QUEUED,
    DRAY_TRANSFER_RUNNING,
    DRAY_TRANSFER_DONE, /* the blob is in the store */
    DRAY_TRANSFER_FAILED,
};

/** One blob on its way. */
struct dray_transfer {
    struct dray_job job;         /* for the pool */
    struct dray_descriptor blob; /* immutable, without data */
    struct dray_source *source;  /* immutable; where it comes from */
    struct dray_inflight *table;

    _Atomic uint64_t current_bytes;  /* how much of the blob is in staging */
    _Atomic uint64_t received_bytes; /* how much came over the network */
    _Atomic uint64_t resumed_bytes;  /* how much was in staging before */
    _Atomic uint32_t wanted;         /* images that wait for it; 0: stop */

    /* The rest is guarded by the table's lock; read it through dray_transfer_look(). */
    enum dray_transfer_phase phase;
    uint32_t retries;        /* failures that were, or are being, waited out */
    int64_t retry_delay_ms;  /* the last one's delay */
    const char *endpoint;    /* origin in use; owned by source */
    struct dray_error error; /* of the last failure */
    uint32_t references;
    struct dray_transfer *next; /* in its bucket */
};

/** What a transfer is doing. A plain value. */
struct dray_transfer_view {
    enum dray_transfer_phase phase;
    uint64_t current_bytes;
    uint64_t resumed_bytes; /* of these, what was in staging before the first request */
    uint32_t retries;
    int64_t retry_delay_ms;
    char endpoint[DRAY_ORIGIN_MAX + 1]; /* in use; "" before the first request */
};

/** @return DRAY_OK or DRAY_ENOMEM */
int dray_inflight_new(struct dray_inflight **ret_table, struct dray_error *err);

/** Free; NULL is allowed. Every transfer has been left and has finished. */
void dray_inflight_free(struct dray_inflight *table);

/**
 * Want a blob: join the transfer of this digest and size, or make one.
 *
 * @param run           the job function of a new transfer
 * @param ret_transfer  give it back with dray_inflight_leave()
 * @param ret_owner     true: it is new, and the caller pushes its job to the pool
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_inflight_join(struct dray_inflight *table, const struct dray_descriptor *blob,
                       struct dray_source *source, void (*run)(struct dray_job *job, void *state),
                       struct dray_transfer **ret_transfer, bool *ret_owner,
                       struct dray_error *err);

/** Want it no longer. A finished transfer is simply released. NULL is allowed. */
void dray_inflight_leave(struct dray_transfer *transfer);

/** For the worker: it has begun, at this endpoint. */
void dray_transfer_at(struct dray_transfer *transfer, const char *endpoint);

/** For the worker: a failure will be waited out. */
void dray_transfer_retrying(struct dray_transfer *transfer, const struct dray_error *error,
                            int64_t delay_ms);

/** For the worker, last: the outcome, for all who wait. From here on the transfer is not the
 *  worker's any more. */
void dray_transfer_finish(struct dray_transfer *transfer, int rc, const struct dray_error *error);

/** Look at a transfer. ret_error may be NULL; it is filled when there was any failure. */
void dray_transfer_look(struct dray_transfer *transfer, struct dray_transfer_view *ret_view,
                        struct dray_error *ret_error);

/** How many transfers of the table have finished so far. */
uint64_t dray_inflight_finished(struct dray_inflight *table);

/**
 * Wait until any transfer of the table has finished since a count was taken.
 *
 * @param seen  an earlier count
 * @return the count now, which differs from seen
 */
uint64_t dray_inflight_wait(struct dray_inflight *table, uint64_t seen);

DRAY_DEFINE_CLEANUP(struct dray_inflight, dray_inflight_free);
#define DRAY_AUTO_INFLIGHT DRAY_CLEANUP(dray_inflight_freep)

#endif
