/* Where a redirect for a blob led: reused for its other parts, so that the registry is asked once.
 */
#ifndef DRAY_REGISTRY_BLOB_TARGET_H
#define DRAY_REGISTRY_BLOB_TARGET_H

#include <stdbool.h>

#include "core/secret.h"
#include "registry/url.h"

/** Of one blob at one endpoint. Initialise with = { 0 }; release with dray_blob_target_done().
 *  Belongs to one thread; copy to share. */
struct dray_blob_target {
    struct dray_secret url;       /* mostly a signed one: never shown; empty: not known */
    enum dray_reach sender_reach; /* where the one is who named it: dray_reach_allows() goes on */
};

/** Is it known? */
static inline bool dray_blob_target_set(const struct dray_blob_target *target)
{
    return !dray_secret_empty(&target->url);
}

/** Are they the same, or both not known? */
bool dray_blob_target_equal(const struct dray_blob_target *a, const struct dray_blob_target *b);

/** Remember a URL; the old one is wiped. @return DRAY_OK or DRAY_ENOMEM (not known then) */
int dray_blob_target_remember(struct dray_blob_target *target, const char *url,
                              enum dray_reach sender_reach);

/** Make to the same as from; its old content is wiped. @return DRAY_OK or DRAY_ENOMEM (to is not
 *  known then) */
int dray_blob_target_copy(const struct dray_blob_target *from, struct dray_blob_target *to);

/** Wipe and free; it is usable again, and not known. */
void dray_blob_target_done(struct dray_blob_target *target);

#define DRAY_AUTO_BLOB_TARGET DRAY_CLEANUP(dray_blob_target_done)

#endif
