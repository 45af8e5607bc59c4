#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *dray_code_text(int code)
{
    switch ((enum dray_code)code) {
    case DRAY_OK:
        return "success";
    case DRAY_ENOMEM:
        return "out of memory";
    case DRAY_EINVAL:
        return "invalid input";
    case DRAY_ECANCELED:
        return "canceled";
    case DRAY_ETRANSIENT:
        return "temporary failure";
    case DRAY_EUNREACHABLE:
        return "unreachable";
    case DRAY_ENOTFOUND:
        return "not found";
    case DRAY_EAUTH:
        return "not authorized";
    case DRAY_EDIGEST:
        return "verification failed";
    case DRAY_EPROTO:
        return "protocol error";
    case DRAY_EUNSUPPORTED:
        return "unsupported";
    case DRAY_ENOSPC:
        return "no space left";
    case DRAY_ESTORE:
        return "store damaged";
    case DRAY_EIO:
        return "system error";
    }
    return "unknown error";
}

static void vset(struct dray_error *err, int code, const char *fmt, va_list args) DRAY_PRINTF(3, 0);

static void vset(struct dray_error *err, int code, const char *fmt, va_list args)
{
    err->code = code;
    err->sys_errno = 0;
    err->http_status = 0;
    err->retry_after_ms = 0;
    err->hint[0] = '\0';
    vsnprintf(err->text, sizeof(err->text), fmt, args);
}

void dray_error_format(struct dray_error *err, int code, const char *fmt, ...)
{
    va_list args;

    if (!err)
        return;
    va_start(args, fmt);
    vset(err, code, fmt, args);
    va_end(args);
}

void dray_error_format_errno(struct dray_error *err, int sys_errno, const char *fmt, ...)
{
    char reason[128];
    size_t used;
    va_list args;

    if (!err)
        return;
    va_start(args, fmt);
    vset(err, dray_code_of_errno(sys_errno), fmt, args);
    va_end(args);
    err->sys_errno = sys_errno;
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s",
             strerror_r(sys_errno, reason, sizeof(reason)));
}

void dray_error_prefix(struct dray_error *err, const char *fmt, ...)
{
    char context[DRAY_ERROR_TEXT_MAX];
    size_t context_len;
    size_t text_len;
    size_t room;
    va_list args;

    if (!err)
        return;

    va_start(args, fmt);
    vsnprintf(context, sizeof(context), fmt, args);
    va_end(args);

    context_len = strlen(context);
    text_len = strlen(err->text);
    room = sizeof(err->text) - 1 - text_len;
    if (room <= 2)
        return; /* the cause fills the buffer: it is worth more than its context */
    if (context_len > room - 2)
        context_len = room - 2;

    memmove(err->text + context_len + 2, err->text, text_len + 1);
    memcpy(err->text, context, context_len);
    memcpy(err->text + context_len, ": ", 2);
}

void dray_error_hint(struct dray_error *err, const char *fmt, ...)
{
    if (err) {
        va_list args;

        va_start(args, fmt);
        vsnprintf(err->hint, sizeof(err->hint), fmt, args);
        va_end(args);
    }
}
