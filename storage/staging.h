/* Staging: one blob on its way into the store, brought by one or several writers.
 *
 * The bytes go to ROOT/dray/staging/<alg>-<hex>.part, which is flock'ed by whoever downloads it:
 * of two threads or processes that want one blob, one downloads and the other is told so.
 *
 * Each writer claims a segment and writes it from front to back. Every byte is written once, by the
 * first who brings it; so what was hashed stays as it was. The hash follows in order behind the
 * writers: from the receive buffer where a writer is at the frontier, while the CPU's cache has
 * the bytes, else read back from the page cache, a little at each write.
 *
 * A partial file outlives its process, killed or not, and is resumed by the next one, after being
 * hashed again. While the bytes come in order the length of the file tells what it holds. Once
 * somebody writes beyond, the file <alg>-<hex>.map tells (storage/staging_map.h); a kill then
 * costs each writer less than two granules. Nothing that is there is believed until the digest of
 * the whole matches.
 *
 * Functions that take a segment, and those that say so, may be called from any thread at once, each
 * segment's from its writer's. The others belong to one thread, with no segment claimed. */
#ifndef DRAY_STORAGE_STAGING_H
#define DRAY_STORAGE_STAGING_H

#include "core/descriptor.h"
#include "storage/segment_map.h"
#include "storage/store.h"

struct dray_staging;

enum dray_staging_outcome {
    DRAY_STAGING_OPENED, /* this staging is its only owner */
    DRAY_STAGING_EXISTS, /* the blob is in the store: there is nothing left to do */
    DRAY_STAGING_BUSY,   /* another thread or process has it, or let go of it during this call: try
                            again in a moment */
};

/**
 * Open the staging file of a blob, lock it, and hash what it holds from the first byte to the first
 * gap. Reserves the space for what is missing. Never waits for another owner.
 *
 * @param cancel       ends the hashing; may be NULL
 * @param ret_outcome  set on DRAY_OK
 * @param ret_staging  set for DRAY_STAGING_OPENED only
 * @return DRAY_OK, DRAY_ECANCELED, DRAY_ENOSPC, DRAY_EIO, DRAY_ENOMEM
 */
int dray_staging_open(struct dray_store *store, const struct dray_descriptor *blob,
                      const struct dray_cancel *cancel, enum dray_staging_outcome *ret_outcome,
                      struct dray_staging **ret_staging, struct dray_error *err);

/** How many bytes of a blob are in staging, whoever brings them: for the progress of those who
 *  wait. 0 when there are none, or that cannot be told. Takes no lock. Any thread. */
uint64_t dray_staging_peek(const struct dray_store *store, const struct dray_descriptor *blob);

/** How many bytes of a blob still need room on the disk: those that are neither in staging nor
 *  reserved there. Takes no lock. Any thread. */
uint64_t dray_staging_room_needed(const struct dray_store *store,
                                  const struct dray_descriptor *blob);

/** How many bytes are here. Any thread. */
uint64_t dray_staging_held(struct dray_staging *staging);

/** How many bytes are neither here nor claimed. Any thread. Look again when a segment was released:
 *  its writer may have failed at bytes that others passed over. */
uint64_t dray_staging_unclaimed(struct dray_staging *staging);

/** Which origins brought what is here: bit i for origin i. Any thread. */
uint64_t dray_staging_origins(struct dray_staging *staging);

/**
 * Claim the first bytes that are neither here nor claimed. The segment is the caller's memory, and
 * the staging knows it until it is released.
 *
 * @param max_bytes  the most to claim; the end moves down to a granule's where that leaves anything
 * @param origin     who will deliver them, up to DRAY_ORIGIN_MAX_PLACE
 * @return false: there are none
 */
bool dray_staging_claim(struct dray_staging *staging, uint64_t max_bytes, uint32_t origin,
                        struct dray_segment *ret_segment);

