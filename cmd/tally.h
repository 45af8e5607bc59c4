/* What a pull did, blob by blob: collected from its events, for the report and the summary.
 *
 * All functions are called in the thread that the events come in. */
#ifndef DRAY_CMD_TALLY_H
#define DRAY_CMD_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/event.h>
#include <dray/pull.h>

enum dray_tally_status {
    DRAY_TALLY_UNNAMED,    /* no event has named the blob */
    DRAY_TALLY_UNFINISHED, /* its image ended before it did */
    DRAY_TALLY_FETCHED,
    DRAY_TALLY_PRESENT, /* it was in the store when its image came to it */
    DRAY_TALLY_SHARED,  /* came with another image, by another process or in the manifest */
    DRAY_TALLY_FAILED,
    DRAY_TALLY_STATUS_COUNT,
};

/** One blob of one image. */
struct dray_tally_blob {
    enum dray_tally_status status;
    struct dray_digest digest;
    enum dray_blob_role role;
    uint64_t size_bytes;
    /* What it took. Each byte and request is here once, however many images have the blob. Of a
     * blob that did not end here nothing is known; times are -1 then. origins is owned. */
    struct dray_blob_figures figures;
    struct dray_error *error; /* of a FAILED blob; owned */
};

/** The blobs of one image, by blob_index; those of status UNNAMED are gaps. */
struct dray_tally_image {
    struct dray_tally_blob *blobs;
    size_t blob_count;
};

/** All of it. */
struct dray_tally {
    struct dray_tally_image *images; /* by image_index */
    size_t image_count;
    struct dray_endpoint_figures *endpoints; /* their texts are owned */
    size_t endpoint_count;
    int64_t started_ms;  /* wall clock */
    int64_t began_ms;    /* a clock that never jumps */
    int64_t duration_ms; /* once finished */
    bool lost;           /* memory ran out: something is missing */
};

/** Sums over all blobs. */
struct dray_tally_totals {
    size_t blobs[DRAY_TALLY_STATUS_COUNT]; /* how many of each status */
    uint64_t received_bytes;
    uint64_t resumed_bytes;
    uint64_t present_bytes; /* sizes of the PRESENT ones, for each image that has them */
    uint64_t requests;
    uint64_t retries;
};

/** Start the clock. @return DRAY_OK or DRAY_ENOMEM; dray_tally_done() in any case */
int dray_tally_init(struct dray_tally *tally, size_t image_count);

/** Take in an event of a blob; others count for nothing. */
void dray_tally_event(struct dray_tally *tally, const struct dray_event *event);

/** Stop the clock. No event comes after it. */
void dray_tally_finish(struct dray_tally *tally);

/** Take in the figures of one endpoint: a dray_endpoint_fn whose ctx is the tally. */
void dray_tally_endpoint(void *ctx, const struct dray_endpoint_figures *figures);

/** Sum up what was told until now. */
void dray_tally_sum(const struct dray_tally *tally, struct dray_tally_totals *ret_totals);

/** Bytes a second; 0: unknown, for want of bytes or time. */
uint64_t dray_tally_rate(uint64_t bytes, int64_t duration_ms);

/** Free what it holds. */
void dray_tally_done(struct dray_tally *tally);

#endif
