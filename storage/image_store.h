/* Images: what a tag leads to. The listing, inspecting and removing functions of dray/store.h are
 * defined here too. */
#ifndef DRAY_STORAGE_IMAGE_STORE_H
#define DRAY_STORAGE_IMAGE_STORE_H

#include "storage/tag_store.h"

/**
 * Is everything a manifest or index names in the store, with the right sizes? For an index: each
 * entry whose manifest is present is followed, and all must be present.
 *
 * @return DRAY_OK with *ret_complete; DRAY_EIO, DRAY_ENOMEM. A damaged document is "not complete".
 */
int dray_image_complete(struct dray_store *store, const struct dray_descriptor *root,
                        bool *ret_complete, struct dray_error *err);

#endif
