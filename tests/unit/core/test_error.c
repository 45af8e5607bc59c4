/* Errors: what the user reads stays whole, whatever is wrapped around it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/error.h"

static void wrapping_puts_the_context_in_front(void **state)
{
    struct dray_error err = { 0 };
    int rc;

    (void)state;
    rc = dray_error_set(&err, DRAY_ENOTFOUND, "no tag %s", "v1");
    assert_int_equal(rc, DRAY_ENOTFOUND);
    rc = dray_error_wrap(&err, rc, "pull %s", "alpine");
    assert_int_equal(rc, DRAY_ENOTFOUND);
    assert_int_equal(err.code, DRAY_ENOTFOUND);
    assert_string_equal(err.text, "pull alpine: no tag v1");
}

static void a_full_buffer_drops_outer_context_and_keeps_the_cause(void **state)
{
    struct dray_error err = { 0 };
    char context[DRAY_ERROR_TEXT_MAX];

    (void)state;
    memset(context, 'c', sizeof(context) - 1);
    context[sizeof(context) - 1] = '\0';
    dray_error_set(&err, DRAY_EPROTO, "root cause");
    dray_error_wrap(&err, DRAY_EPROTO, "%s", context);
    dray_error_wrap(&err, DRAY_EPROTO, "outermost");

    assert_int_equal(strlen(err.text), DRAY_ERROR_TEXT_MAX - 1);
    assert_string_equal(err.text + strlen(err.text) - strlen(": root cause"), ": root cause");
    assert_int_equal(err.text[0], 'c');
}

static void a_system_error_chooses_its_code_by_what_the_caller_can_do(void **state)
{
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dray_error_errno(&err, ENOSPC, "write"), DRAY_ENOSPC);
    assert_int_equal(dray_error_errno(&err, EDQUOT, "write"), DRAY_ENOSPC);
    assert_int_equal(dray_error_errno(&err, ENOMEM, "map"), DRAY_ENOMEM);
    assert_int_equal(dray_error_errno(&err, EACCES, "open %s", "x"), DRAY_EIO);
    assert_int_equal(err.sys_errno, EACCES);
    assert_string_equal(err.text, "open x: Permission denied");
}

static void a_new_error_forgets_the_old_one(void **state)
{
    struct dray_error err = { .http_status = 503, .retry_after_ms = 9, .sys_errno = EIO };

    (void)state;
    dray_error_hint(&err, "old advice");
    dray_error_set(&err, DRAY_EINVAL, "new");
    assert_int_equal(err.http_status, 0);
    assert_int_equal(err.retry_after_ms, 0);
    assert_int_equal(err.sys_errno, 0);
    assert_string_equal(err.hint, "");
}

static void callers_that_are_not_interested_pass_null(void **state)
{
    (void)state;
    assert_int_equal(dray_error_set(NULL, DRAY_EAUTH, "x"), DRAY_EAUTH);
    assert_int_equal(dray_error_wrap(NULL, DRAY_EAUTH, "x"), DRAY_EAUTH);
    assert_int_equal(dray_error_errno(NULL, ENOSPC, "x"), DRAY_ENOSPC);
    assert_int_equal(dray_error_nomem(NULL), DRAY_ENOMEM);
    dray_error_hint(NULL, "x");
}

static void every_code_has_its_own_name(void **state)
{
    (void)state;
    for (int a = DRAY_OK; a >= DRAY_EIO; a--) {
        assert_string_not_equal(dray_code_text(a), "unknown error");
        for (int b = a - 1; b >= DRAY_EIO; b--)
            assert_string_not_equal(dray_code_text(a), dray_code_text(b));
    }
    assert_string_equal(dray_code_text(DRAY_EIO - 1), "unknown error");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrapping_puts_the_context_in_front),
        cmocka_unit_test(a_full_buffer_drops_outer_context_and_keeps_the_cause),
        cmocka_unit_test(a_system_error_chooses_its_code_by_what_the_caller_can_do),
        cmocka_unit_test(a_new_error_forgets_the_old_one),
        cmocka_unit_test(callers_that_are_not_interested_pass_null),
        cmocka_unit_test(every_code_has_its_own_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
