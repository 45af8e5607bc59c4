#include "workers/inflight.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

/* A power of two well above the number of blobs in flight; digests are uniform, so their first
 * bytes are hash enough. */
#define BUCKETS 1024

struct dray_inflight {
    struct dray_mutex mu;     /* guards the fields below and those of the transfers */
    struct dray_cond changed; /* changes rose */
    uint64_t changes DRAY_GUARDED_BY(&mu);
    struct dray_transfer *running DRAY_GUARDED_BY(&mu); /* those that have a download and run */
    struct dray_transfer *buckets[BUCKETS] DRAY_GUARDED_BY(&mu);
};

int dray_inflight_new(struct dray_inflight **ret_table, struct dray_error *err)
{
    struct dray_inflight *table = calloc(1, sizeof(*table));

    if (!table)
        return dray_error_nomem(err);
    dray_mutex_init(&table->mu);
    dray_cond_init(&table->changed);
    *ret_table = table;
    return DRAY_OK;
}

void dray_inflight_free(struct dray_inflight *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        assert(!table->buckets[i]);
    dray_cond_done(&table->changed);
    dray_mutex_done(&table->mu);
    free(table);
}

static struct dray_transfer **bucket_of(struct dray_inflight *table,
                                        const struct dray_digest *digest)
{
    uint32_t hash;

    memcpy(&hash, digest->bytes, sizeof(hash));
    return &table->buckets[hash % BUCKETS];
}

static void transfer_free(struct dray_transfer *transfer)
{
    dray_download_free(transfer->download);
    dray_source_release(transfer->source);
    free(transfer);
}

static struct dray_transfer *find(struct dray_inflight *table, const struct dray_descriptor *blob)
    DRAY_REQUIRES(&table->mu);

/* Not one that is stopping because nobody wanted it. */
static struct dray_transfer *find(struct dray_inflight *table, const struct dray_descriptor *blob)
{
    struct dray_transfer *transfer = *bucket_of(table, &blob->digest);

    while (transfer && !(dray_digest_equal(&transfer->blob.digest, &blob->digest) &&
                         transfer->blob.size_bytes == blob->size_bytes && transfer->wanted > 0))
        transfer = transfer->next;
    return transfer;
}

int dray_inflight_join(struct dray_inflight *table, const struct dray_descriptor *blob,
                       struct dray_source *source, void (*run)(struct dray_job *job, void *state),
                       struct dray_transfer **ret_transfer, bool *ret_owner, struct dray_error *err)
{
    /* Made before it is known to be needed: nothing is allocated under the lock. */
    struct dray_transfer *made = calloc(1, sizeof(*made));
    struct dray_transfer *found;

    if (!made)
        return dray_error_nomem(err);
    made->job.run = run;
    made->blob = *blob;
    made->blob.data = NULL;
    made->source = dray_source_hold(source);
    made->table = table;

    dray_mutex_lock(&table->mu);
    found = find(table, blob);
    if (found) {
        found->wanted++;
        found->references++;
    } else {
        struct dray_transfer **bucket = bucket_of(table, &blob->digest);

        made->wanted = 1;
        made->references = 2; /* the caller's and the worker's */
        made->next = *bucket;
        *bucket = made;
    }
    dray_mutex_unlock(&table->mu);

    *ret_owner = !found;
    *ret_transfer = found ? found : made;
    if (found)
        transfer_free(made);
    return DRAY_OK;
}

static void remove_from_bucket(struct dray_transfer *transfer) DRAY_REQUIRES(&transfer->table->mu);
static void remove_from_running(struct dray_transfer *transfer) DRAY_REQUIRES(&transfer->table->mu);

static void remove_from_bucket(struct dray_transfer *transfer)
{
    struct dray_transfer **link = bucket_of(transfer->table, &transfer->blob.digest);

    while (*link != transfer)
        link = &(*link)->next;
    *link = transfer->next;
}

static void remove_from_running(struct dray_transfer *transfer)
{
    struct dray_transfer **link = &transfer->table->running;

    while (*link && *link != transfer)
        link = &(*link)->next_running;
    if (*link)
        *link = transfer->next_running;
    transfer->next_running = NULL; /* a helper may stand at it */
}

/* Nobody will work on it again. */
static void end(struct dray_transfer *transfer, enum dray_transfer_phase phase)
    DRAY_REQUIRES(&transfer->table->mu);

static void end(struct dray_transfer *transfer, enum dray_transfer_phase phase)
{
    if (transfer->download)
        dray_download_end(transfer->download);
    transfer->phase = phase;
    transfer->references--;
    remove_from_bucket(transfer);
}

void dray_inflight_unwant(struct dray_transfer *transfer)
{
    dray_mutex_lock(&transfer->table->mu);
    transfer->wanted--;
    if (transfer->wanted == 0 && transfer->phase == DRAY_TRANSFER_PARKED)
        end(transfer, DRAY_TRANSFER_FAILED); /* no worker will see it again */
    dray_mutex_unlock(&transfer->table->mu);
}

void dray_inflight_leave(struct dray_transfer *transfer)
{
    if (transfer)
        dray_inflight_unwant(transfer);
    dray_transfer_release(transfer);
}

struct dray_download *dray_transfer_begin(struct dray_transfer *transfer)
{
    struct dray_inflight *table = transfer->table;
    struct dray_download *download;

    dray_mutex_lock(&table->mu);
    transfer->phase = DRAY_TRANSFER_RUNNING;
    download = transfer->download;
    dray_mutex_unlock(&table->mu);
    return download;
}

