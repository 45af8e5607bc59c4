/* A file that a command leaves: whole or not at all. */
#ifndef DRAY_CMD_RESULT_FILE_H
#define DRAY_CMD_RESULT_FILE_H

#include <stddef.h>
#include <sys/types.h>

struct dray_error;

struct dray_result_file {
    char *path;  /* where it will stand, symbolic links followed; NULL: none was opened */
    mode_t mode; /* what it will have */
    int fd;      /* a pipe or a device, written directly; -1 for a file, before its commit */
    char *temp;  /* where a file stands while it is written */
};

/* What was not opened: for dray_result_file_done(). */
#define DRAY_RESULT_FILE_NONE ((struct dray_result_file){ .fd = -1 })

/**
 * Prepare a file that shall be at path once it is written, and see that it can be. Until then what
 * stands there stays. No other thread runs yet.
 *
 * @param path  of a file in a directory that exists; one that is there and neither a regular file
 *              nor a directory is written in place
 * @return DRAY_OK; DRAY_EIO with a text such as "cannot write FILE: Is a directory"; DRAY_ENOMEM
 */
int dray_result_file_open(const char *path, struct dray_result_file *ret_file,
                          struct dray_error *err);

/** Write all of it, put it in its place once it is on the disk, and close. @return DRAY_OK or
 * DRAY_EIO, as above */
int dray_result_file_commit(struct dray_result_file *file, const char *text, size_t len,
                            struct dray_error *err);

/** Close and free; without a commit nothing is left of it. */
void dray_result_file_done(struct dray_result_file *file);

#endif
