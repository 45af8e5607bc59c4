/* Settings: what the command line, the environment and config files say, and which of them wins. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/settings.h"

struct values {
    bool quiet;
    int64_t jobs;
    int64_t timeout_ms;
    int64_t rate;
    int style;
    char *store;
    char **mirrors;
    char *creds;
};

static const char *const styles[] = { "auto", "plain", "json", NULL };

static const struct dray_option options[] = {
    { .name = "quiet",
      .letter = 'q',
      .kind = DRAY_OPTION_FLAG,
      .offset = offsetof(struct values, quiet),
      .help = "h" },
    { .name = "jobs",
      .letter = 'j',
      .kind = DRAY_OPTION_NUMBER,
      .offset = offsetof(struct values, jobs),
      .argument = "N",
      .min = 1,
      .max = 64,
      .initial = "8",
      .help = "h" },
    { .name = "timeout",
      .kind = DRAY_OPTION_DURATION,
      .offset = offsetof(struct values, timeout_ms),
      .argument = "TIME",
      .min = 1,
      .max = 60000,
      .initial = "30s",
      .help = "h" },
    { .name = "rate",
      .kind = DRAY_OPTION_BYTES,
      .offset = offsetof(struct values, rate),
      .argument = "RATE",
      .min = 0,
      .max = INT64_C(5000000000),
      .initial = "0",
      .help = "h" },
    { .name = "progress",
      .kind = DRAY_OPTION_CHOICE,
      .offset = offsetof(struct values, style),
      .argument = "STYLE",
      .choices = styles,
      .initial = "auto",
      .help = "h" },
    { .name = NULL },
};

static const struct dray_option shared[] = {
    { .name = "store",
      .kind = DRAY_OPTION_TEXT,
      .offset = offsetof(struct values, store),
      .argument = "DIR",
      .help = "h" },
    { .name = "mirror",
      .kind = DRAY_OPTION_LIST,
      .offset = offsetof(struct values, mirrors),
      .argument = "URL",
      .help = "h" },
    { .name = "creds",
      .kind = DRAY_OPTION_TEXT,
      .offset = offsetof(struct values, creds),
      .argument = "USER",
      .secret = true,
      .help = "h" },
    { .name = NULL },
};

static const struct dray_command command = {
    .name = "get",
    .operands = "THING...",
    .operands_min = 1,
    .operands_max = 3,
    .shared = shared,
    .options = options,
    .values_size = sizeof(struct values),
};

struct other_values {
    int64_t depth;
    char **names;
};

static const struct dray_option other_options[] = {
    { .name = "depth",
      .kind = DRAY_OPTION_NUMBER,
      .offset = offsetof(struct other_values, depth),
      .argument = "N",
      .min = 0,
      .max = 9,
      .help = "h" },
    { .name = "names",
      .kind = DRAY_OPTION_LIST,
      .offset = offsetof(struct other_values, names),
      .argument = "NAME",
      .help = "h" },
    { .name = NULL },
};

static const struct dray_command other = {
    .name = "other",
    .operands = "",
    .options = other_options,
    .values_size = sizeof(struct other_values),
};

static const struct dray_command *const commands[] = { &command, &other, NULL };

/* A command line under test: argv in memory that may be written, as main() has it. */
struct line {
    char *argv[16];
    int argc;
    struct dray_settings settings;
    struct dray_error err;
};

static int parse(struct line *line, const char *text)
{
    char *copy = strdup(text);
    char *rest = copy;
    char *word;

    memset(line, 0, sizeof(*line));
    while ((word = strsep(&rest, " ")))
        line->argv[line->argc++] = strdup(word);
    free(copy);
    return dray_settings_parse(&command, line->argc, line->argv, &line->settings, &line->err);
}

static const struct values *values_of(const struct line *line)
{
    return line->settings.values;
}

static void finish(struct line *line)
{
    dray_settings_done(&line->settings);
    for (int i = 0; i < line->argc; i++)
        free(line->argv[i]);
}

static void expect_refusal(const char *text, const char *message)
{
    struct line line;

    assert_int_equal(parse(&line, text), DRAY_EINVAL);
    assert_string_equal(line.err.text, message);
    finish(&line);
}

static void defaults_hold_when_nothing_is_said(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "a"), DRAY_OK);
    assert_false(values_of(&line)->quiet);
    assert_int_equal(values_of(&line)->jobs, 8);
    assert_int_equal(values_of(&line)->timeout_ms, 30000);
    assert_int_equal(values_of(&line)->style, 0);
    assert_null(values_of(&line)->store);
    assert_null(values_of(&line)->mirrors);
    finish(&line);
}

