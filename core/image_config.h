/* Image configs: what a runtime needs to know (OCI image-spec 1.1, "Image Configuration"). */
#ifndef DRAY_CORE_IMAGE_CONFIG_H
#define DRAY_CORE_IMAGE_CONFIG_H

#include <stddef.h>

#include "core/digest.h"
#include "core/manifest.h"

/** A parsed config. Immutable after parsing. */
struct dray_image_config {
    struct dray_platform platform; /* normalised */
    char created[64];              /* RFC 3339 as it stands there, "" if absent or not a date */
    struct dray_digest *diff_ids;  /* bottom first */
    size_t diff_id_count;
};

/**
 * Parse a config whose bytes have been held to their digest.
 *
 * @return DRAY_OK; DRAY_EPROTO: malformed, no rootfs of type "layers", more non-empty history
 *         entries than diff_ids; DRAY_EUNSUPPORTED (digest algorithm); DRAY_ENOMEM
 */
int dray_image_config_parse(const void *data, size_t len, struct dray_image_config **ret_config,
                            struct dray_error *err);

/** Hold a config to its manifest: as many diff_ids as layers. @return DRAY_OK or DRAY_EPROTO */
int dray_image_config_check(const struct dray_image_config *config,
                            const struct dray_manifest *manifest, struct dray_error *err);

void dray_image_config_free(struct dray_image_config *config);

DRAY_DEFINE_CLEANUP(struct dray_image_config, dray_image_config_free);
#define DRAY_AUTO_IMAGE_CONFIG DRAY_CLEANUP(dray_image_config_freep)

#endif