void dray_transfer_fetch(struct dray_transfer *transfer, struct dray_download *download)
{
    struct dray_inflight *table = transfer->table;

    dray_mutex_lock(&table->mu);
    if (!transfer->download) /* helpers may still be looking at it, without the lock */
        transfer->download = download;
    transfer->next_running = table->running;
    table->running = transfer;
    dray_mutex_unlock(&table->mu);
}

/* The worker's part is over. */
static void end_run(struct dray_transfer *transfer, enum dray_transfer_phase phase)
    DRAY_REQUIRES(&transfer->table->mu);

static void end_run(struct dray_transfer *transfer, enum dray_transfer_phase phase)
{
    remove_from_running(transfer);
    if (phase == DRAY_TRANSFER_PARKED)
        transfer->phase = phase;
    else
        end(transfer, phase);
    transfer->table->changes++;
    dray_cond_broadcast(&transfer->table->changed);
}

void dray_transfer_park(struct dray_transfer *transfer, int64_t due_ms)
{
    bool last;

    dray_mutex_lock(&transfer->table->mu);
    transfer->due_ms = due_ms;
    /* Nobody waits for it any more, so nobody would push it again. */
    end_run(transfer, transfer->wanted > 0 ? DRAY_TRANSFER_PARKED : DRAY_TRANSFER_FAILED);
    last = transfer->references == 0;
    dray_mutex_unlock(&transfer->table->mu);
    if (last)
        transfer_free(transfer);
}

bool dray_transfer_unpark(struct dray_transfer *transfer, bool at_once)
{
    bool due;

    dray_mutex_lock(&transfer->table->mu);
    due = transfer->phase == DRAY_TRANSFER_PARKED && (at_once || transfer->due_ms <= dray_now_ms());
    if (due)
        transfer->phase = DRAY_TRANSFER_QUEUED;
    dray_mutex_unlock(&transfer->table->mu);
    return due;
}

void dray_transfer_finish(struct dray_transfer *transfer, int rc, const struct dray_error *error)
{
    bool last;

    dray_mutex_lock(&transfer->table->mu);
    if (rc < 0)
        transfer->error = *error;
    end_run(transfer, rc < 0 ? DRAY_TRANSFER_FAILED : DRAY_TRANSFER_DONE);
    last = transfer->references == 0;
    dray_mutex_unlock(&transfer->table->mu);
    if (last)
        transfer_free(transfer);
}

struct dray_transfer *dray_inflight_next_running(struct dray_inflight *table,
                                                 struct dray_transfer *before)
{
    struct dray_transfer *next;

    dray_mutex_lock(&table->mu);
    /* One that has stopped running meanwhile ends the walk: the helper will come again. */
    next = before ? before->next_running : table->running;
    if (before && before->phase != DRAY_TRANSFER_RUNNING)
        next = NULL;
    if (next)
        next->references++;
    dray_mutex_unlock(&table->mu);
    dray_transfer_release(before);
    return next;
}

struct dray_transfer *dray_transfer_hold(struct dray_transfer *transfer)
{
    dray_mutex_lock(&transfer->table->mu);
    transfer->references++;
    dray_mutex_unlock(&transfer->table->mu);
    return transfer;
}

void dray_transfer_release(struct dray_transfer *transfer)
{
    bool last;

    if (!transfer)
        return;
    dray_mutex_lock(&transfer->table->mu);
    last = --transfer->references == 0;
    dray_mutex_unlock(&transfer->table->mu);
    if (last)
        transfer_free(transfer);
}

void dray_transfer_look(struct dray_transfer *transfer, struct dray_transfer_view *ret_view,
                        struct dray_error *ret_error)
{
    struct dray_download_view fetched = { 0 };
    struct dray_download *download;

    dray_mutex_lock(&transfer->table->mu);
    download = transfer->download; /* once there, it stays as long as the transfer */
    *ret_view =
        (struct dray_transfer_view){ .phase = transfer->phase,
                                     .due_ms = transfer->due_ms,
                                     .current_bytes = atomic_load(&transfer->foreign_bytes) };
    if (ret_error && transfer->phase == DRAY_TRANSFER_FAILED)
        *ret_error = transfer->error;
    dray_mutex_unlock(&transfer->table->mu);

    ret_view->begun = ret_view->current_bytes > 0;
    if (!download)
        return;
    dray_download_look(download, &fetched,
                       ret_view->phase == DRAY_TRANSFER_FAILED ? NULL : ret_error);
    ret_view->current_bytes = fetched.current_bytes;
    ret_view->resumed_bytes = fetched.resumed_bytes;
    ret_view->received_bytes = fetched.received_bytes;
    ret_view->retries = fetched.retries;
    ret_view->retry_delay_ms = fetched.retry_delay_ms;
    ret_view->begun = fetched.endpoint != NULL;
    if (fetched.endpoint)
        snprintf(ret_view->endpoint, sizeof(ret_view->endpoint), "%s", fetched.endpoint);
    if (ret_view->phase == DRAY_TRANSFER_DONE || ret_view->phase == DRAY_TRANSFER_FAILED)
        ret_view->figures = dray_download_figures(download);
}

uint64_t dray_inflight_changes(struct dray_inflight *table)
{
    uint64_t count;

    dray_mutex_lock(&table->mu);
    count = table->changes;
    dray_mutex_unlock(&table->mu);
    return count;
}

uint64_t dray_inflight_wait(struct dray_inflight *table, uint64_t seen, int64_t deadline_ms)
{
    uint64_t count;

    dray_mutex_lock(&table->mu);
    while (table->changes == seen) {
        if (deadline_ms == INT64_MAX)
            dray_cond_wait(&table->changed, &table->mu);
        else if (!dray_cond_wait_until(&table->changed, &table->mu, deadline_ms))
            break;
    }
    count = table->changes;
    dray_mutex_unlock(&table->mu);
    return count;
}
