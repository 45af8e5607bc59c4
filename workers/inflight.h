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
#include "workers/download.h"
#include "workers/pool.h"
#include "workers/source.h"

struct dray_inflight;

/* scheme://host:port */
#define DRAY_ORIGIN_MAX (sizeof("https://:65535") + DRAY_DOMAIN_MAX)

enum dray_transfer_phase {
    DRAY_TRANSFER_QUEUED, /* its job is in the pool's queue, or about to be pushed */
    DRAY_TRANSFER_RUNNING,
    DRAY_TRANSFER_PARKED, /* nothing can be done for a while: then somebody pushes its job again */
    DRAY_TRANSFER_DONE,   /* the blob is in the store */
    DRAY_TRANSFER_FAILED,
};

/** One blob on its way. */
struct dray_transfer {
    struct dray_job job;         /* for the pool */
    struct dray_descriptor blob; /* immutable, without data */
    struct dray_source *source;  /* immutable; where it comes from */
    struct dray_inflight *table;

    _Atomic uint32_t wanted;        /* images that wait for it; 0: stop */
    _Atomic uint64_t foreign_bytes; /* while another process fetches it: how much is here */

    /* The rest is guarded by the table's lock; read it through dray_transfer_look(). */
    enum dray_transfer_phase phase;
    int64_t due_ms;                 /* PARKED: until then, on the clock of dray_now_ms() */
    struct dray_download *download; /* NULL while it is not ours to fetch; owned */
    struct dray_error error;        /* of a failure outside the download */
    uint32_t references;
    struct dray_transfer *next; /* in its bucket */
    bool told; /* the watching thread's: its figures were told, with one of its images */
    struct dray_transfer *next_running;
};

/** What a transfer is doing. A plain value. */
struct dray_transfer_view {
    enum dray_transfer_phase phase;
    int64_t due_ms; /* PARKED */
    bool begun;     /* we, or another process, are fetching it */
    uint64_t current_bytes;
    uint64_t resumed_bytes; /* of these, what was in staging before the first request */
    uint64_t received_bytes;
    uint32_t retries;
    int64_t retry_delay_ms;
    char endpoint[DRAY_ORIGIN_MAX + 1];      /* last asked; "" before the first request */
    const struct dray_blob_figures *figures; /* DONE and FAILED, if it was fetched here; valid as
                                                long as the transfer is held */
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

/** Want it no longer: unwant and release. A finished transfer is simply released. NULL is allowed.
 */
void dray_inflight_leave(struct dray_transfer *transfer);

/** Want it no longer, but go on looking at it. Its workers notice within moments, unless another
 *  image wants it. Give it back with dray_transfer_release(). */
void dray_inflight_unwant(struct dray_transfer *transfer);

/** For the worker: its job runs. @return its download so far, or NULL */
struct dray_download *dray_transfer_begin(struct dray_transfer *transfer);

/** For the worker: from now on it is fetched by this download, which the transfer takes over, and
 *  helpers may find it. */
void dray_transfer_fetch(struct dray_transfer *transfer, struct dray_download *download);

/** For the worker, last: nothing can be done before due_ms. From here on the transfer is not the
 *  worker's any more. */
void dray_transfer_park(struct dray_transfer *transfer, int64_t due_ms);

/** Is it parked, and its time has come or has become meaningless? Then it is queued now, and the
 *  caller pushes its job. */
bool dray_transfer_unpark(struct dray_transfer *transfer, bool at_once);

/** For the worker, last: the outcome, for all who wait. From here on the transfer is not the
 *  worker's any more. */
void dray_transfer_finish(struct dray_transfer *transfer, int rc, const struct dray_error *error);

/**
 * For helpers: the running transfers, one after the other.
 *
 * @param before  the one before, which is released; NULL to begin
 * @return the next one, held: go on with it, or release it; NULL after the last
 */
struct dray_transfer *dray_inflight_next_running(struct dray_inflight *table,
                                                 struct dray_transfer *before);

/** Hold it once more; release it. NULL is allowed for the latter. */
struct dray_transfer *dray_transfer_hold(struct dray_transfer *transfer);
void dray_transfer_release(struct dray_transfer *transfer);

/** Look at a transfer. ret_error may be NULL; it is filled when there was any failure. */
void dray_transfer_look(struct dray_transfer *transfer, struct dray_transfer_view *ret_view,
                        struct dray_error *ret_error);

/** How often transfers of the table have finished or were parked so far. */
uint64_t dray_inflight_changes(struct dray_inflight *table);

/**
 * Wait until any transfer of the table has finished or was parked since a count was taken.
 *
 * @param seen         an earlier count
 * @param deadline_ms  wait no longer, on the clock of dray_now_ms(); INT64_MAX: as long as it takes
 * @return the count now
 */
uint64_t dray_inflight_wait(struct dray_inflight *table, uint64_t seen, int64_t deadline_ms);

DRAY_DEFINE_CLEANUP(struct dray_inflight, dray_inflight_free);
#define DRAY_AUTO_INFLIGHT DRAY_CLEANUP(dray_inflight_freep)

#endif
