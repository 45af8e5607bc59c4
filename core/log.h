/* Sending lines to the caller's sink. */
#ifndef DRAY_CORE_LOG_H
#define DRAY_CORE_LOG_H

#include <dray/error.h>
#include <dray/log.h>

/** Format one line and hand it to the sink, if it wants this level. log may be NULL. */
void dray_log(const struct dray_log *log, enum dray_log_level level, const char *fmt, ...)
    DRAY_PRINTF(3, 4);

#endif
