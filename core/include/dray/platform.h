/* Platforms: which of an index's images fits a machine (OCI image-spec 1.1, "Image Index"). */
#ifndef DRAY_PLATFORM_H
#define DRAY_PLATFORM_H

#include <dray/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DRAY_PLATFORM_PART_MAX 63
#define DRAY_PLATFORM_TEXT_MAX (4 * (DRAY_PLATFORM_PART_MAX + 1))

/** os/architecture[/variant] in Go's names. A plain value; variant "" where there is none. */
struct dray_platform {
    char os[DRAY_PLATFORM_PART_MAX + 1];
    char architecture[DRAY_PLATFORM_PART_MAX + 1];
    char variant[DRAY_PLATFORM_PART_MAX + 1];
};

/**
 * Parse OS/ARCH[/VARIANT], and ARCH or OS alone with the host's other half. Other spellings are
 * normalised as containerd does: x86_64 is amd64, aarch64 is arm64, armhf is arm/v7, i386 is 386,
 * arm64/v8 is arm64, arm alone is arm/v7.
 *
 * @return DRAY_OK or DRAY_EINVAL
 */
int dray_platform_parse(const char *text, struct dray_platform *ret_platform,
                        struct dray_error *err);

/** The platform of this machine: arm v6 to v8 and amd64 v1 to v4 as the CPU says. */
void dray_platform_host(struct dray_platform *ret_platform);

/** Write os/architecture[/variant]; buf holds DRAY_PLATFORM_TEXT_MAX. */
void dray_platform_format(const struct dray_platform *platform, char *buf);

#ifdef __cplusplus
}
#endif

#endif
