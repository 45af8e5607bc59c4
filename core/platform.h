/* Choosing by platform (public face: dray/platform.h). */
#ifndef DRAY_CORE_PLATFORM_H
#define DRAY_CORE_PLATFORM_H

#include <dray/platform.h>

#include "core/json.h"

/** Bring the parts into containerd's canonical spelling, in place. */
void dray_platform_normalise(struct dray_platform *platform);

/**
 * Read os, architecture and variant from a JSON object, normalised; a part that is absent is "".
 *
 * @return DRAY_OK, or DRAY_EPROTO when a part is no short printable text
 */
int dray_platform_from_json(const json_t *object, struct dray_platform *ret_platform,
                            struct dray_error *err);

/**
 * How well an image for offered runs on a machine that wants wanted.
 *
 * An arm v8 machine runs v8, v7, v6, v5 in this order; arm64 runs arm64 and, after that, 32-bit arm
 * v8 and below; amd64 v3 runs v3, v2, v1; amd64 runs 386 never; everything else must be equal.
 *
 * @return 0 when it does not run; otherwise the higher the better, and an exact match is highest
 */
int dray_platform_rank(const struct dray_platform *wanted, const struct dray_platform *offered);

#endif
