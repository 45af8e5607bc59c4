/* The console: a frame is redrawn in its place, and lines from any thread leave it whole. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cmd/console_pipe.h"

static void a_line_is_cleaned_and_ended(void **state)
{
    struct console_pipe pipe;

    (void)state;
    console_pipe_open(&pipe);
    dray_console_line(pipe.console, "a\033[2Jb");
    assert_string_equal(console_pipe_read(&pipe), "a?[2Jb\n");
    console_pipe_close(&pipe);
}

static void a_frame_replaces_the_one_before_it(void **state)
{
    struct console_pipe pipe;

    (void)state;
    console_pipe_open(&pipe);
    dray_console_frame(pipe.console, "one\ntwo\n");
    assert_string_equal(console_pipe_read(&pipe), "one\033[K\ntwo\033[K\n\033[J");
    dray_console_frame(pipe.console, "three\n");
    assert_string_equal(console_pipe_read(&pipe), "\r\033[2Athree\033[K\n\033[J");
    dray_console_frame(pipe.console, "");
    assert_string_equal(console_pipe_read(&pipe), "\r\033[1A\033[J");
    dray_console_frame(pipe.console, "four\n");
    assert_string_equal(console_pipe_read(&pipe), "four\033[K\n\033[J");
    console_pipe_close(&pipe);
}

static void a_line_goes_above_the_frame(void **state)
{
    struct console_pipe pipe;

    (void)state;
    console_pipe_open(&pipe);
    dray_console_frame(pipe.console, "one\n");
    console_pipe_read(&pipe);
    dray_console_line(pipe.console, "news");
    assert_string_equal(console_pipe_read(&pipe), "\r\033[1A\033[Jnews\none\033[K\n");
    dray_console_leave_frame(pipe.console);
    dray_console_line(pipe.console, "below");
    assert_string_equal(console_pipe_read(&pipe), "below\n");
    console_pipe_close(&pipe);
}

/* A terminal that was made narrower has wrapped the lines that were drawn for a wider one; colours
 * have no width. Without a terminal the width counts as 80. */
static void wrapped_lines_count_as_several_rows(void **state)
{
    char frame[256];
    struct console_pipe pipe;

    (void)state;
    console_pipe_open(&pipe);
    memset(frame, 'x', 161);
    snprintf(frame + 161, sizeof(frame) - 161, "\n\033[31mred\033[m\n");
    dray_console_frame(pipe.console, frame);
    console_pipe_read(&pipe);
    dray_console_frame(pipe.console, "");
    assert_string_equal(console_pipe_read(&pipe), "\r\033[4A\033[J");
    console_pipe_close(&pipe);
}

static void log_lines_name_their_level(void **state)
{
    struct console_pipe pipe;
    struct dray_log log;

    (void)state;
    console_pipe_open(&pipe);
    log = dray_console_log(pipe.console, DRAY_LOG_INFO);
    assert_int_equal(log.level, DRAY_LOG_INFO);
    log.write(log.ctx, DRAY_LOG_WARNING, "mirror ignored");
    assert_string_equal(console_pipe_read(&pipe), "dray: warning: mirror ignored\n");
    console_pipe_close(&pipe);
}

#define WRITERS 4
#define LINES   200

static void *write_lines(void *console)
{
    for (int i = 0; i < LINES; i++)
        dray_console_line(console, "0123456789012345678901234567890123456789");
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    struct console_pipe pipe;
    pthread_t threads[WRITERS];
    size_t count = 0;

    (void)state;
    console_pipe_open(&pipe);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, pipe.console), 0);
    for (size_t i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    console_pipe_read(&pipe);
    for (const char *line = pipe.text; *line; line += 41, count++)
        assert_memory_equal(line, "0123456789012345678901234567890123456789\n", 41);
    assert_int_equal(count, WRITERS * LINES);
    console_pipe_close(&pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_cleaned_and_ended),
        cmocka_unit_test(a_frame_replaces_the_one_before_it),
        cmocka_unit_test(a_line_goes_above_the_frame),
        cmocka_unit_test(wrapped_lines_count_as_several_rows),
        cmocka_unit_test(log_lines_name_their_level),
        cmocka_unit_test(lines_of_several_threads_do_not_mix),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
