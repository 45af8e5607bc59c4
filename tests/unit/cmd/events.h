/* Events as the library would send them, for boards and displays. */
#ifndef TESTS_UNIT_CMD_EVENTS_H
#define TESTS_UNIT_CMD_EVENTS_H

#include <stdio.h>
#include <string.h>

#include <dray/event.h>

/* A digest that is all one digit pair: "sha256:0707...". */
static inline struct dray_digest events_digest(unsigned n)
{
    struct dray_digest digest = { .alg = DRAY_SHA256 };
    int len = snprintf(digest.text, sizeof(digest.text), "sha256:");

    memset(digest.bytes, (int)(n & 0xff), 32);
    for (int i = 0; i < 32; i++)
        len += snprintf(digest.text + len, sizeof(digest.text) - (size_t)len, "%02x", n & 0xff);
    return digest;
}

/* The event of a layer; its digest must outlive it. */
static inline struct dray_event events_layer(enum dray_event_kind kind, uint32_t index,
                                             const struct dray_digest *digest, uint64_t current,
                                             uint64_t total)
{
    return (struct dray_event){ .kind = kind,
                                .image = "docker.io/library/nginx:latest",
                                .blob_index = index,
                                .digest = digest,
                                .current_bytes = current,
                                .total_bytes = total };
}

static inline struct dray_event events_image(enum dray_event_kind kind)
{
    return (struct dray_event){ .kind = kind, .image = "docker.io/library/nginx:latest" };
}

#endif
