/* A download: one blob on its way into the store, by one or several workers, from one or several
 * endpoints.
 *
 * Workers come and go. Each one takes a segment of what nobody brings yet, fetches it and takes the
 * next; whoever leaves last sees to what becomes of the whole: it commits the blob, gives up, or
 * says when somebody shall come back. Nobody waits in here for other workers or for a server's
 * back-off.
 *
 * Which endpoint a segment comes from is decided anew for each: mirrors before the upstream, the
 * faster before the slower, none that is to be left alone for a while. Only bytes whose digest was
 * checked become a blob, so endpoints may be mixed at will; when the digest is wrong, the blob is
 * fetched again from one endpoint at a time, which also tells who delivered other bytes. */
#ifndef DRAY_WORKERS_DOWNLOAD_H
#define DRAY_WORKERS_DOWNLOAD_H

#include <stdatomic.h>

#include <dray/event.h>

#include "core/descriptor.h"
#include "registry/http.h"
#include "storage/staging.h"
#include "workers/source.h"

struct dray_download;

/**
 * @param source   borrowed; outlives the download
 * @param blob     copied, without data
 * @param staging  taken over, also on failure
 * @param wanted   while it is 0 the download stops; borrowed
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_download_new(struct dray_source *source, const struct dray_descriptor *blob,
                      struct dray_staging *staging, const _Atomic uint32_t *wanted,
                      struct dray_download **ret_download, struct dray_error *err);

/** Free; nobody is in dray_download_run() or dray_download_help(). NULL is allowed. */
void dray_download_free(struct dray_download *download);

/** How a worker's stay ended. */
enum dray_download_end {
    DRAY_DOWNLOAD_LEFT,  /* others see to it */
    DRAY_DOWNLOAD_LATER, /* nobody is left, and nothing can be done now: run it again then */
    DRAY_DOWNLOAD_ENDED, /* nobody is left: the blob is in the store, or it failed */
};

struct dray_download_outcome {
    enum dray_download_end end;
    bool worked;    /* something was asked for */
    int64_t due_ms; /* LATER: when, on the clock of dray_now_ms() */
    int rc;         /* ENDED: DRAY_OK or the code of error */
    struct dray_error error;
};

/**
 * Work on the blob as long as there is something to do for this worker. Called first, and again
 * after each DRAY_DOWNLOAD_LATER; by one worker at a time.
 *
 * @param client  the worker's own
 */
void dray_download_run(struct dray_download *download, struct dray_client *client,
                       struct dray_download_outcome *ret_outcome);

/**
 * Help those who run it, if that is worth while: fetch one segment, or, when all are taken, what is
 * left of one that has become slow. Any number of workers may, at any time.
 *
 * @param ret_outcome  always set
 * @return false: there was nothing to do
 */
bool dray_download_help(struct dray_download *download, struct dray_client *client,
                        struct dray_download_outcome *ret_outcome);

/** How much a helper might find to do, in milliseconds of the present workers' time; 0: nothing.
 *  Any thread. */
int64_t dray_download_left_ms(struct dray_download *download);

/** What a download is doing. A plain value. */
struct dray_download_view {
    uint64_t current_bytes; /* here */
    uint64_t resumed_bytes; /* were here before the first request */
    uint64_t received_bytes;
    uint32_t retries;       /* failures that were, or are being, waited out */
    int64_t retry_delay_ms; /* of the last one */
    const char *endpoint;   /* origin last asked, or NULL; owned by the source */
};

/** Look; any thread. ret_error may be NULL; it is filled when there was any failure. */
void dray_download_look(struct dray_download *download, struct dray_download_view *ret_view,
                        struct dray_error *ret_error);

/** Close the books: nobody is in it, and nobody runs it again. Any thread; idempotent, and after
 *  DRAY_DOWNLOAD_ENDED not needed. What was not committed stays in staging, locked until it is
 * freed.
 */
void dray_download_end(struct dray_download *download);

/** How it went. Only after its end; valid as long as the download and its source. */
const struct dray_blob_figures *dray_download_figures(const struct dray_download *download);

#endif
