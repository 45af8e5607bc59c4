/* The Content-Range header of a 206 (RFC 9110 section 14.4). */
#ifndef DRAY_REGISTRY_RANGE_H
#define DRAY_REGISTRY_RANGE_H

#include <stdbool.h>
#include <stdint.h>

struct dray_content_range {
    uint64_t first; /* offset of the first byte */
    uint64_t last;  /* offset of the last byte, not below first */
    bool has_total; /* false for a '*' */
    uint64_t total; /* size of the whole, above last */
};

/** Read "bytes FIRST-LAST/TOTAL" strictly. @return false for anything else */
bool dray_content_range_parse(const char *text, struct dray_content_range *ret_range);

#endif
