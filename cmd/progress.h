/* How a pull shows on standard error while it runs: on a terminal, as plain lines, as JSON lines,
 * or not at all. Everything is drawn from the library's events, in the thread that they come in;
 * log lines may come in any thread. */
#ifndef DRAY_CMD_PROGRESS_H
#define DRAY_CMD_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include <dray/event.h>
#include <dray/log.h>

struct dray_console;
struct dray_progress;

enum dray_progress_style {
    DRAY_PROGRESS_AUTO, /* TTY on a terminal that can draw, else PLAIN */
    DRAY_PROGRESS_TTY,
    DRAY_PROGRESS_PLAIN,
    DRAY_PROGRESS_JSON,
    DRAY_PROGRESS_NONE,
};

/** @return DRAY_OK or DRAY_ENOMEM */
int dray_progress_new(enum dray_progress_style style, struct dray_console *console,
                      size_t image_count, struct dray_progress **ret_progress);

/** Take in an event: a dray_event_fn whose ctx is the progress. */
void dray_progress_event(void *ctx, const struct dray_event *event);

/** A sink for diagnostics that fits among the other lines: as JSON for the JSON style. */
struct dray_log dray_progress_log(struct dray_progress *progress, enum dray_log_level level);

/** Draw the last picture and leave it. No event comes after it. */
void dray_progress_finish(struct dray_progress *progress);

/** Is standard error a stream of JSON objects, in which messages for people have no place? */
bool dray_progress_is_json(const struct dray_progress *progress);

/** Free; NULL is allowed. */
void dray_progress_free(struct dray_progress *progress);

#endif
