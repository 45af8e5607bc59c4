#include "cmd/image_json.h"

#include <dray/store.h>

#include "cmd/text.h"

json_t *dray_image_json(const struct dray_image *image)
{
    char platform[DRAY_PLATFORM_TEXT_MAX] = "";

    if (image->platform.os[0])
        dray_platform_format(&image->platform, platform);
    return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:I, s:i, s:b}", "reference",
                     dray_text_json(image->reference), "digest", image->digest.text,
                     "source_digest", image->source_digest.text, "media_type",
                     dray_text_json(image->media_type), "platform", dray_text_json(platform),
                     "created", dray_text_json(image->created), "size",
                     (json_int_t)image->size_bytes, "layers", (int)image->layer_count, "complete",
                     (int)image->complete);
}
