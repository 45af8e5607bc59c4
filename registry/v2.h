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
#include "registry/blob_target.h"
#include "registry/client.h"
#include "registry/endpoint.h"
#include "registry/quota.h"

/** A manifest as it came. */
struct dray_v2_manifest {
    struct dray_buf body; /* empty after a HEAD */
    struct dray_digest
        digest; /* of the body, computed; after a HEAD what the server claims, or none */
    char media_type[DRAY_MEDIA_TYPE_MAX + 1]; /* Content-Type, "" if there was none */
    /* These are set also when it failed: */
    struct dray_quota quota; /* what the endpoint said of it */
    int64_t first_byte_ms;   /* from sending the request to its header; -1: there was none */
    bool stalled;            /* the stall rule ended it */
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
 * @param ret_manifest  initialised with = { 0 }; release it with dray_v2_manifest_done()
 * @return DRAY_OK, DRAY_ENOTFOUND, DRAY_EAUTH, DRAY_ETRANSIENT, DRAY_EUNREACHABLE, DRAY_EDIGEST,
 *         DRAY_EPROTO, DRAY_EUNSUPPORTED, DRAY_ECANCELED, DRAY_ENOMEM
 */
int dray_v2_get_manifest(struct dray_client *client, const struct dray_endpoint *endpoint,
                         const char *repository, const char *which_tag,
                         const struct dray_digest *which_digest, bool head,
                         struct dray_v2_manifest *ret_manifest, struct dray_error *err);

void dray_v2_manifest_done(struct dray_v2_manifest *manifest);

#define DRAY_AUTO_V2_MANIFEST DRAY_CLEANUP(dray_v2_manifest_done)

/** Where a blob's bytes go. The functions run in the calling thread; a negative result ends the
 *  transfer and is returned as it is, with the error the function set. */
struct dray_blob_sink {
    /* The answer is good and its body is the bytes from begin to before end of the blob: those
     * asked for, or all when the server ignored the range. Called once, before write(). Where the
     * bytes come from stands in the call's target already. */
    int (*start)(void *ctx, uint64_t begin, uint64_t end, struct dray_error *err);
    /* The next bytes, in order: all that came at once, some 100 KiB on a fast link. It may take its
     * time: that is not counted against the server. */
    int (*write)(void *ctx, const uint8_t *data, size_t len, struct dray_error *err);
    /* Asked at least five times a second while the server is waited for; false ends the transfer
     * with DRAY_ECANCELED. While start() or write() run, or a token is fetched, nobody asks. May be
     * NULL. */
    bool (*wanted)(void *ctx);
    void *ctx;
};

/** One request for a part of a blob, or for all of it. Everything is borrowed for the call. */
struct dray_blob_request {
    const struct dray_endpoint *endpoint;
    const char *repository;
    const struct dray_descriptor *blob;
    uint64_t begin; /* first byte wanted */
    uint64_t end;   /* behind the last one, above begin unless the blob is empty; from 0 to the
                     * blob's size sends no Range */
    struct dray_blob_sink sink;
};

/** What is known of the last answer to a request, also when that failed. */
struct dray_blob_answer {
    int64_t first_byte_ms;   /* from sending the request to its header; -1: there was none */
    int64_t connect_ms;      /* spent on name, TCP and TLS before; 0: the connection was there */
    bool redirected;         /* it was asked for elsewhere than at the endpoint */
    bool started;            /* sink.start was called and returned DRAY_OK */
    bool stalled;            /* the stall rule ended it */
    bool bad_range;          /* the trouble is with ranges: another one than asked for, several, no
                              * or a wrong Content-Range, a length that does not fit it, 416, or a
                              * part that nobody asked for. A request for the whole may do. */
    struct dray_quota quota; /* what the endpoint said of it, if it was asked */
};

/**
 * Stream a part of a blob. Nothing is verified but the length: the sink holds the bytes to their
 * digest, so the name says it.
 *
 * On DRAY_OK the whole part that was announced to sink.start() has come. A body longer than that is
 * DRAY_EPROTO as soon as that shows; a shorter one, and every broken connection or stall, is
 * DRAY_ETRANSIENT. A 206 must cover exactly the bytes asked for (RFC 9110 section 15.3.7), else
 * DRAY_EPROTO; so is any Content-Encoding.
 *
 * With a target that is known the request goes straight there, without Authorization and the like.
 * When nobody is there or the answer is a redirect, 400, 401, 403, 404 or 410, as for a signed URL
 * that expired, the target is forgotten and the endpoint asked within the same call.
 *
 * @param target      of this blob at this endpoint. Known after DRAY_OK and DRAY_ECANCELED if
 *                    another origin answered after a redirect, and after any other failure not
 *                    known. May be NULL
 * @param ret_answer  always set
 * @return as dray_v2_get_manifest(), or what the sink returned
 */
int dray_v2_get_blob_unverified(struct dray_client *client, const struct dray_blob_request *request,
                                struct dray_blob_target *target,
                                struct dray_blob_answer *ret_answer, struct dray_error *err);

#endif
