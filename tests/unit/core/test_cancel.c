/* The cancel token wakes everything that waits, from any thread and from signal handlers. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/sync.h"

static struct dray_cancel *handler_token;

static void fire_in_handler(int signal_number)
{
    (void)signal_number;
    dray_cancel_fire(handler_token);
}

static void *fire(void *arg)
{
    dray_cancel_fire(arg);
    return NULL;
}

static void a_token_that_is_not_fired_lets_time_pass(void **state)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    int64_t before_ms;

    (void)state;
    assert_int_equal(dray_cancel_new(&cancel, NULL), DRAY_OK);
    assert_false(dray_cancel_fired(cancel));
    before_ms = dray_now_ms();
    assert_int_equal(dray_cancel_sleep(cancel, 20), DRAY_OK);
    assert_true(dray_now_ms() - before_ms >= 20);
}

static void firing_ends_a_sleep_of_an_hour(void **state)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    pthread_t thread;

    (void)state;
    assert_int_equal(dray_cancel_new(&cancel, NULL), DRAY_OK);
    assert_int_equal(pthread_create(&thread, NULL, fire, cancel), 0);
    assert_int_equal(dray_cancel_sleep(cancel, 3600 * 1000), DRAY_ECANCELED);
    pthread_join(thread, NULL);
}

static void a_fired_token_stays_fired_and_its_descriptor_readable(void **state)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    struct pollfd pfd = { .events = POLLIN };

    (void)state;
    assert_int_equal(dray_cancel_new(&cancel, NULL), DRAY_OK);
    pfd.fd = dray_cancel_fd(cancel);
    assert_int_equal(poll(&pfd, 1, 0), 0);
    dray_cancel_fire(cancel);
    dray_cancel_fire(cancel);
    for (int i = 0; i < 3; i++) {
        assert_true(dray_cancel_fired(cancel));
        assert_int_equal(poll(&pfd, 1, 0), 1);
        assert_int_equal(dray_cancel_sleep(cancel, 1000), DRAY_ECANCELED);
    }
}

static void a_signal_handler_may_fire_and_errno_is_kept(void **state)
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    struct sigaction action = { .sa_handler = fire_in_handler };
    struct sigaction before;

    (void)state;
    assert_int_equal(dray_cancel_new(&cancel, NULL), DRAY_OK);
    handler_token = cancel;
    assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
    errno = EDOM;
    raise(SIGUSR1);
    assert_int_equal(errno, EDOM);
    assert_true(dray_cancel_fired(cancel));
    sigaction(SIGUSR1, &before, NULL);
}

static void no_token_means_never_fired(void **state)
{
    (void)state;
    assert_false(dray_cancel_fired(NULL));
    assert_int_equal(dray_cancel_fd(NULL), -1);
    assert_int_equal(dray_cancel_sleep(NULL, 1), DRAY_OK);
    dray_cancel_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_that_is_not_fired_lets_time_pass),
        cmocka_unit_test(firing_ends_a_sleep_of_an_hour),
        cmocka_unit_test(a_fired_token_stays_fired_and_its_descriptor_readable),
        cmocka_unit_test(a_signal_handler_may_fire_and_errno_is_kept),
        cmocka_unit_test(no_token_means_never_fired),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
