#include "registry/registry.h"

#include "tests/unit/registry/fixture.h"

static void expect_refused(const struct dray_registry_options *options, int code, const char *part)
{
    struct dray_registry *registry = NULL;
    struct dray_error err = { 0 };

    assert_int_equal(dray_registry_new(options, NULL, &registry, &err), code);
    assert_null(registry);
    assert_contains(err.text, part);
}

static void defaults_are_enough(void **state)
{
    struct dray_registry_options options = { 0 };

    (void)state;
    dray_registry_free(make_registry(&options));
    dray_registry_free(NULL);
}

static void a_missing_file_is_told_at_once(void **state)
{
    (void)state;
    expect_refused(&(struct dray_registry_options){ .ca_file = "/nonexistent/ca" }, DRAY_EIO,
                   "/nonexistent/ca");
    expect_refused(&(struct dray_registry_options){ .cert_file = "/nonexistent/cert" }, DRAY_EIO,
                   "/nonexistent/cert");
    expect_refused(&(struct dray_registry_options){ .auth_file = "/nonexistent/auth" }, DRAY_EIO,
                   "/nonexistent/auth");
    expect_refused(&(struct dray_registry_options){ .key_file = "/nonexistent/key" }, DRAY_EINVAL,
                   "key");
}

static void a_file_of_another_kind_is_told_at_once(void **state)
{
    const char *path = write_scratch("no PEM");

    (void)state;
    expect_refused(&(struct dray_registry_options){ .ca_file = path }, DRAY_EINVAL, path);
    expect_refused(&(struct dray_registry_options){ .cert_file = path }, DRAY_EINVAL, path);
    expect_refused(&(struct dray_registry_options){ .auth_file = path }, DRAY_EINVAL, path);
    unlink(path);
}

static void a_header_that_could_break_out_is_refused_without_being_quoted(void **state)
{
    static const char *const bad[] = { "hunter2",        ": hunter2",       "X:",
                                       "X Y: hunter2",   "X: a\r\nhunter2", "X: a\nhunter2",
                                       "X\r\n: hunter2", "X: \x7fhunter2" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const headers[] = { "X-Meta: fine", bad[i], NULL };
        struct dray_registry_options options = { .headers = headers };
        struct dray_registry *registry = NULL;
        struct dray_error err = { 0 };

        if (dray_registry_new(&options, NULL, &registry, &err) != DRAY_EINVAL)
            fail_msg("accepted: %s", bad[i]);
        assert_lacks(err.text, "hunter2");
    }
}

static void negative_time_outs_are_refused(void **state)
{
    (void)state;
    expect_refused(&(struct dray_registry_options){ .stall_timeout_ms = -1 }, DRAY_EINVAL, "stall");
    expect_refused(&(struct dray_registry_options){ .connect_timeout_ms = -1 }, DRAY_EINVAL,
                   "connect");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_enough),
        cmocka_unit_test(a_missing_file_is_told_at_once),
        cmocka_unit_test(a_file_of_another_kind_is_told_at_once),
        cmocka_unit_test(a_header_that_could_break_out_is_refused_without_being_quoted),
        cmocka_unit_test(negative_time_outs_are_refused),
    };

    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
