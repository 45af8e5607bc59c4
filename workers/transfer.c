#include "workers/transfer.h"

#include <stddef.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"
#include "storage/staging.h"
#include "workers/download.h"

/* How often to look whether another process is done with a blob. */
#define BUSY_MS 100

/* How often a worker without a job looks whether somebody has become slow. */
#define HELP_MS 100

/* A worker's stay has ended; perhaps it was the last one's. */
static void settle(struct dray_transfer *transfer, struct dray_download_outcome *outcome)
{
    switch (outcome->end) {
    case DRAY_DOWNLOAD_LEFT:
        break;
    case DRAY_DOWNLOAD_LATER:
        dray_transfer_park(transfer, outcome->due_ms);
        break;
    case DRAY_DOWNLOAD_ENDED:
        if (outcome->rc < 0)
            dray_error_wrap(&outcome->error, outcome->rc, "blob %s", transfer->blob.digest.text);
        dray_transfer_finish(transfer, outcome->rc, &outcome->error);
        break;
    }
}

/* Open the staging file and make the download. *ret_download stays NULL when there is nothing to
 * fetch: the blob has turned up in the store, or (*ret_busy) another process has it. */
static int open_download(struct dray_transfer *transfer, struct dray_download **ret_download,
                         bool *ret_busy, struct dray_error *err)
{
    const struct dray_engine *engine = transfer->source->engine;
    enum dray_staging_outcome outcome;
    struct dray_staging *staging;
    int rc;

    *ret_busy = false;
    rc = dray_staging_open(engine->store, &transfer->blob, engine->cancel, &outcome, &staging, err);
    if (rc < 0)
        return rc;
    switch (outcome) {
    case DRAY_STAGING_OPENED:
        return dray_download_new(transfer->source, &transfer->blob, staging, &transfer->wanted,
                                 ret_download, err);
    case DRAY_STAGING_EXISTS:
        break;
    case DRAY_STAGING_BUSY:
        *ret_busy = true;
        break;
    }
    return DRAY_OK;
}

/* How long all endpoints want to be left alone, as far as is known; 0: one may be asked. */
static int64_t pause_of(const struct dray_source *source)
{
    int64_t pause_ms = INT64_MAX;

    for (size_t i = source->first; i < source->endpoints.count; i++) {
        struct dray_host *host;
        int64_t wait_ms;

        if (dray_hosts_get(source->engine->hosts, source->endpoints.items[i].origin, &host, NULL) <
                0 ||
            dray_host_gate(host, &wait_ms) != DRAY_HOST_LATER)
            return 0;
        pause_ms = wait_ms < pause_ms ? wait_ms : pause_ms;
    }
    return pause_ms;
}

/* Another process has the blob, or a transfer of ours that is about to stop. */
static void note_other(struct dray_transfer *transfer)
{
    const struct dray_engine *engine = transfer->source->engine;
    uint64_t held_bytes = dray_staging_peek(engine->store, &transfer->blob);

    if (atomic_exchange(&transfer->foreign_bytes, held_bytes) == 0)
        dray_log(&engine->log, DRAY_LOG_INFO, "%s: waiting for another process to fetch it",
                 transfer->blob.digest.text);
}

/* A blob that was not begun: begin it. *ret_download stays NULL when there is nothing to fetch, or
 * not now (*ret_due_ms is when). */
static int begin(struct dray_transfer *transfer, struct dray_download **ret_download,
                 int64_t *ret_due_ms, struct dray_error *err)
{
    int64_t pause_ms;
    bool busy;
    int rc;

    if (atomic_load(&transfer->wanted) == 0)
        return dray_error_set(err, DRAY_ECANCELED, "no longer wanted");
    if (dray_cancel_fired(transfer->source->engine->cancel))
        return dray_error_set(err, DRAY_ECANCELED, "canceled");
    /* Not even its file is opened then: a pause may meet hundreds of blobs. */
    pause_ms = pause_of(transfer->source);
    if (pause_ms > 0) {
        *ret_due_ms = dray_now_ms() + pause_ms;
        return DRAY_OK;
    }
    rc = open_download(transfer, ret_download, &busy, err);
    if (rc == DRAY_OK && busy) {
        note_other(transfer);
        *ret_due_ms = dray_now_ms() + BUSY_MS;
    }
    return rc;
}

void dray_transfer_run(struct dray_job *job, void *client)
{
    struct dray_transfer *transfer =
        (struct dray_transfer *)((char *)job - offsetof(struct dray_transfer, job));
    struct dray_download *download = dray_transfer_begin(transfer);
    struct dray_download_outcome outcome = { .end = DRAY_DOWNLOAD_ENDED };

    if (!download)
        outcome.rc = begin(transfer, &download, &outcome.due_ms, &outcome.error);
    if (outcome.due_ms > 0)
        outcome.end = DRAY_DOWNLOAD_LATER;
    if (download) {
        dray_transfer_fetch(transfer, download);
        /* Helpers may be asleep since it was parked. */
        dray_pool_nudge(transfer->source->engine->pool);
        dray_download_run(download, client, &outcome);
    }
    settle(transfer, &outcome);
}

/* @return whether there was something to do */
static bool help(struct dray_transfer *transfer, struct dray_client *client)
{
    struct dray_download_outcome outcome;
    bool helped = dray_download_help(transfer->download, client, &outcome);

    settle(transfer, &outcome);
    return helped;
}

/* The running transfer that has most left to do, held; NULL: none has. */
static struct dray_transfer *find_neediest(struct dray_inflight *table, bool *ret_any)
{
    struct dray_transfer *neediest = NULL;
    int64_t most_ms = 0;

    *ret_any = false;
    for (struct dray_transfer *transfer = dray_inflight_next_running(table, NULL); transfer;
         transfer = dray_inflight_next_running(table, transfer)) {
        int64_t left_ms = dray_download_left_ms(transfer->download);

        *ret_any = true;
        if (left_ms <= most_ms)
            continue;
        most_ms = left_ms;
        dray_transfer_release(neediest);
        neediest = dray_transfer_hold(transfer);
    }
    return neediest;
}

int64_t dray_transfer_help(struct dray_inflight *table, struct dray_client *client)
{
    bool any;
    struct dray_transfer *neediest = find_neediest(table, &any);
    bool helped = neediest && help(neediest, client);
    struct dray_transfer *other = NULL;

    /* It cannot be helped, for want of ranges or slots: then any other. */
    while (neediest && !helped && (other = dray_inflight_next_running(table, other)))
        helped = other != neediest && help(other, client);
    dray_transfer_release(other);
    dray_transfer_release(neediest);
    if (helped)
        return 0;
    return any ? HELP_MS : -1;
}