static void options_and_operands_may_be_mixed(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "a --jobs 3 b --progress=json --store= -q - --timeout 1.5s"),
                     DRAY_OK);
    assert_int_equal(line.settings.operand_count, 3);
    assert_string_equal(line.settings.operands[0], "a");
    assert_string_equal(line.settings.operands[1], "b");
    assert_string_equal(line.settings.operands[2], "-");
    assert_null(line.settings.operands[3]);
    assert_true(values_of(&line)->quiet);
    assert_int_equal(values_of(&line)->jobs, 3);
    assert_int_equal(values_of(&line)->style, 2);
    assert_int_equal(values_of(&line)->timeout_ms, 1500);
    assert_string_equal(values_of(&line)->store, "");
    finish(&line);
}

static void letters_stand_together_and_take_the_rest_as_their_value(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "-qj16 a -j 4"), DRAY_OK);
    assert_true(values_of(&line)->quiet);
    assert_int_equal(values_of(&line)->jobs, 4); /* the last one counts */
    assert_int_equal(line.settings.operand_count, 1);
    finish(&line);
}

static void two_dashes_end_the_options(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "-q -- --jobs -- a"), DRAY_OK);
    assert_int_equal(line.settings.operand_count, 3);
    assert_string_equal(line.settings.operands[0], "--jobs");
    assert_string_equal(line.settings.operands[1], "--");
    finish(&line);
}

static void help_needs_no_operands_and_ends_reading(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "--help --nonsense"), DRAY_OK);
    assert_true(line.settings.help);
    finish(&line);
    assert_int_equal(parse(&line, "-qh"), DRAY_OK);
    assert_true(line.settings.help);
    finish(&line);
}

static void mistakes_are_named(void **state)
{
    (void)state;
    expect_refusal("-q", "THING... is missing");
    expect_refusal("a b c d", "unexpected operand 'd'");
    expect_refusal("a --jbos 3", "unknown option --jbos; did you mean --jobs?");
    expect_refusal("a --time=3", "unknown option --time; did you mean --timeout?");
    expect_refusal("a --xyzzy", "unknown option --xyzzy");
    expect_refusal("a -x", "unknown option -x");
    expect_refusal("a --jobs", "--jobs needs a value: --jobs N");
    expect_refusal("a -j", "--jobs needs a value: --jobs N");
    expect_refusal("a -j 0", "--jobs takes a number from 1 to 64, not '0'");
    expect_refusal("a -j 65", "--jobs takes a number from 1 to 64, not '65'");
    expect_refusal("a -j -1", "--jobs takes a number from 1 to 64, not '-1'");
    expect_refusal("a -j x", "--jobs takes a number from 1 to 64, not 'x'");
    expect_refusal("a --timeout 61s", "--timeout takes a time from 1ms to 60s, not '61s'");
    expect_refusal("a --rate fast", "--rate takes a number of bytes, which K, M, G, Ki, Mi or Gi "
                                    "may follow, from 0 to 5G, not 'fast'");
    expect_refusal("a --rate 5.001G", "--rate takes a number of bytes, which K, M, G, Ki, Mi or Gi "
                                      "may follow, from 0 to 5G, not '5.001G'");
    expect_refusal("a --progress pretty", "--progress takes auto, plain or json, not 'pretty'");
    expect_refusal("a --quiet=maybe", "--quiet takes true or false, not 'maybe'");
}

static void a_flag_can_be_taken_back(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "a -q --quiet=no"), DRAY_OK);
    assert_false(values_of(&line)->quiet);
    finish(&line);
}

static void a_list_keeps_every_item_in_order(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "a --mirror one --mirror=two --mirror three"), DRAY_OK);
    assert_string_equal(values_of(&line)->mirrors[0], "one");
    assert_string_equal(values_of(&line)->mirrors[1], "two");
    assert_string_equal(values_of(&line)->mirrors[2], "three");
    assert_null(values_of(&line)->mirrors[3]);
    finish(&line);
}

/* H-73: /proc/PID/cmdline shows what argv holds. */
static void a_secret_does_not_stay_on_the_command_line(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "a --creds me:secret"), DRAY_OK);
    assert_string_equal(values_of(&line)->creds, "me:secret");
    assert_string_equal(line.argv[2], "xxxxxxxxx");
    finish(&line);
    assert_int_equal(parse(&line, "a --creds=me:secret"), DRAY_OK);
    assert_string_equal(values_of(&line)->creds, "me:secret");
    assert_string_equal(line.argv[1], "--creds=xxxxxxxxx");
    finish(&line);
}

