/* Progress: the pictures on terminals of any size, the plain lines, the JSON lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cmd/progress.h"
#include "cmd/progress_face.h"
#include "tests/unit/cmd/console_pipe.h"
#include "tests/unit/cmd/events.h"

static void apply(struct dray_board *board, struct dray_event event, int64_t now_ms)
{
    assert_int_equal(dray_board_apply(board, &event, now_ms), DRAY_OK);
}

/* One image with a layer in each state, 4 seconds after it began. */
static void fill_board(struct dray_board *board, struct dray_digest *digests)
{
    struct dray_event retry;

    for (unsigned i = 0; i < 6; i++)
        digests[i] = events_digest(0xa0 + i);
    apply(board, events_image(DRAY_EVENT_RESOLVED), 0);
    apply(board, events_layer(DRAY_EVENT_BLOB_EXISTS, 0, &digests[0], 0, 1234567), 0);
    for (uint32_t i = 1; i < 6; i++)
        apply(board, events_layer(DRAY_EVENT_BLOB_QUEUED, i, &digests[i], 0, 10000000), 0);
    apply(board, events_layer(DRAY_EVENT_BLOB_STARTED, 1, &digests[1], 0, 10000000), 0);
    apply(board, events_layer(DRAY_EVENT_BLOB_STARTED, 2, &digests[2], 5000000, 10000000), 0);
    for (int64_t t = 100; t <= 4000; t += 100) {
        apply(board, events_layer(DRAY_EVENT_BLOB_PROGRESS, 1, &digests[1], (uint64_t)t * 1000, 0),
              t);
        apply(
            board,
            events_layer(DRAY_EVENT_BLOB_PROGRESS, 2, &digests[2], 5000000 + (uint64_t)t * 500, 0),
            t);
    }
    retry = events_layer(DRAY_EVENT_BLOB_RETRY, 3, &digests[3], 0, 0);
    retry.delay_ms = 4000;
    apply(board, retry, 4000);
    apply(board, events_layer(DRAY_EVENT_BLOB_DONE, 4, &digests[4], 0, 0), 4000);
}

static char *render(const struct dray_board *board, size_t columns, size_t rows, bool final)
{
    struct dray_progress_view view = {
        .board = board,
        .columns = columns,
        .rows = rows,
        .final = final,
        .now_ms = 4000,
    };
    char *frame = dray_progress_tty_render(&view);

    assert_non_null(frame);
    return frame;
}

static void expect_frame(const struct dray_board *board, size_t columns, bool final,
                         const char *expected)
{
    char *frame = render(board, columns, 24, final);

    assert_string_equal(frame, expected);
    free(frame);
}

static void a_line_a_layer_and_one_for_all(void **state)
{
    struct dray_digest digests[6];
    struct dray_board board;

    (void)state;
    assert_int_equal(dray_board_init(&board, 1), DRAY_OK);
    fill_board(&board, digests);
    expect_frame(&board, 80, false,
                 "a0a0a0a0a0a0  exists               1.2 MB\n"
                 "a1a1a1a1a1a1  downloading     4.0/10.0 MB  [========>             ]    1.0 MB/s\n"
                 "a2a2a2a2a2a2  resuming        7.0/10.0 MB  [===============>      ]  500.0 kB/s\n"
                 "a3a3a3a3a3a3  retry in 4s     0.0/10.0 MB\n"
                 "a4a4a4a4a4a4  done                10.0 MB\n"
                 "a5a5a5a5a5a5  waiting             10.0 MB\n"
                 "total         2/6 layers     21.0/50.0 MB  4.7 MB/s  7s left\n");
    expect_frame(&board, 40, false,
                 "a0a0a0a0a0a0 exists              1.2 MB\n"
                 "a1a1a1a1a1a1 downloading    4.0/10.0 MB\n"
                 "a2a2a2a2a2a2 resuming       7.0/10.0 MB\n"
                 "a3a3a3a3a3a3 retry in 4s    0.0/10.0 MB\n"
                 "a4a4a4a4a4a4 done               10.0 MB\n"
                 "a5a5a5a5a5a5 waiting            10.0 MB\n"
                 "2/6 21.0/50.0 MB 4.7 MB/s 7s left\n");
    expect_frame(&board, 80, true,
                 "a0a0a0a0a0a0  exists               1.2 MB\n"
                 "a1a1a1a1a1a1  stopped         4.0/10.0 MB\n"
                 "a2a2a2a2a2a2  stopped         7.0/10.0 MB\n"
                 "a3a3a3a3a3a3  stopped         0.0/10.0 MB\n"
                 "a4a4a4a4a4a4  done                10.0 MB\n"
                 "a5a5a5a5a5a5  stopped         0.0/10.0 MB\n"
                 "total         2/6 layers     21.0/50.0 MB  in 4.0s\n");
    dray_board_done(&board);
}

