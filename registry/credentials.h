/* Credentials: who the user is at which registry, from Docker's config.json, podman's auth.json or
 * the command line. Immutable after creation, so all threads read it. */
#ifndef DRAY_REGISTRY_CREDENTIALS_H
#define DRAY_REGISTRY_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include <dray/log.h>

#include "core/cleanup.h"
#include "core/secret.h"

struct dray_error;
struct dray_credentials;

/** What is known for one registry. What is absent is empty. */
struct dray_credential {
    struct dray_secret basic;          /* "user:password" */
    struct dray_secret identity_token; /* OAuth 2 refresh token: buys bearer tokens */
    struct dray_secret registry_token; /* a bearer token as it is */
};

/**
 * Read the file at path, or, when path is NULL, $DOCKER_CONFIG/config.json or
 * ~/.docker/config.json, where a missing or unreadable file means: anonymous.
 *
 * @param user_password  "USER:PASSWORD" for every registry; beats the file; may be NULL
 * @param log            told what is ignored; may be NULL
 * @return DRAY_OK; DRAY_EINVAL: no "USER:PASSWORD", or the file is malformed; DRAY_EIO: cannot
 *         read path; DRAY_ENOMEM
 */
int dray_credentials_new(const char *path, const char *user_password, const struct dray_log *log,
                         struct dray_credentials **ret_credentials, struct dray_error *err);

/** The same from a file's content. Texts never quote it. */
int dray_credentials_parse(const char *data, size_t len, const struct dray_log *log,
                           struct dray_credentials **ret_credentials, struct dray_error *err);

void dray_credentials_free(struct dray_credentials *credentials);

/**
 * Find the entry for a repository: the longest "host/namespace" key that holds it (podman's form);
 * else, for Docker Hub, "https://index.docker.io/v1/"; else exactly "host[:port]"; else a key whose
 * scheme and path are stripped.
 *
 * @param host      "docker.io" for Docker Hub
 * @param override  may user_password be used? Not for mirrors
 * @return NULL: anonymous; else owned by credentials
 */
const struct dray_credential *dray_credentials_find(const struct dray_credentials *credentials,
                                                    const char *host, const char *repository,
                                                    bool override);

/** The value of an Authorization header for basic, which is there: "Basic ..." (RFC 7617).
 *  @return DRAY_OK or DRAY_ENOMEM */
int dray_credential_basic(const struct dray_credential *credential, struct dray_secret *ret_value);

DRAY_DEFINE_CLEANUP(struct dray_credentials, dray_credentials_free);
#define DRAY_AUTO_CREDENTIALS DRAY_CLEANUP(dray_credentials_freep)

#endif
