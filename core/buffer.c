#include "core/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Make room for more bytes and the NUL behind them. */
static int reserve(struct dray_buf *buf, size_t more)
{
    size_t capacity = buf->capacity;
    size_t need;
    uint8_t *data;

    if (__builtin_add_overflow(buf->len, more, &need) || need == SIZE_MAX)
        return DRAY_ENOMEM;
    need++;
    if (need <= capacity)
        return DRAY_OK;

    if (capacity < 256)
        capacity = 256;
    while (capacity < need && !__builtin_mul_overflow(capacity, (size_t)2, &capacity))
        ;
    if (capacity < need)
        capacity = need;

    data = realloc(buf->data, capacity);
    if (!data)
        return DRAY_ENOMEM;
    buf->data = data;
    buf->capacity = capacity;
    return DRAY_OK;
}

int dray_buf_append(struct dray_buf *buf, const void *data, size_t len, size_t max_len)
{
    int rc;

    if (len > max_len || buf->len > max_len - len)
        return DRAY_EPROTO;

    rc = reserve(buf, len);
    if (rc < 0)
        return rc;
    if (len > 0)
        memcpy(buf->data + buf->len, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return DRAY_OK;
}

int dray_buf_appendf(struct dray_buf *buf, const char *fmt, ...)
{
    va_list args;
    int len;
    int rc;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0)
        return DRAY_ENOMEM;

    rc = reserve(buf, (size_t)len);
    if (rc < 0)
        return rc;

    va_start(args, fmt);
    vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)len;
    return DRAY_OK;
}

void dray_buf_reset(struct dray_buf *buf)
{
    buf->len = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

void dray_buf_done(struct dray_buf *buf)
{
    free(buf->data);
    *buf = (struct dray_buf)DRAY_BUF_INIT;
}
