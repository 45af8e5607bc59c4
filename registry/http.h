/* One thread's HTTP client: kept-alive connections, cancel, stall detection.
 *
 * Whatever goes over the wire goes through here, one exchange at a time: TLS is verified unless the
 * endpoint says otherwise, and libcurl follows no redirect. registry/redirect.c goes from hop to
 * hop and decides which secrets may travel. */
#ifndef DRAY_REGISTRY_HTTP_H
#define DRAY_REGISTRY_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/cancel.h>

#include "core/buffer.h"
#include "core/secret.h"
#include "registry/endpoint.h"
#include "registry/registry.h"
#include "registry/url.h"

struct dray_client;

/**
 * Make the client of the calling thread. It holds up to a handful of idle connections.
 *
 * @param cancel  ends any request within a fraction of a second once fired; may be NULL
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_client_new(struct dray_registry *registry, const struct dray_cancel *cancel,
                    struct dray_client **ret_client, struct dray_error *err);

void dray_client_free(struct dray_client *client);

DRAY_DEFINE_CLEANUP(struct dray_client, dray_client_free);
#define DRAY_AUTO_CLIENT DRAY_CLEANUP(dray_client_freep)

/* From here on: between the files of this room. */

struct dray_registry *dray_client_registry(const struct dray_client *client);
const struct dray_cancel *dray_client_cancel(const struct dray_client *client);

enum dray_http_method {
    DRAY_HTTP_GET,
    DRAY_HTTP_HEAD,
    DRAY_HTTP_POST,
};

/** An answer as it came, whatever its status. Initialise with = { 0 }; usable for several exchanges
 *  in turn; release it with dray_http_response_done(). */
struct dray_http_response {
    int status;
    bool has_length;        /* a Content-Length that counts, that is without Transfer-Encoding */
    uint64_t length_bytes;  /* its value */
    struct dray_buf header; /* the lines, a NUL after each; folded ones joined */
    struct dray_buf body;   /* what was not streamed; of an error answer at most the first
                             * DRAY_ERROR_BODY_MAX_BYTES */
    struct dray_url url;    /* whose answer it is: after redirects, the last hop's */
    bool foreign;           /* that hop was not at the endpoint's own origin */
    enum dray_reach reach;  /* where that hop's peer is */
};

void dray_http_response_done(struct dray_http_response *response);

/** The value of the index-th header line of that name (any case), trimmed; NULL when there are not
 *  so many. Valid until the next exchange. */
const char *dray_http_response_header(const struct dray_http_response *response, const char *name,
                                      size_t index);

/** One request. Strings and pointers are borrowed for the call. */
struct dray_http_request {
    enum dray_http_method method;
    const struct dray_url *url;
    /* Decides about verification, and where this is its origin, it gets the user's own headers and
     * client certificate, unless it is a mirror. */
    const struct dray_endpoint *endpoint;
    const struct dray_secret *authorization; /* value of Authorization; NULL or empty: none */
    const struct dray_secret *form;          /* body of a POST; else NULL */
    const char *accept;                      /* NULL: anything */
    uint64_t range_from;                     /* ask for the bytes from here to the end; 0: all */
    /* Who named the URL, if a peer did: it is not followed everywhere (dray_reach_allows()). */
    bool named_by_peer;
    enum dray_reach peer_reach;

    /* Of a 2xx answer, from within the exchange; a negative result ends it and is returned as it
     * is, with the error that was set. on_start comes once, after the header. Without on_body the
     * body is collected in the response, and longer than body_max_bytes is DRAY_EPROTO. */
    int (*on_start)(void *ctx, const struct dray_http_response *response, struct dray_error *err);
    int (*on_body)(void *ctx, const uint8_t *data, size_t len, struct dray_error *err);
    void *ctx;
    size_t body_max_bytes;
};

/**
 * Send one request and receive its answer. There is no limit on the whole time, but while waiting
 * for bytes at least 100 a second must come on average in each stall_timeout_ms: a server that
 * sends nothing, or one byte now and then for ever, is left. Connecting, with name lookup and TLS
 * handshake, has connect_timeout_ms.
 *
 * @return DRAY_OK when a whole answer came, whatever its status; DRAY_EUNREACHABLE;
 *         DRAY_ETRANSIENT (reset, cut short, stalled); DRAY_EPROTO (not HTTP, header or body beyond
 *         its limit); DRAY_ECANCELED; DRAY_ENOMEM; or what a callback returned
 */
int dray_http_exchange(struct dray_client *client, const struct dray_http_request *request,
                       struct dray_http_response *response, struct dray_error *err);

#define DRAY_AUTO_HTTP_RESPONSE DRAY_CLEANUP(dray_http_response_done)

#endif
