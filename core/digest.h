/* Computing digests (public face: dray/digest.h). Data goes through libcrypto, which uses the
 * CPU's SHA instructions; hex and comparison through libsodium. */
#ifndef DRAY_CORE_DIGEST_H
#define DRAY_CORE_DIGEST_H

#include <dray/digest.h>

#include "core/cleanup.h"

struct dray_hasher; /* used by one thread at a time */

/** Make a hasher for one algorithm, ready for data. @return DRAY_OK, DRAY_ENOMEM */
int dray_hasher_new(enum dray_digest_alg alg, struct dray_hasher **ret_hasher,
                    struct dray_error *err);

/** Start again from no data. */
void dray_hasher_reset(struct dray_hasher *hasher);

/** Hash some bytes. Never fails: the digest is in memory and initialised. */
void dray_hasher_update(struct dray_hasher *hasher, const void *data, size_t len);

/** The digest of all bytes since new or reset; after it only reset or free may be called. */
void dray_hasher_finish(struct dray_hasher *hasher, struct dray_digest *ret_digest);

void dray_hasher_free(struct dray_hasher *hasher);

/** The digest of a buffer. @return DRAY_OK or DRAY_ENOMEM */
int dray_digest_of(enum dray_digest_alg alg, const void *data, size_t len,
                   struct dray_digest *ret_digest);

/**
 * Hold bytes to a digest.
 *
 * @return DRAY_OK, DRAY_EDIGEST with a text that names both digests, or DRAY_ENOMEM
 */
int dray_digest_verify(const struct dray_digest *want, const void *data, size_t len,
                       struct dray_error *err);

DRAY_DEFINE_CLEANUP(struct dray_hasher, dray_hasher_free);
#define DRAY_AUTO_HASHER DRAY_CLEANUP(dray_hasher_freep)

#endif
