/* What a partial file holds that was not written in order: the file <alg>-<hex>.map beside it.
 *
 *   "draymap1", granule size, blob size (both 64 bits, little-endian), then one byte for each
 *   granule of the blob: 1 when all of it is in the partial file, else 0
 *
 * A byte, not a bit, so that each writer marks what it completed without a look at its neighbours.
 * A map is made before the first byte is written out of order, and its length is the last thing
 * that it gets: one that is not whole was never relied on, and the partial file is still in order.
 *
 * The map is written after the bytes it speaks of, so it is right whenever the process dies. It is
 * not synced: after a power cut it may promise what never reached the disk. The digest at the
 * commit finds that, as it finds everything else.
 *
 * Whoever has the partial file locked has its map too. dray_staging_map_mark() may be called from
 * several threads at once; all else belongs to one thread at a time. */
#ifndef DRAY_STORAGE_STAGING_MAP_H
#define DRAY_STORAGE_STAGING_MAP_H

#include "core/descriptor.h"
#include "storage/segment_map.h"
#include "storage/store.h"

/* What a kill may cost each writer, which is less than two of them. */
#define DRAY_STAGING_GRANULE_BYTES (UINT64_C(512) << 10)

#define DRAY_STAGING_PATH_MAX (sizeof("dray/staging/.part") + DRAY_DIGEST_TEXT_MAX)

struct dray_staging_map {
    const struct dray_store *store;
    uint64_t size_bytes; /* of the blob */
    int fd;              /* -1: there is no map */
    char path[DRAY_STAGING_PATH_MAX];
};

/** "dray/staging/<alg>-<hex><suffix>", relative to the root, for ".part" and ".map"; buf holds
 *  DRAY_STAGING_PATH_MAX. */
void dray_staging_path(const struct dray_digest *digest, const char *suffix, char *buf);

/** Name the map of a blob. Nothing is opened. */
void dray_staging_map_init(struct dray_staging_map *map, const struct dray_store *store,
                           const struct dray_descriptor *blob);

/** Close the map; the file stays. */
void dray_staging_map_done(struct dray_staging_map *map);

/**
 * Read what the map marks, without changing it: what is no whole map of this blob counts as none.
 *
 * @param part_bytes  length of the partial file: what a granule has beyond it is not there
 * @param held        an empty map of the blob, which gets the marked granules as resumed
 * @param ret_whole   whether there is a map
 * @return DRAY_OK, DRAY_EIO or DRAY_ENOMEM
 */
int dray_staging_map_peek(const struct dray_staging_map *map, uint64_t part_bytes,
                          struct dray_segment_map *held, bool *ret_whole, struct dray_error *err);

/**
 * The same for its owner: open the map, to be marked further. Marks that do not hold are taken
 * back; a file that is no whole map is deleted.
 *
 * @return as dray_staging_map_peek(); the map's fd says whether there is one
 */
int dray_staging_map_load(struct dray_staging_map *map, uint64_t part_bytes,
                          struct dray_segment_map *held, struct dray_error *err);

/** Make the map, or make it anew, of a partial file that holds bytes from 0 to front.
 *  @return DRAY_OK, DRAY_ENOSPC, DRAY_EIO: there is none then */
int dray_staging_map_create(struct dray_staging_map *map, uint64_t front, struct dray_error *err);

/** Mark the granules [first, past) as complete. Best effort: unmarked bytes are fetched again. */
void dray_staging_map_mark(const struct dray_staging_map *map, uint64_t first, uint64_t past);

/** Delete the map, open or not. */
void dray_staging_map_remove(struct dray_staging_map *map);

#endif
