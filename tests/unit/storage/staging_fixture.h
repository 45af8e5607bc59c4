/* What the tests of staging share: opening one, and bringing bytes as a single writer does. */
#ifndef TESTS_UNIT_STORAGE_STAGING_FIXTURE_H
#define TESTS_UNIT_STORAGE_STAGING_FIXTURE_H

#include "storage/blob_store.h"
#include "storage/staging.h"
#include "storage/staging_map.h"
#include "tests/unit/storage/scratch.h"

#define GRANULE ((size_t)DRAY_STAGING_GRANULE_BYTES)

static UNUSED struct dray_descriptor describe(const struct dray_digest *digest, uint64_t size_bytes)
{
    struct dray_descriptor descriptor = { .digest = *digest, .size_bytes = size_bytes };

    return descriptor;
}

static UNUSED const char *part_path(const char *root, const struct dray_digest *digest)
{
    return below(root, "dray/staging/sha256-%s.part", dray_digest_hex(digest));
}

static UNUSED const char *map_path(const char *root, const struct dray_digest *digest)
{
    return below(root, "dray/staging/sha256-%s.map", dray_digest_hex(digest));
}

static UNUSED const char *blob_path(const char *root, const struct dray_digest *digest)
{
    return below(root, "blobs/sha256/%s", dray_digest_hex(digest));
}

/* One try, after which the outcome and the staging fit together. */
static UNUSED int try_staging(struct dray_store *store, const struct dray_descriptor *blob,
                              enum dray_staging_outcome *ret_outcome,
                              struct dray_staging **ret_staging)
{
    int rc;

    *ret_staging = NULL;
    rc = dray_staging_open(store, blob, NULL, ret_outcome, ret_staging, NULL);
    if (rc == DRAY_OK && (*ret_outcome == DRAY_STAGING_OPENED) != (*ret_staging != NULL))
        return DRAY_EINVAL;
    return rc;
}

static UNUSED struct dray_staging *open_staging(struct dray_store *store,
                                                const struct dray_descriptor *blob)
{
    enum dray_staging_outcome outcome;
    struct dray_staging *staging;

    assert_ok(try_staging(store, blob, &outcome, &staging));
    assert_int_equal(outcome, DRAY_STAGING_OPENED);
    return staging;
}

/* Bring the next bytes that are missing, as the only writer. */
static UNUSED int put(struct dray_staging *staging, const uint8_t *bytes, size_t len,
                      struct dray_error *err)
{
    struct dray_segment segment;
    int rc;

    if (!dray_staging_claim(staging, UINT64_MAX, 0, &segment))
        return DRAY_EINVAL;
    rc = dray_staging_write(staging, &segment, bytes, len, err);
    dray_staging_release(staging, &segment);
    return rc;
}

/* Bring everything that is missing. */
static UNUSED int put_rest(struct dray_staging *staging, const uint8_t *bytes)
{
    struct dray_segment segment;
    int rc = DRAY_OK;

    while (rc == DRAY_OK && dray_staging_claim(staging, UINT64_MAX, 0, &segment)) {
        rc = dray_staging_write(staging, &segment, bytes + segment.at, segment.end - segment.at,
                                NULL);
        dray_staging_release(staging, &segment);
    }
    return rc;
}

#endif
