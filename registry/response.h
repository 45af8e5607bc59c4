/* An HTTP answer as it came, whatever its status. */
#ifndef DRAY_REGISTRY_RESPONSE_H
#define DRAY_REGISTRY_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "registry/quota.h"
#include "registry/url.h"

/** Initialise with = { 0 }; usable for several exchanges in turn; release it with
 *  dray_http_response_done(). */
struct dray_http_response {
    int status;             /* 0: no whole header came */
    bool has_length;        /* a Content-Length that counts, that is without Transfer-Encoding */
    uint64_t length_bytes;  /* its value */
    struct dray_buf header; /* the lines, a NUL after each; folded ones joined */
    struct dray_buf body;   /* what was not streamed; of an error answer at most the first
                             * DRAY_ERROR_BODY_MAX_BYTES */
    struct dray_url url;    /* whose answer it is: after redirects, the last hop's */
    bool foreign;           /* that hop was not at the endpoint's own origin */
    enum dray_reach reach;  /* where that hop's peer is */
    enum dray_reach sender_reach; /* and where the one is who named a foreign URL */

    int64_t first_byte_ms;   /* from sending the request to the header; with a status only */
    int64_t connect_ms;      /* spent on name, TCP and TLS; 0: the connection was there */
    bool stalled;            /* the exchange failed by the stall rule */
    struct dray_quota quota; /* what the endpoint itself said last, in whichever exchange */
};

void dray_http_response_done(struct dray_http_response *response);

/** Forget the answer before, but for its URL and the quota. */
void dray_http_response_reset(struct dray_http_response *response);

/** The value of the index-th header line of that name (any case), trimmed; NULL when there are not
 *  so many. Valid until the next exchange. */
const char *dray_http_response_header(const struct dray_http_response *response, const char *name,
                                      size_t index);

/**
 * Find Content-Length as RFC 9112 section 6.3 says: it does not count beside Transfer-Encoding, and
 * two that differ mean that somebody on the way reads the message differently.
 *
 * @return false if it is malformed or contradicts itself
 */
bool dray_http_response_take_length(struct dray_http_response *response);

static inline bool dray_http_response_is_success(const struct dray_http_response *response)
{
    return response->status >= 200 && response->status < 300;
}

#define DRAY_AUTO_HTTP_RESPONSE DRAY_CLEANUP(dray_http_response_done)

#endif
