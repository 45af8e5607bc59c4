/* Progress on a terminal: a line for each layer that matters now and one for the whole, redrawn in
 * place. From left to right a line has what is needed most, and on a narrow terminal it ends
 * early. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/progress_face.h"
#include "cmd/quantity.h"

#define ID_WIDTH     12
#define STATE_WIDTH  11
#define AMOUNT_WIDTH 14
#define RATE_WIDTH   10
#define BAR_MIN      8
#define BAR_MAX      40
#define NARROW       60 /* columns below which one blank parts two fields, not two */
#define ROWS_MIN     6  /* on fewer there is only the line for the whole */
#define LINE_MAX     512

/* A picture in the making. */
struct canvas {
    const struct dray_progress_view *view;
    FILE *out;
    size_t width;    /* cells a line may fill, below LINE_MAX: the last column stays free, or
                        terminals wrap */
    size_t gap;      /* blanks between fields */
    bool has_titles; /* several images: each has a line above its layers */
};

enum colour {
    COLOUR_NONE = 0,
    COLOUR_BOLD = 1,
    COLOUR_RED = 31,
    COLOUR_GREEN = 32,
    COLOUR_YELLOW = 33,
};

/* One line, cut to width; the cells from begin to end are coloured. Text is ASCII here. */
static void put_line(const struct canvas *canvas, const char *text, enum colour colour,
                     size_t begin, size_t end)
{
    size_t len = strlen(text);

    if (len > canvas->width)
        len = canvas->width;
    if (end > len)
        end = len;
    if (!canvas->view->colours || colour == COLOUR_NONE || begin >= end)
        fprintf(canvas->out, "%.*s\n", (int)len, text);
    else
        fprintf(canvas->out, "%.*s\033[%dm%.*s\033[m%.*s\n", (int)begin, text, (int)colour,
                (int)(end - begin), text + begin, (int)(len - end), text + end);
}

static bool is_there(const struct dray_board_blob *blob)
{
    return blob->state == DRAY_BOARD_DONE || blob->state == DRAY_BOARD_EXISTS;
}

static bool is_active(const struct dray_board_blob *blob)
{
    return blob->state == DRAY_BOARD_FETCHING || blob->state == DRAY_BOARD_RETRYING ||
           blob->state == DRAY_BOARD_FAILED;
}

/* Has it a line of its own, if there is room? A config is too small to be watched; it shows once it
 * gives trouble. */
static bool is_shown(const struct dray_board_blob *blob)
{
    if (blob->state == DRAY_BOARD_UNKNOWN)
        return false;
    return blob->role == DRAY_ROLE_LAYER || blob->state == DRAY_BOARD_RETRYING ||
           blob->state == DRAY_BOARD_FAILED;
}

static enum colour state_text(const struct dray_progress_view *view,
                              const struct dray_board_blob *blob, char *buf, size_t size)
{
    char delay[DRAY_QUANTITY_TEXT_MAX];

    switch (blob->state) {
    case DRAY_BOARD_DONE:
        snprintf(buf, size, "done");
        return COLOUR_GREEN;
    case DRAY_BOARD_EXISTS:
        snprintf(buf, size, "exists");
        return COLOUR_GREEN;
    case DRAY_BOARD_FAILED:
        snprintf(buf, size, "failed");
        return COLOUR_RED;
    default:
        break;
    }
    if (view->final) {
        snprintf(buf, size, "stopped");
        return COLOUR_YELLOW;
    }
    switch (blob->state) {
    case DRAY_BOARD_RETRYING:
        dray_quantity_format_duration(blob->delay_ms, delay);
        snprintf(buf, size, strlen(delay) <= 2 ? "retry in %s" : "retry %s", delay);
        return COLOUR_YELLOW;
    case DRAY_BOARD_FETCHING:
        if (blob->total_bytes > 0 && blob->current_bytes >= blob->total_bytes)
            snprintf(buf, size, "verifying");
        else
            snprintf(buf, size, blob->resumed ? "resuming" : "downloading");
        return COLOUR_NONE;
    default:
        snprintf(buf, size, "waiting");
        return COLOUR_NONE;
    }
}

/* "[=====>    ]" in cells + 2 characters. */
static void put_bar(FILE *line, uint64_t part, uint64_t whole, size_t cells)
{
    size_t filled = 0;

    if (whole > 0)
        filled = part >= whole ? cells : (size_t)((double)part / (double)whole * (double)cells);
    fputc('[', line);
    for (size_t i = 0; i < cells; i++)
        fputc(i < filled ? '=' : i == filled ? '>' : ' ', line);
    fputc(']', line);
}

