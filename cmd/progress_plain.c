/* Progress as plain lines: one for each change of state, for logs and dumb terminals. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/progress_face.h"
#include "cmd/quantity.h"

#define TOTALS_EVERY_MS 5000

static void say(struct dray_progress *progress, const char *fmt, ...) DRAY_PRINTF(2, 3);

static void say(struct dray_progress *progress, const char *fmt, ...)
{
    char *line = NULL;
    va_list args;
    int rc;

    va_start(args, fmt);
    rc = vasprintf(&line, fmt, args);
    va_end(args);
    if (rc < 0)
        return;
    dray_console_line(progress->console, line);
    free(line);
}

static void say_totals(struct dray_progress *progress, int64_t now_ms)
{
    struct dray_board_totals totals;
    char part[DRAY_QUANTITY_TEXT_MAX];
    char rate[DRAY_QUANTITY_TEXT_MAX];
    char left[DRAY_QUANTITY_TEXT_MAX];
    bool is_known;

    if (now_ms - progress->total_ms < TOTALS_EVERY_MS)
        return;
    progress->total_ms = now_ms;
    dray_board_sum(&progress->board, now_ms, &totals);
    dray_quantity_format_part(totals.current_bytes, totals.total_bytes, part);
    is_known = totals.rate >= 0 && totals.remaining_ms >= 0;
    if (is_known) {
        dray_quantity_format_bytes((uint64_t)totals.rate, rate);
        dray_quantity_format_duration(totals.remaining_ms, left);
    }
    say(progress, "total: %zu of %zu layers, %s%s%s%s%s%s", totals.layers_done, totals.layers, part,
        is_known ? ", " : "", is_known ? rate : "", is_known ? "/s, " : "", is_known ? left : "",
        is_known ? " left" : "");
}

/* What to call a blob: config files have digests like layers, but are none. */
static const char *role_text(const struct dray_event *event)
{
    return event->role == DRAY_ROLE_CONFIG ? "config" : "layer";
}

static void say_blob(struct dray_progress *progress, const struct dray_event *event)
{
    const struct dray_board_blob *blob = dray_board_find(&progress->board, event);
    const char *error = event->error ? event->error->text : "";
    char total[DRAY_QUANTITY_TEXT_MAX];
    char part[DRAY_QUANTITY_TEXT_MAX];
    char delay[DRAY_QUANTITY_TEXT_MAX];
    char *prefix = NULL;

    if (!blob || asprintf(&prefix, "%s: %s %s", event->image, role_text(event), blob->id) < 0)
        return;
    dray_quantity_format_bytes(blob->total_bytes, total);
    switch (event->kind) {
    case DRAY_EVENT_BLOB_EXISTS:
        say(progress, "%s: exists", prefix);
        break;
    case DRAY_EVENT_BLOB_STARTED:
        dray_quantity_format_part(blob->current_bytes, blob->total_bytes, part);
        if (blob->resumed)
            say(progress, "%s: resuming at %s", prefix, part);
        else
            say(progress, "%s: downloading %s", prefix, total);
        break;
    case DRAY_EVENT_BLOB_RETRY:
        dray_quantity_format_elapsed(event->delay_ms, delay);
        say(progress, "%s: retrying in %s: %s", prefix, delay, error);
        break;
    case DRAY_EVENT_BLOB_DONE:
        say(progress, "%s: done", prefix);
        break;
    case DRAY_EVENT_BLOB_FAILED:
        say(progress, "%s: failed: %s", prefix, error);
        break;
    default:
        break;
    }
    free(prefix);
}

static void say_image(struct dray_progress *progress, const struct dray_event *event)
{
    char total[DRAY_QUANTITY_TEXT_MAX];

    switch (event->kind) {
    case DRAY_EVENT_RESOLVING:
        say(progress, "%s: resolving%s%s", event->image, event->endpoint ? " at " : "",
            event->endpoint ? event->endpoint : "");
        break;
    case DRAY_EVENT_RESOLVED:
        if (event->total_bytes > 0) { /* else the image is here already */
            dray_quantity_format_bytes(event->total_bytes, total);
            say(progress, "%s: %s, %s", event->image,
                event->digest ? event->digest->text : "resolved", total);
        }
        break;
    case DRAY_EVENT_IMAGE_DONE:
        say(progress, "%s: %s", event->image, event->changed ? "done" : "unchanged");
        break;
    case DRAY_EVENT_IMAGE_FAILED:
        /* The whole error follows at the end, from the command. */
        say(progress, "%s: failed: %s", event->image,
            dray_code_text(event->error ? event->error->code : DRAY_EIO));
        break;
    default:
        break;
    }
}

static void plain_event(struct dray_progress *progress, const struct dray_event *event,
                        int64_t now_ms)
{
    dray_board_apply(&progress->board, event, now_ms);
    if (event->kind == DRAY_EVENT_BLOB_PROGRESS)
        say_totals(progress, now_ms);
    else if (event->kind >= DRAY_EVENT_BLOB_QUEUED && event->kind <= DRAY_EVENT_BLOB_STOPPED)
        say_blob(progress, event);
    else
        say_image(progress, event);
}

const struct dray_progress_face dray_progress_plain = {
    .event = plain_event,
};
