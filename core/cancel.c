#include "core/cancel.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/error.h"
#include "core/sync.h"

struct dray_cancel {
    atomic_bool fired;
    int fd; /* eventfd: its counter is raised once and never read, so it stays readable */
};

int dray_cancel_new(struct dray_cancel **ret_cancel, struct dray_error *err)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = malloc(sizeof(*cancel));

    if (!cancel)
        return dray_error_nomem(err);

    atomic_init(&cancel->fired, false);
    cancel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cancel->fd < 0)
        return dray_error_errno(err, errno, "make a cancel token");

    *ret_cancel = DRAY_TAKE(cancel);
    return DRAY_OK;
}

void dray_cancel_fire(struct dray_cancel *cancel)
{
    int saved_errno = errno;

    if (!atomic_exchange(&cancel->fired, true)) {
        uint64_t one = 1;

        /* Can fail only by overflow of a counter that is raised once. */
        while (write(cancel->fd, &one, sizeof(one)) < 0 && errno == EINTR)
            ;
    }
    errno = saved_errno;
}

bool dray_cancel_fired(const struct dray_cancel *cancel)
{
    return cancel && atomic_load_explicit(&cancel->fired, memory_order_relaxed);
}

int dray_cancel_fd(const struct dray_cancel *cancel)
{
    return cancel ? cancel->fd : -1;
}

int dray_cancel_sleep(const struct dray_cancel *cancel, int64_t delay_ms)
{
    int64_t deadline_ms = dray_now_ms() + delay_ms;

    for (;;) {
        struct pollfd pfd = { .fd = dray_cancel_fd(cancel), .events = POLLIN };
        int64_t left_ms = deadline_ms - dray_now_ms();

        if (dray_cancel_fired(cancel))
            return DRAY_ECANCELED;
        if (left_ms <= 0)
            return DRAY_OK;
        poll(&pfd, 1, left_ms > 60000 ? 60000 : (int)left_ms); /* EINTR: the loop looks again */
    }
}

void dray_cancel_free(struct dray_cancel *cancel)
{
    if (!cancel)
        return;
    if (cancel->fd >= 0)
        close(cancel->fd);
    free(cancel);
}
