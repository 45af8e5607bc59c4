#include "workers/item.h"

#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/limits.h"
#include "core/log.h"
#include "storage/blob_store.h"

static int by_digest_then_index(const void *a, const void *b)
{
    const struct dray_item *left = a;
    const struct dray_item *right = b;
    int order = strcmp(left->blob.digest.text, right->blob.digest.text);

    return order ? order
                 : (left->blob_index > right->blob_index) - (left->blob_index < right->blob_index);
}

static int by_index(const void *a, const void *b)
{
    const struct dray_item *left = a;
    const struct dray_item *right = b;

    return (left->blob_index > right->blob_index) - (left->blob_index < right->blob_index);
}

static struct dray_item *add_item(struct dray_item *item, const struct dray_descriptor *blob,
                                  enum dray_blob_role role, uint32_t blob_index)
{
    item->blob = *blob;
    item->role = role;
    item->blob_index = blob_index;
    return item + 1;
}

int dray_item_list(struct dray_manifest *const *images, size_t image_count,
                   struct dray_item **ret_items, size_t *ret_count, struct dray_error *err)
{
    DRAY_AUTO_FREE struct dray_item *items = NULL;
    struct dray_item *end;
    size_t count = 0;
    size_t kept = 0;

    for (size_t i = 0; i < image_count; i++)
        count += images[i]->layer_count + 1;
    items = calloc(count + 1, sizeof(*items));
    if (!items)
        return dray_error_nomem(err);

    end = items;
    for (size_t i = 0; i < image_count; i++) {
        const struct dray_manifest *image = images[i];

        for (size_t k = 0; k < image->layer_count; k++)
            end = add_item(end, &image->layers[k], DRAY_ROLE_LAYER, (uint32_t)(end - items));
        end = add_item(end, &image->config, DRAY_ROLE_CONFIG, (uint32_t)(end - items));
    }

    qsort(items, count, sizeof(*items), by_digest_then_index);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && strcmp(items[kept - 1].blob.digest.text, items[i].blob.digest.text) == 0) {
            if (items[kept - 1].blob.size_bytes != items[i].blob.size_bytes)
                return dray_error_set(err, DRAY_EPROTO, "blob %s is listed with two sizes",
                                      items[i].blob.digest.text);
            continue;
        }
        items[kept++] = items[i];
    }
    qsort(items, kept, sizeof(*items), by_index);

    *ret_items = DRAY_TAKE(items);
    *ret_count = kept;
    return DRAY_OK;
}

bool dray_item_is_here(const struct dray_item *item, struct dray_store *store)
{
    DRAY_AUTO_BUF struct dray_buf body = DRAY_BUF_INIT;
    bool removed;

    if (!dray_blob_exists(store, &item->blob.digest, item->blob.size_bytes))
        return false;
    if (!dray_media_type_is_config(item->blob.media_type) ||
        dray_blob_read(store, &item->blob.digest, DRAY_CONFIG_MAX_BYTES, &body, NULL) !=
            DRAY_EDIGEST)
        return true;
    dray_log(&store->log, DRAY_LOG_WARNING, "%s is damaged in the store: it is fetched again",
             item->blob.digest.text);
    return dray_blob_remove(store, &item->blob.digest, &removed, NULL) < 0;
}

int dray_item_starting_order(const void *a, const void *b)
{
    const struct dray_item *left = *(struct dray_item *const *)a;
    const struct dray_item *right = *(struct dray_item *const *)b;

    if (left->role != right->role)
        return left->role == DRAY_ROLE_CONFIG ? -1 : 1;

    return (left->blob.size_bytes < right->blob.size_bytes) -
           (left->blob.size_bytes > right->blob.size_bytes);
}