/* Bar and rate of a layer that is being fetched, as far as there is room for them. */
static void put_motion(const struct canvas *canvas, const struct dray_board_blob *blob,
                       size_t column, FILE *line)
{
    size_t rate_room = canvas->gap + RATE_WIDTH;
    size_t room = canvas->width > column ? canvas->width - column : 0;
    int64_t rate = dray_rate_get(&blob->rate, canvas->view->now_ms);
    char amount[DRAY_QUANTITY_TEXT_MAX];
    char per_second[DRAY_QUANTITY_TEXT_MAX + 2];

    if (room < rate_room)
        return;
    room -= rate_room;
    if (room >= canvas->gap + 2 + BAR_MIN) {
        size_t cells = room - canvas->gap - 2;

        fprintf(line, "%*s", (int)canvas->gap, "");
        put_bar(line, blob->current_bytes, blob->total_bytes, cells < BAR_MAX ? cells : BAR_MAX);
    }
    if (rate < 0)
        return;
    dray_quantity_format_bytes((uint64_t)rate, amount);
    snprintf(per_second, sizeof(per_second), "%s/s", amount);
    fprintf(line, "%*s%*s", (int)canvas->gap, "", RATE_WIDTH, per_second);
}

static void put_blob(const struct canvas *canvas, const struct dray_board_blob *blob)
{
    size_t indent = canvas->has_titles ? 2 : 0;
    size_t state_at = indent + ID_WIDTH + canvas->gap;
    size_t size_at = state_at + STATE_WIDTH + canvas->gap;
    bool is_moving = blob->state == DRAY_BOARD_FETCHING && !canvas->view->final;
    char state[32];
    char size[DRAY_QUANTITY_TEXT_MAX];
    char text[LINE_MAX] = "";
    enum colour colour = state_text(canvas->view, blob, state, sizeof(state));
    FILE *line = fmemopen(text, sizeof(text), "w");

    if (!line)
        return;
    fprintf(line, "%*s%-*s%*s%-*s", (int)indent, "", ID_WIDTH, blob->id, (int)canvas->gap, "",
            STATE_WIDTH, state);
    if (is_there(blob) || (blob->state == DRAY_BOARD_WAITING && !canvas->view->final))
        dray_quantity_format_bytes(blob->total_bytes, size);
    else
        dray_quantity_format_part(blob->current_bytes, blob->total_bytes, size);
    if (size_at + AMOUNT_WIDTH <= canvas->width)
        fprintf(line, "%*s%*s", (int)canvas->gap, "", AMOUNT_WIDTH, size);
    else if (blob->total_bytes > 0) /* a very narrow terminal */
        fprintf(line, "%*s%3.0f%%", (int)canvas->gap, "",
                is_there(blob) ? 100.0
                               : (double)blob->current_bytes * 100 / (double)blob->total_bytes);
    if (is_moving)
        put_motion(canvas, blob, size_at + AMOUNT_WIDTH, line);
    fclose(line);
    put_line(canvas, text, colour, state_at, state_at + strlen(state));
}

/* The name of an image; if it is too long, its end, where the tag is. */
static void put_title(const struct canvas *canvas, const struct dray_board_image *image)
{
    const char *note = image->state == DRAY_BOARD_IMAGE_RESOLVING ? "  resolving" : "";
    size_t room = canvas->width > strlen(note) ? canvas->width - strlen(note) : 0;
    size_t len = strlen(image->name);
    char text[LINE_MAX];

    if (len <= room || room < 4)
        snprintf(text, sizeof(text), "%s%s", image->name, note);
    else
        snprintf(text, sizeof(text), "...%s%s", image->name + len - (room - 3), note);
    put_line(canvas, text, COLOUR_BOLD, 0, strlen(text) - strlen(note));
}

/* Is the image part of the picture? Of several, those that ended have got a permanent line. */
static bool is_in_picture(const struct canvas *canvas, const struct dray_board_image *image)
{
    if (!image->name)
        return false;
    return !canvas->has_titles || image->state < DRAY_BOARD_IMAGE_DONE;
}

static bool has_title(const struct canvas *canvas, const struct dray_board_image *image)
{
    return canvas->has_titles || image->state == DRAY_BOARD_IMAGE_RESOLVING;
}

static size_t count_lines(const struct canvas *canvas)
{
    const struct dray_board *board = canvas->view->board;
    size_t lines = 0;

    for (size_t i = 0; i < board->image_count; i++) {
        const struct dray_board_image *image = &board->images[i];

        if (!is_in_picture(canvas, image))
            continue;
        lines += has_title(canvas, image);
        for (size_t j = 0; j < image->blob_count; j++)
            lines += is_shown(&image->blobs[j]);
    }
    return lines;
}

