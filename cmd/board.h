/* What is known of a pull from its events so far: the state that a display shows. */
#ifndef DRAY_CMD_BOARD_H
#define DRAY_CMD_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/event.h>

#include "cmd/rate.h"

enum dray_board_blob_state {
    DRAY_BOARD_UNKNOWN, /* no event has named it yet */
    DRAY_BOARD_WAITING,
    DRAY_BOARD_FETCHING,
    DRAY_BOARD_RETRYING,
    DRAY_BOARD_EXISTS,
    DRAY_BOARD_DONE,
    DRAY_BOARD_FAILED,
};

struct dray_board_blob {
    enum dray_board_blob_state state;
    enum dray_blob_role role;
    char id[13];   /* the first 12 hex digits */
    bool resumed;  /* part of it was there when it began */
    bool repeated; /* an earlier image or layer has the same blob: not counted in the totals */
    uint64_t current_bytes;
    uint64_t total_bytes;
    int64_t delay_ms; /* while RETRYING */
    struct dray_rate rate;
};

enum dray_board_image_state {
    DRAY_BOARD_IMAGE_WAITING,
    DRAY_BOARD_IMAGE_RESOLVING,
    DRAY_BOARD_IMAGE_PULLING,
    DRAY_BOARD_IMAGE_DONE,
    DRAY_BOARD_IMAGE_FAILED,
};

struct dray_board_image {
    enum dray_board_image_state state;
    char *name;     /* canonical reference, cleaned; NULL before its first event */
    char *endpoint; /* the last one that was asked, cleaned; may be NULL */
    bool changed;   /* once DONE */
    int code;       /* enum dray_code, once FAILED */
    int64_t started_ms;
    int64_t ended_ms;
    struct dray_board_blob *blobs; /* by blob_index */
    size_t blob_count;
};

struct dray_board {
    struct dray_board_image *images; /* by image_index */
    size_t image_count;
    uint64_t received_bytes; /* since the beginning, by all blobs */
    struct dray_rate rate;
    struct dray_rate slow_rate; /* over a longer time, for an estimate that does not jump */
};

/* Sums over all images. Each blob counts once; blobs that were in the store already do not. */
struct dray_board_totals {
    uint64_t current_bytes;
    uint64_t total_bytes;
    size_t layers; /* without the configs; those that were in the store already included */
    size_t layers_done;
    size_t images_ended;
    int64_t rate;         /* bytes per second; -1: unknown */
    int64_t remaining_ms; /* until everything is there; -1: unknown */
};

/** @return DRAY_OK or DRAY_ENOMEM; dray_board_done() in any case */
int dray_board_init(struct dray_board *board, size_t image_count);

void dray_board_done(struct dray_board *board);

/**
 * Take in one event.
 *
 * @param now_ms  a clock that never jumps
 * @return DRAY_OK, or DRAY_ENOMEM: the event was lost
 */
int dray_board_apply(struct dray_board *board, const struct dray_event *event, int64_t now_ms);

void dray_board_sum(const struct dray_board *board, int64_t now_ms,
                    struct dray_board_totals *ret_totals);

/** The blob that an event of a blob is about; NULL if the board does not have it. */
const struct dray_board_blob *dray_board_find(const struct dray_board *board,
                                              const struct dray_event *event);

#endif
