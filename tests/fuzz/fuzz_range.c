/* An accepted Content-Range has its numbers in order, and means the same when written again. */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "registry/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct dray_content_range first;
    struct dray_content_range second;
    char written[128];

    if (text && dray_content_range_parse(text, &first)) {
        if (first.last < first.first || (first.has_total && first.total <= first.last))
            abort();
        if (first.has_total)
            snprintf(written, sizeof(written), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
                     first.first, first.last, first.total);
        else
            snprintf(written, sizeof(written), "bytes %" PRIu64 "-%" PRIu64 "/*", first.first,
                     first.last);
        if (!dray_content_range_parse(written, &second) || second.first != first.first ||
            second.last != first.last || second.has_total != first.has_total ||
            (first.has_total && second.total != first.total))
            abort();
    }
    free(text);
    return 0;
}
