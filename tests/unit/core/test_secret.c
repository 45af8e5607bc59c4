#include "core/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include <dray/error.h>

static void text_is_copied_and_ends_with_a_nul(void **state)
{
    DRAY_AUTO_SECRET struct dray_secret secret = { 0 };

    (void)state;
    assert_true(dray_secret_empty(&secret));
    assert_int_equal(dray_secret_set(&secret, "hunter2 and more", 7), DRAY_OK);
    assert_string_equal(secret.text, "hunter2");
    assert_int_equal(secret.len, 7);
    assert_false(dray_secret_empty(&secret));
}

static void new_content_replaces_the_old(void **state)
{
    DRAY_AUTO_SECRET struct dray_secret secret = { 0 };

    (void)state;
    assert_int_equal(dray_secret_set(&secret, "first", 5), DRAY_OK);
    assert_int_equal(dray_secret_resize(&secret, 2), DRAY_OK);
    memcpy(secret.text, "no", 2);
    assert_string_equal(secret.text, "no");
}

static void an_empty_text_is_not_no_secret(void **state)
{
    DRAY_AUTO_SECRET struct dray_secret secret = { 0 };

    (void)state;
    assert_int_equal(dray_secret_set(&secret, "", 0), DRAY_OK);
    assert_string_equal(secret.text, "");
    assert_false(dray_secret_empty(&secret));
}

static void done_leaves_it_empty_and_may_be_repeated(void **state)
{
    struct dray_secret secret = { 0 };

    (void)state;
    assert_int_equal(dray_secret_set(&secret, "x", 1), DRAY_OK);
    dray_secret_done(&secret);
    assert_null(secret.text);
    assert_int_equal(secret.len, 0);
    dray_secret_done(&secret);
}

static void what_cannot_be_had_leaves_it_empty(void **state)
{
    struct dray_secret secret = { 0 };

    (void)state;
    assert_int_equal(dray_secret_set(&secret, "x", 1), DRAY_OK);
    assert_int_equal(dray_secret_resize(&secret, SIZE_MAX), DRAY_ENOMEM);
    assert_true(dray_secret_empty(&secret));
    assert_int_equal(dray_secret_resize(&secret, SIZE_MAX - 1), DRAY_ENOMEM);
    assert_true(dray_secret_empty(&secret));
}

/* H-74 */
static void a_string_of_someone_else_s_is_wiped_in_place(void **state)
{
    char text[] = "hunter2";
    const char zero[sizeof(text)] = { 0 };

    (void)state;
    dray_secret_wipe(text);
    assert_memory_equal(text, zero, sizeof(text));
    dray_secret_wipe(NULL);
}

static int set_up_sodium(void **state)
{
    (void)state;
    return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_copied_and_ends_with_a_nul),
        cmocka_unit_test(new_content_replaces_the_old),
        cmocka_unit_test(an_empty_text_is_not_no_secret),
        cmocka_unit_test(done_leaves_it_empty_and_may_be_repeated),
        cmocka_unit_test(what_cannot_be_had_leaves_it_empty),
        cmocka_unit_test(a_string_of_someone_else_s_is_wiped_in_place),
    };

    return cmocka_run_group_tests(tests, set_up_sodium, NULL);
}
