#include "workers/inflight.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

/* A power of two well above the number of blobs in flight; digests are uniform, so their first
 * bytes are hash enough. */
#define BUCKETS 1024

struct dray_inflight {
    struct dray_mutex mu;      /* guards the fields below and those of the transfers */
    struct dray_cond finished; /* finished_count changed */
    uint64_t finished_count DRAY_GUARDED_BY(&mu);
    struct dray_transfer *buckets[BUCKETS] DRAY_GUARDED_BY(&mu);
};

int dray_inflight_new(struct dray_inflight **ret_table, struct dray_error *err)
{
    struct dray_inflight *table = calloc(1, sizeof(*table));

    if (!table)
        return dray_error_nomem(err);
    dray_mutex_init(&table->mu);
    dray_cond_init(&table->finished);
    *ret_table = table;
    return DRAY_OK;
}

void dray_inflight_free(struct dray_inflight *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        assert(!table->buckets[i]);
    dray_cond_done(&table->finished);
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

void dray_inflight_leave(struct dray_transfer *transfer)
{
    bool last;

    if (!transfer)
        return;
    dray_mutex_lock(&transfer->table->mu);
    transfer->wanted--;
    last = --transfer->references == 0;
    dray_mutex_unlock(&transfer->table->mu);
    if (last)
        transfer_free(transfer);
}

void dray_transfer_at(struct dray_transfer *transfer, const char *endpoint)
{
    dray_mutex_lock(&transfer->table->mu);
    transfer->phase = DRAY_TRANSFER_RUNNING;
    transfer->endpoint = endpoint;
    dray_mutex_unlock(&transfer->table->mu);
}

void dray_transfer_retrying(struct dray_transfer *transfer, const struct dray_error *error,
                            int64_t delay_ms)
{
    dray_mutex_lock(&transfer->table->mu);
    transfer->retries++;
    transfer->retry_delay_ms = delay_ms;
    transfer->error = *error;
    dray_mutex_unlock(&transfer->table->mu);
}

void dray_transfer_finish(struct dray_transfer *transfer, int rc, const struct dray_error *error)
{
    struct dray_inflight *table = transfer->table;
    struct dray_transfer **link;
    bool last;

    dray_mutex_lock(&table->mu);
    for (link = bucket_of(table, &transfer->blob.digest); *link != transfer; link = &(*link)->next)
        ;
    *link = transfer->next;
    transfer->phase = rc < 0 ? DRAY_TRANSFER_FAILED : DRAY_TRANSFER_DONE;
    if (rc < 0)
        transfer->error = *error;
    last = --transfer->references == 0;
    table->finished_count++;
    dray_cond_broadcast(&table->finished);
    dray_mutex_unlock(&table->mu);
    if (last)
        transfer_free(transfer);
}

void dray_transfer_look(struct dray_transfer *transfer, struct dray_transfer_view *ret_view,
                        struct dray_error *ret_error)
{
    dray_mutex_lock(&transfer->table->mu);
    *ret_view = (struct dray_transfer_view){
        .phase = transfer->phase,
        .current_bytes = transfer->current_bytes,
        .resumed_bytes = transfer->resumed_bytes,
        .retries = transfer->retries,
        .retry_delay_ms = transfer->retry_delay_ms,
    };
    if (transfer->endpoint)
        snprintf(ret_view->endpoint, sizeof(ret_view->endpoint), "%s", transfer->endpoint);
    if (ret_error && (transfer->retries > 0 || transfer->phase == DRAY_TRANSFER_FAILED))
        *ret_error = transfer->error;
    dray_mutex_unlock(&transfer->table->mu);
}

uint64_t dray_inflight_finished(struct dray_inflight *table)
{
    uint64_t count;

    dray_mutex_lock(&table->mu);
    count = table->finished_count;
    dray_mutex_unlock(&table->mu);
    return count;
}

uint64_t dray_inflight_wait(struct dray_inflight *table, uint64_t seen)
{
    uint64_t count;

    dray_mutex_lock(&table->mu);
    while (table->finished_count == seen)
        dray_cond_wait(&table->finished, &table->mu);
    count = table->finished_count;
    dray_mutex_unlock(&table->mu);
    return count;
}
