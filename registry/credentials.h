/* Credentials: who the user is at which registry, from Docker's config.json, podman's auth.json,
 * the credential helpers that these name, or the command line. All threads read them. */
#ifndef DRAY_REGISTRY_CREDENTIALS_H
#define DRAY_REGISTRY_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>

#include <dray/cancel.h>
#include <dray/log.h>

#include "core/cleanup.h"
#include "registry/credential.h"

struct dray_error;
struct dray_credentials;

/**
 * Read the file at path, or, when path is NULL, $DOCKER_CONFIG/config.json or
 * ~/.docker/config.json, where a missing or unreadable file means: anonymous.
 *
 * @param user_password  "USER:PASSWORD" for every registry; beats the file; may be NULL
 * @param log            told what is ignored and which helper fails; may be NULL
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
 * Find who the user is at a repository's registry. The helper that "credHelpers" names for the host
 * comes first, then the one of "credsStore", then the entries of "auths": the longest
 * "host/namespace" key that holds the repository (podman's form); else, for Docker Hub,
 * "https://index.docker.io/v1/"; else exactly "host[:port]"; else a key whose scheme and path are
 * stripped.
 *
 * A helper is asked once for each host, and may make the first who asks, and those who want the
 * same meanwhile, wait for a minute. One that fails is told to the log, once, and counts as one
 * that knows nothing: most images are public, and files that name a helper of another machine are
 * common.
 *
 * @param host      "docker.io" for Docker Hub
 * @param override  may user_password be used? Not for mirrors
 * @param cancel    ends the waiting; may be NULL
 * @return NULL: anonymous; else owned by credentials
 */
const struct dray_credential *dray_credentials_find(struct dray_credentials *credentials,
                                                    const char *host, const char *repository,
                                                    bool override,
                                                    const struct dray_cancel *cancel);

DRAY_DEFINE_CLEANUP(struct dray_credentials, dray_credentials_free);
#define DRAY_AUTO_CREDENTIALS DRAY_CLEANUP(dray_credentials_freep)

#endif
