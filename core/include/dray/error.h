/* Errors: a code that says what the caller should do, and an object that says what happened. */
#ifndef DRAY_ERROR_H
#define DRAY_ERROR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DRAY_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define DRAY_PRINTF(fmt, args)
#endif

/**
 * What a caller can decide on. A function that can fail returns DRAY_OK or one of these; the cause
 * stands in struct dray_error.
 */
enum dray_code {
    DRAY_OK = 0,
    DRAY_ENOMEM = -1,        /* memory is exhausted */
    DRAY_EINVAL = -2,        /* the caller's input is wrong: a name, an option */
    DRAY_ECANCELED = -3,     /* stopped by dray_cancel_fire() */
    DRAY_ETRANSIENT = -4,    /* the same request may succeed later: try again */
    DRAY_EUNREACHABLE = -5,  /* this endpoint cannot be used (name, TLS, refusal): try the next */
    DRAY_ENOTFOUND = -6,     /* what was asked for does not exist there */
    DRAY_EAUTH = -7,         /* log in, or ask for permission at the registry */
    DRAY_EDIGEST = -8,       /* bytes differ from their digest or size: distrust the server */
    DRAY_EPROTO = -9,        /* the server broke a protocol or format rule */
    DRAY_EUNSUPPORTED = -10, /* valid, but nothing that dray handles: schema 1, a lone platform */
    DRAY_ENOSPC = -11,       /* the disk or quota is full */
    DRAY_ESTORE = -12,       /* the store is damaged, or of a newer format */
    DRAY_EIO = -13,          /* the operating system refused: sys_errno says why */
};

/* Long enough for an image name (255), a digest and several endpoints' own errors. */
#define DRAY_ERROR_TEXT_MAX 2048
#define DRAY_ERROR_HINT_MAX 256

/**
 * What happened. A plain value: it needs no free, works when memory is gone, and may be copied to
 * another thread. Initialise it with = { 0 }.
 */
struct dray_error {
    int code;               /* enum dray_code */
    int sys_errno;          /* errno of the failed call, 0 if none */
    int http_status;        /* status of the answer that failed, 0 if none */
    int64_t retry_after_ms; /* the server's own wish (RFC 9110 section 10.2.3), 0 if it has none */
    char text[DRAY_ERROR_TEXT_MAX]; /* "outer: inner: cause", never with a secret in it */
    char hint[DRAY_ERROR_HINT_MAX]; /* what the user can do next, "" if nothing is known */
};

/** The name of a code, such as "not found"; "unknown error" for a value outside the enum. */
const char *dray_code_text(int code);

#ifdef __cplusplus
}
#endif

#endif
