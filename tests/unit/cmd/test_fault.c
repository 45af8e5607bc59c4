/* Failures: the documented exit statuses, and messages that say what to do. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/fault.h"
#include "tests/unit/cmd/console_pipe.h"

static void every_code_has_its_documented_status(void **state)
{
    static const struct {
        int code;
        int sys_errno;
        int exit_status;
    } rows[] = {
        { DRAY_OK, 0, 0 },
        { DRAY_ENOMEM, 0, 1 },
        { DRAY_EINVAL, 0, 2 },
        { DRAY_ECANCELED, 0, 130 },
        { DRAY_ETRANSIENT, 0, 1 },
        { DRAY_EUNREACHABLE, 0, 1 },
        { DRAY_ENOTFOUND, 0, 4 },
        { DRAY_EAUTH, 0, 5 },
        { DRAY_EDIGEST, 0, 6 },
        { DRAY_EPROTO, 0, 1 },
        { DRAY_EUNSUPPORTED, 0, 1 },
        { DRAY_ENOSPC, 0, 7 },
        { DRAY_ESTORE, 0, 7 },
        { DRAY_EIO, EIO, 1 },
        { DRAY_EIO, EACCES, 5 },
        { DRAY_EIO, EPERM, 5 },
        { DRAY_EIO, EROFS, 5 },
        /* The system's reason counts only where it is the cause. */
        { DRAY_EUNREACHABLE, EACCES, 1 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct dray_error err = { .code = rows[i].code, .sys_errno = rows[i].sys_errno };

        assert_int_equal(dray_fault_exit(&err), rows[i].exit_status);
    }
}

static enum dray_exit all(size_t count, ...)
{
    enum dray_exit exits[4];
    va_list args;

    va_start(args, count);
    for (size_t i = 0; i < count; i++)
        exits[i] = (enum dray_exit)va_arg(args, int);
    va_end(args);
    return dray_fault_exit_all(exits, count);
}

static void several_statuses_become_one(void **state)
{
    (void)state;
    assert_int_equal(all(1, 0), 0);
    assert_int_equal(all(1, 6), 6);
    assert_int_equal(all(3, 0, 0, 0), 0);
    assert_int_equal(all(3, 0, 4, 0), DRAY_EXIT_PARTLY);
    assert_int_equal(all(3, 4, 4, 0), DRAY_EXIT_PARTLY);
    assert_int_equal(all(2, 4, 4), 4);    /* all failed alike */
    assert_int_equal(all(3, 4, 5, 5), 1); /* all failed, not alike */
    assert_int_equal(all(3, 5, 4, 5), 1);
    assert_int_equal(all(3, 0, 130, 4), 130);
}

static void a_message_names_command_and_subject_and_gives_a_hint(void **state)
{
    struct dray_error err = { .code = DRAY_EAUTH, .text = "https://reg.example: 401 \033[31mno" };
    struct console_pipe pipe;

    (void)state;
    console_pipe_open(&pipe);
    dray_fault_report(pipe.console, "pull", "nginx:latest", &err, "log in");
    assert_string_equal(console_pipe_read(&pipe),
                        "dray pull: nginx:latest: https://reg.example: 401 ?[31mno\n"
                        "  hint: log in\n");
    snprintf(err.hint, sizeof(err.hint), "the library's own");
    dray_fault_report(pipe.console, "images", NULL, &err, "log in");
    assert_string_equal(console_pipe_read(&pipe), "dray images: https://reg.example: 401 ?[31mno\n"
                                                  "  hint: the library's own\n");
    console_pipe_close(&pipe);
}

static void several_lines_stand_below_the_subject(void **state)
{
    struct dray_error err = {
        .code = DRAY_EUNREACHABLE,
        .text = "https://mirror.example: no route\nhttps://reg.example: no such host\n",
    };
    struct console_pipe pipe;

    (void)state;
    console_pipe_open(&pipe);
    dray_fault_report(pipe.console, "pull", "nginx", &err, NULL);
    assert_string_equal(console_pipe_read(&pipe), "dray pull: nginx:\n"
                                                  "    https://mirror.example: no route\n"
                                                  "    https://reg.example: no such host\n");
    console_pipe_close(&pipe);
}

static void too_few_open_files_are_met_with_advice(void **state)
{
    static const int codes[] = { EMFILE, ENFILE };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct dray_error err = { .code = DRAY_EIO, .sys_errno = codes[i] };

        assert_non_null(strstr(dray_fault_store_hint(&err), "ulimit -n"));
    }
}

static void as_json_an_error_has_its_hint_only_if_there_is_one(void **state)
{
    struct dray_error err = { .code = DRAY_EAUTH, .text = "log in" };
    json_t *json = dray_fault_json(&err);

    (void)state;
    assert_string_equal(json_string_value(json_object_get(json, "code")),
                        dray_code_text(DRAY_EAUTH));
    assert_string_equal(json_string_value(json_object_get(json, "text")), "log in");
    assert_null(json_object_get(json, "hint"));
    json_decref(json);
    snprintf(err.hint, sizeof(err.hint), "with --creds");
    json = dray_fault_json(&err);
    assert_string_equal(json_string_value(json_object_get(json, "hint")), "with --creds");
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_documented_status),
        cmocka_unit_test(several_statuses_become_one),
        cmocka_unit_test(a_message_names_command_and_subject_and_gives_a_hint),
        cmocka_unit_test(too_few_open_files_are_met_with_advice),
        cmocka_unit_test(as_json_an_error_has_its_hint_only_if_there_is_one),
        cmocka_unit_test(several_lines_stand_below_the_subject),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
