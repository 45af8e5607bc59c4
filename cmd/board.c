#include "cmd/board.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/text.h"

#define RATE_WINDOW_MS      3000
#define SLOW_RATE_WINDOW_MS 15000
#define ESTIMATE_AFTER_MS   2000   /* no time left is told before so much time was seen */
#define BLOBS_MAX           100000 /* of an image of all platforms: more than anyone can watch */

int dray_board_init(struct dray_board *board, size_t image_count)
{
    memset(board, 0, sizeof(*board));
    board->rate.window_ms = RATE_WINDOW_MS;
    board->slow_rate.window_ms = SLOW_RATE_WINDOW_MS;
    board->images = calloc(image_count + 1, sizeof(*board->images));
    if (!board->images)
        return DRAY_ENOMEM;
    board->image_count = image_count;
    return DRAY_OK;
}

void dray_board_done(struct dray_board *board)
{
    for (size_t i = 0; i < board->image_count; i++) {
        free(board->images[i].name);
        free(board->images[i].endpoint);
        free(board->images[i].blobs);
    }
    free(board->images);
    memset(board, 0, sizeof(*board));
}

/* Replace *text by a clean copy of given. */
static int set_text(char **text, const char *given)
{
    char *copy = strdup(given);

    if (!copy)
        return DRAY_ENOMEM;
    dray_text_clean(copy);
    free(*text);
    *text = copy;
    return DRAY_OK;
}

static int note_image(struct dray_board_image *image, const struct dray_event *event,
                      int64_t now_ms)
{
    if (!image->name && event->image) {
        image->started_ms = now_ms;
        if (set_text(&image->name, event->image) < 0)
            return DRAY_ENOMEM;
    }
    if (event->endpoint && (!image->endpoint || strcmp(image->endpoint, event->endpoint) != 0))
        return set_text(&image->endpoint, event->endpoint);
    return DRAY_OK;
}

static struct dray_board_blob *get_blob(struct dray_board_image *image, uint32_t index)
{
    if (index >= BLOBS_MAX)
        return NULL;
    if (index >= image->blob_count) {
        size_t count = index < 8 ? 16 : (size_t)index * 2;
        struct dray_board_blob *grown = reallocarray(image->blobs, count, sizeof(*grown));

        if (!grown)
            return NULL;
        memset(&grown[image->blob_count], 0, (count - image->blob_count) * sizeof(*grown));
        image->blobs = grown;
        image->blob_count = count;
    }
    return &image->blobs[index];
}

/* Is a blob with this id on the board? It is not on it itself yet. Twelve digits are enough for a
 * display. */
static bool is_repeated(const struct dray_board *board, const struct dray_board_blob *blob)
{
    for (size_t i = 0; i < board->image_count; i++) {
        const struct dray_board_image *image = &board->images[i];

        for (size_t j = 0; j < image->blob_count; j++) {
            const struct dray_board_blob *other = &image->blobs[j];

            if (other->state != DRAY_BOARD_UNKNOWN && !other->repeated &&
                strcmp(other->id, blob->id) == 0)
                return true;
        }
    }
    return false;
}

/* The blob stands at bytes now. What came in addition was received, unless the blob only begins:
 * then it has been there before. */
static void move_blob(struct dray_board *board, struct dray_board_blob *blob, uint64_t bytes,
                      bool begins, int64_t now_ms)
{
    if (!begins && !blob->repeated && bytes > blob->current_bytes)
        board->received_bytes += bytes - blob->current_bytes;
    blob->current_bytes = bytes;
    dray_rate_add(&blob->rate, now_ms, bytes);
    dray_rate_add(&board->rate, now_ms, board->received_bytes);
    dray_rate_add(&board->slow_rate, now_ms, board->received_bytes);
}

static void apply_to_blob(struct dray_board *board, struct dray_board_blob *blob,
                          const struct dray_event *event, int64_t now_ms)
{
    if (event->total_bytes > 0)
        blob->total_bytes = event->total_bytes;
    switch (event->kind) {
    case DRAY_EVENT_BLOB_QUEUED:
        blob->state = DRAY_BOARD_WAITING;
        break;
    case DRAY_EVENT_BLOB_EXISTS:
        blob->state = DRAY_BOARD_EXISTS;
        break;
    case DRAY_EVENT_BLOB_STARTED:
        blob->state = DRAY_BOARD_FETCHING;
        blob->resumed = event->current_bytes > 0;
        blob->rate.count = 0;
        move_blob(board, blob, event->current_bytes, true, now_ms);
        break;
    case DRAY_EVENT_BLOB_PROGRESS:
        blob->state = DRAY_BOARD_FETCHING;
        move_blob(board, blob, event->current_bytes, false, now_ms);
        break;
    case DRAY_EVENT_BLOB_RETRY:
        blob->state = DRAY_BOARD_RETRYING;
        blob->delay_ms = event->delay_ms;
        break;
    case DRAY_EVENT_BLOB_DONE:
        blob->state = DRAY_BOARD_DONE;
        move_blob(board, blob, blob->total_bytes, false, now_ms);
        break;
    case DRAY_EVENT_BLOB_FAILED:
        blob->state = DRAY_BOARD_FAILED;
        break;
    default:
        break;
    }
}

