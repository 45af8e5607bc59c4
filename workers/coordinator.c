#include "workers/coordinator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/image_config.h"
#include "core/limits.h"
#include "core/log.h"
#include "storage/blob_store.h"
#include "storage/space.h"
#include "storage/staging.h"
#include "workers/resolve.h"
#include "workers/retry.h"
#include "workers/transfer.h"

/* How often one who waits for parked transfers looks whether the pull was canceled. */
#define LOOK_MS 100

/* How long a pull that failed waits for its transfers to stop, so that it can be told what they
 * took. Mostly it is a moment; a worker that asks for a token is not told that it may stop. */
#define STOP_MS 1000

/* What one run carries from step to step. */
struct run {
    struct dray_image_pull *pull;
    const struct dray_coordinator_shared *shared;
    struct dray_client *client;
    const struct dray_reference *reference;
    struct dray_resolution resolution;
    struct dray_source *source;
    int64_t due_ms; /* when the first parked transfer is to go on; INT64_MAX: none is parked */
};

int dray_image_pull_new(const struct dray_reference *reference, struct dray_pull_result *result,
                        struct dray_image_pull **ret_pull, struct dray_error *err)
{
    struct dray_image_pull *pull = calloc(1, sizeof(*pull));

    if (!pull)
        return dray_error_nomem(err);
    pull->result = result;
    dray_reference_canonical(reference, pull->name);
    dray_mutex_init(&pull->mu);
    *ret_pull = pull;
    return DRAY_OK;
}

void dray_image_pull_free(struct dray_image_pull *pull)
{
    if (!pull)
        return;
    for (size_t i = 0; i < pull->item_count; i++) {
        if (pull->items[i].state == DRAY_ITEM_STOPPED)
            dray_transfer_release(pull->items[i].transfer);
        else
            dray_inflight_leave(pull->items[i].transfer);
    }
    free(pull->items);
    dray_mutex_done(&pull->mu);
    free(pull);
}

static void note_endpoint(void *ctx, const struct dray_endpoint *endpoint)
{
    struct dray_image_pull *pull = ctx;

    dray_mutex_lock(&pull->mu);
    snprintf(pull->endpoint, sizeof(pull->endpoint), "%s", endpoint->origin);
    dray_mutex_unlock(&pull->mu);
}

/* Make the source: from here on the store is locked against removal, until the last transfer that
 * goes by this source has ended. */
static int make_source(struct run *run, struct dray_error *err)
{
    DRAY_AUTO_SOURCE struct dray_source *source = calloc(1, sizeof(*source));
    int rc;

    if (!source)
        return dray_error_nomem(err);
    source->references = 1;
    source->lock_fd = -1;
    source->engine = &run->shared->engine;
    snprintf(source->repository, sizeof(source->repository), "%s", run->reference->path);
    rc = dray_store_lock(source->engine->store, DRAY_LOCK_SHARED, source->engine->cancel,
                         &source->lock_fd, err);
    if (rc < 0)
        return rc;
    rc = dray_endpoint_list_make(run->shared->engine.registry, run->reference, &source->endpoints,
                                 err);
    if (rc < 0)
        return rc;
    run->source = DRAY_TAKE(source);
    return DRAY_OK;
}

static int resolve(struct run *run, struct dray_error *err)
{
    struct dray_resolve_request request = {
        .engine = &run->shared->engine,
        .client = run->client,
        .reference = run->reference,
        .endpoints = &run->source->endpoints,
        .platform = &run->shared->platform,
        .platform_asked = run->shared->platform_asked,
        .all_platforms = run->shared->all_platforms,
        .on_endpoint = note_endpoint,
        .ctx = run->pull,
    };
    int rc = dray_resolve(&request, &run->resolution, err);

    if (rc < 0)
        return rc;
    run->source->first = run->resolution.endpoint;
    run->pull->result->digest = run->resolution.source_digest;
    return DRAY_OK;
}

