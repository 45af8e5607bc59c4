/* An auth file: credentials by registry, and the helpers that keep more of them, as Docker's
 * config.json and podman's auth.json have them. Immutable once read, so all threads may ask. */
#ifndef DRAY_REGISTRY_AUTHFILE_H
#define DRAY_REGISTRY_AUTHFILE_H

#include <stddef.h>

#include "core/cleanup.h"
#include "registry/credential.h"

struct dray_error;
struct dray_authfile;

/**
 * Read the file. A member that is absent is none; members that are not known do not matter.
 *
 * @return DRAY_OK; DRAY_EINVAL: malformed, and the text never quotes it; DRAY_EIO: cannot be read;
 *         DRAY_ENOMEM
 */
int dray_authfile_read(const char *path, struct dray_authfile **ret_file, struct dray_error *err);

/** The same from a file's content. */
int dray_authfile_parse(const char *data, size_t len, struct dray_authfile **ret_file,
                        struct dray_error *err);

void dray_authfile_free(struct dray_authfile *file);

/**
 * Find the entry for a repository: the longest "host/namespace" key that holds it (podman's form);
 * else, for Docker Hub, "https://index.docker.io/v1/"; else exactly "host[:port]"; else a key whose
 * scheme and path are stripped.
 *
 * @param host  "docker.io" for Docker Hub
 * @return NULL: there is none; else owned by the file
 */
const struct dray_credential *dray_authfile_find(const struct dray_authfile *file, const char *host,
                                                 const char *repository);

/** The name of the helper that knows the host: of "credHelpers", else of "credsStore". NULL: it has
 *  none. Owned by the file; whatever stands there, so it may be no name at all. */
const char *dray_authfile_helper(const struct dray_authfile *file, const char *host);

/** The host as keys and helpers know it: Docker Hub has a name of its own there. */
const char *dray_authfile_server(const char *host);

DRAY_DEFINE_CLEANUP(struct dray_authfile, dray_authfile_free);
#define DRAY_AUTO_AUTHFILE DRAY_CLEANUP(dray_authfile_freep)

#endif
