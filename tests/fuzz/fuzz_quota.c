/* Whatever the header holds, a quota is either not known and empty, or within what 15 digits say.
 * The input is the header's lines, one a line. */
#include <stdint.h>
#include <stdlib.h>

#include "registry/response.h"

#define NUMBER_MAX UINT64_C(999999999999999)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dray_http_response response = { 0 };
    struct dray_quota quota = { 0 };

    if (dray_buf_append(&response.header, data, size, SIZE_MAX - 1) < 0 ||
        dray_buf_append(&response.header, "", 1, SIZE_MAX - 1) < 0)
        abort();
    for (size_t i = 0; i < size; i++)
        if (response.header.data[i] == '\n')
            response.header.data[i] = '\0';
    dray_quota_read(&response, &quota);
    if (!quota.known && (quota.remaining != 0 || quota.limit != 0 || quota.window_s != 0))
        abort();
    if (quota.remaining > NUMBER_MAX || quota.limit > NUMBER_MAX || quota.window_s < 0 ||
        quota.window_s > (int64_t)NUMBER_MAX)
        abort();
    dray_http_response_done(&response);
    return 0;
}
