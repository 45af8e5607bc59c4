/* Every ceiling on what comes from outside, with its reason. Whatever is held whole has one. */
#ifndef DRAY_CORE_LIMITS_H
#define DRAY_CORE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* Documents. Registries refuse manifests above 4 MiB (OCI distribution-spec 1.1, "Pushing
 * Manifests"); configs are of the same order. */
#define DRAY_MANIFEST_MAX_BYTES   (4u << 20)
#define DRAY_CONFIG_MAX_BYTES     (8u << 20)
#define DRAY_TOKEN_BODY_MAX_BYTES (1u << 20)   /* a token server's answer */
#define DRAY_ERROR_BODY_MAX_BYTES (64u << 10)  /* what is read of an error answer */
#define DRAY_HEADERS_MAX_BYTES    (256u << 10) /* all header lines of one answer */
#define DRAY_AUTHFILE_MAX_BYTES   (1u << 20)
#define DRAY_INDEX_MAX_BYTES      (64u << 20) /* our own index.json */

/* JSON. Real documents nest about 8 deep and hold a few thousand values; 10 000 index entries
 * still fit, and 30 000 tags in our own index.json. One parsed value costs at most some 100 bytes
 * of memory. */
#define DRAY_JSON_MAX_DEPTH  64
#define DRAY_JSON_MAX_VALUES 200000

/* A layer count no runtime can mount (overlayfs takes about 500); docker stops at 125. */
#define DRAY_LAYERS_MAX        4096
#define DRAY_INDEX_ENTRIES_MAX 10000
#define DRAY_INDEX_NESTING_MAX 4 /* index within index */

/* What one pull of a whole index may name: documents, and blobs of all its images together. A plan
 * of so many blobs takes some 20 MB. */
#define DRAY_PLAN_DOCUMENTS_MAX 1000
#define DRAY_PLAN_BLOBS_MAX     20000

/* 8 EiB would pass every sum unnoticed; no blob is that large. */
#define DRAY_BLOB_MAX_BYTES (UINT64_C(1) << 50)

#define DRAY_REDIRECTS_MAX 10 /* as curl, Go and the browsers */

/* Each endpoint of a blob has a bit in a mask of who delivered what. */
#define DRAY_MIRRORS_MAX 60

#define DRAY_JOBS_MAX            256
#define DRAY_PARALLEL_IMAGES_MAX 256
#define DRAY_RETRIES_MAX         100

/* *sum = a + b, or false when that does not fit. */
static inline bool dray_add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
    return !__builtin_add_overflow(a, b, sum);
}

#endif
