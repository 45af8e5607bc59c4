/* Digests: what is accepted is one plain name, safe in paths, and reads back as itself. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dray/digest.h>
#include <dray/error.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dray_digest digest;
    struct dray_error err = { 0 };
    const char *hex;

    if (dray_digest_parse((const char *)data, size, &digest, &err) < 0) {
        for (const char *at = err.text; *at; at++) {
            if (*at < ' ' || *at > '~')
                abort();
        }
        return 0;
    }

    if (strlen(digest.text) != size || memcmp(digest.text, data, size) != 0)
        abort();
    hex = dray_digest_hex(&digest);
    if (strspn(hex, "0123456789abcdef") != strlen(hex))
        abort();
    if (!dray_digest_equal(&digest, &digest))
        abort();
    return 0;
}