static void the_environment_fills_what_the_line_leaves_open(void **state)
{
    struct line line;

    (void)state;
    setenv("DRAY_JOBS", "5", 1);
    setenv("DRAY_TIMEOUT", "2s", 1);
    setenv("DRAY_QUIET", "true", 1);
    setenv("DRAY_PROGRESS", "", 1);
    setenv("DRAY_MIRROR", "one\n\ntwo words\n", 1);
    assert_int_equal(parse(&line, "a -j 9"), DRAY_OK);
    assert_int_equal(dray_settings_read_environment(&line.settings, &line.err), DRAY_OK);
    assert_int_equal(values_of(&line)->jobs, 9);
    assert_int_equal(values_of(&line)->timeout_ms, 2000);
    assert_int_equal(values_of(&line)->style, 0); /* an empty variable is none */
    assert_true(values_of(&line)->quiet);
    assert_string_equal(values_of(&line)->mirrors[0], "one");
    assert_string_equal(values_of(&line)->mirrors[1], "two words");
    assert_null(values_of(&line)->mirrors[2]);
    finish(&line);

    setenv("DRAY_JOBS", "many", 1);
    assert_int_equal(parse(&line, "a"), DRAY_OK);
    assert_int_equal(dray_settings_read_environment(&line.settings, &line.err), DRAY_EINVAL);
    assert_string_equal(line.err.text, "environment variable DRAY_JOBS: --jobs takes a number from "
                                       "1 to 64, not 'many'");
    finish(&line);
    unsetenv("DRAY_JOBS");
    unsetenv("DRAY_TIMEOUT");
    unsetenv("DRAY_QUIET");
    unsetenv("DRAY_PROGRESS");
    unsetenv("DRAY_MIRROR");
}

static char *write_file(const char *text)
{
    char *path = strdup("/tmp/dray-test-settings-XXXXXX");
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    return path;
}

static int read_file(struct line *line, const char *text)
{
    char *path = write_file(text);
    int rc = dray_settings_read_file(&line->settings, commands, path, true, &line->err);

    unlink(path);
    free(path);
    return rc;
}

static void amounts_of_bytes_come_from_anywhere(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "a --rate 1.5M"), DRAY_OK);
    assert_int_equal(values_of(&line)->rate, 1500000);
    finish(&line);
    setenv("DRAY_RATE", "2Ki", 1);
    assert_int_equal(parse(&line, "a"), DRAY_OK);
    assert_int_equal(dray_settings_read_environment(&line.settings, &line.err), DRAY_OK);
    assert_int_equal(values_of(&line)->rate, 2048);
    finish(&line);
    unsetenv("DRAY_RATE");
    assert_int_equal(parse(&line, "a"), DRAY_OK);
    assert_int_equal(read_file(&line, "{\"rate\": 70000}"), DRAY_OK);
    assert_int_equal(values_of(&line)->rate, 70000);
    finish(&line);
    assert_int_equal(parse(&line, "a"), DRAY_OK);
    assert_int_equal(read_file(&line, "{\"rate\": \"70K\"}"), DRAY_OK);
    assert_int_equal(values_of(&line)->rate, 70000);
    finish(&line);
}

static void the_line_beats_the_environment_beats_the_first_file_beats_the_second(void **state)
{
    struct line line;

    (void)state;
    setenv("DRAY_TIMEOUT", "2s", 1);
    assert_int_equal(parse(&line, "a -j 9 --mirror line"), DRAY_OK);
    assert_int_equal(dray_settings_read_environment(&line.settings, &line.err), DRAY_OK);
    assert_int_equal(read_file(&line, "{\"jobs\": 3, \"timeout\": 3, \"progress\": \"plain\","
                                      " \"mirror\": [\"user\"], \"depth\": 1}"),
                     DRAY_OK);
    assert_int_equal(read_file(&line, "{\"jobs\": 4, \"timeout\": \"4s\", \"progress\": \"json\","
                                      " \"store\": \"/s\", \"quiet\": true}"),
                     DRAY_OK);
    assert_int_equal(values_of(&line)->jobs, 9);
    assert_int_equal(values_of(&line)->timeout_ms, 2000);
    assert_int_equal(values_of(&line)->style, 1);
    assert_string_equal(values_of(&line)->store, "/s");
    assert_true(values_of(&line)->quiet);
    assert_string_equal(values_of(&line)->mirrors[0], "line");
    assert_null(values_of(&line)->mirrors[1]); /* lists replace one another */
    finish(&line);
    unsetenv("DRAY_TIMEOUT");
}

