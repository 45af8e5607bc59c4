#include "workers/watch.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/error.h"

/* What has been told about one item. */
struct told {
    bool listed; /* queued, or exists */
    bool started;
    bool ended;
    uint32_t retries;
    uint64_t current_bytes;
};

struct dray_watch {
    struct dray_image_pull *pull;
    uint32_t image_index;
    char endpoint[sizeof(((struct dray_image_pull *)0)->endpoint)]; /* last told */
    bool resolved;
    bool ended;
    struct told *told; /* one an item; NULL before the items are known */

    dray_event_fn *on_event;
    void *ctx;
};

int dray_watch_new(struct dray_image_pull *pull, uint32_t image_index,
                   struct dray_watch **ret_watch, struct dray_error *err)
{
    struct dray_watch *watch = calloc(1, sizeof(*watch));

    if (!watch)
        return dray_error_nomem(err);
    watch->pull = pull;
    watch->image_index = image_index;
    *ret_watch = watch;
    return DRAY_OK;
}

void dray_watch_free(struct dray_watch *watch)
{
    if (!watch)
        return;
    free(watch->told);
    free(watch);
}

static void tell(struct dray_watch *watch, struct dray_event *event)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    event->time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    event->image_index = watch->image_index;
    event->image = watch->pull->name;
    watch->on_event(watch->ctx, event);
}

static void tell_item(struct dray_watch *watch, const struct dray_item *item,
                      const struct dray_transfer_view *view, enum dray_event_kind kind,
                      const struct dray_error *error)
{
    struct dray_event event = {
        .kind = kind,
        .endpoint = view->endpoint[0] ? view->endpoint : NULL,
        .blob_index = item->blob_index,
        .role = item->role,
        .digest = &item->blob.digest,
        .current_bytes = view->current_bytes,
        .total_bytes = item->blob.size_bytes,
        .delay_ms = kind == DRAY_EVENT_BLOB_RETRY ? view->retry_delay_ms : 0,
        .error = error,
    };

    /* The first image that tells its end tells how it came, so that sums are right. */
    if (kind >= DRAY_EVENT_BLOB_DONE && kind <= DRAY_EVENT_BLOB_STOPPED && view->figures &&
        !item->transfer->told) {
        item->transfer->told = true;
        event.figures = view->figures;
    }
    tell(watch, &event);
}

/* The item as it is now: its state, its transfer's view, the last error. */
static enum dray_item_state look(struct dray_image_pull *pull, const struct dray_item *item,
                                 struct dray_transfer_view *ret_view, struct dray_error *ret_error)
{
    enum dray_item_state state;

    *ret_view = (struct dray_transfer_view){ 0 };
    dray_mutex_lock(&pull->mu);
    state = item->state;
    if (item->transfer)
        dray_transfer_look(item->transfer, ret_view, ret_error);
    dray_mutex_unlock(&pull->mu);
    if (state == DRAY_ITEM_EXISTS || state == DRAY_ITEM_DONE)
        ret_view->current_bytes = item->blob.size_bytes;
    return state;
}

static void watch_item(struct dray_watch *watch, const struct dray_item *item, struct told *told)
{
    struct dray_transfer_view view;
    struct dray_error error = { 0 };
    enum dray_item_state state;

    if (told->ended)
        return;
    state = look(watch->pull, item, &view, &error);

    if (!told->listed) {
        told->listed = true;
        if (state == DRAY_ITEM_EXISTS) {
            told->ended = true;
            tell_item(watch, item, &view, DRAY_EVENT_BLOB_EXISTS, NULL);
            return;
        }
        tell_item(watch, item, &(struct dray_transfer_view){ 0 }, DRAY_EVENT_BLOB_QUEUED, NULL);
    }
    if (!told->started && (view.begun || state == DRAY_ITEM_DONE)) {
        struct dray_transfer_view begun = view;

        begun.current_bytes = view.resumed_bytes;
        told->started = true;
        tell_item(watch, item, &begun, DRAY_EVENT_BLOB_STARTED, NULL);
    } else if (told->started && view.current_bytes != told->current_bytes &&
               state == DRAY_ITEM_WAITING) {
        tell_item(watch, item, &view, DRAY_EVENT_BLOB_PROGRESS, NULL);
    }
    told->current_bytes = view.current_bytes;
    if (view.retries > told->retries && state == DRAY_ITEM_WAITING)
        tell_item(watch, item, &view, DRAY_EVENT_BLOB_RETRY, &error);
    told->retries = view.retries;

    if (state == DRAY_ITEM_STOPPED) {
        told->ended = true;
        if (told->started)
            tell_item(watch, item, &view, DRAY_EVENT_BLOB_STOPPED, NULL);
    } else if (state == DRAY_ITEM_DONE || state == DRAY_ITEM_FAILED) {
        told->ended = true;
        tell_item(watch, item, &view,
                  state == DRAY_ITEM_DONE ? DRAY_EVENT_BLOB_DONE : DRAY_EVENT_BLOB_FAILED,
                  state == DRAY_ITEM_DONE ? NULL : &error);
    }
}

static void watch_items(struct dray_watch *watch, size_t count)
{
    struct dray_image_pull *pull = watch->pull;

    if (!watch->told) {
        watch->told = calloc(count + 1, sizeof(watch->told[0]));
        if (!watch->told)
            return; /* perhaps at the next look; a pull does not fail for want of telling */
    }
    for (size_t i = 0; i < count; i++)
        watch_item(watch, &pull->items[i], &watch->told[i]);
}

static void tell_end(struct dray_watch *watch)
{
    const struct dray_pull_result *result = watch->pull->result;
    bool failed = result->status == DRAY_PULL_FAILED;
    struct dray_event event = {
        .kind = failed ? DRAY_EVENT_IMAGE_FAILED : DRAY_EVENT_IMAGE_DONE,
        .digest = result->digest.alg ? &result->digest : NULL,
        .total_bytes = result->total_bytes,
        .current_bytes = failed ? 0 : result->total_bytes,
        .changed = result->status == DRAY_PULL_NEW,
        .error = failed ? &result->error : NULL,
    };

    tell(watch, &event);
}

void dray_watch_tell(struct dray_watch *watch, dray_event_fn *on_event, void *ctx)
{
    struct dray_image_pull *pull = watch->pull;
    char endpoint[sizeof(pull->endpoint)];
    enum dray_image_phase phase;
    struct dray_digest digest;
    uint64_t total_bytes;
    size_t item_count;

    if (watch->ended)
        return;
    watch->on_event = on_event;
    watch->ctx = ctx;

    dray_mutex_lock(&pull->mu);
    memcpy(endpoint, pull->endpoint, sizeof(endpoint));
    phase = pull->phase;
    digest = pull->digest;
    total_bytes = pull->total_bytes;
    item_count = pull->item_count;
    dray_mutex_unlock(&pull->mu);

    if (strcmp(endpoint, watch->endpoint) != 0) {
        struct dray_event event = { .kind = DRAY_EVENT_RESOLVING, .endpoint = endpoint };

        memcpy(watch->endpoint, endpoint, sizeof(endpoint));
        tell(watch, &event);
    }
    if (digest.alg && !watch->resolved) {
        struct dray_event event = { .kind = DRAY_EVENT_RESOLVED,
                                    .endpoint = endpoint[0] ? endpoint : NULL,
                                    .digest = &digest,
                                    .total_bytes = total_bytes };

        watch->resolved = true;
        tell(watch, &event);
    }
    if (item_count > 0)
        watch_items(watch, item_count);
    if (phase == DRAY_IMAGE_FINISHED) {
        watch->ended = true;
        tell_end(watch);
    }
}
