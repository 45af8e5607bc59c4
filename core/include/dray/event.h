/* Events: what a pull tells its caller while it works. */
#ifndef DRAY_EVENT_H
#define DRAY_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/digest.h>
#include <dray/error.h>

#ifdef __cplusplus
extern "C" {
#endif

enum dray_event_kind {
    DRAY_EVENT_RESOLVING,     /* image: looking for its manifest; endpoint is set */
    DRAY_EVENT_RESOLVED,      /* image: digest is known; total_bytes = all its blobs */
    DRAY_EVENT_BLOB_QUEUED,   /* blob: will be fetched; total_bytes = its size */
    DRAY_EVENT_BLOB_EXISTS,   /* blob: was in the store already */
    DRAY_EVENT_BLOB_STARTED,  /* blob: a worker has it; current_bytes is what an earlier try left */
    DRAY_EVENT_BLOB_PROGRESS, /* blob: current_bytes of total_bytes are here */
    DRAY_EVENT_BLOB_RETRY,    /* blob: failed (error), tried again in delay_ms */
    DRAY_EVENT_BLOB_DONE,     /* blob: verified and in the store */
    DRAY_EVENT_BLOB_FAILED,   /* blob: given up (error) */
    DRAY_EVENT_BLOB_STOPPED,  /* blob: its image failed or was canceled while it was on its way */
    DRAY_EVENT_IMAGE_DONE,    /* image: complete and tagged; changed says whether anything is new */
    DRAY_EVENT_IMAGE_FAILED,  /* image: error says why */
};

enum dray_blob_role {
    DRAY_ROLE_LAYER,
    DRAY_ROLE_CONFIG,
};

/** What one endpoint had to do with a blob. */
struct dray_blob_origin {
    const char *endpoint; /* scheme://host[:port] */
    uint64_t bytes;       /* received from it */
    uint32_t requests;
    uint32_t failures; /* requests that failed, cut answers included */
    bool wrong_bytes;  /* it brought bytes that failed the digest */
};

/** How a blob came, or why it took so long not to come. */
struct dray_blob_figures {
    uint64_t received_bytes; /* over the network, those thrown away again included */
    uint64_t resumed_bytes;  /* left by an earlier run, and not fetched again */
    int64_t duration_ms;     /* from its first request to its end; -1: there was no request */
    int64_t first_byte_ms;   /* from the first request that was served to its first byte, connecting
                              * and redirects included; -1: none was */
    uint32_t requests;
    uint32_t retries;
    uint32_t connections;                   /* at most at once */
    const struct dray_blob_origin *origins; /* who was asked; mirrors come first */
    size_t origin_count;
};

/** One event. Pointers are valid only during the callback. Blob events have
 *  endpoint, digest, role, place and bytes; what a kind does not say of itself is 0. */
struct dray_event {
    enum dray_event_kind kind;
    int64_t time_ms;      /* wall clock, since 1970 */
    uint32_t image_index; /* which image of the call, counted from 0 */
    const char *image;    /* canonical reference */
    const char *endpoint; /* scheme://host[:port], or NULL */

    uint32_t blob_index; /* place in the image: layers from the bottom from 0, the config last */
    enum dray_blob_role role;
    const struct dray_digest *digest; /* of the blob; of the image for image events; or NULL */
    uint64_t current_bytes;
    uint64_t total_bytes;

    int64_t delay_ms;
    bool changed;
    const struct dray_error *error;

    /* Of BLOB_DONE, BLOB_FAILED and BLOB_STOPPED: what the transfer of the blob took. It is told
     * once: of several images that share the blob the first whose event tells the end has it, the
     * others have NULL, and so has a blob that came inside its manifest. */
    const struct dray_blob_figures *figures;
};

/** Name of a kind as it stands in JSON: "blob-progress". */
const char *dray_event_kind_text(enum dray_event_kind kind);

/**
 * Receives events, always in the thread that called the library, in order for each blob. A slow
 * callback delays other events and the noticing of a fired cancel token, never a transfer. Progress
 * comes at most ten times a second a blob. When an image fails, those of its unfinished blobs that
 * nothing was asked of are not mentioned again; of an unchanged image no blob is.
 */
typedef void dray_event_fn(void *ctx, const struct dray_event *event);

#ifdef __cplusplus
}
#endif

#endif