/* Look every blob up; what is inline is put at once, what is missing waits for its transfer. */
static int plan(struct run *run, struct dray_error *err)
{
    struct dray_image_pull *pull = run->pull;
    DRAY_AUTO_FREE struct dray_item *items = NULL;
    uint64_t total_bytes = 0;
    uint64_t missing_bytes = 0; /* below total_bytes, so it cannot overflow either */
    size_t count = 0;
    int rc;

    rc = dray_item_list(run->resolution.images, run->resolution.image_count, &items, &count, err);
    if (rc < 0)
        return rc;

    for (size_t i = 0; i < count; i++) {
        const struct dray_descriptor *blob = &items[i].blob;

        if (!dray_add_u64(total_bytes, blob->size_bytes, &total_bytes))
            return dray_error_set(err, DRAY_EPROTO, "the sizes of its blobs overflow");
        if (items[i].role == DRAY_ROLE_CONFIG && dray_media_type_is_config(blob->media_type) &&
            blob->size_bytes > DRAY_CONFIG_MAX_BYTES)
            return dray_error_set(err, DRAY_EPROTO, "config %s is too large: %" PRIu64 " bytes",
                                  blob->digest.text, blob->size_bytes);
        if (dray_item_is_here(&items[i], run->shared->engine.store)) {
            items[i].state = DRAY_ITEM_EXISTS;
        } else if (blob->data) {
            rc = dray_blob_put(run->shared->engine.store, &blob->digest, blob->data,
                               (size_t)blob->size_bytes, err);
            if (rc < 0)
                return rc;
            items[i].state = DRAY_ITEM_DONE;
        } else {
            missing_bytes += dray_staging_room_needed(run->shared->engine.store, blob);
        }
    }

    rc = dray_store_check_room(run->shared->engine.store, missing_bytes, err);
    if (rc < 0)
        return rc;

    pull->result->total_bytes = total_bytes;
    dray_mutex_lock(&pull->mu);
    pull->phase = DRAY_IMAGE_FETCHING;
    pull->digest = run->resolution.source_digest;
    pull->total_bytes = total_bytes;
    pull->item_count = count;
    pull->items = DRAY_TAKE(items);
    dray_mutex_unlock(&pull->mu);
    return DRAY_OK;
}

/* Join or start the transfer of one item. */
static int want(struct run *run, struct dray_item *item, struct dray_error *err)
{
    struct dray_image_pull *pull = run->pull;
    struct dray_transfer *transfer;
    struct dray_transfer *before;
    bool owner;
    int rc;

    rc = dray_inflight_join(run->shared->inflight, &item->blob, run->source, dray_transfer_run,
                            &transfer, &owner, err);
    if (rc < 0)
        return rc;

    dray_mutex_lock(&pull->mu);
    before = item->transfer;
    item->transfer = transfer;
    item->owner = owner;
    dray_mutex_unlock(&pull->mu);
    dray_inflight_leave(before);

    if (owner)
        dray_pool_push(run->shared->engine.pool, &transfer->job);
    return DRAY_OK;
}

static void set_state(struct dray_image_pull *pull, struct dray_item *item,
                      enum dray_item_state state)
{
    dray_mutex_lock(&pull->mu);
    item->state = state;
    dray_mutex_unlock(&pull->mu);
}

/* Look at one item. *ret_waiting: its transfer still runs. */
static int check_item(struct run *run, struct dray_item *item, bool *ret_waiting,
                      struct dray_error *err)
{
    struct dray_transfer_view view;
    struct dray_error failure = { 0 };

    *ret_waiting = false;
    dray_transfer_look(item->transfer, &view, &failure);
    switch (view.phase) {
    case DRAY_TRANSFER_QUEUED:
    case DRAY_TRANSFER_RUNNING:
        *ret_waiting = true;
        return DRAY_OK;
    case DRAY_TRANSFER_PARKED:
        *ret_waiting = true;
        /* Whoever waits for it sends it on; it ends at once when it is not to go on. */
        if (dray_transfer_unpark(item->transfer, dray_cancel_fired(run->shared->engine.cancel)))
            dray_pool_push(run->shared->engine.pool, &item->transfer->job);
        else if (view.due_ms < run->due_ms)
            run->due_ms = view.due_ms;
        return DRAY_OK;
    case DRAY_TRANSFER_DONE:
        if (item->owner)
            run->pull->result->fetched_bytes += view.received_bytes;
        set_state(run->pull, item, DRAY_ITEM_DONE);
        return DRAY_OK;
    case DRAY_TRANSFER_FAILED:
        break;
    }
    if (!item->owner && dray_retry_elsewhere(failure.code)) {
        /* It failed by the ways of another image; ours may be better. */
        *ret_waiting = true;
        return want(run, item, err);
    }
    set_state(run->pull, item, DRAY_ITEM_FAILED);
    if (err)
        *err = failure;
    return failure.code;
}

