/* Credentials that are accepted can be looked up and encoded; what is refused leaves a text that is
 * fit for a terminal. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dray/error.h>

#include "registry/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const hosts[] = { "docker.io", "registry.test", "registry.test:5000" };
    static struct dray_cancel *fired; /* so that no helper is run, whatever the file says */
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;
    struct dray_error err = { 0 };

    if (sodium_init() < 0 || (!fired && dray_cancel_new(&fired, NULL) < 0))
        abort();
    dray_cancel_fire(fired);
    if (dray_credentials_parse((const char *)data, size, NULL, &credentials, &err) < 0) {
        if (credentials || err.code != DRAY_EINVAL)
            abort();
        for (const char *c = err.text; *c; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f)
                abort();
        return 0;
    }
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        const struct dray_credential *found =
            dray_credentials_find(credentials, hosts[i], "team/app", true, fired);
        DRAY_AUTO_SECRET struct dray_secret value = { 0 };

        if (!found || dray_secret_empty(&found->basic))
            continue;
        if (!strchr(found->basic.text, ':') || strlen(found->basic.text) != found->basic.len)
            abort();
        if (dray_credential_basic(found, &value) < 0 || strpbrk(value.text, "\r\n"))
            abort();
    }
    return 0;
}
