/* An image of the store as a JSON object. */
#ifndef DRAY_CMD_IMAGE_JSON_H
#define DRAY_CMD_IMAGE_JSON_H

#include <jansson.h>

struct dray_image;

/** reference, digest, source_digest, media_type, platform, created, size, layers, complete; NULL
 *  without memory. */
json_t *dray_image_json(const struct dray_image *image);

#endif
