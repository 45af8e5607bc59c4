/* Room in the file system of a store. */
#ifndef DRAY_STORAGE_SPACE_H
#define DRAY_STORAGE_SPACE_H

#include "storage/store.h"

/* Left for what is not counted: directories, maps of partial files, index.json. */
#define DRAY_STORE_RESERVE_BYTES (UINT64_C(64) << 10)

/**
 * Is there room for so many more bytes, for this user? No bytes always fit. A file system that
 * does not tell its size is believed to have room. Any thread. Others may take the room the next
 * moment.
 *
 * @return DRAY_OK; DRAY_ENOSPC: the text names the store, the bytes needed and the bytes free;
 *         DRAY_EIO
 */
int dray_store_check_room(const struct dray_store *store, uint64_t needed_bytes,
                          struct dray_error *err);

#endif
