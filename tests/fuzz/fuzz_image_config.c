#include <stdint.h>
#include <stdlib.h>

#include "core/image_config.h"
#include "core/limits.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_printable(const char *text)
{
    for (; *text; text++)
        if (*text < ' ' || *text > '~')
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
    struct dray_error err = { 0 };

    if (dray_image_config_parse(data, size, &config, &err) < 0) {
        expect_printable(err.text);
        return 0;
    }
    expect_printable(config->platform.os);
    expect_printable(config->platform.architecture);
    expect_printable(config->platform.variant);
    expect_printable(config->created);
    if (config->diff_id_count > DRAY_LAYERS_MAX)
        abort();
    for (size_t i = 0; i < config->diff_id_count; i++)
        if (!config->diff_ids[i].alg)
            abort();
    return 0;
}
