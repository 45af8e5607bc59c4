/* Credentials: who the user is at which registry, from the command line, the environment, the auth
 * files of docker and podman and the helpers that these name. All threads ask. */
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
 * Read the file at path, or at $REGISTRY_AUTH_FILE. When neither is given, those of these that are
 * there, the first that knows a registry counts: $DOCKER_AUTH_CONFIG, which holds a file's content;
 * $CREDENTIALS_DIRECTORY/auth.json, from systemd's LoadCredential=; $DOCKER_CONFIG/config.json or
 * ~/.docker/config.json; $XDG_RUNTIME_DIR/containers/auth.json;
 * $XDG_CONFIG_HOME/containers/auth.json or ~/.config/containers/auth.json.
 *
 * @param user_password  "USER:PASSWORD" for every registry; beats the files; may be NULL
 * @param log            told what is ignored and which helper fails; may be NULL
 * @return DRAY_OK; DRAY_EINVAL: no "USER:PASSWORD", or a file is malformed; DRAY_EIO: cannot
 *         read a file; DRAY_ENOMEM
 */
int dray_credentials_new(const char *path, const char *user_password, const struct dray_log *log,
                         struct dray_credentials **ret_credentials, struct dray_error *err);

/** The same from one file's content alone. Texts never quote it. */
int dray_credentials_parse(const char *data, size_t len, const struct dray_log *log,
                           struct dray_credentials **ret_credentials, struct dray_error *err);

void dray_credentials_free(struct dray_credentials *credentials);

/**
 * Find who the user is at a repository's registry: in the first file whose helper for the host
 * knows somebody, or else one of its entries does (dray_authfile_find()).
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