/* Look at every item that has a transfer. *ret_waiting: some of them still run. */
static int check_items(struct run *run, bool *ret_waiting, struct dray_error *err)
{
    struct dray_image_pull *pull = run->pull;

    *ret_waiting = false;
    run->due_ms = INT64_MAX;
    for (size_t i = 0; i < pull->item_count; i++) {
        struct dray_item *item = &pull->items[i];
        bool waiting;
        int rc;

        if (item->state != DRAY_ITEM_WAITING || !item->transfer)
            continue;
        rc = check_item(run, item, &waiting, err);
        if (rc < 0)
            return rc;
        *ret_waiting = *ret_waiting || waiting;
    }
    return DRAY_OK;
}

/* Start what is missing, until something fails. */
static int start_transfers(struct run *run, struct dray_error *err)
{
    struct dray_image_pull *pull = run->pull;
    DRAY_AUTO_FREE struct dray_item **missing = NULL;
    uint64_t seen = dray_inflight_changes(run->shared->inflight);
    size_t count = 0;

    missing = calloc(pull->item_count + 1, sizeof(missing[0]));
    if (!missing)
        return dray_error_nomem(err);
    for (size_t i = 0; i < pull->item_count; i++) {
        if (pull->items[i].state == DRAY_ITEM_WAITING)
            missing[count++] = &pull->items[i];
    }
    qsort(missing, count, sizeof(missing[0]), dray_item_starting_order);

    for (size_t i = 0; i < count; i++) {
        uint64_t finished;
        bool waiting;
        int rc;

        rc = want(run, missing[i], err);
        if (rc < 0)
            return rc;
        /* The queue is bounded, so this may take as long as the pull itself. */
        finished = dray_inflight_changes(run->shared->inflight);
        if (finished == seen && run->due_ms > dray_now_ms())
            continue;
        seen = finished;
        rc = check_items(run, &waiting, err);
        if (rc < 0)
            return rc;
    }
    return DRAY_OK;
}

/* Until every transfer is done or one has failed. */
static int wait_for_transfers(struct run *run, struct dray_error *err)
{
    uint64_t seen = dray_inflight_changes(run->shared->inflight);

    for (;;) {
        int64_t look_ms;
        bool waiting;
        int rc = check_items(run, &waiting, err);

        if (rc < 0 || !waiting)
            return rc;
        /* Workers notice a fired cancel token themselves; what is parked has none. */
        look_ms = dray_now_ms() + LOOK_MS;
        seen = dray_inflight_wait(run->shared->inflight, seen,
                                  run->due_ms < look_ms     ? run->due_ms
                                  : run->due_ms < INT64_MAX ? look_ms
                                                            : INT64_MAX);
    }
}

/* Hold an image's config to its manifest; the tag of a lone image takes its platform from there. */
static int check_config(struct run *run, const struct dray_manifest *manifest,
                        struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf body = DRAY_BUF_INIT;
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
    const struct dray_platform *wanted = &run->shared->platform;
    char offered[DRAY_PLATFORM_TEXT_MAX];
    char asked[DRAY_PLATFORM_TEXT_MAX];
    int rc;

    if (!dray_media_type_is_config(manifest->config.media_type))
        return DRAY_OK;
    rc = dray_blob_read(run->shared->engine.store, &manifest->config.digest, DRAY_CONFIG_MAX_BYTES,
                        &body, err);
    if (rc < 0)
        return rc;
    rc = dray_image_config_parse(body.data, body.len, &config, err);
    if (rc == DRAY_OK)
        rc = dray_image_config_check(config, manifest, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "config %s", manifest->config.digest.text);
    if (run->shared->all_platforms)
        return DRAY_OK;

    /* What the index says of a platform beats what the config says, which often lacks the variant.
     */
    if (run->resolution.root.has_platform)
        return DRAY_OK;
    if (dray_platform_rank(wanted, &config->platform) == 0) {
        dray_platform_format(&config->platform, offered);
        dray_platform_format(wanted, asked);
        if (run->shared->platform_asked)
            return dray_error_set(err, DRAY_EUNSUPPORTED, "the image is for %s, not for %s",
                                  offered, asked);
        dray_log(&run->shared->engine.log, DRAY_LOG_WARNING, "%s is for %s; this machine is %s",
                 run->pull->name, offered, asked);
    }
    run->resolution.root.has_platform = true;
    run->resolution.root.platform = config->platform;
    return DRAY_OK;
}

