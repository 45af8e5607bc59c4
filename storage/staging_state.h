/* What a staging is made of: for staging.c (its life, from open to commit) and staging_write.c (how
 * bytes get into it) only. */
#ifndef DRAY_STORAGE_STAGING_STATE_H
#define DRAY_STORAGE_STAGING_STATE_H

#include "core/digest.h"
#include "core/sync.h"
#include "storage/segment_map.h"
#include "storage/staging_map.h"

enum dray_staging_map_state {
    DRAY_STAGING_MAP_NONE, /* the file is in order: what is held is what stands before its end */
    DRAY_STAGING_MAP_BEING_MADE,
    DRAY_STAGING_MAP_THERE,
};

struct dray_staging {
    struct dray_store *store;
    struct dray_digest digest;
    uint64_t size_bytes;
    int fd;                           /* locked */
    bool loaded;                      /* what is held is known: close() may tidy up */
    bool committed;                   /* the file is a blob now */
    char path[DRAY_STAGING_PATH_MAX]; /* relative to the root */

    struct dray_staging_map map_file; /* changed by who makes it, marked by all */
    struct dray_segment_map suspects; /* held when the digest was wrong; fixed while any writes */

    /* Used by the thread that set hashing. */
    struct dray_hasher *hasher;
    uint8_t *read_back; /* of staging_write.c; NULL until it is needed */

    struct dray_mutex mu;            /* guards the fields below */
    struct dray_cond map_is_settled; /* map_state != DRAY_STAGING_MAP_BEING_MADE */
    enum dray_staging_map_state map_state DRAY_GUARDED_BY(&mu);
    struct dray_segment_map held DRAY_GUARDED_BY(&mu);
    bool hashing DRAY_GUARDED_BY(&mu);
    uint64_t hashed DRAY_GUARDED_BY(&mu); /* the frontier: bytes from 0 that are hashed */
    uint64_t liars DRAY_GUARDED_BY(&mu);
};

/** Let the hash follow as far as it can, while no segment is claimed.
 *  @return DRAY_OK, DRAY_ECANCELED, DRAY_EIO, DRAY_ENOMEM */
int dray_staging_hash_rest(struct dray_staging *staging, const struct dray_cancel *cancel,
                           struct dray_error *err);

#endif
