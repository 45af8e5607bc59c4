/* The inside of struct dray_progress, shared by its faces. */
#ifndef DRAY_CMD_PROGRESS_FACE_H
#define DRAY_CMD_PROGRESS_FACE_H

#include <stdbool.h>
#include <stdint.h>

#include <dray/event.h>
#include <dray/log.h>

#include "cmd/board.h"
#include "cmd/console.h"

struct dray_progress;

/* One way to show a pull. Times are of a clock that never jumps. */
struct dray_progress_face {
    void (*event)(struct dray_progress *progress, const struct dray_event *event, int64_t now_ms);
    void (*finish)(struct dray_progress *progress, int64_t now_ms); /* NULL: nothing to do */
    /* A log line, from any thread; NULL: as dray_console_log() has it. */
    void (*log)(void *console, enum dray_log_level level, const char *text);
};

extern const struct dray_progress_face dray_progress_tty;
extern const struct dray_progress_face dray_progress_plain;
extern const struct dray_progress_face dray_progress_json;

#define DRAY_PROGRESS_DRAWS_MAX 10 /* a second */

struct dray_progress {
    const struct dray_progress_face *face; /* NULL: shows nothing */
    struct dray_console *console;
    struct dray_board board;
    int64_t started_ms;

    bool colours;                              /* terminal */
    int64_t drawn_ms[DRAY_PROGRESS_DRAWS_MAX]; /* terminal: when the last frames were, a ring */
    size_t draws;                              /* terminal: frames so far */
    int64_t total_ms;                          /* plain: when the last line of totals was */
};

/* What a terminal of this size shows of a board. */
struct dray_progress_view {
    const struct dray_board *board;
    size_t columns;
    size_t rows;
    bool colours;
    bool final; /* the last frame: nothing moves any more */
    int64_t started_ms;
    int64_t now_ms;
};

/** The frame for dray_console_frame(), malloc'ed; NULL without memory. */
char *dray_progress_tty_render(const struct dray_progress_view *view);

/** The line for an event: a JSON object without newline, malloc'ed; NULL without memory. */
char *dray_progress_json_line(const struct dray_event *event);

#endif