/* Everything is here: make it durable, then give it its name. */
static int commit(struct run *run, bool *ret_moved, struct dray_error *err)
{
    struct dray_tag tag = { .name = run->pull->name,
                            .source_digest = run->resolution.source_digest };
    int rc;

    for (size_t i = 0; i < run->resolution.image_count; i++) {
        rc = check_config(run, run->resolution.images[i], err);
        if (rc < 0)
            return rc;
    }
    rc = dray_blob_barrier(run->shared->engine.store, err);
    if (rc < 0)
        return rc;
    tag.descriptor = run->resolution.root;
    return dray_tag_set(run->shared->engine.store, &tag, run->shared->engine.cancel, ret_moved,
                        err);
}

/* Is there a blob that was not in the store before? */
static bool has_new_blobs(const struct dray_image_pull *pull)
{
    for (size_t i = 0; i < pull->item_count; i++)
        if (pull->items[i].state != DRAY_ITEM_EXISTS)
            return true;
    return false;
}

static int pull_image(struct run *run, struct dray_error *err)
{
    bool moved = false;
    int rc;

    rc = make_source(run, err);
    if (rc < 0)
        return rc;
    rc = resolve(run, err);
    if (rc < 0)
        return rc;
    if (run->resolution.unchanged) {
        run->pull->result->status = DRAY_PULL_UNCHANGED;
        return DRAY_OK;
    }

    rc = plan(run, err);
    if (rc < 0)
        return rc;
    rc = start_transfers(run, err);
    if (rc < 0)
        return rc;
    rc = wait_for_transfers(run, err);
    if (rc < 0)
        return rc;
    rc = commit(run, &moved, err);
    if (rc < 0)
        return rc;
    run->pull->result->status =
        moved || has_new_blobs(run->pull) ? DRAY_PULL_NEW : DRAY_PULL_UNCHANGED;
    return DRAY_OK;
}

/* A transfer that nobody wants: is it still to be waited for until it has stopped? */
static bool is_stopping(struct dray_transfer *transfer)
{
    struct dray_transfer_view view;

    dray_transfer_look(transfer, &view, NULL);
    return view.begun && atomic_load(&transfer->wanted) == 0 && view.phase != DRAY_TRANSFER_DONE &&
           view.phase != DRAY_TRANSFER_FAILED;
}

static void stop_item(struct dray_image_pull *pull, struct dray_item *item, int64_t deadline_ms)
{
    struct dray_inflight *table = item->transfer->table;
    uint64_t seen = dray_inflight_changes(table);

    while (is_stopping(item->transfer) && dray_now_ms() < deadline_ms)
        seen = dray_inflight_wait(table, seen, deadline_ms);
    set_state(pull, item, DRAY_ITEM_STOPPED);
}

/* Transfers that this image waits for no more stop, unless another image wants them. */
static void stop_transfers(struct dray_image_pull *pull)
{
    int64_t deadline_ms = dray_now_ms() + STOP_MS;

    for (size_t i = 0; i < pull->item_count; i++)
        if (pull->items[i].state == DRAY_ITEM_WAITING && pull->items[i].transfer)
            dray_inflight_unwant(pull->items[i].transfer);
    for (size_t i = 0; i < pull->item_count; i++)
        if (pull->items[i].state == DRAY_ITEM_WAITING && pull->items[i].transfer)
            stop_item(pull, &pull->items[i], deadline_ms);
}

static void finish(struct dray_image_pull *pull)
{
    stop_transfers(pull);
    /* Items borrow inline data from the manifests, which go now. */
    dray_mutex_lock(&pull->mu);
    for (size_t i = 0; i < pull->item_count; i++)
        pull->items[i].blob.data = NULL;
    pull->digest = pull->result->digest;
    pull->phase = DRAY_IMAGE_FINISHED;
    dray_mutex_unlock(&pull->mu);
}

void dray_image_pull_fail(struct dray_image_pull *pull, const struct dray_error *error)
{
    pull->result->error = *error;
    finish(pull);
}

void dray_image_pull_run(struct dray_image_pull *pull, const struct dray_coordinator_shared *shared,
                         struct dray_client *client)
{
    struct run run = {
        .pull = pull,
        .shared = shared,
        .client = client,
        .reference = &pull->result->reference,
        .due_ms = INT64_MAX,
    };
    struct dray_error err = { 0 };

    if (pull_image(&run, &err) < 0)
        pull->result->error = err;
    finish(pull);
    dray_resolution_done(&run.resolution);
    dray_source_release(run.source);
}
