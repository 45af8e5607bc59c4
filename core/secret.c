#include "core/secret.h"

#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include <dray/error.h>

int dray_secret_resize(struct dray_secret *secret, size_t len)
{
    dray_secret_done(secret);
    secret->text = len < SIZE_MAX ? sodium_malloc(len + 1) : NULL;
    if (!secret->text)
        return DRAY_ENOMEM;
    secret->text[len] = '\0';
    secret->len = len;
    return DRAY_OK;
}

int dray_secret_set(struct dray_secret *secret, const char *text, size_t len)
{
    int rc = dray_secret_resize(secret, len);

    if (rc == DRAY_OK && len > 0)
        memcpy(secret->text, text, len);
    return rc;
}

void dray_secret_done(struct dray_secret *secret)
{
    sodium_free(secret->text);
    *secret = (struct dray_secret){ 0 };
}

void dray_secret_wipe(const char *text)
{
    /* The pointer is const for callers that must not change a live value; this one is dying. */
    if (text)
        sodium_memzero((void *)(uintptr_t)text, strlen(text));
}
