/* Authorization: answering challenges, and the cache of bearer tokens that all threads share.
 *
 * For each endpoint and repository the cache remembers what the registry asked for, so that only
 * the first request there is made without Authorization. A token is fetched by one thread while the
 * others wait for it. RFC 7235 and RFC 7617. */
#ifndef DRAY_REGISTRY_AUTH_H
#define DRAY_REGISTRY_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/cleanup.h"
#include "core/secret.h"

struct dray_auth;
struct dray_client;
struct dray_endpoint;
struct dray_error;
struct dray_http_response;

/** Make an empty cache; it locks itself. @return DRAY_OK or DRAY_ENOMEM */
int dray_auth_new(struct dray_auth **ret_auth, struct dray_error *err);

/** Free and wipe; NULL is allowed. No thread uses it any more. */
void dray_auth_free(struct dray_auth *auth);

/** What goes with one request. Initialise with = { 0 }, release with dray_auth_grant_done(). */
struct dray_auth_grant {
    struct dray_secret value; /* of the Authorization header; empty: send none */
    uint64_t generation;      /* which answer of the cache this is */
};

/**
 * What a request to this repository needs as far as is known: nothing yet, Basic credentials, or a
 * token, which is fetched or waited for when there is no fresh one.
 *
 * @return DRAY_OK; DRAY_EAUTH: the token server refused; DRAY_ETRANSIENT, DRAY_EUNREACHABLE: it
 *         cannot be had now (http_status is 401, the registry's own answer, where there is no
 *         other); DRAY_EPROTO: its answer makes no sense; DRAY_ECANCELED; DRAY_ENOMEM
 */
int dray_auth_grant_get(struct dray_client *client, const struct dray_endpoint *endpoint,
                        const char *repository, struct dray_auth_grant *grant,
                        struct dray_error *err);

void dray_auth_grant_done(struct dray_auth_grant *grant);

/**
 * The registry refused a request: 401, or 400 as some do for an expired token. Learn the challenge
 * and forget the token that was sent, unless another thread did so since. DRAY_OK means that
 * dray_auth_grant_get() now has something else to try.
 *
 * Bearer is preferred over Basic. A token server must be https, or http if the endpoint is; at a
 * loopback or link-local address it must not be unless the endpoint has such an address itself.
 *
 * @return DRAY_OK; DRAY_EAUTH: nothing to answer with; DRAY_EPROTO: a challenge that may not be
 *         followed; DRAY_ENOMEM
 */
int dray_auth_refused(struct dray_client *client, const struct dray_endpoint *endpoint,
                      const char *repository, const struct dray_http_response *response,
                      const struct dray_auth_grant *used, struct dray_error *err);

DRAY_DEFINE_CLEANUP(struct dray_auth, dray_auth_free);
#define DRAY_AUTO_AUTH       DRAY_CLEANUP(dray_auth_freep)
#define DRAY_AUTO_AUTH_GRANT DRAY_CLEANUP(dray_auth_grant_done)

#endif
