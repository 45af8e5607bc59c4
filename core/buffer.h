/* A growing byte buffer with a ceiling. Not shared between threads. */
#ifndef DRAY_CORE_BUFFER_H
#define DRAY_CORE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include <dray/error.h>

#include "core/cleanup.h"

struct dray_buf {
    uint8_t *data; /* always followed by a NUL that len does not count; NULL while empty */
    size_t len;
    size_t capacity;
};

#define DRAY_BUF_INIT                                                                              \
    {                                                                                              \
        0                                                                                          \
    }

/**
 * Append bytes, unless the buffer would then hold more than max_len: nothing is appended then.
 *
 * @param max_len  a limit of core/limits.h; SIZE_MAX - 1 where the caller bounds the length itself
 * @return DRAY_OK, DRAY_EPROTO when max_len would be passed, or DRAY_ENOMEM
 */
int dray_buf_append(struct dray_buf *buf, const void *data, size_t len, size_t max_len);

/** Append formatted text. @return DRAY_OK or DRAY_ENOMEM */
int dray_buf_appendf(struct dray_buf *buf, const char *fmt, ...) DRAY_PRINTF(2, 3);

/** Forget the content, keep the memory. */
void dray_buf_reset(struct dray_buf *buf);

/** Free the content; the buffer is empty and usable again. */
void dray_buf_done(struct dray_buf *buf);

/** The content as text: "" while empty. Valid until the next change. */
static inline const char *dray_buf_text(const struct dray_buf *buf)
{
    return buf->data ? (const char *)buf->data : "";
}

#define DRAY_AUTO_BUF DRAY_CLEANUP(dray_buf_done)

#endif
