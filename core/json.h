/* Loading JSON that comes from outside: Jansson behind limits of size, depth and count. */
#ifndef DRAY_CORE_JSON_H
#define DRAY_CORE_JSON_H

#include <jansson.h>
#include <stddef.h>

#include <dray/error.h>

#include "core/cleanup.h"

/**
 * Parse one JSON document: UTF-8, no duplicate keys, nothing after it, at most max_bytes long,
 * DRAY_JSON_MAX_DEPTH deep and DRAY_JSON_MAX_VALUES values. Depth and count are known before
 * anything is allocated.
 *
 * @param ret_json  a new reference; json values stay in the thread that parsed them
 * @return DRAY_OK; DRAY_EPROTO with line and column for anything malformed or over a limit;
 *         DRAY_ENOMEM
 */
int dray_json_parse(const void *data, size_t len, size_t max_bytes, json_t **ret_json,
                    struct dray_error *err);

/**
 * Copy an optional member that is text; buf becomes "" when it is absent or null. Only printable
 * ASCII passes: these texts end up in headers, in error messages and on terminals.
 *
 * @return DRAY_OK, or DRAY_EPROTO when it is no string, holds something else, or does not fit
 */
int dray_json_copy_text(const json_t *object, const char *key, char *buf, size_t size,
                        struct dray_error *err);

static inline void dray_json_decrefp(json_t **json)
{
    json_decref(*json);
}
#define DRAY_AUTO_JSON DRAY_CLEANUP(dray_json_decrefp)

#endif
