/* Registry protocol v2: OCI distribution-spec 1.1, "Pulling manifests" and "Pulling blobs".
 *
 * There is no ping: a 401 on any request is answered with a token or Basic credentials and the
 * request is repeated once. Redirects (at most DRAY_REDIRECTS_MAX) are followed here; credentials,
 * client certificates and custom headers go only to the endpoint's own origin. */
#ifndef DRAY_REGISTRY_V2_H
#define DRAY_REGISTRY_V2_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/descriptor.h"
#include "registry/endpoint.h"
#include "registry/http.h"

/** A manifest as it came. */
struct dray_v2_manifest {
    struct dray_buf body; /* empty after a HEAD */
    struct dray_digest
        digest; /* of the body, computed; after a HEAD what the server claims, or none */
    char media_type[DRAY_MEDIA_TYPE_MAX + 1]; /* Content-Type, "" if there was none */
};

/**
 * Ask for a manifest by tag or digest.
 *
 * The body is capped at DRAY_MANIFEST_MAX_BYTES. When asked by digest, it is held to that digest.
 * When asked by tag and the server sends Docker-Content-Digest, it is held to that one if its
 * algorithm is known; without, the digest is sha256 of the body.
 *
 * @param which_tag     tag, or NULL to ask by digest
 * @param which_digest  digest, or NULL to ask by tag
 * @param head          HEAD instead of GET; DRAY_EUNSUPPORTED when the server refuses the method
 *                      or names no digest: the caller then uses GET
 * @param ret_manifest  release it with dray_v2_manifest_done()
 * @return DRAY_OK, DRAY_ENOTFOUND, DRAY_EAUTH, DRAY_ETRANSIENT, DRAY_EUNREACHABLE, DRAY_EDIGEST,
 *         DRAY_EPROTO, DRAY_EUNSUPPORTED, DRAY_ECANCELED, DRAY_ENOMEM
 */
int dray_v2_get_manifest(struct dray_client *client, const struct dray_endpoint *endpoint,
                         const char *repository, const char *which_tag,
                         const struct dray_digest *which_digest, bool head,
                         struct dray_v2_manifest *ret_manifest, struct dray_error *err);

void dray_v2_manifest_done(struct dray_v2_manifest *manifest);

#define DRAY_AUTO_V2_MANIFEST DRAY_CLEANUP(dray_v2_manifest_done)

/** Where a blob's bytes go. Both functions run in the calling thread; a negative result ends the
 *  transfer and is returned as it is, with the error the function set. */
struct dray_blob_sink {
    /* The answer is good and its body starts at this offset of the blob: the one asked for, or 0
     * when the server ignored the range. Called once, before write(). */
    int (*start)(void *ctx, uint64_t offset, struct dray_error *err);
    /* The next bytes, in order, in the receive buffer: as many as libcurl hands on at once, 16 KiB
     * (CURL_MAX_WRITE_SIZE). */
    int (*write)(void *ctx, const uint8_t *data, size_t len, struct dray_error *err);
    void *ctx;
};

/**
 * Stream a blob, from an offset to its end. Nothing is verified but the length: the sink holds the
 * bytes to their digest, so the name says it.
 *
 * A body longer than the descriptor's size is DRAY_EPROTO as soon as that shows; a shorter one, and
 * every broken connection or stall, is DRAY_ETRANSIENT. A 206 must cover exactly offset to the end
 * (RFC 9110 section 15.3.7), else DRAY_EPROTO; so is any Content-Encoding.
 *
 * @param offset  first byte wanted, below the size; 0 sends no Range
 * @return as dray_v2_get_manifest(), or what the sink returned
 */
int dray_v2_get_blob_unverified(struct dray_client *client, const struct dray_endpoint *endpoint,
                                const char *repository, const struct dray_descriptor *blob,
                                uint64_t offset, const struct dray_blob_sink *sink,
                                struct dray_error *err);

#endif
