/* Whatever is accepted survives being written and read again; whatever is refused is refused with
 * a text that is fit for a terminal. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    DRAY_AUTO_JSON json_t *first = NULL;
    DRAY_AUTO_JSON json_t *second = NULL;
    DRAY_AUTO_FREE char *text = NULL;
    struct dray_error err = { 0 };

    if (dray_json_parse(data, size, DRAY_MANIFEST_MAX_BYTES, &first, &err) < 0) {
        if (first || err.code != DRAY_EPROTO)
            abort();
        for (const char *c = err.text; *c; c++)
            if (*c < ' ' || *c > '~')
                abort();
        return 0;
    }
    text = json_dumps(first, JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (!text || dray_json_parse(text, strlen(text), SIZE_MAX, &second, NULL) < 0 ||
        !json_equal(first, second))
        abort();
    return 0;
}
