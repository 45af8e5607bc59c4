/* Whole files of the store: read, written aside, renamed into place, made durable.
 * Paths are relative to the store's root; error texts name them in full. Any thread may call. */
#ifndef DRAY_STORAGE_FILE_H
#define DRAY_STORAGE_FILE_H

#include <sys/types.h>

#include "core/buffer.h"
#include "storage/store.h"

/**
 * Read a regular file.
 *
 * @param ret_data  its content is replaced, on success only
 * @return DRAY_OK, DRAY_ENOTFOUND, DRAY_EPROTO (longer than max_len), DRAY_EIO, DRAY_ENOMEM
 */
int dray_file_read(const struct dray_store *store, const char *path, size_t max_len,
                   struct dray_buf *ret_data, struct dray_error *err);

/**
 * Create or overwrite a file and make its data durable: for a name that nobody reads, to be renamed
 * next. A file that could not be written is removed again.
 *
 * @param mode  permissions, whatever the umask
 * @return DRAY_OK, DRAY_ENOSPC (the text names path and bytes) or DRAY_EIO
 */
int dray_file_write(const struct dray_store *store, const char *path, const void *data, size_t len,
                    mode_t mode, struct dray_error *err);

/** Make the names in a directory durable. @return DRAY_OK, DRAY_ENOSPC or DRAY_EIO */
int dray_file_sync_dir(const struct dray_store *store, const char *path, struct dray_error *err);

/**
 * The error of a write that failed for sys_errno: it names the path; where room is lacking, how
 * many more bytes are needed; and when the disk is full, what to do.
 *
 * @return DRAY_ENOSPC, DRAY_ENOMEM or DRAY_EIO
 */
int dray_file_write_error(const struct dray_store *store, const char *path, uint64_t needed_bytes,
                          int sys_errno, struct dray_error *err);

#endif
