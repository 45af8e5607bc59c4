/* An HTTP request: what is asked for, and what libcurl is told of it. */
#ifndef DRAY_REGISTRY_REQUEST_H
#define DRAY_REGISTRY_REQUEST_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/error.h>

#include "core/secret.h"
#include "registry/endpoint.h"
#include "registry/url.h"

struct dray_client;
struct dray_http_response;

enum dray_http_method {
    DRAY_HTTP_GET,
    DRAY_HTTP_HEAD,
    DRAY_HTTP_POST,
};

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
    uint64_t range_begin;                    /* ask for the bytes from here */
    uint64_t range_end;                      /* to before this one; 0: for all, without a Range */
    /* Who named the URL, if a peer did: it is not followed everywhere (dray_reach_allows()). */
    bool named_by_peer;
    enum dray_reach peer_reach;

    /* Of a 2xx answer, from within the exchange; a negative result ends it and is returned as it
     * is, with the error that was set. on_start comes once, after the header; on_body gets all that
     * came at once, and nothing is kept back while the peer is waited for. Without on_body the
     * body is collected in the response, and longer than body_max_bytes is DRAY_EPROTO. The time
     * they take is not counted against the peer. */
    int (*on_start)(void *ctx, const struct dray_http_response *response, struct dray_error *err);
    int (*on_body)(void *ctx, const uint8_t *data, size_t len, struct dray_error *err);
    /* Asked several times a second while the peer is waited for; false ends the exchange with
     * DRAY_ECANCELED. May be NULL. */
    bool (*wanted)(void *ctx);
    void *ctx;
    size_t body_max_bytes;
};

/** Is it for another origin than the endpoint's own? */
bool dray_http_request_is_foreign(const struct dray_http_request *request);

/**
 * Set up the client's easy handle for the request, but for the callbacks.
 *
 * @param ret_headers  the handle borrows them; dray_http_headers_free() once it is done with
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_http_request_set_up(const struct dray_http_request *request, struct dray_client *client,
                             struct curl_slist **ret_headers);

/** Wipe and free; NULL is allowed. */
void dray_http_headers_free(struct curl_slist *headers);

#endif
