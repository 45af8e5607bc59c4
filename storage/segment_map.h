/* The segment map: which bytes of a blob are here, and which somebody is bringing.
 *
 * What is here is a sorted list of extents. They merge only with what the same origin brought, so
 * that it stays known who delivered a byte. What somebody brings is a segment, from front to back.
 * A segment is alone with its bytes until another one is given the same (claim_again, claim_all);
 * then a byte is written by the first who has it, and the others pass over it.
 *
 * Plain bookkeeping: no lock, no I/O. Its owner (storage/staging.c) guards it. */
#ifndef DRAY_STORAGE_SEGMENT_MAP_H
#define DRAY_STORAGE_SEGMENT_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Who delivered bytes: 0 to 62 as the caller numbers them, or what an earlier process left. */
#define DRAY_ORIGIN_MAX_PLACE 62
#define DRAY_ORIGIN_RESUMED   63

/** Bytes that are here. */
struct dray_extent {
    uint64_t begin;
    uint64_t end; /* behind the last byte */
    uint32_t origin;
};

/** What one writer is bringing, in order, from at to end. Embedded by the writer, and in the map's
 *  list from claim to release. Only the map's functions change it. Its own writer may read at, end,
 *  cut and written_bytes at any time, everything else is read by the map's owner only. */
struct dray_segment {
    uint64_t at;            /* place of the next byte */
    _Atomic uint64_t end;   /* behind the last byte; another writer may take a part off it */
    _Atomic bool cut;       /* one has: more may come than to the end, and is not wanted */
    uint64_t writing_end;   /* the bytes from at to here are being written; at: none are */
    uint64_t written_bytes; /* how much of it its writer has brought so far */
    uint64_t synced_from;   /* the staging's: writeback was started for what stands before */
    uint32_t origin;
    bool shared; /* another segment covers, or may cover, some of the same bytes */
    bool whole;  /* it was made the whole blob */
    struct dray_segment *next;
};

struct dray_segment_map {
    uint64_t size_bytes;
    uint64_t granule_bytes;
    uint64_t held_bytes;
    struct dray_extent *extents; /* sorted, not overlapping */
    size_t count;
    size_t capacity; /* at least count + writers: what is being written finds a place */
    size_t writers;  /* segments with bytes being written */
    struct dray_segment *segments;
};

/** An empty map of a blob. Granules are its pieces of granule_bytes; the last may be shorter. */
void dray_segment_map_init(struct dray_segment_map *map, uint64_t size_bytes,
                           uint64_t granule_bytes);

/** Free what the map holds. Segments in its list are no longer touched. */
void dray_segment_map_done(struct dray_segment_map *map);

/** Enter bytes that are here already: within the blob, not held yet, while nobody writes.
 *  @return DRAY_OK or DRAY_ENOMEM */
int dray_segment_map_add(struct dray_segment_map *map, uint64_t begin, uint64_t end,
                         uint32_t origin);

/** The end of what is held from at on without a gap, at most limit; at itself when that byte is
 *  missing. at <= limit. */
uint64_t dray_segment_map_held_until(const struct dray_segment_map *map, uint64_t at,
                                     uint64_t limit);

/** How many bytes stand in granules that are completely held. */
uint64_t dray_segment_map_complete_bytes(const struct dray_segment_map *map);

/** The complete granules among those that [begin, end) touches, for bytes that are held:
 *  [*ret_first, *ret_past), which may be empty. begin < end. */
void dray_segment_map_complete_granules(const struct dray_segment_map *map, uint64_t begin,
                                        uint64_t end, uint64_t *ret_first, uint64_t *ret_past);

/** How many bytes are neither held nor in a segment. */
uint64_t dray_segment_map_unclaimed(const struct dray_segment_map *map);

/** Who brought the bytes that are held: bit i for origin i. */
uint64_t dray_segment_map_origins(const struct dray_segment_map *map);

/** Who brought held bytes that differ between two versions of [begin, begin + len): bit i for
 *  origin i. */
uint64_t dray_segment_map_differing(const struct dray_segment_map *map, uint64_t begin,
                                    const uint8_t *one, const uint8_t *other, size_t len);

/** Claim the first bytes that are neither held nor in a segment: at most max_bytes, and up to a
 *  granule's end if that can be. @return false: there are none */
bool dray_segment_map_claim(struct dray_segment_map *map, uint64_t max_bytes, uint32_t origin,
                            struct dray_segment *ret_segment);

/** Claim what is left of another segment; both go on. @return false: nothing is left of it, or it
 *  was released */
bool dray_segment_map_claim_again(struct dray_segment_map *map, const struct dray_segment *other,
                                  uint32_t origin, struct dray_segment *ret_segment);

/** Take the second half of what is left of another segment, which then ends where it begins: at a
 *  granule. Both halves have at least least_bytes, above 0. @return false: it is too short for
 *  that, is shared, or was released */
bool dray_segment_map_split(struct dray_segment_map *map, const struct dray_segment *other,
                            uint64_t least_bytes, uint32_t origin,
                            struct dray_segment *ret_segment);

/** Make a claimed segment the whole blob, from byte 0. @return false: another one is */
bool dray_segment_map_claim_all(struct dray_segment_map *map, struct dray_segment *segment);

/** Is anything in the segment neither held nor being written by another one? */
bool dray_segment_map_needs(const struct dray_segment_map *map, const struct dray_segment *segment);

/**
 * The segment's writer has its next len bytes, no more than to the segment's end unless that was
 * cut. Pass over those that are not the segment's any more, are held or being written by others,
 * and mark the run behind them, from at to writing_end, as being written; it may be empty.
 *
 * @param ret_skipped  how many of the len bytes were passed over
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_segment_map_begin_write(struct dray_segment_map *map, struct dray_segment *segment,
                                 size_t len, size_t *ret_skipped);

/** Of the run being written, these many bytes are held now; the rest is not being written any
 *  more. Never fails: begin_write made room. */
void dray_segment_map_end_write(struct dray_segment_map *map, struct dray_segment *segment,
                                size_t written);

/** Take the segment out of the list. What it did not bring is free. It is writing nothing. */
void dray_segment_map_release(struct dray_segment_map *map, struct dray_segment *segment);

#endif