static void expect_bad_file(const char *text, const char *message)
{
    struct line line;

    assert_int_equal(parse(&line, "a -j 2"), DRAY_OK);
    assert_int_equal(read_file(&line, text), DRAY_EINVAL);
    assert_true(strncmp(line.err.text, "config file /tmp/dray-test-settings-", 36) == 0);
    if (!strstr(line.err.text, message))
        fail_msg("'%s' lacks '%s'", line.err.text, message);
    finish(&line);
}

static void a_bad_file_is_refused_by_name_and_key(void **state)
{
    (void)state;
    expect_bad_file("{\"jbos\": 3}", ": \"jbos\": no such setting");
    expect_bad_file("{\"progress\": 3}", ": \"progress\": takes auto, plain or json");
    expect_bad_file("{\"timeout\": \"soon\"}", ": \"timeout\": takes a time from 1ms to 60s");
    expect_bad_file("{\"timeout\": 9223372036854775807}", ": \"timeout\": takes a time");
    expect_bad_file("{\"rate\": -1}", ": \"rate\": takes a number of bytes");
    expect_bad_file("{\"rate\": 1.5}", ": \"rate\": takes a number of bytes");
    expect_bad_file("{\"quiet\": \"true\"}", ": \"quiet\": takes true or false");
    expect_bad_file("{\"mirror\": \"one\"}", ": \"mirror\": takes a list of texts");
    expect_bad_file("{\"mirror\": [\"one\", 2]}", ": \"mirror\": takes a list of texts");
    expect_bad_file("{\"store\": null}", ": \"store\": takes a text");
    expect_bad_file("{\"config\": \"/else\"}", ": \"config\": a config file cannot name another");
    expect_bad_file("[]", ": not a JSON object");
    expect_bad_file("{\"jobs\": 1,\n}", ": line 2: ");
    expect_bad_file("{\"jobs\": 1, \"jobs\": 2}", "duplicate");
    expect_bad_file("", ": line 1: ");
    /* Also where the command line has overruled it, and where another command would read it. */
    expect_bad_file("{\"jobs\": 0}", ": \"jobs\": takes a number from 1 to 64");
    expect_bad_file("{\"depth\": 10}", ": \"depth\": takes a number from 0 to 9");
    expect_bad_file("{\"names\": [\"a\", 1]}", ": \"names\": takes a list of texts");
}

static void a_missing_file_matters_only_if_it_was_named(void **state)
{
    struct line line;

    (void)state;
    assert_int_equal(parse(&line, "a"), DRAY_OK);
    assert_int_equal(dray_settings_read_file(&line.settings, commands, "/nonexistent/config.json",
                                             false, &line.err),
                     DRAY_OK);
    assert_int_equal(dray_settings_read_file(&line.settings, commands, "/nonexistent/config.json",
                                             true, &line.err),
                     DRAY_EINVAL);
    assert_string_equal(line.err.text,
                        "config file /nonexistent/config.json: No such file or directory");
    finish(&line);
}

static void what_is_no_regular_file_is_refused_at_once(void **state)
{
    char folder[] = "/tmp/dray-test-settings-XXXXXX";
    char message[128];
    char fifo[64];
    struct line line;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0); /* nobody will ever write into it */
    assert_int_equal(parse(&line, "a"), DRAY_OK);
    for (int must_exist = 0; must_exist < 2; must_exist++) {
        assert_int_equal(
            dray_settings_read_file(&line.settings, commands, fifo, must_exist, &line.err),
            DRAY_EINVAL);
        snprintf(message, sizeof(message), "config file %s: not a regular file", fifo);
        assert_string_equal(line.err.text, message);
        assert_int_equal(
            dray_settings_read_file(&line.settings, commands, folder, must_exist, &line.err),
            DRAY_EINVAL);
        snprintf(message, sizeof(message), "config file %s: Is a directory", folder);
        assert_string_equal(line.err.text, message);
    }
    finish(&line);
    unlink(fifo);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_when_nothing_is_said),
        cmocka_unit_test(options_and_operands_may_be_mixed),
        cmocka_unit_test(letters_stand_together_and_take_the_rest_as_their_value),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(help_needs_no_operands_and_ends_reading),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(a_flag_can_be_taken_back),
        cmocka_unit_test(a_list_keeps_every_item_in_order),
        cmocka_unit_test(a_secret_does_not_stay_on_the_command_line),
        cmocka_unit_test(the_environment_fills_what_the_line_leaves_open),
        cmocka_unit_test(amounts_of_bytes_come_from_anywhere),
        cmocka_unit_test(the_line_beats_the_environment_beats_the_first_file_beats_the_second),
        cmocka_unit_test(a_bad_file_is_refused_by_name_and_key),
        cmocka_unit_test(a_missing_file_matters_only_if_it_was_named),
        cmocka_unit_test(what_is_no_regular_file_is_refused_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
