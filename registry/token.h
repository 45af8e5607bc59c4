/* Asking a token server for a bearer token: Docker Registry v2 "Token Authentication
 * Specification" and "OAuth2 Token Authentication". What is cached, and when to ask, is up to
 * registry/auth.h. */
#ifndef DRAY_REGISTRY_TOKEN_H
#define DRAY_REGISTRY_TOKEN_H

#include <stdint.h>

#include "registry/credential.h"
#include "registry/http.h"

/** What to ask. Strings and pointers are borrowed. */
struct dray_token_request {
    const struct dray_endpoint *endpoint;
    const struct dray_credential *credential; /* NULL: anonymous */
    const char *realm;                        /* the server's URL, accepted by the caller */
    const char *service;                      /* "" if none */
    const char *scope;                        /* several with spaces between them */
    enum dray_reach peer_reach;               /* of the one who named the realm */
};

/** The answer. Initialise with = { 0 }. */
struct dray_token {
    struct dray_secret value; /* "Bearer ...", as it stands in an Authorization header */
    int64_t fresh_until_ms;   /* dray_now_ms() at which to ask for another: before it expires */
};

/**
 * Get a token: GET with the Basic credentials there are, or POST to trade an identity token, or the
 * registry token of the credentials as it is. A token lives at least a minute, as the specification
 * says, whatever the answer claims.
 *
 * @return DRAY_OK; DRAY_EAUTH: refused; DRAY_EPROTO: no usable answer; else as
 *         dray_redirect_follow()
 */
int dray_token_fetch(struct dray_client *client, const struct dray_token_request *request,
                     struct dray_token *ret_token, struct dray_error *err);

#endif
