/* Descriptors: digest, size and type of a blob (OCI image-spec 1.1, "Content Descriptors"). */
#ifndef DRAY_CORE_DESCRIPTOR_H
#define DRAY_CORE_DESCRIPTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/digest.h>

#include "core/json.h"
#include "core/platform.h"

/* Media types are compared, never interpreted; the longest registered is under 100 bytes. */
#define DRAY_MEDIA_TYPE_MAX 255

#define DRAY_MT_OCI_MANIFEST          "application/vnd.oci.image.manifest.v1+json"
#define DRAY_MT_OCI_INDEX             "application/vnd.oci.image.index.v1+json"
#define DRAY_MT_OCI_CONFIG            "application/vnd.oci.image.config.v1+json"
#define DRAY_MT_DOCKER_MANIFEST       "application/vnd.docker.distribution.manifest.v2+json"
#define DRAY_MT_DOCKER_LIST           "application/vnd.docker.distribution.manifest.list.v2+json"
#define DRAY_MT_DOCKER_CONFIG         "application/vnd.docker.container.image.v1+json"
#define DRAY_MT_DOCKER_SCHEMA1        "application/vnd.docker.distribution.manifest.v1+json"
#define DRAY_MT_DOCKER_SCHEMA1_SIGNED "application/vnd.docker.distribution.manifest.v1+prettyjws"

/** Owned by its manifest, or initialised with = { 0 } and released with dray_descriptor_done(). */
struct dray_descriptor {
    struct dray_digest digest;
    uint64_t size_bytes; /* at most DRAY_BLOB_MAX_BYTES */
    char media_type[DRAY_MEDIA_TYPE_MAX + 1];
    uint8_t *data; /* inline content of size_bytes, already held to the digest; NULL if none */
    bool has_platform;
    struct dray_platform platform; /* normalised; only in an index */
};

/**
 * Read a descriptor from its JSON object.
 *
 * Inline "data" is decoded and held to digest and size: a mismatch is DRAY_EDIGEST.
 * "urls" is ignored: content comes from the registry that named it, never from a foreign address.
 *
 * @return DRAY_OK, DRAY_EPROTO (missing or malformed member), DRAY_EUNSUPPORTED (digest algorithm),
 *         DRAY_EDIGEST or DRAY_ENOMEM
 */
int dray_descriptor_from_json(const json_t *object, struct dray_descriptor *ret_descriptor,
                              struct dray_error *err);

/** Free what the descriptor owns and make it all zero. */
void dray_descriptor_done(struct dray_descriptor *descriptor);

/** The part of the media type before any ';', compared case-insensitively as RFC 9110 8.3.1 says.
 */
bool dray_media_type_is(const char *media_type, const char *want);

#endif
