#include "workers/transfer.h"

#include <stddef.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"
#include "registry/v2.h"
#include "storage/staging.h"
#include "workers/endpoint_errors.h"
#include "workers/retry.h"

/* How often one who waits looks whether anybody still wants the blob. */
#define LOOK_MS 100

static int not_wanted(struct dray_error *err)
{
    return dray_error_set(err, DRAY_ECANCELED, "no longer wanted");
}

/* What the sink needs of one try. */
struct intake {
    struct dray_transfer *transfer;
    struct dray_staging *staging;
};

static int intake_start(void *ctx, uint64_t offset, struct dray_error *err)
{
    struct intake *intake = ctx;

    if (offset == dray_staging_offset(intake->staging))
        return DRAY_OK;
    /* It begins at the beginning: the server ignored the range, or none was asked for. */
    return dray_staging_restart(intake->staging, err);
}

static int intake_write(void *ctx, const uint8_t *data, size_t len, struct dray_error *err)
{
    struct intake *intake = ctx;
    int rc;

    if (atomic_load(&intake->transfer->wanted) == 0)
        return not_wanted(err);
    rc = dray_staging_write(intake->staging, data, len, err);
    if (rc < 0)
        return rc;
    atomic_store(&intake->transfer->current_bytes, dray_staging_offset(intake->staging));
    atomic_fetch_add(&intake->transfer->received_bytes, len);
    return DRAY_OK;
}

/* One request, or none when every byte is here already; then the commit. */
static int try_once(struct dray_transfer *transfer, struct dray_client *client,
                    const struct dray_endpoint *endpoint, struct dray_staging *staging,
                    uint64_t offset, struct dray_error *err)
{
    struct intake intake = { .transfer = transfer, .staging = staging };
    struct dray_blob_sink sink = { .start = intake_start, .write = intake_write, .ctx = &intake };
    int rc;

    if (offset < transfer->blob.size_bytes) {
        rc = dray_v2_get_blob_unverified(client, endpoint, transfer->source->repository,
                                         &transfer->blob, offset, &sink, err);
        if (rc < 0)
            return rc;
    }
    rc = dray_staging_commit(staging, err);
    if (rc == DRAY_EDIGEST)
        return dray_error_wrap(err, rc, "%s", endpoint->origin);
    return rc;
}

static int wait_a_while(struct dray_transfer *transfer, int64_t delay_ms, struct dray_error *err)
{
    while (delay_ms > 0) {
        int64_t slice_ms = delay_ms < LOOK_MS ? delay_ms : LOOK_MS;

        if (dray_cancel_sleep(transfer->source->cancel, slice_ms) < 0)
            return dray_error_set(err, DRAY_ECANCELED, "canceled");
        if (atomic_load(&transfer->wanted) == 0)
            return not_wanted(err);
        delay_ms -= slice_ms;
    }
    return DRAY_OK;
}

/* Is the part that this try went on from perhaps to blame? A server may refuse any range, its
 * content may have changed between two answers, the file may be damaged. Then one try from the
 * first byte is fair; what is there is given up only once the server really begins anew. */
static bool blames_the_resumed_part(int rc, uint64_t offset)
{
    return offset > 0 && (rc == DRAY_EDIGEST || rc == DRAY_EPROTO);
}

/* One endpoint, with its retries. */
static int fetch_from(struct dray_transfer *transfer, struct dray_client *client, size_t place,
                      struct dray_staging *staging, struct dray_error *err)
{
    const struct dray_source *source = transfer->source;
    struct dray_retry retry = {
        .limit = source->retries,
        .elsewhere = place + 1 < source->endpoints.count,
        .known_good = place == source->first, /* it served the manifest */
    };
    uint64_t reached = dray_staging_offset(staging);
    bool from_start = false;

    for (;;) {
        uint64_t offset = from_start ? 0 : dray_staging_offset(staging);
        uint64_t progress = 0;
        int64_t delay_ms;
        int rc;

        rc = try_once(transfer, client, &source->endpoints.items[place], staging, offset, err);
        if (rc == DRAY_OK)
            return DRAY_OK;

        if (blames_the_resumed_part(rc, offset)) {
            dray_log(source->log, DRAY_LOG_WARNING, "%s: trying from the first byte: %s",
                     transfer->blob.digest.text, err->text);
            from_start = true;
            continue;
        }
        from_start = false;

        /* Only what was never reached before is progress: a server that breaks off at the same
         * place again and again makes none. */
        if (dray_staging_offset(staging) > reached) {
            progress = dray_staging_offset(staging) - reached;
            reached += progress;
        }
        if (!dray_retry_decide(&retry, err, progress, &delay_ms))
            return rc;
        dray_transfer_retrying(transfer, err, delay_ms);
        rc = wait_a_while(transfer, delay_ms, err);
        if (rc < 0)
            return rc;
    }
}

/* Open the staging file, waiting while another process has it. *ret_staging stays NULL when the
 * blob turned up in the store meanwhile. */
static int open_staging(struct dray_transfer *transfer, struct dray_staging **ret_staging,
                        struct dray_error *err)
{
    const struct dray_source *source = transfer->source;

    for (bool told = false;; told = true) {
        enum dray_staging_outcome outcome;
        int rc = dray_staging_open(source->store, &transfer->blob, source->cancel, &outcome,
                                   ret_staging, err);

        if (rc < 0 || outcome != DRAY_STAGING_BUSY)
            return rc;
        if (!told)
            dray_log(source->log, DRAY_LOG_INFO, "%s: waiting for another process to fetch it",
                     transfer->blob.digest.text);
        rc = wait_a_while(transfer, LOOK_MS, err);
        if (rc < 0)
            return rc;
    }
}

static int fetch(struct dray_transfer *transfer, struct dray_client *client, struct dray_error *err)
{
    const struct dray_source *source = transfer->source;
    DRAY_AUTO_STAGING struct dray_staging *staging = NULL;
    /* The first endpoint has answered already: it knew the manifest. */
    struct dray_endpoint_errors errors = { .answered = &source->endpoints.items[source->first] };
    int rc;

    if (atomic_load(&transfer->wanted) == 0)
        return not_wanted(err);

    rc = open_staging(transfer, &staging, err);
    if (rc < 0)
        return rc;
    if (!staging)
        return DRAY_OK; /* another process brought it */
    atomic_store(&transfer->current_bytes, dray_staging_offset(staging));
    atomic_store(&transfer->resumed_bytes, dray_staging_offset(staging));

    for (size_t i = source->first; i < source->endpoints.count; i++) {
        const struct dray_endpoint *endpoint = &source->endpoints.items[i];

        if (!dray_endpoint_errors_allow(&errors, endpoint))
            continue;
        dray_transfer_at(transfer, endpoint->origin);
        rc = fetch_from(transfer, client, i, staging, err);
        if (rc == DRAY_OK)
            return DRAY_OK;
        if (!dray_retry_elsewhere(rc))
            return rc;
        dray_endpoint_errors_add(&errors, endpoint, err);
    }
    return dray_endpoint_errors_join(&errors, err);
}

void dray_transfer_run(struct dray_job *job, void *client)
{
    struct dray_transfer *transfer =
        (struct dray_transfer *)((char *)job - offsetof(struct dray_transfer, job));
    struct dray_error err = { 0 };
    int rc;

    rc = fetch(transfer, client, &err);
    if (rc < 0)
        dray_error_wrap(&err, rc, "blob %s", transfer->blob.digest.text);
    dray_transfer_finish(transfer, rc, &err);
}
