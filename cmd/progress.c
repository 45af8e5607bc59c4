#include "cmd/progress.h"

#include <stdlib.h>

#include <dray/error.h>

#include "cmd/clock.h"
#include "cmd/progress_face.h"

int dray_progress_new(enum dray_progress_style style, struct dray_console *console,
                      size_t image_count, struct dray_progress **ret_progress)
{
    struct dray_progress *progress = calloc(1, sizeof(*progress));
    const char *no_color = getenv("NO_COLOR");

    if (!progress || dray_board_init(&progress->board, image_count) < 0) {
        free(progress);
        return DRAY_ENOMEM;
    }
    progress->console = console;
    progress->started_ms = dray_clock_now_ms();
    progress->total_ms = progress->started_ms;
    progress->colours = dray_console_is_tty(console) && !(no_color && *no_color);
    switch (style) {
    case DRAY_PROGRESS_AUTO:
        progress->face = dray_console_is_tty(console) ? &dray_progress_tty : &dray_progress_plain;
        break;
    case DRAY_PROGRESS_TTY:
        progress->face = &dray_progress_tty;
        break;
    case DRAY_PROGRESS_PLAIN:
        progress->face = &dray_progress_plain;
        break;
    case DRAY_PROGRESS_JSON:
        progress->face = &dray_progress_json;
        break;
    case DRAY_PROGRESS_NONE:
        break;
    }
    *ret_progress = progress;
    return DRAY_OK;
}

void dray_progress_event(void *ctx, const struct dray_event *event)
{
    struct dray_progress *progress = ctx;

    if (progress->face)
        progress->face->event(progress, event, dray_clock_now_ms());
}

struct dray_log dray_progress_log(struct dray_progress *progress, enum dray_log_level level)
{
    struct dray_log log = dray_console_log(progress->console, level);

    if (progress->face && progress->face->log)
        log.write = progress->face->log;
    return log;
}

void dray_progress_finish(struct dray_progress *progress)
{
    if (progress->face && progress->face->finish)
        progress->face->finish(progress, dray_clock_now_ms());
}

bool dray_progress_is_json(const struct dray_progress *progress)
{
    return progress->face == &dray_progress_json;
}

void dray_progress_free(struct dray_progress *progress)
{
    if (!progress)
        return;
    dray_board_done(&progress->board);
    free(progress);
}
