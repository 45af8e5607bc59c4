/* Progress as JSON: one object a line, for programs. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/clock.h"
#include "cmd/fault.h"
#include "cmd/progress_face.h"
#include "cmd/text.h"

static void set_bytes(json_t *json, const char *key, uint64_t bytes)
{
    json_object_set_new(json, key, json_integer((json_int_t)bytes));
}

static void add_blob(json_t *json, const struct dray_event *event)
{
    if (event->digest)
        json_object_set_new(json, "blob", json_string(event->digest->text));
    json_object_set_new(json, "role",
                        json_string(event->role == DRAY_ROLE_CONFIG ? "config" : "layer"));
    json_object_set_new(json, "index", json_integer(event->blob_index));
    if (event->kind == DRAY_EVENT_BLOB_STARTED || event->kind == DRAY_EVENT_BLOB_PROGRESS)
        set_bytes(json, "current", event->current_bytes);
    if (event->total_bytes > 0)
        set_bytes(json, "total", event->total_bytes);
    if (event->kind == DRAY_EVENT_BLOB_RETRY)
        json_object_set_new(json, "delay_ms", json_integer(event->delay_ms));
}

static void add_image(json_t *json, const struct dray_event *event)
{
    if (event->digest && event->digest->alg)
        json_object_set_new(json, "digest", json_string(event->digest->text));
    if (event->kind == DRAY_EVENT_RESOLVED)
        set_bytes(json, "total", event->total_bytes);
    if (event->kind == DRAY_EVENT_IMAGE_DONE)
        json_object_set_new(json, "changed", json_boolean(event->changed));
}

static bool is_of_blob(enum dray_event_kind kind)
{
    return kind >= DRAY_EVENT_BLOB_QUEUED && kind <= DRAY_EVENT_BLOB_STOPPED;
}

/* One object in ASCII: it is safe on a terminal, too. */
static char *take_line(json_t *json)
{
    char *line = json ? json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

    json_decref(json);
    return line;
}

char *dray_progress_json_line(const struct dray_event *event)
{
    json_t *json = json_pack("{s:o, s:s, s:o}", "time", dray_clock_json(event->time_ms), "event",
                             dray_event_kind_text(event->kind), "image",
                             dray_text_json(event->image ? event->image : ""));

    if (!json)
        return NULL;
    if (event->endpoint)
        json_object_set_new(json, "endpoint", dray_text_json(event->endpoint));
    if (is_of_blob(event->kind))
        add_blob(json, event);
    else
        add_image(json, event);
    if (event->error)
        json_object_set_new(json, "error", dray_fault_json(event->error));
    return take_line(json);
}

static void json_event(struct dray_progress *progress, const struct dray_event *event,
                       int64_t now_ms)
{
    char *line = dray_progress_json_line(event);

    (void)now_ms;
    if (line)
        dray_console_line(progress->console, line);
    free(line);
}

static void json_log(void *console, enum dray_log_level level, const char *text)
{
    char *line = take_line(json_pack("{s:o, s:s, s:s, s:o}", "time",
                                     dray_clock_json(dray_clock_wall_ms()), "event", "log", "level",
                                     dray_console_level_text(level), "text", dray_text_json(text)));

    if (line)
        dray_console_line(console, line);
    free(line);
}

const struct dray_progress_face dray_progress_json = {
    .event = json_event,
    .log = json_log,
};