static void put_all(const struct canvas *canvas)
{
    const struct dray_board *board = canvas->view->board;

    for (size_t i = 0; i < board->image_count; i++) {
        const struct dray_board_image *image = &board->images[i];

        if (!is_in_picture(canvas, image))
            continue;
        if (has_title(canvas, image))
            put_title(canvas, image);
        for (size_t j = 0; j < image->blob_count; j++) {
            if (is_shown(&image->blobs[j]))
                put_blob(canvas, &image->blobs[j]);
        }
    }
}

/* Layers that have no line. */
struct hidden {
    size_t count;
    size_t there;
    size_t active;
};

static void hide(struct hidden *hidden, const struct dray_board_blob *blob)
{
    if (!is_shown(blob))
        return;
    hidden->count++;
    hidden->there += is_there(blob);
    hidden->active += is_active(blob);
}

static void put_hidden(const struct canvas *canvas, const struct hidden *hidden)
{
    size_t waiting = hidden->count - hidden->there - hidden->active;
    char text[LINE_MAX];
    int len;

    len =
        snprintf(text, sizeof(text), "... %zu more layers: %zu done", hidden->count, hidden->there);
    if (waiting > 0)
        len += snprintf(text + len, sizeof(text) - (size_t)len, ", %zu waiting", waiting);
    if (hidden->active > 0)
        snprintf(text + len, sizeof(text) - (size_t)len, ", %zu active", hidden->active);
    put_line(canvas, text, COLOUR_NONE, 0, 0);
}

/* Not everything fits: what happens now comes first, the rest is counted. */
static void put_active(const struct canvas *canvas, size_t room)
{
    const struct dray_board *board = canvas->view->board;
    struct hidden hidden = { 0 };

    for (size_t i = 0; i < board->image_count; i++) {
        const struct dray_board_image *image = &board->images[i];
        bool titled = !has_title(canvas, image);

        if (!is_in_picture(canvas, image))
            continue;
        for (size_t j = 0; j < image->blob_count; j++) {
            const struct dray_board_blob *blob = &image->blobs[j];
            size_t needed = titled ? 1 : 2;

            if (!is_active(blob) || !is_shown(blob) || room < needed) {
                hide(&hidden, blob);
                continue;
            }
            if (!titled)
                put_title(canvas, image);
            titled = true;
            put_blob(canvas, blob);
            room -= needed;
        }
    }
    /* In the end, the totals say it all if there is nothing but layers that are done. */
    if (hidden.count > (canvas->view->final ? hidden.there : 0))
        put_hidden(canvas, &hidden);
}

/* Append a field to the line if it fits. */
static void add_field(const struct canvas *canvas, char *line, const char *field)
{
    size_t len = strlen(line);
    size_t field_len = strlen(field);

    if (len + canvas->gap + field_len > canvas->width)
        return;
    memset(line + len, ' ', canvas->gap);
    memcpy(line + len + canvas->gap, field, field_len + 1);
}

/* How many layers and images are done; as wide as the columns of a layer before its size. */
static void put_counts(const struct canvas *canvas, const struct dray_board_totals *totals,
                       char *line)
{
    const struct dray_progress_view *view = canvas->view;
    char counts[64];

    snprintf(counts, sizeof(counts), "%zu/%zu", totals->layers_done, totals->layers);
    if (view->columns < NARROW) {
        snprintf(line, LINE_MAX, "%s", counts);
        return;
    }
    snprintf(counts, sizeof(counts), "%zu/%zu layers", totals->layers_done, totals->layers);
    snprintf(line, LINE_MAX, "%-*s%*s%-*s", ID_WIDTH, "total", (int)canvas->gap, "", STATE_WIDTH,
             counts);
    if (!canvas->has_titles)
        return;
    snprintf(counts, sizeof(counts), "%zu/%zu images", totals->images_ended,
             view->board->image_count);
    add_field(canvas, line, counts);
}

static void put_totals(const struct canvas *canvas, const struct dray_board_totals *totals)
{
    const struct dray_progress_view *view = canvas->view;
    char line[LINE_MAX];
    char amount[DRAY_QUANTITY_TEXT_MAX];
    char field[DRAY_QUANTITY_TEXT_MAX + 8];

    put_counts(canvas, totals, line);
    dray_quantity_format_part(totals->current_bytes, totals->total_bytes, amount);
    snprintf(field, sizeof(field), "%*s", view->columns < NARROW ? 0 : AMOUNT_WIDTH, amount);
    add_field(canvas, line, field);
    if (view->final) {
        dray_quantity_format_elapsed(view->now_ms - view->started_ms, amount);
        snprintf(field, sizeof(field), "in %s", amount);
        add_field(canvas, line, field);
    }
    if (!view->final && totals->rate >= 0) {
        dray_quantity_format_bytes((uint64_t)totals->rate, amount);
        snprintf(field, sizeof(field), "%s/s", amount);
        add_field(canvas, line, field);
    }
    if (!view->final && totals->remaining_ms >= 0) {
        dray_quantity_format_duration(totals->remaining_ms, amount);
        snprintf(field, sizeof(field), "%s left", amount);
        add_field(canvas, line, field);
    }
    put_line(canvas, line, COLOUR_BOLD, 0, strlen(line));
}

