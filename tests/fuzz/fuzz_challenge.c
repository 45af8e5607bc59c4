/* However a WWW-Authenticate value is made, reading it comes to an end, moves forward, and leaves
 * NUL-terminated values behind. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    const char *cursor = text;
    const char *before = text;
    struct dray_challenge challenge;

    if (!text)
        return 0;
    while (dray_challenge_next(&cursor, &challenge)) {
        if (cursor <= before || cursor > text + strlen(text))
            abort();
        if (strlen(challenge.realm) > DRAY_CHALLENGE_VALUE_MAX ||
            strlen(challenge.service) > DRAY_CHALLENGE_VALUE_MAX ||
            strlen(challenge.scope) > DRAY_CHALLENGE_VALUE_MAX)
            abort();
        before = cursor;
    }
    free(text);
    return 0;
}
