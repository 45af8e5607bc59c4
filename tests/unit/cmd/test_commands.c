/* The tables of all commands agree with one another and with themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/commands.h"
#include "cmd/help.h"

static void every_default_is_a_value_that_the_option_takes(void **state)
{
    (void)state;
    for (const struct dray_command *const *p = dray_commands; *p; p++) {
        const struct dray_option *option;
        void *values = calloc(1, (*p)->values_size + 1);

        for (size_t i = 0; (option = dray_command_option(*p, i)); i++) {
            struct dray_error err = { 0 };

            if (option->initial && dray_option_set(option, values, option->initial, &err) < 0)
                fail_msg("%s: %s", (*p)->name, err.text);
            dray_option_clear(option, values);
        }
        free(values);
    }
}

static void a_command_has_each_name_and_letter_once(void **state)
{
    (void)state;
    for (const struct dray_command *const *p = dray_commands; *p; p++) {
        const struct dray_option *a;
        const struct dray_option *b;

        for (size_t i = 0; (a = dray_command_option(*p, i)); i++) {
            assert_string_not_equal(a->name, "help");
            assert_int_not_equal(a->letter, 'h');
            for (size_t j = i + 1; (b = dray_command_option(*p, j)); j++) {
                assert_string_not_equal(a->name, b->name);
                if (a->letter)
                    assert_int_not_equal(a->letter, b->letter);
            }
        }
    }
}

/* Config files are shared by all commands: a key means the same to each. */
static void a_name_is_of_one_kind_in_all_commands(void **state)
{
    (void)state;
    for (const struct dray_command *const *p = dray_commands; *p; p++) {
        for (const struct dray_command *const *q = p + 1; *q; q++) {
            const struct dray_option *a;
            const struct dray_option *b;

            for (size_t i = 0; (a = dray_command_option(*p, i)); i++) {
                for (size_t j = 0; (b = dray_command_option(*q, j)); j++) {
                    if (strcmp(a->name, b->name) == 0)
                        assert_int_equal(a->kind, b->kind);
                }
            }
        }
    }
}

static void the_help_names_every_option_and_keeps_to_80_columns(void **state)
{
    (void)state;
    for (const struct dray_command *const *p = dray_commands; *p; p++) {
        const struct dray_option *option;
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        assert_non_null(out);
        dray_help_command(*p, out);
        assert_int_equal(fclose(out), 0);
        for (size_t i = 0; (option = dray_command_option(*p, i)); i++) {
            char name[64];

            snprintf(name, sizeof(name), "--%s", option->name);
            assert_non_null(strstr(text, name));
        }
        for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
            assert_true(strcspn(line, "\n") < 80);
        free(text);
    }
}

static void a_slip_finds_the_command_that_was_meant(void **state)
{
    (void)state;
    assert_ptr_equal(dray_command_nearest(dray_commands, "pul"), &dray_command_pull);
    assert_ptr_equal(dray_command_nearest(dray_commands, "image"), &dray_command_images);
    assert_ptr_equal(dray_command_nearest(dray_commands, "insepct"), &dray_command_inspect);
    assert_null(dray_command_nearest(dray_commands, "frobnicate"));
    assert_ptr_equal(dray_command_find(dray_commands, "rm"), &dray_command_rm);
    assert_null(dray_command_find(dray_commands, "r"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_default_is_a_value_that_the_option_takes),
        cmocka_unit_test(a_command_has_each_name_and_letter_once),
        cmocka_unit_test(a_name_is_of_one_kind_in_all_commands),
        cmocka_unit_test(the_help_names_every_option_and_keeps_to_80_columns),
        cmocka_unit_test(a_slip_finds_the_command_that_was_meant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
