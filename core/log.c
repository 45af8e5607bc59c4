#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>

/* Holds an error's whole text and some words around it; a longer line is cut. */
#define LINE_MAX_BYTES (DRAY_ERROR_TEXT_MAX + 256)

void dray_log(const struct dray_log *log, enum dray_log_level level, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    if (!log || !log->write || level > log->level)
        return;

    va_start(args, fmt);
    vsnprintf(line, sizeof(line), fmt, args);
    va_end(args);
    log->write(log->ctx, level, line);
}
