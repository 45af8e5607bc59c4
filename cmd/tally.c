#include "cmd/tally.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/clock.h"

static const struct dray_blob_figures nothing = { .duration_ms = -1, .first_byte_ms = -1 };

int dray_tally_init(struct dray_tally *tally, size_t image_count)
{
    memset(tally, 0, sizeof(*tally));
    tally->images = calloc(image_count + 1, sizeof(*tally->images));
    if (!tally->images)
        return DRAY_ENOMEM;
    tally->image_count = image_count;
    tally->started_ms = dray_clock_wall_ms();
    tally->began_ms = dray_clock_now_ms();
    return DRAY_OK;
}

/* The figures are ours, their texts included; a pointer to const is what the library gave them. */
static void free_origins(const struct dray_blob_origin *origins, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)origins[i].endpoint);
    free((void *)(uintptr_t)origins);
}

static void drop_figures(struct dray_tally_blob *blob)
{
    free_origins(blob->figures.origins, blob->figures.origin_count);
    blob->figures = nothing;
}

void dray_tally_done(struct dray_tally *tally)
{
    for (size_t i = 0; i < tally->image_count; i++) {
        struct dray_tally_image *image = &tally->images[i];

        for (size_t j = 0; j < image->blob_count; j++) {
            drop_figures(&image->blobs[j]);
            free(image->blobs[j].error);
        }
        free(image->blobs);
    }
    for (size_t i = 0; i < tally->endpoint_count; i++)
        free((void *)(uintptr_t)tally->endpoints[i].endpoint);
    free(tally->endpoints);
    free(tally->images);
    memset(tally, 0, sizeof(*tally));
}

static struct dray_tally_blob *get_blob(struct dray_tally *tally, const struct dray_event *event)
{
    struct dray_tally_image *image;
    size_t index = event->blob_index;

    if (event->image_index >= tally->image_count)
        return NULL;
    image = &tally->images[event->image_index];
    if (index >= image->blob_count) {
        size_t count = index < 8 ? 16 : index * 2;
        struct dray_tally_blob *grown = reallocarray(image->blobs, count, sizeof(*grown));

        if (!grown) {
            tally->lost = true;
            return NULL;
        }
        memset(&grown[image->blob_count], 0, (count - image->blob_count) * sizeof(*grown));
        image->blobs = grown;
        image->blob_count = count;
    }
    return &image->blobs[index];
}

/* A copy of the origins with texts of its own; NULL without memory. */
static struct dray_blob_origin *copy_origins(const struct dray_blob_origin *origins, size_t count)
{
    struct dray_blob_origin *copy = calloc(count + 1, sizeof(*copy));

    if (!copy)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        copy[i] = origins[i];
        copy[i].endpoint = strdup(origins[i].endpoint);
        if (!copy[i].endpoint) {
            free_origins(copy, i);
            return NULL;
        }
    }
    return copy;
}

static void end_blob(struct dray_tally *tally, struct dray_tally_blob *blob,
                     enum dray_tally_status status, const struct dray_event *event)
{
    blob->status = status;
    drop_figures(blob);
    if (event->figures) {
        blob->figures = *event->figures;
        blob->figures.origins = copy_origins(event->figures->origins, event->figures->origin_count);
        if (!blob->figures.origins) {
            blob->figures.origin_count = 0;
            tally->lost = true;
        }
    }
    if (event->error && !blob->error) {
        blob->error = malloc(sizeof(*blob->error));
        if (blob->error)
            *blob->error = *event->error;
        else
            tally->lost = true;
    }
}

static void name_blob(struct dray_tally_blob *blob, const struct dray_event *event)
{
    blob->status = DRAY_TALLY_UNFINISHED;
    blob->role = event->role;
    blob->figures = nothing;
    if (event->digest)
        blob->digest = *event->digest;
}

void dray_tally_event(struct dray_tally *tally, const struct dray_event *event)
{
    struct dray_tally_blob *blob;

    if (event->kind < DRAY_EVENT_BLOB_QUEUED || event->kind > DRAY_EVENT_BLOB_STOPPED)
        return;
    blob = get_blob(tally, event);
    if (!blob)
        return;
    if (blob->status == DRAY_TALLY_UNNAMED)
        name_blob(blob, event);
    if (event->total_bytes > 0)
        blob->size_bytes = event->total_bytes;
    switch (event->kind) {
    case DRAY_EVENT_BLOB_EXISTS:
        blob->status = DRAY_TALLY_PRESENT;
        break;
    case DRAY_EVENT_BLOB_DONE:
        end_blob(tally, blob, event->figures ? DRAY_TALLY_FETCHED : DRAY_TALLY_SHARED, event);
        break;
    case DRAY_EVENT_BLOB_FAILED:
        end_blob(tally, blob, DRAY_TALLY_FAILED, event);
        break;
    case DRAY_EVENT_BLOB_STOPPED:
        end_blob(tally, blob, DRAY_TALLY_UNFINISHED, event);
        break;
    default:
        break;
    }
}

void dray_tally_endpoint(void *ctx, const struct dray_endpoint_figures *figures)
{
    struct dray_tally *tally = ctx;
    struct dray_endpoint_figures *grown =
        reallocarray(tally->endpoints, tally->endpoint_count + 1, sizeof(*grown));
    char *endpoint = strdup(figures->endpoint);

    if (grown)
        tally->endpoints = grown;
    if (!grown || !endpoint) {
        free(endpoint);
        tally->lost = true;
        return;
    }
    grown[tally->endpoint_count] = *figures;
    grown[tally->endpoint_count].endpoint = endpoint;
    tally->endpoint_count++;
}

void dray_tally_finish(struct dray_tally *tally)
{
    tally->duration_ms = dray_clock_now_ms() - tally->began_ms;
}

void dray_tally_sum(const struct dray_tally *tally, struct dray_tally_totals *ret_totals)
{
    struct dray_tally_totals totals = { 0 };

    for (size_t i = 0; i < tally->image_count; i++) {
        const struct dray_tally_image *image = &tally->images[i];

        for (size_t j = 0; j < image->blob_count; j++) {
            const struct dray_tally_blob *blob = &image->blobs[j];

            totals.blobs[blob->status]++;
            totals.received_bytes += blob->figures.received_bytes;
            totals.resumed_bytes += blob->figures.resumed_bytes;
            totals.requests += blob->figures.requests;
            totals.retries += blob->figures.retries;
            if (blob->status == DRAY_TALLY_PRESENT)
                totals.present_bytes += blob->size_bytes;
        }
    }
    *ret_totals = totals;
}

uint64_t dray_tally_rate(uint64_t bytes, int64_t duration_ms)
{
    return duration_ms > 0 ? (uint64_t)((double)bytes * 1000 / (double)duration_ms) : 0;
}
