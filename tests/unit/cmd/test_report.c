/* The report: it keeps to its schema, and says what happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cmd/report.h"
#include "tests/unit/cmd/pull_story.h"

/* What stands at a path of keys and numbers, such as "blobs 0 endpoints 1 bytes". */
static json_t *at(json_t *json, const char *path)
{
    char key[64];

    while (*path) {
        size_t len = strcspn(path, " ");

        snprintf(key, sizeof(key), "%.*s", (int)len, path);
        json = json_is_array(json) ? json_array_get(json, strtoul(key, NULL, 10))
                                   : json_object_get(json, key);
        if (!json)
            fail_msg("there is no %s", key);
        path += len + (path[len] == ' ');
    }
    return json;
}

static void expect_text(json_t *json, const char *path, const char *text)
{
    assert_string_equal(json_string_value(at(json, path)), text);
}

static void expect_number(json_t *json, const char *path, json_int_t number)
{
    assert_true(json_is_integer(at(json, path)));
    assert_int_equal(json_integer_value(at(json, path)), number);
}

static char *story_text(void)
{
    struct pull_story story;
    char *text;

    pull_story_begin(&story);
    text = dray_report_text(&story.tally, story.results);
    assert_non_null(text);
    dray_tally_done(&story.tally);
    return text;
}

static void it_keeps_to_its_schema_and_its_numbers_agree(void **state)
{
    char *text = story_text();
    FILE *checker = popen("python3 '" SUPPORT_DIR "/check_report.py' - >&2", "w");

    (void)state;
    assert_non_null(checker);
    assert_true(fputs(text, checker) >= 0);
    assert_int_equal(pclose(checker), 0);
    free(text);
}

static void it_says_how_each_blob_came(void **state)
{
    char *text = story_text();
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    (void)state;
    assert_non_null(json);
    assert_int_equal(json_array_size(at(json, "blobs")), 5);
    expect_text(json, "blobs 0 status", "fetched");
    expect_text(json, "blobs 0 image", "docker.io/library/nginx:latest");
    expect_text(json, "blobs 0 role", "layer");
    expect_number(json, "blobs 0 received", 11001000);
    expect_number(json, "blobs 0 rate", 5162365);
    expect_text(json, "blobs 0 endpoints 1 endpoint", "https://reg.example");
    expect_number(json, "blobs 0 endpoints 1 bytes", 11000000);
    expect_text(json, "blobs 1 status", "present");
    assert_true(json_is_null(at(json, "blobs 1 seconds")));
    expect_text(json, "blobs 2 status", "shared");
    expect_text(json, "blobs 2 role", "config");
    expect_text(json, "blobs 3 status", "failed");
    expect_text(json, "blobs 3 error text", "not UTF-8: ?");
    assert_true(json_is_null(at(json, "blobs 3 first_byte_seconds")));
    expect_text(json, "blobs 4 status", "unfinished");
    expect_number(json, "blobs 4 received", 40);
    json_decref(json);
    free(text);
}

static void it_says_how_each_image_ended_and_what_it_all_took(void **state)
{
    char *text = story_text();
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    (void)state;
    assert_non_null(json);
    expect_text(json, "started", "2025-11-24T16:00:00.123Z");
    expect_text(json, "images 0 status", "new");
    expect_number(json, "images 0 fetched_bytes", 11001000);
    expect_text(json, "images 1 status", "failed");
    expect_text(json, "images 1 error code", dray_code_text(DRAY_EDIGEST));
    assert_true(json_is_null(at(json, "images 1 digest")));
    expect_text(json, "images 2 status", "unchanged");
    expect_text(json, "endpoints 0 endpoint", "http://mirror:5000");
    assert_true(json_is_null(at(json, "endpoints 0 quota")));
    expect_number(json, "endpoints 1 quota remaining", 76);
    assert_true(json_is_null(at(json, "endpoints 1 rate")));
    expect_number(json, "totals images failed", 1);
    expect_number(json, "totals received_bytes", 11001540);
    expect_number(json, "totals present_bytes", 30100000);
    json_decref(json);
    free(text);
}

/* Numbers as they are written: a reader sees 2.131 and not 2.1309999999999998. */
static void times_have_no_more_digits_than_they_mean(void **state)
{
    char *text = story_text();

    (void)state;
    assert_non_null(strstr(text, "\"seconds\": 2.131,\n"));
    assert_non_null(strstr(text, "\"first_byte_seconds\": 0.012,\n"));
    assert_int_equal(text[strlen(text) - 1], '\n');
    for (const char *p = text; *p; p++)
        assert_true(*p > 0); /* ASCII, whatever names and errors hold */
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_keeps_to_its_schema_and_its_numbers_agree),
        cmocka_unit_test(it_says_how_each_blob_came),
        cmocka_unit_test(it_says_how_each_image_ended_and_what_it_all_took),
        cmocka_unit_test(times_have_no_more_digits_than_they_mean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
