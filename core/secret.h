/* Secrets: text in guarded memory, locked against swapping where the system allows it, left out of
 * core dumps, and wiped when released. Not shared between threads. */
#ifndef DRAY_CORE_SECRET_H
#define DRAY_CORE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

#include "core/cleanup.h"

struct dray_secret {
    char *text; /* NUL-terminated; NULL while empty */
    size_t len; /* without the NUL */
};

/** Make room for len bytes, which the caller then writes; the NUL is there. The old content is
 *  wiped. @return DRAY_OK or DRAY_ENOMEM (the secret is empty then) */
int dray_secret_resize(struct dray_secret *secret, size_t len);

/** Copy text of len bytes, which needs no NUL, into the secret. @return DRAY_OK or DRAY_ENOMEM */
int dray_secret_set(struct dray_secret *secret, const char *text, size_t len);

/** Wipe and free; the secret is empty and usable again. */
void dray_secret_done(struct dray_secret *secret);

/** Wipe a string of someone else's that is about to be freed, such as a JSON value. NULL allowed.
 */
void dray_secret_wipe(const char *text);

static inline bool dray_secret_empty(const struct dray_secret *secret)
{
    return secret->text == NULL;
}

#define DRAY_AUTO_SECRET DRAY_CLEANUP(dray_secret_done)

#endif
