/* libdray: pull container images, fast and verified. This header brings all the others.
 *
 * Before version 1.0 structures may grow from release to release: build against the headers of the
 * library you link. */
#ifndef DRAY_DRAY_H
#define DRAY_DRAY_H

#include <dray/cancel.h>
#include <dray/digest.h>
#include <dray/error.h>
#include <dray/event.h>
#include <dray/log.h>
#include <dray/platform.h>
#include <dray/pull.h>
#include <dray/reference.h>
#include <dray/store.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Prepare the libraries below (libcurl, libsodium). Call it once, before the first thread and any
 * other function. @return DRAY_OK or DRAY_EIO
 */
int dray_init(struct dray_error *err);

/** Undo dray_init(), after everything has been freed. */
void dray_exit(void);

/** "0.1.0". */
const char *dray_version(void);

/** The libraries in use, one line: "libcurl/7.88.1 OpenSSL/3.0 ...". Valid for the process. */
const char *dray_library_versions(void);

#ifdef __cplusplus
}
#endif

#endif
