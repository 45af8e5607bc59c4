#include "workers/thread.h"

#include <signal.h>

#include "core/error.h"

int dray_thread_start(const char *name, void *(*run)(void *arg), void *arg, pthread_t *ret_thread,
                      struct dray_error *err)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    int rc;

    /* A thread inherits the mask of its maker. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return dray_error_errno(err, rc, "start thread %s", name);

    pthread_setname_np(thread, name);
    *ret_thread = thread;
    return DRAY_OK;
}
