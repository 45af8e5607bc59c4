/* A credential helper: a program that keeps the user's credentials, in a key ring or a cloud.
 *
 * The protocol is Docker's: docker-credential-NAME, found in $PATH, is run with the argument "get";
 * it reads the server's name and writes {"ServerURL", "Username", "Secret"}. */
#ifndef DRAY_REGISTRY_CREDENTIAL_HELPER_H
#define DRAY_REGISTRY_CREDENTIAL_HELPER_H

#include <dray/cancel.h>
#include <dray/error.h>

#include "registry/credential.h"

/* The user may have to unlock a key ring first. */
#define DRAY_CREDENTIAL_HELPER_TIMEOUT_MS 60000

/**
 * Ask a helper. Blocks as long as it runs, for timeout_ms at most; then, and when canceled, it is
 * killed. No shell is involved; what it writes to stderr appears there. Any thread.
 *
 * @param name            letters, digits, '.', '_' and '-' only
 * @param server          the registry, as the helper knows it
 * @param ret_credential  empty on entry; stays empty when the helper says that it has none
 * @return DRAY_OK; DRAY_ECANCELED; DRAY_EINVAL: no such name; DRAY_EPROTO: it failed, or its answer
 *         makes no sense; DRAY_ETRANSIENT: it took too long; DRAY_EIO: it could not be run;
 *         DRAY_ENOMEM. The text names the helper and never quotes its answer.
 */
int dray_credential_helper_get(const char *name, const char *server, int64_t timeout_ms,
                               const struct dray_cancel *cancel,
                               struct dray_credential *ret_credential, struct dray_error *err);

#endif
