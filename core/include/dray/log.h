/* Diagnostics: the library never prints; it hands lines to a sink of the caller. */
#ifndef DRAY_LOG_H
#define DRAY_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

enum dray_log_level {
    DRAY_LOG_ERROR,
    DRAY_LOG_WARNING, /* something was ignored or degraded; the text says what */
    DRAY_LOG_INFO,
    DRAY_LOG_DEBUG,
};

/**
 * Where log lines go. Copied by whoever is given it.
 *
 * write() is called from any thread, also from several at once, with no lock held; text is one
 * line without newline, free of secrets, valid only during the call. It must not call the library.
 */
struct dray_log {
    void (*write)(void *ctx, enum dray_log_level level, const char *text); /* NULL: no log */
    void *ctx;
    enum dray_log_level level; /* lines above this level are not even formatted */
};

#ifdef __cplusplus
}
#endif

#endif
