/* Manifests: OCI image manifest and index, Docker schema 2 manifest and list. */
#ifndef DRAY_CORE_MANIFEST_H
#define DRAY_CORE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/descriptor.h"

enum dray_manifest_kind {
    DRAY_MANIFEST_IMAGE, /* has config and layers; also an artifact whose config is no image's */
    DRAY_MANIFEST_INDEX, /* has manifests */
};

/** A parsed manifest. Immutable after parsing, so any thread may read it. */
struct dray_manifest {
    enum dray_manifest_kind kind;
    char media_type[DRAY_MEDIA_TYPE_MAX +
                    1]; /* the document's own, else what the server called it */

    struct dray_descriptor config;  /* image only */
    struct dray_descriptor *layers; /* image only, bottom first */
    size_t layer_count;

    struct dray_descriptor *manifests; /* index only, in the document's order */
    size_t manifest_count;
};

/**
 * Parse a document whose bytes have been held to their digest. The bytes are not kept.
 *
 * A document with both "layers" and "manifests" is refused, as is one whose own mediaType
 * contradicts its members (CVE-2021-41190). Schema 1 is DRAY_EUNSUPPORTED with a text and a hint
 * that say so. One digest with two sizes in one document is refused.
 *
 * @param content_type  what the server or the descriptor called it; "" if unknown
 * @param ret_manifest  set on success only; free with dray_manifest_free()
 * @return DRAY_OK, DRAY_EPROTO, DRAY_EUNSUPPORTED, DRAY_EDIGEST (inline data) or DRAY_ENOMEM
 */
int dray_manifest_parse(const void *data, size_t len, const char *content_type,
                        struct dray_manifest **ret_manifest, struct dray_error *err);

/** Is this the media type of a manifest or index that dray understands? */
bool dray_media_type_is_manifest(const char *media_type);

/** Is this the media type of a runnable image's config, as against an artifact's? */
bool dray_media_type_is_config(const char *media_type);

/** Is this the media type of an index, by either name? */
bool dray_media_type_is_index(const char *media_type);

/**
 * Choose the entry of an index that runs best on a platform: the highest rank, the first among
 * equals. Entries without a platform are taken only if the index has no entry with one. Entries of
 * an unknown media type and attestations (platform unknown/unknown) are never taken.
 *
 * @return the entry, owned by the index, or NULL when none fits; the error then lists the
 *         platforms that exist (code DRAY_EUNSUPPORTED)
 */
const struct dray_descriptor *dray_manifest_select(const struct dray_manifest *index,
                                                   const struct dray_platform *wanted,
                                                   struct dray_error *err);

void dray_manifest_free(struct dray_manifest *manifest);

DRAY_DEFINE_CLEANUP(struct dray_manifest, dray_manifest_free);
#define DRAY_AUTO_MANIFEST DRAY_CLEANUP(dray_manifest_freep)

#endif
