/* The partial file of a blob: opened, locked, and sure to be the one that the path names.
 * Any thread. */
#ifndef DRAY_STORAGE_STAGING_PART_H
#define DRAY_STORAGE_STAGING_PART_H

#include "storage/store.h"

/**
 * Open or make the partial file and lock it. Never waits for another owner.
 *
 * @param path         relative to the store's root
 * @param size_bytes   of the blob, for an error's text
 * @param ret_fd       close it to unlock; -1: somebody else has the file, or it has to be opened
 *                     again
 * @return DRAY_OK, DRAY_ENOSPC, DRAY_EIO or DRAY_ENOMEM
 */
int dray_staging_part_open(const struct dray_store *store, const char *path, uint64_t size_bytes,
                           int *ret_fd, struct dray_error *err);

/** Does the path still name the file that we have open? Its former owner may have renamed it into
 *  blobs/, or deleted it, between our open and our lock. */
bool dray_staging_part_is_current(const struct dray_store *store, const char *path, int fd);

#endif