static void no_line_is_wider_than_the_terminal(void **state)
{
    struct dray_digest digests[6];
    struct dray_board board;

    (void)state;
    assert_int_equal(dray_board_init(&board, 1), DRAY_OK);
    fill_board(&board, digests);
    for (size_t columns = 1; columns < 700; columns++) {
        char *frame = render(&board, columns, 24, false);

        for (const char *line = frame; *line; line += strcspn(line, "\n") + 1) {
            size_t width = strcspn(line, "\n");

            assert_true(width < columns || width == 1);
            assert_true(width <= 100); /* a bar across a wide screen tells no more */
        }
        free(frame);
    }
    dray_board_done(&board);
}

static size_t count_lines(const char *frame)
{
    size_t lines = 0;

    for (; *frame; frame++)
        lines += *frame == '\n';
    return lines;
}

static void more_layers_than_rows_show_what_is_active_and_count_the_rest(void **state)
{
    struct dray_digest digests[100];
    struct dray_board board;
    char *frame;

    (void)state;
    assert_int_equal(dray_board_init(&board, 1), DRAY_OK);
    apply(&board, events_image(DRAY_EVENT_RESOLVED), 0);
    for (uint32_t i = 0; i < 100; i++) {
        digests[i] = events_digest(i);
        apply(&board, events_layer(DRAY_EVENT_BLOB_QUEUED, i, &digests[i], 0, 1000), 0);
        if (i < 30)
            apply(&board, events_layer(DRAY_EVENT_BLOB_DONE, i, &digests[i], 0, 1000), 0);
        else if (i < 38)
            apply(&board, events_layer(DRAY_EVENT_BLOB_STARTED, i, &digests[i], 0, 1000), 0);
    }
    frame = render(&board, 80, 16, false);
    assert_int_equal(count_lines(frame), 10);
    assert_true(strncmp(frame, "1e1e1e1e1e1e  downloading", 25) == 0);
    assert_non_null(strstr(frame, "\n... 92 more layers: 30 done, 62 waiting\n"));
    free(frame);

    for (size_t rows = 1; rows < 120; rows++) {
        frame = render(&board, 80, rows, false);
        assert_true(count_lines(frame) < (rows < 2 ? 2 : rows));
        free(frame);
    }
    dray_board_done(&board);
}

static void images_have_titles_when_there_are_several(void **state)
{
    struct dray_digest digest = events_digest(1);
    struct dray_event second = events_image(DRAY_EVENT_RESOLVING);
    struct dray_board board;

    (void)state;
    assert_int_equal(dray_board_init(&board, 3), DRAY_OK);
    apply(&board, events_image(DRAY_EVENT_RESOLVED), 0);
    apply(&board, events_layer(DRAY_EVENT_BLOB_QUEUED, 0, &digest, 0, 1000), 0);
    second.image_index = 1;
    second.image = "registry.example.net/a/rather/long/name/of/an/image:1.2.3";
    apply(&board, second, 0);
    expect_frame(&board, 60, false,
                 "docker.io/library/nginx:latest\n"
                 "  010101010101  waiting              1.0 kB\n"
                 "...mple.net/a/rather/long/name/of/an/image:1.2.3  resolving\n"
                 "total         0/1 layers   0/3 images      0.0/1.0 kB\n");
    dray_board_done(&board);
}

static void colours_do_not_change_the_text(void **state)
{
    struct dray_digest digests[6];
    struct dray_board board;
    struct dray_progress_view view = {
        .board = &board,
        .columns = 80,
        .rows = 24,
        .colours = true,
        .now_ms = 4000,
    };
    char *plain;
    char *coloured;
    char *to;

    (void)state;
    assert_int_equal(dray_board_init(&board, 1), DRAY_OK);
    fill_board(&board, digests);
    plain = render(&board, 80, 24, false);
    coloured = dray_progress_tty_render(&view);
    assert_non_null(strstr(coloured, "\033[32mdone\033[m"));
    to = coloured;
    for (const char *from = coloured; *from; from++) {
        if (*from == '\033')
            from += strcspn(from, "m");
        else
            *to++ = *from;
    }
    *to = '\0';
    assert_string_equal(coloured, plain);
    free(plain);
    free(coloured);
    dray_board_done(&board);
}

