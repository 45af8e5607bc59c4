/* The byte buffer: grows up to a ceiling, never past it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/buffer.h"

static void appended_bytes_are_kept_in_order(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;

    (void)state;
    for (unsigned i = 0; i < 3000; i++) {
        uint8_t byte = (uint8_t)i;

        assert_int_equal(dray_buf_append(&buf, &byte, 1, SIZE_MAX - 1), DRAY_OK);
    }
    assert_int_equal(buf.len, 3000);
    for (unsigned i = 0; i < 3000; i++)
        assert_int_equal(buf.data[i], (uint8_t)i);
    assert_int_equal(buf.data[3000], 0);
}

static void nothing_is_appended_past_the_ceiling(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;

    (void)state;
    assert_int_equal(dray_buf_append(&buf, "12345", 5, 8), DRAY_OK);
    assert_int_equal(dray_buf_append(&buf, "6789", 4, 8), DRAY_EPROTO);
    assert_string_equal(dray_buf_text(&buf), "12345");
    assert_int_equal(dray_buf_append(&buf, "678", 3, 8), DRAY_OK);
    assert_int_equal(dray_buf_append(&buf, "9", 1, 8), DRAY_EPROTO);
    assert_int_equal(dray_buf_append(&buf, "x", SIZE_MAX, 8), DRAY_EPROTO);
    assert_string_equal(dray_buf_text(&buf), "12345678");
}

static void formatted_text_is_appended_whole(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    char wide[1000];

    (void)state;
    memset(wide, 'w', sizeof(wide) - 1);
    wide[sizeof(wide) - 1] = '\0';
    assert_int_equal(dray_buf_appendf(&buf, "%d-", 7), DRAY_OK);
    assert_int_equal(dray_buf_appendf(&buf, "%s", wide), DRAY_OK);
    assert_int_equal(buf.len, 2 + 999);
    assert_memory_equal(buf.data, "7-www", 5);
}

static void an_empty_buffer_reads_as_empty_text(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;

    (void)state;
    assert_string_equal(dray_buf_text(&buf), "");
    assert_int_equal(dray_buf_append(&buf, NULL, 0, 0), DRAY_OK);
    assert_string_equal(dray_buf_text(&buf), "");
    assert_int_equal(dray_buf_append(&buf, "abc", 3, 3), DRAY_OK);
    dray_buf_reset(&buf);
    assert_string_equal(dray_buf_text(&buf), "");
    dray_buf_done(&buf);
    assert_null(buf.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_bytes_are_kept_in_order),
        cmocka_unit_test(nothing_is_appended_past_the_ceiling),
        cmocka_unit_test(formatted_text_is_appended_whole),
        cmocka_unit_test(an_empty_buffer_reads_as_empty_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
