/* An item: one distinct blob of an image that is being pulled. */
#ifndef DRAY_WORKERS_ITEM_H
#define DRAY_WORKERS_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/event.h>

#include "core/descriptor.h"
#include "core/manifest.h"
#include "storage/store.h"

struct dray_transfer; /* workers/inflight.h */

enum dray_item_state {
    DRAY_ITEM_WAITING, /* its transfer tells more */
    DRAY_ITEM_EXISTS,
    DRAY_ITEM_DONE,
    DRAY_ITEM_FAILED,
    DRAY_ITEM_STOPPED, /* the image has ended before it */
};

/** One distinct blob of the image. */
struct dray_item {
    struct dray_descriptor blob; /* immutable; data borrowed from the manifest */
    enum dray_blob_role role;
    uint32_t blob_index; /* its first place in the image */

    enum dray_item_state state;     /* guarded by the pull's mu, as is transfer */
    struct dray_transfer *transfer; /* NULL: none was needed; wanted unless STOPPED */
    bool owner;                     /* this pull started the transfer */
};

/**
 * List the distinct blobs of some images, in the order in which they stand there. All wait, without
 * a transfer.
 *
 * @param images     borrowed; the items borrow inline data from them
 * @param ret_items  free() it
 * @return DRAY_OK, DRAY_EPROTO (a blob with two sizes), DRAY_ENOMEM
 */
int dray_item_list(struct dray_manifest *const *images, size_t image_count,
                   struct dray_item **ret_items, size_t *ret_count, struct dray_error *err);

/** Is its blob in the store? Configs are read and hashed, for the pull depends on what they say;
 * one that has decayed is dropped, to be fetched again. Layers are taken by their size. */
bool dray_item_is_here(const struct dray_item *item, struct dray_store *store);

/** For qsort() of pointers to items. The largest layers start first: what is left at the end is
 * then small. Before them go the configs, which tell most about what is wrong with an image. */
int dray_item_starting_order(const void *a, const void *b);

#endif
