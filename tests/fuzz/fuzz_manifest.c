/* Each document is read as everything that a server may call it. Whatever it is called, it must
 * not be an image once and an index another time (CVE-2021-41190). */
#include <stdint.h>
#include <stdlib.h>

#include "core/limits.h"
#include "core/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct dray_manifest *manifest)
{
    static const struct dray_platform wanted = { "linux", "arm", "v7" };

    if (manifest->kind == DRAY_MANIFEST_INDEX) {
        const struct dray_descriptor *entry = dray_manifest_select(manifest, &wanted, NULL);

        if (entry && (entry < manifest->manifests ||
                      entry >= manifest->manifests + manifest->manifest_count))
            abort();
        if (dray_media_type_is_config(manifest->config.media_type))
            abort();
    } else {
        for (size_t i = 0; i < manifest->layer_count; i++)
            if (manifest->layers[i].size_bytes > DRAY_BLOB_MAX_BYTES)
                abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const content_types[] = { "", DRAY_MT_OCI_MANIFEST, DRAY_MT_OCI_INDEX,
                                                 DRAY_MT_DOCKER_MANIFEST, DRAY_MT_DOCKER_LIST };
    bool seen[2] = { false, false };

    for (size_t i = 0; i < sizeof(content_types) / sizeof(content_types[0]); i++) {
        DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
        struct dray_error err = { 0 };

        if (dray_manifest_parse(data, size, content_types[i], &manifest, &err) < 0) {
            for (const char *c = err.text; *c; c++)
                if (*c < ' ' || *c > '~')
                    abort();
            continue;
        }
        seen[manifest->kind == DRAY_MANIFEST_INDEX] = true;
        use(manifest);
    }
    if (seen[0] && seen[1])
        abort();
    return 0;
}