/** Claim what is left of another writer's segment, to bring it faster: both go on, and who is first
 *  at a byte writes it. @return false: nothing is left of it, or other was released meanwhile */
bool dray_staging_claim_again(struct dray_staging *staging, const struct dray_segment *other,
                              uint32_t origin, struct dray_segment *ret_segment);

/** Take the second half of what is left of another writer's segment; that one's writer finds its
 *  segment cut, and what comes beyond its end is passed over. Both halves have at least
 *  least_bytes. @return false: it is too short, somebody shares it, or it was released meanwhile */
bool dray_staging_split(struct dray_staging *staging, const struct dray_segment *other,
                        uint64_t least_bytes, uint32_t origin, struct dray_segment *ret_segment);

/** The answer begins at byte 0 and goes to the end, whatever was asked for: the segment becomes the
 *  whole blob, and bytes that are here are passed over as they come. @return false: another
 *  segment is the whole already, and this one is as it was */
bool dray_staging_claim_all(struct dray_staging *staging, struct dray_segment *segment);

/**
 * Write a segment's next bytes. Those that another writer has brought, or is just writing, are
 * passed over: only its next place moves.
 *
 * @return DRAY_OK; DRAY_EDIGEST: they go beyond the segment's end, which was not cut; nothing is
 *         written;
 *         DRAY_ENOSPC (the text names path and bytes needed), DRAY_EIO, DRAY_ENOMEM: the segment's
 *         place says how far it came
 */
int dray_staging_write(struct dray_staging *staging, struct dray_segment *segment, const void *data,
                       size_t len, struct dray_error *err);

/** Is anything between the segment's place and its end still missing? Not when the writer that
 *  shares it was faster, or is just writing the last of it. Any thread, while it is claimed. */
bool dray_staging_needs(struct dray_staging *staging, const struct dray_segment *segment);

/** How many bytes of another writer's segment are still to come from it. The segment is claimed. */
uint64_t dray_staging_left(struct dray_staging *staging, const struct dray_segment *segment);

/** Give the segment back; what it did not bring is free to be claimed. Its own writer, or any
 *  thread once that has stopped writing. */
void dray_staging_release(struct dray_staging *staging, struct dray_segment *segment);

/**
 * Hash what is not hashed yet, hold the whole to size and digest, make the data durable, then
 * visible under its digest by rename, read-only. Durable under its name after dray_blob_barrier().
 *
 * @param cancel  ends the hashing; may be NULL
 * @return DRAY_OK; DRAY_ECANCELED, DRAY_ENOMEM: nothing happened, it may be tried again;
 *         DRAY_EDIGEST: nothing became visible and nothing is held any more. The bytes stay in the
 *         file, and those that come next are compared with them;
 *         DRAY_ENOSPC, DRAY_EIO: the staging can only be closed
 */
int dray_staging_commit(struct dray_staging *staging, const struct dray_cancel *cancel,
                        struct dray_error *err);

/** After a commit failed with DRAY_EDIGEST and the next one succeeded: the origins of bytes that
 *  were other than the right ones, bit i for origin i. Else 0. */
uint64_t dray_staging_liars(struct dray_staging *staging);

/** Unlock and free. What was not committed stays on disk for the next try, unless it is nothing;
 *  of what was written out of order, only complete granules do. NULL is allowed. */
void dray_staging_close(struct dray_staging *staging);

/** Delete partial files that nobody has touched for max_age_s seconds and nobody has open, and
 *  temporary files older than a day. Best effort: what is locked, cannot be deleted or was not
 *  named by us stays. Logs what it deletes. Any thread. */
void dray_staging_sweep(const struct dray_store *store, int64_t max_age_s);

#define DRAY_STAGING_MAX_AGE_S (INT64_C(30) * 24 * 3600)

DRAY_DEFINE_CLEANUP(struct dray_staging, dray_staging_close);
#define DRAY_AUTO_STAGING DRAY_CLEANUP(dray_staging_closep)

#endif
