/* Starting threads: every thread of the library is made here. */
#ifndef DRAY_WORKERS_THREAD_H
#define DRAY_WORKERS_THREAD_H

#include <pthread.h>

#include <dray/error.h>

/**
 * Start a joinable thread with all signals blocked, so that the program's own threads get them.
 *
 * @param name  at most 15 characters, for debuggers and top
 * @return DRAY_OK or DRAY_EIO; join it with pthread_join()
 */
int dray_thread_start(const char *name, void *(*run)(void *arg), void *arg, pthread_t *ret_thread,
                      struct dray_error *err);

#endif
