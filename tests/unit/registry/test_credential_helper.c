#include "registry/credential_helper.h"

#include "core/cancel.h"
#include "tests/unit/registry/helper_programs.h"

#define PATIENT_MS 60000

/* What the helper called "test" says of each server. */
static const char script[] =
    "case $server in\n"
    "user) echo '{\"ServerURL\":\"user\",\"Username\":\"alice\",\"Secret\":\"p:w\"}';;\n"
    "token) echo '{\"ServerURL\":\"\",\"Username\":\"<token>\",\"Secret\":\"refresh\"}';;\n"
    "none) echo 'credentials not found in native keychain'; exit 1;;\n"
    "nobody) echo '{\"ServerURL\":\"\",\"Username\":\"\",\"Secret\":\"\"}';;\n"
    "failed) echo '{\"Username\":\"alice\",\"Secret\":\"hunter2\"}'; exit 3;;\n"
    "crashed) kill -KILL $$;;\n"
    "garbage) echo 'hunter2';;\n"
    "half) echo '{\"Username\":\"hunter2\"}';;\n"
    "colon) echo '{\"Username\":\"a:b\",\"Secret\":\"hunter2\"}';;\n"
    "silent) ;;\n"
    "endless) exec cat /dev/zero;;\n"
    "asleep) exec sleep 60;;\n"
    "lingering) echo '{}'; exec sleep 60 >&-;;\n"
    "env) exec > /dev/null; test ! -e /proc/self/fd/9;;\n"
    "esac\n";

static int set_up(void **state)
{
    char *dir = test_make_helper_dir();

    test_write_helper(dir, "test", script);
    *state = dir;
    return 0;
}

static int tear_down(void **state)
{
    test_remove_helper_dir(*state);
    return 0;
}

static void a_user_and_a_password_come_whole(void **state) /* C-3, C-4 */
{
    DRAY_AUTO_CREDENTIAL struct dray_credential credential = { 0 };

    (void)state;
    assert_ok(dray_credential_helper_get("test", "user", PATIENT_MS, NULL, &credential, NULL));
    assert_string_equal(credential.basic.text, "alice:p:w");
    assert_true(dray_secret_empty(&credential.identity_token));
}

static void the_user_token_means_an_identity_token(void **state) /* C-4 */
{
    DRAY_AUTO_CREDENTIAL struct dray_credential credential = { 0 };

    (void)state;
    assert_ok(dray_credential_helper_get("test", "token", PATIENT_MS, NULL, &credential, NULL));
    assert_string_equal(credential.identity_token.text, "refresh");
    assert_true(dray_secret_empty(&credential.basic));
}

static void one_that_knows_none_is_no_failure(void **state) /* C-4 */
{
    DRAY_AUTO_CREDENTIAL struct dray_credential credential = { 0 };

    (void)state;
    assert_ok(dray_credential_helper_get("test", "none", PATIENT_MS, NULL, &credential, NULL));
    assert_ok(dray_credential_helper_get("test", "nobody", PATIENT_MS, NULL, &credential, NULL));
    assert_true(dray_credential_is_empty(&credential));
}

static void a_failure_says_what_happened_and_quotes_nothing(void **state) /* C-4, C-6 */
{
    static const struct {
        const char *name;
        const char *server;
        int rc;
        const char *text;
    } rows[] = {
        { "test", "failed", DRAY_EPROTO, "helper test: exit status 3" },
        { "test", "crashed", DRAY_EPROTO, "helper test: ended by signal 9" },
        { "test", "garbage", DRAY_EPROTO, "no JSON object" },
        { "test", "half", DRAY_EPROTO, "no JSON object" },
        { "test", "colon", DRAY_EPROTO, "no JSON object" },
        { "test", "silent", DRAY_EPROTO, "no JSON object" },
        { "test", "endless", DRAY_EPROTO, "65536 bytes or more" },
        { "absent", "user", DRAY_EIO, "docker-credential-absent: No such file" },
        { "../test", "user", DRAY_EINVAL, "no name" },
        { "", "user", DRAY_EINVAL, "no name" },
        { "test; echo", "user", DRAY_EINVAL, "no name" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        DRAY_AUTO_CREDENTIAL struct dray_credential credential = { 0 };
        struct dray_error err = { 0 };
        int rc = dray_credential_helper_get(rows[i].name, rows[i].server, PATIENT_MS, NULL,
                                            &credential, &err);

        if (rc != rows[i].rc)
            fail_msg("%s: %d %s", rows[i].server, rc, err.text);
        assert_int_equal(err.code, rc);
        assert_contains(err.text, rows[i].text);
        assert_lacks(err.text, "hunter2");
        assert_true(dray_credential_is_empty(&credential));
    }
}

static void one_that_hangs_is_killed_in_time(void **state)
{
    static const char *const servers[] = { "asleep", "lingering" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        DRAY_AUTO_CREDENTIAL struct dray_credential credential = { 0 };
        struct dray_error err = { 0 };

        assert_int_equal(
            dray_credential_helper_get("test", servers[i], 300, NULL, &credential, &err),
            DRAY_ETRANSIENT);
        assert_contains(err.text, "no answer within 300 ms");
    }
}

static void *fire_soon(void *ctx)
{
    usleep(100000);
    dray_cancel_fire(ctx);
    return NULL;
}

static void cancel_ends_the_waiting(void **state) /* H-68 */
{
    static const char *const servers[] = { "asleep", "lingering" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
        DRAY_AUTO_CREDENTIAL struct dray_credential credential = { 0 };
        pthread_t thread;

        assert_ok(dray_cancel_new(&cancel, NULL));
        assert_int_equal(pthread_create(&thread, NULL, fire_soon, cancel), 0);
        assert_int_equal(
            dray_credential_helper_get("test", servers[i], PATIENT_MS, cancel, &credential, NULL),
            DRAY_ECANCELED);
        pthread_join(thread, NULL);
    }
}

static void no_descriptor_leaks_into_it(void **state)
{
    DRAY_AUTO_CREDENTIAL struct dray_credential credential = { 0 };
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(dup2(STDIN_FILENO, 9), 9);
    /* with it the exit status were 1 */
    assert_int_equal(dray_credential_helper_get("test", "env", PATIENT_MS, NULL, &credential, &err),
                     DRAY_EPROTO);
    assert_contains(err.text, "no JSON object");
    close(9);
}

#define helper_test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        helper_test(a_user_and_a_password_come_whole),
        helper_test(the_user_token_means_an_identity_token),
        helper_test(one_that_knows_none_is_no_failure),
        helper_test(a_failure_says_what_happened_and_quotes_nothing),
        helper_test(one_that_hangs_is_killed_in_time),
        helper_test(cancel_ends_the_waiting),
        helper_test(no_descriptor_leaks_into_it),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