/* The words of a pull that resumes, retries, fails: sent to a face. */
static void send_pull(struct dray_progress *progress, struct dray_digest *digests)
{
    struct dray_error error = { .code = DRAY_EDIGEST, .text = "wrong\033 bytes", .hint = "why" };
    struct dray_event event = events_image(DRAY_EVENT_RESOLVING);

    for (unsigned i = 0; i < 2; i++)
        digests[i] = events_digest(i + 1);
    event.endpoint = "https://registry-1.docker.io";
    event.time_ms = 1700000000042;
    dray_progress_event(progress, &event);
    event = events_image(DRAY_EVENT_RESOLVED);
    event.total_bytes = 1500;
    dray_progress_event(progress, &event);
    event = events_layer(DRAY_EVENT_BLOB_EXISTS, 0, &digests[0], 0, 500);
    dray_progress_event(progress, &event);
    event = events_layer(DRAY_EVENT_BLOB_QUEUED, 1, &digests[1], 0, 1000);
    event.role = DRAY_ROLE_CONFIG;
    dray_progress_event(progress, &event);
    event = events_layer(DRAY_EVENT_BLOB_STARTED, 1, &digests[1], 250, 1000);
    event.role = DRAY_ROLE_CONFIG;
    dray_progress_event(progress, &event);
    event = events_layer(DRAY_EVENT_BLOB_PROGRESS, 1, &digests[1], 500, 1000);
    event.role = DRAY_ROLE_CONFIG;
    dray_progress_event(progress, &event);
    event = events_layer(DRAY_EVENT_BLOB_RETRY, 1, &digests[1], 0, 1000);
    event.role = DRAY_ROLE_CONFIG;
    event.delay_ms = 1500;
    event.error = &error;
    dray_progress_event(progress, &event);
    event = events_layer(DRAY_EVENT_BLOB_FAILED, 1, &digests[1], 0, 1000);
    event.role = DRAY_ROLE_CONFIG;
    event.error = &error;
    dray_progress_event(progress, &event);
    event = events_image(DRAY_EVENT_IMAGE_FAILED);
    event.error = &error;
    dray_progress_event(progress, &event);
    dray_progress_finish(progress);
}

static void plain_lines_tell_every_change(void **state)
{
    struct dray_digest digests[2];
    struct dray_progress *progress;
    struct console_pipe pipe;
    char expected[2048];

    (void)state;
    console_pipe_open(&pipe);
    assert_int_equal(dray_progress_new(DRAY_PROGRESS_AUTO, pipe.console, 1, &progress), DRAY_OK);
    send_pull(progress, digests);
    snprintf(expected, sizeof(expected),
             "docker.io/library/nginx:latest: resolving at https://registry-1.docker.io\n"
             "docker.io/library/nginx:latest: resolved, 1.5 kB\n"
             "docker.io/library/nginx:latest: layer 010101010101: exists\n"
             "docker.io/library/nginx:latest: config 020202020202: resuming at 0.2/1.0 kB\n"
             "docker.io/library/nginx:latest: config 020202020202: retrying in 1.5s: wrong? bytes\n"
             "docker.io/library/nginx:latest: config 020202020202: failed: wrong? bytes\n"
             "docker.io/library/nginx:latest: failed: %s\n",
             dray_code_text(DRAY_EDIGEST));
    assert_string_equal(console_pipe_read(&pipe), expected);
    dray_progress_free(progress);
    console_pipe_close(&pipe);
}

static const char *text_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text ? text : "";
}

