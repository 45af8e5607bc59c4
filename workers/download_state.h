/* What a download is made of: for download.c (coming and going), download_plan.c (what to do next)
 * and fetch.c (one request) only. */
#ifndef DRAY_WORKERS_DOWNLOAD_STATE_H
#define DRAY_WORKERS_DOWNLOAD_STATE_H

#include "core/sync.h"
#include "registry/v2.h"
#include "workers/download.h"
#include "workers/route.h"

/* A request that takes so long, and several times as long as it would elsewhere or anew, is slow.
 * It is given as long before it is judged. */
#define DRAY_SLOW_MS 2000

/** One request of one worker, on that worker's stack. */
struct dray_fetch {
    struct dray_download *download;
    struct dray_segment segment;
    size_t place;               /* of the endpoint in the source's list */
    uint64_t asked_end;         /* the segment's end when it was asked for */
    bool whole;                 /* no range is asked for */
    struct dray_fetch *repeats; /* whose segment it brings once more, while that goes on, too; set
                                 * under the download's mu */
    bool is_repeat;
    bool no_other; /* no other endpoint may be asked */
    bool sent;     /* it has a slot of its host */
    int64_t begun_ms;
    int64_t served_ms;              /* when its body began, by the clock of begun_ms; 0: not yet */
    uint64_t seen_bytes;            /* how much had come ... */
    int64_t seen_ms;                /* ... when more was last seen to have */
    int64_t complete_ms;            /* its writer's: when all of it was here; 0: not yet */
    struct dray_blob_target target; /* this worker's own copy */
    bool had_target;                /* it was known when the request was sent */
    _Atomic uint64_t received_bytes;
    _Atomic bool repeated; /* another repeats it; set under the download's mu */
    struct dray_fetch *next;
};

struct dray_download {
    struct dray_source *source;
    struct dray_descriptor blob;
    struct dray_staging *staging; /* locks itself; NULL once it has ended */
    const _Atomic uint32_t *wanted;
    _Atomic uint64_t received_bytes;
    _Atomic bool stop; /* fetch nothing more */

    struct dray_mutex mu;    /* guards the rest; may be held while staging and hosts are asked */
    uint32_t active;         /* workers in here */
    bool open;               /* helpers may come in, ... */
    bool answered;           /* ... once an endpoint has answered, and shown where it sends us */
    int rc;                  /* negative once it has failed for good, with error */
    struct dray_error error; /* of the last failure */
    struct dray_route route;
    struct dray_blob_target *targets; /* one a place: where it redirected to */
    struct dray_fetch *fetches;
    uint32_t answers;         /* that brought what is here */
    int64_t begun_ms;         /* of the first request; 0 before */
    bool ended;               /* figures are complete */
    uint64_t last_held_bytes; /* then */
    int64_t retry_delay_ms;
    const char *endpoint; /* origin last asked */
    struct dray_blob_figures figures;
    struct dray_blob_origin *origins; /* one a place; figures.origins once it has ended */
};

static inline const struct dray_endpoint *dray_download_endpoint(
    const struct dray_download *download, size_t place)
{
    return &download->source->endpoints.items[place];
}

/** It has failed for good: whoever is in here leaves. The lock is held, as for all that follow. */
void dray_download_fail(struct dray_download *download, int rc, const struct dray_error *err);

/** How many workers may work on it at once. */
uint32_t dray_download_most_workers(const struct dray_download *download);

/** The request that will be waited for longest, repeated ones aside. NULL: there is none */
struct dray_fetch *dray_download_find_longest(struct dray_download *download, int64_t *ret_left_ms);

/** What a worker does next. */
enum dray_download_step {
    DRAY_STEP_FETCH,    /* a segment is claimed for it */
    DRAY_STEP_NOTHING,  /* the others bring all that is missing */
    DRAY_STEP_WAIT,     /* no endpoint may be asked now */
    DRAY_STEP_COMPLETE, /* every byte is here */
    DRAY_STEP_STOP,     /* it has failed */
};

/**
 * Decide what a worker does next.
 *
 * @param helper       one who helps only where that is worth while; false: one who sees it through
 * @param fetch        empty; for FETCH it is filled and listed, and its segment is claimed
 * @param ret_wait_ms  for WAIT: how long
 */
enum dray_download_step dray_download_plan(struct dray_download *download, bool helper,
                                           struct dray_fetch *fetch, int64_t *ret_wait_ms);

/** Send the request and account for it. No lock is held. @return false: the host had no slot free,
 *  and nothing was sent */
bool dray_fetch_carry_out(struct dray_fetch *fetch, struct dray_client *client, bool helper);

/** How fast a request goes, in bytes per second; 0: that is not known yet. The lock is held. */
uint64_t dray_fetch_speed(const struct dray_fetch *fetch);

/** Has nothing come for DRAY_SLOW_MS? Only who asks again and again gets to know. The lock is held.
 */
bool dray_fetch_is_silent(struct dray_fetch *fetch);

#endif
