#include "storage/lock.h"

#include <pthread.h>

#include "core/cancel.h"
#include "core/sync.h"
#include "tests/unit/storage/scratch.h"

static int open_lock(void **state)
{
    int fd = open(below(*state, "lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    return fd;
}

static bool try_lock(int fd, enum dray_lock_kind kind)
{
    bool locked = false;

    assert_ok(dray_lock_fd_try(fd, kind, &locked, NULL));
    return locked;
}

static void shared_holders_keep_out_an_exclusive_one(void **state)
{
    int a = open_lock(state);
    int b = open_lock(state);
    int c = open_lock(state);

    assert_true(try_lock(a, DRAY_LOCK_SHARED));
    assert_true(try_lock(b, DRAY_LOCK_SHARED));
    assert_false(try_lock(c, DRAY_LOCK_EXCLUSIVE));
    close(a);
    assert_false(try_lock(c, DRAY_LOCK_EXCLUSIVE));
    close(b);
    assert_true(try_lock(c, DRAY_LOCK_EXCLUSIVE));
    close(c);
}

static void an_exclusive_holder_keeps_out_everybody(void **state)
{
    int a = open_lock(state);
    int b = open_lock(state);

    assert_true(try_lock(a, DRAY_LOCK_EXCLUSIVE));
    assert_false(try_lock(b, DRAY_LOCK_SHARED));
    assert_false(try_lock(b, DRAY_LOCK_EXCLUSIVE));
    close(a);
    assert_true(try_lock(b, DRAY_LOCK_SHARED));
    close(b);
}

struct waiter {
    int fd;
    const struct dray_cancel *cancel;
    int rc;
};

static void *wait_for_lock(void *arg)
{
    struct waiter *waiter = arg;

    waiter->rc = dray_lock_fd(waiter->fd, DRAY_LOCK_EXCLUSIVE, waiter->cancel, NULL);
    return NULL;
}

static void waiting_ends_when_the_holder_is_gone(void **state)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;

    assert_ok(dray_cancel_new(&cancel, NULL));
    for (int cancellable = 0; cancellable < 2; cancellable++) {
        int holder = open_lock(state);
        struct waiter waiter = { .fd = open_lock(state), .rc = 1 };
        pthread_t thread;

        waiter.cancel = cancellable ? cancel : NULL;
        assert_true(try_lock(holder, DRAY_LOCK_SHARED));
        assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &waiter), 0);
        usleep(20000);
        close(holder);
        pthread_join(thread, NULL);
        assert_int_equal(waiter.rc, DRAY_OK);
        close(waiter.fd);
    }
}

static void waiting_can_be_canceled(void **state)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    int holder = open_lock(state);
    struct waiter waiter = { .fd = open_lock(state), .rc = 1 };
    pthread_t thread;
    int64_t start_ms;

    assert_ok(dray_cancel_new(&cancel, NULL));
    waiter.cancel = cancel;
    assert_true(try_lock(holder, DRAY_LOCK_EXCLUSIVE));
    assert_int_equal(pthread_create(&thread, NULL, wait_for_lock, &waiter), 0);
    usleep(20000);
    start_ms = dray_now_ms();
    dray_cancel_fire(cancel);
    pthread_join(thread, NULL);
    assert_int_equal(waiter.rc, DRAY_ECANCELED);
    assert_true(dray_now_ms() - start_ms < 1000); /* H-68 */
    close(waiter.fd);
    close(holder);
}

static int hold_and_say_so(void *ctx)
{
    const int *pipe_fds = ctx;

    if (dray_lock_fd(pipe_fds[2], DRAY_LOCK_EXCLUSIVE, NULL, NULL) != DRAY_OK ||
        write(pipe_fds[1], "x", 1) != 1)
        return 1;
    pause();
    return 0;
}

static void the_lock_of_a_killed_process_is_free(void **state)
{
    int ctx[3];
    pid_t pid;
    char byte;
    int fd;

    assert_int_equal(pipe2(ctx, O_CLOEXEC), 0);
    ctx[2] = open_lock(state);
    pid = start_child(hold_and_say_so, ctx);
    close(ctx[2]); /* the lock is the child's alone now */
    assert_int_equal(read(ctx[0], &byte, 1), 1);

    fd = open_lock(state);
    assert_false(try_lock(fd, DRAY_LOCK_SHARED));
    kill(pid, SIGKILL);
    end_child(pid);
    assert_true(try_lock(fd, DRAY_LOCK_EXCLUSIVE));
    close(fd);
    close(ctx[0]);
    close(ctx[1]);
}

static void a_closed_descriptor_is_an_error(void **state)
{
    struct dray_error err = { 0 };
    bool locked;

    (void)state;
    assert_int_equal(dray_lock_fd_try(-1, DRAY_LOCK_SHARED, &locked, &err), DRAY_EIO);
    assert_int_equal(err.sys_errno, EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(shared_holders_keep_out_an_exclusive_one),
        scratch_test(an_exclusive_holder_keeps_out_everybody),
        scratch_test(waiting_ends_when_the_holder_is_gone),
        scratch_test(waiting_can_be_canceled),
        scratch_test(the_lock_of_a_killed_process_is_free),
        scratch_test(a_closed_descriptor_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
