/* What a failure means outside of the program: an exit status, a message, a hint. */
#ifndef DRAY_CMD_FAULT_H
#define DRAY_CMD_FAULT_H

#include <jansson.h>
#include <stddef.h>

#include <dray/error.h>

struct dray_console;

/** The exit statuses: part of the interface, documented in the manual pages. */
enum dray_exit {
    DRAY_EXIT_DONE = 0,
    DRAY_EXIT_FAILED = 1,
    DRAY_EXIT_USAGE = 2,
    DRAY_EXIT_PARTLY = 3,   /* some of several failed */
    DRAY_EXIT_NOTFOUND = 4, /* no such image, tag or store */
    DRAY_EXIT_AUTH = 5,     /* authentication or permission */
    DRAY_EXIT_DIGEST = 6,   /* verification failed */
    DRAY_EXIT_STORE = 7,    /* no space, or the store is damaged */
    DRAY_EXIT_INTERRUPTED = 130,
};

/** The exit status of one error. */
enum dray_exit dray_fault_exit(const struct dray_error *err);

/**
 * The exit status of several operations: DONE if all are, PARTLY if some are, the common status if
 * all failed alike, else FAILED; an interruption beats them all.
 */
enum dray_exit dray_fault_exit_all(const enum dray_exit *exits, size_t count);

/**
 * Tell the user: "dray pull: nginx: text", a text of several lines indented below that, then the
 * error's hint or, if it has none, fallback_hint.
 *
 * @param command        "pull"
 * @param subject        what it was about, such as an image; NULL if the text says that
 * @param fallback_hint  may be NULL
 */
void dray_fault_report(struct dray_console *console, const char *command, const char *subject,
                       const struct dray_error *err, const char *fallback_hint);

/** Tell that there is no memory. @return DRAY_EXIT_FAILED */
enum dray_exit dray_fault_nomem(struct dray_console *console, const char *command);

/** What to do about an error of the store that has no hint of its own; NULL if nothing is known. */
const char *dray_fault_store_hint(const struct dray_error *err);

/** The error as a JSON object: "code" (its name), "text" and, if it has one, "hint". NULL without
 *  memory. */
json_t *dray_fault_json(const struct dray_error *err);

/** Fill err with a code and a formatted text. @return code */
int dray_fault_set(struct dray_error *err, int code, const char *fmt, ...) DRAY_PRINTF(3, 4);

#endif
