/* Making and wrapping errors. Every function accepts err == NULL (the caller is not interested). */
#ifndef DRAY_CORE_ERROR_H
#define DRAY_CORE_ERROR_H

#include <errno.h>

#include <dray/error.h>

/* The three below are macros around functions that return nothing, so that compilers and analyzers
 * see that a failure's result is the code it was given: they cannot look into another file. */

/**
 * Overwrite the error with a code and a formatted text: (err, code, fmt, ...).
 *
 * @return code
 */
#define dray_error_set(err, code, ...)                                                             \
    __extension__({                                                                                \
        const int dray_set_code __attribute__((unused)) = (code);                                  \
        dray_error_format((err), dray_set_code, __VA_ARGS__);                                      \
        dray_set_code;                                                                             \
    })

/**
 * As dray_error_set(), for a failed system call: (err, sys_errno, fmt, ...). ": " and
 * strerror(sys_errno) are appended.
 *
 * @return DRAY_ENOSPC for ENOSPC and EDQUOT, DRAY_ENOMEM for ENOMEM, else DRAY_EIO
 */
#define dray_error_errno(err, sys_errno, ...)                                                      \
    __extension__({                                                                                \
        const int dray_errno_number __attribute__((unused)) = (sys_errno);                         \
        dray_error_format_errno((err), dray_errno_number, __VA_ARGS__);                            \
        dray_code_of_errno(dray_errno_number);                                                     \
    })

/**
 * Put context in front of the text, "context: text": (err, rc, fmt, ...). When the buffer is full,
 * the new (outer) context is cut and the root cause stays whole. The code and other fields are
 * kept.
 *
 * @return rc
 */
#define dray_error_wrap(err, rc, ...)                                                              \
    __extension__({                                                                                \
        const int dray_wrap_rc __attribute__((unused)) = (rc);                                     \
        dray_error_prefix((err), __VA_ARGS__);                                                     \
        dray_wrap_rc;                                                                              \
    })

void dray_error_format(struct dray_error *err, int code, const char *fmt, ...) DRAY_PRINTF(3, 4);
void dray_error_format_errno(struct dray_error *err, int sys_errno, const char *fmt, ...)
    DRAY_PRINTF(3, 4);
void dray_error_prefix(struct dray_error *err, const char *fmt, ...) DRAY_PRINTF(2, 3);

/** What an errno means to the caller. */
static inline int dray_code_of_errno(int sys_errno)
{
    if (sys_errno == ENOSPC || sys_errno == EDQUOT)
        return DRAY_ENOSPC;
    return sys_errno == ENOMEM ? DRAY_ENOMEM : DRAY_EIO;
}

/** Say what the user can do next. Cut when longer than DRAY_ERROR_HINT_MAX. */
void dray_error_hint(struct dray_error *err, const char *fmt, ...) DRAY_PRINTF(2, 3);

/** Set the code DRAY_ENOMEM with a fixed text. @return DRAY_ENOMEM */
static inline int dray_error_nomem(struct dray_error *err)
{
    return dray_error_set(err, DRAY_ENOMEM, "out of memory");
}

#endif
