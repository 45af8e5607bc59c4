/* Platforms: what is accepted is canonical, reads back as itself and runs on itself. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/platform.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dray_platform parsed;
    struct dray_platform again;
    struct dray_platform host;
    char buf[DRAY_PLATFORM_TEXT_MAX];
    char buf_again[DRAY_PLATFORM_TEXT_MAX];
    char *text = malloc(size + 1);
    int rc;

    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    rc = dray_platform_parse(text, &parsed, NULL);
    free(text);
    if (rc < 0)
        return 0;

    dray_platform_format(&parsed, buf);
    if (dray_platform_parse(buf, &again, NULL) < 0)
        abort();
    dray_platform_format(&again, buf_again);
    if (strcmp(buf, buf_again) != 0)
        abort();
    dray_platform_host(&host);
    if (dray_platform_rank(&host, &parsed) > dray_platform_rank(&parsed, &parsed))
        abort();
    return 0;
}