static size_t line_width(size_t columns)
{
    if (columns > LINE_MAX)
        return LINE_MAX - 1;
    return columns > 1 ? columns - 1 : 1;
}

char *dray_progress_tty_render(const struct dray_progress_view *view)
{
    struct dray_board_totals totals;
    char *frame = NULL;
    size_t len;
    struct canvas canvas = {
        .view = view,
        .out = open_memstream(&frame, &len),
        .width = line_width(view->columns),
        .gap = view->columns < NARROW ? 1 : 2,
        .has_titles = view->board->image_count > 1,
    };

    if (!canvas.out)
        return NULL;
    dray_board_sum(view->board, view->now_ms, &totals);
    if (view->rows >= ROWS_MIN && count_lines(&canvas) <= view->rows - 2)
        put_all(&canvas);
    else if (view->rows >= ROWS_MIN)
        put_active(&canvas, view->rows - 3);
    if (totals.layers > 0)
        put_totals(&canvas, &totals);
    if (fclose(canvas.out) != 0) {
        free(frame);
        return NULL;
    }
    return frame;
}

static void draw(struct dray_progress *progress, bool final, int64_t now_ms)
{
    struct dray_progress_view view = {
        .board = &progress->board,
        .colours = progress->colours,
        .final = final,
        .started_ms = progress->started_ms,
        .now_ms = now_ms,
    };
    char *frame;

    dray_console_size(progress->console, &view.columns, &view.rows);
    frame = dray_progress_tty_render(&view);
    if (frame)
        dray_console_frame(progress->console, frame);
    free(frame);
    progress->drawn_ms[progress->draws++ % DRAY_PROGRESS_DRAWS_MAX] = now_ms;
}

/* At most so many frames in any second. Events of progress leave some of them to changes of state:
 * after those it may be quiet for long, and what stands there then should be true. */
static bool may_draw(const struct dray_progress *progress, enum dray_event_kind kind,
                     int64_t now_ms)
{
    size_t draws = progress->draws;

    if (draws == 0)
        return true;
    if (kind == DRAY_EVENT_BLOB_PROGRESS &&
        now_ms - progress->drawn_ms[(draws - 1) % DRAY_PROGRESS_DRAWS_MAX] < 150)
        return false;
    return draws < DRAY_PROGRESS_DRAWS_MAX ||
           now_ms - progress->drawn_ms[draws % DRAY_PROGRESS_DRAWS_MAX] >= 1000;
}

/* Of several images, one that has ended leaves the frame for a line above it. */
static void tell_end(struct dray_progress *progress, const struct dray_board_image *image)
{
    char *line = NULL;
    char elapsed[DRAY_QUANTITY_TEXT_MAX];
    int rc;

    dray_quantity_format_elapsed(image->ended_ms - image->started_ms, elapsed);
    if (image->state == DRAY_BOARD_IMAGE_FAILED)
        rc = asprintf(&line, "%s: failed: %s", image->name, dray_code_text(image->code));
    else if (image->changed)
        rc = asprintf(&line, "%s: done in %s", image->name, elapsed);
    else
        rc = asprintf(&line, "%s: unchanged", image->name);
    if (rc < 0)
        return;
    dray_console_line(progress->console, line);
    free(line);
}

static void tty_event(struct dray_progress *progress, const struct dray_event *event,
                      int64_t now_ms)
{
    struct dray_board *board = &progress->board;
    bool is_end = event->kind == DRAY_EVENT_IMAGE_DONE || event->kind == DRAY_EVENT_IMAGE_FAILED;

    if (dray_board_apply(board, event, now_ms) < 0)
        return;
    if (is_end && board->image_count > 1 && event->image_index < board->image_count &&
        board->images[event->image_index].name)
        tell_end(progress, &board->images[event->image_index]);
    if (may_draw(progress, event->kind, now_ms))
        draw(progress, false, now_ms);
}

static void tty_finish(struct dray_progress *progress, int64_t now_ms)
{
    draw(progress, true, now_ms);
    dray_console_leave_frame(progress->console);
}

const struct dray_progress_face dray_progress_tty = {
    .event = tty_event,
    .finish = tty_finish,
};
