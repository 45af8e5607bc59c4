/* A credential: who the user is at one registry. */
#ifndef DRAY_REGISTRY_CREDENTIAL_H
#define DRAY_REGISTRY_CREDENTIAL_H

#include <stdbool.h>

#include "core/cleanup.h"
#include "core/secret.h"

/** What is absent is empty. Initialise with = { 0 }; release with dray_credential_done(). */
struct dray_credential {
    struct dray_secret basic;          /* "user:password" */
    struct dray_secret identity_token; /* OAuth 2 refresh token: buys bearer tokens */
    struct dray_secret registry_token; /* a bearer token as it is */
};

void dray_credential_done(struct dray_credential *credential);

/** Is nothing known? */
bool dray_credential_is_empty(const struct dray_credential *credential);

/** Set basic. @return DRAY_OK; DRAY_EINVAL: the user is "" or has a colon; DRAY_ENOMEM */
int dray_credential_set_user(struct dray_credential *credential, const char *user,
                             const char *password);

/** Set basic from "USER:PASSWORD", of len bytes. The password may be empty, as beside an identity
 *  token. @return DRAY_OK; DRAY_EINVAL: no user, or no colon; DRAY_ENOMEM */
int dray_credential_set_pair(struct dray_credential *credential, const char *pair, size_t len);

/** The value of an Authorization header for basic, which is there: "Basic ..." (RFC 7617).
 *  @return DRAY_OK or DRAY_ENOMEM */
int dray_credential_basic(const struct dray_credential *credential, struct dray_secret *ret_value);

#define DRAY_AUTO_CREDENTIAL DRAY_CLEANUP(dray_credential_done)

#endif
