/* How many more requests a registry says it will take. */
#ifndef DRAY_REGISTRY_QUOTA_H
#define DRAY_REGISTRY_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

struct dray_http_response;

struct dray_quota {
    bool known;         /* else nothing was said, and the rest is 0 */
    uint64_t remaining; /* requests that will still be taken */
    uint64_t limit;     /* of so many in all; 0: not said */
    int64_t window_s;   /* in so many seconds; 0: not said */
};

/**
 * Read the quota from an answer's header: RateLimit as "limit=100, remaining=50, reset=30" or
 * "default";r=50;t=30 (draft-ietf-httpapi-ratelimit-headers 07 and 08; of several policies the one
 * with the least left), else RateLimit-Remaining and RateLimit-Limit as "76;w=21600" (Docker Hub)
 * or "76", else X-RateLimit-Remaining and X-RateLimit-Limit. Numbers have 15 digits at most.
 *
 * @param quota  left as it is when the header says nothing, or nothing that makes sense
 */
void dray_quota_read(const struct dray_http_response *response, struct dray_quota *quota);

#endif