static int apply_blob(struct dray_board *board, struct dray_board_image *image,
                      const struct dray_event *event, int64_t now_ms)
{
    struct dray_board_blob *blob = get_blob(image, event->blob_index);

    if (!blob)
        return DRAY_ENOMEM;
    if (blob->state == DRAY_BOARD_UNKNOWN) {
        blob->role = event->role;
        blob->rate.window_ms = RATE_WINDOW_MS;
        snprintf(blob->id, sizeof(blob->id), "%.12s",
                 event->digest ? dray_digest_hex(event->digest) : "");
        blob->repeated = is_repeated(board, blob);
    }
    apply_to_blob(board, blob, event, now_ms);
    return DRAY_OK;
}

int dray_board_apply(struct dray_board *board, const struct dray_event *event, int64_t now_ms)
{
    struct dray_board_image *image;
    int rc;

    if (event->image_index >= board->image_count)
        return DRAY_OK;
    image = &board->images[event->image_index];
    rc = note_image(image, event, now_ms);
    switch (event->kind) {
    case DRAY_EVENT_RESOLVING:
        image->state = DRAY_BOARD_IMAGE_RESOLVING;
        return rc;
    case DRAY_EVENT_RESOLVED:
        image->state = DRAY_BOARD_IMAGE_PULLING;
        return rc;
    case DRAY_EVENT_IMAGE_DONE:
        image->state = DRAY_BOARD_IMAGE_DONE;
        image->changed = event->changed;
        image->ended_ms = now_ms;
        return rc;
    case DRAY_EVENT_IMAGE_FAILED:
        image->state = DRAY_BOARD_IMAGE_FAILED;
        image->code = event->error ? event->error->code : DRAY_EIO;
        image->ended_ms = now_ms;
        return rc;
    default:
        return rc < 0 ? rc : apply_blob(board, image, event, now_ms);
    }
}

/* Adds to the totals. Returns the bytes that are still to come. */
static uint64_t sum_image(const struct dray_board_image *image, struct dray_board_totals *totals)
{
    bool ended = image->state >= DRAY_BOARD_IMAGE_DONE;
    uint64_t missing_bytes = 0;

    totals->images_ended += ended;
    for (size_t i = 0; i < image->blob_count; i++) {
        const struct dray_board_blob *blob = &image->blobs[i];
        bool there = blob->state == DRAY_BOARD_DONE || blob->state == DRAY_BOARD_EXISTS;

        if (blob->state == DRAY_BOARD_UNKNOWN || blob->repeated)
            continue;
        if (blob->role == DRAY_ROLE_LAYER) {
            totals->layers++;
            totals->layers_done += there;
        }
        if (blob->state == DRAY_BOARD_EXISTS)
            continue;
        totals->current_bytes += blob->current_bytes;
        totals->total_bytes += blob->total_bytes;
        if (!ended && blob->total_bytes > blob->current_bytes)
            missing_bytes += blob->total_bytes - blob->current_bytes;
    }
    return missing_bytes;
}

void dray_board_sum(const struct dray_board *board, int64_t now_ms,
                    struct dray_board_totals *ret_totals)
{
    struct dray_board_totals totals = { .remaining_ms = -1 };
    int64_t slow = dray_rate_get(&board->slow_rate, now_ms);
    uint64_t missing_bytes = 0;
    bool sizes_known = true;

    for (size_t i = 0; i < board->image_count; i++) {
        missing_bytes += sum_image(&board->images[i], &totals);
        sizes_known = sizes_known && board->images[i].state >= DRAY_BOARD_IMAGE_PULLING;
    }
    totals.rate = dray_rate_get(&board->rate, now_ms);
    if (sizes_known && slow > 0 && missing_bytes > 0 &&
        now_ms - board->slow_rate.samples[0].time_ms >= ESTIMATE_AFTER_MS) {
        double left_ms = (double)missing_bytes * 1000 / (double)slow;

        totals.remaining_ms = left_ms < 1e12 ? (int64_t)left_ms : -1;
    }
    *ret_totals = totals;
}

const struct dray_board_blob *dray_board_find(const struct dray_board *board,
                                              const struct dray_event *event)
{
    const struct dray_board_image *image;

    if (event->image_index >= board->image_count)
        return NULL;
    image = &board->images[event->image_index];
    return event->blob_index < image->blob_count ? &image->blobs[event->blob_index] : NULL;
}