static void json_lines_are_objects_with_what_the_event_has(void **state)
{
    struct dray_digest digests[2];
    struct dray_progress *progress;
    struct console_pipe pipe;
    struct dray_log log;
    json_t *lines[16];
    size_t count = 0;
    char *rest;

    (void)state;
    console_pipe_open(&pipe);
    assert_int_equal(dray_progress_new(DRAY_PROGRESS_JSON, pipe.console, 1, &progress), DRAY_OK);
    assert_true(dray_progress_is_json(progress));
    send_pull(progress, digests);
    log = dray_progress_log(progress, DRAY_LOG_WARNING);
    log.write(log.ctx, DRAY_LOG_WARNING, "odd \"mirror\"");
    console_pipe_read(&pipe);
    rest = pipe.text;
    for (char *line; (line = strsep(&rest, "\n")) && *line; count++) {
        assert_null(strpbrk(line, "\033\x7f"));
        lines[count] = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(lines[count]);
    }
    assert_int_equal(count, 10);
    assert_string_equal(text_of(lines[0], "time"), "2023-11-14T22:13:20.042Z");
    assert_string_equal(text_of(lines[0], "event"), dray_event_kind_text(DRAY_EVENT_RESOLVING));
    assert_string_equal(text_of(lines[0], "image"), "docker.io/library/nginx:latest");
    assert_string_equal(text_of(lines[0], "endpoint"), "https://registry-1.docker.io");
    assert_int_equal(json_integer_value(json_object_get(lines[1], "total")), 1500);
    assert_string_equal(text_of(lines[2], "blob"), digests[0].text);
    assert_string_equal(text_of(lines[2], "role"), "layer");
    assert_string_equal(text_of(lines[4], "role"), "config");
    assert_int_equal(json_integer_value(json_object_get(lines[4], "index")), 1);
    assert_int_equal(json_integer_value(json_object_get(lines[4], "current")), 250);
    assert_int_equal(json_integer_value(json_object_get(lines[5], "current")), 500);
    assert_int_equal(json_integer_value(json_object_get(lines[6], "delay_ms")), 1500);
    assert_string_equal(text_of(json_object_get(lines[6], "error"), "text"), "wrong\033 bytes");
    assert_string_equal(text_of(json_object_get(lines[8], "error"), "hint"), "why");
    assert_string_equal(text_of(json_object_get(lines[8], "error"), "code"),
                        dray_code_text(DRAY_EDIGEST));
    assert_string_equal(text_of(lines[9], "event"), "log");
    assert_string_equal(text_of(lines[9], "text"), "odd \"mirror\"");
    for (size_t i = 0; i < count; i++)
        json_decref(lines[i]);
    dray_progress_free(progress);
    console_pipe_close(&pipe);
}

static void frames_come_at_most_ten_times_a_second(void **state)
{
    struct dray_digest digest = events_digest(1);
    struct dray_progress *progress;
    struct console_pipe pipe;
    size_t frames = 0;

    (void)state;
    console_pipe_open(&pipe);
    assert_int_equal(dray_progress_new(DRAY_PROGRESS_TTY, pipe.console, 1, &progress), DRAY_OK);
    for (int64_t t = 0; t < 1000; t += 5) {
        struct dray_event event =
            events_layer(t % 2 ? DRAY_EVENT_BLOB_PROGRESS : DRAY_EVENT_BLOB_STARTED, 0, &digest,
                         (uint64_t)t, 1000);

        progress->face->event(progress, &event, t);
    }
    console_pipe_read(&pipe);
    for (const char *p = pipe.text; (p = strstr(p, "\033[J")); p++)
        frames++;
    assert_in_range(frames, 5, 10);
    dray_progress_free(progress);
    console_pipe_close(&pipe);
}

static void quiet_shows_nothing(void **state)
{
    struct dray_digest digests[2];
    struct dray_progress *progress;
    struct console_pipe pipe;

    (void)state;
    console_pipe_open(&pipe);
    assert_int_equal(dray_progress_new(DRAY_PROGRESS_NONE, pipe.console, 1, &progress), DRAY_OK);
    send_pull(progress, digests);
    assert_string_equal(console_pipe_read(&pipe), "");
    dray_progress_free(progress);
    console_pipe_close(&pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_a_layer_and_one_for_all),
        cmocka_unit_test(no_line_is_wider_than_the_terminal),
        cmocka_unit_test(more_layers_than_rows_show_what_is_active_and_count_the_rest),
        cmocka_unit_test(images_have_titles_when_there_are_several),
        cmocka_unit_test(colours_do_not_change_the_text),
        cmocka_unit_test(plain_lines_tell_every_change),
        cmocka_unit_test(json_lines_are_objects_with_what_the_event_has),
        cmocka_unit_test(frames_come_at_most_ten_times_a_second),
        cmocka_unit_test(quiet_shows_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
