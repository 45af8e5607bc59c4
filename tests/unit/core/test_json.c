#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/json.h"
#include "core/limits.h"

static int parse(const void *data, size_t len, struct dray_error *err)
{
    DRAY_AUTO_JSON json_t *json = NULL;
    int rc = dray_json_parse(data, len, DRAY_MANIFEST_MAX_BYTES, &json, err);

    assert_int_equal(json != NULL, rc == DRAY_OK);
    return rc;
}

/* The document is refused, and the text is printable and holds want. */
static void assert_refused(const void *data, size_t len, const char *want)
{
    struct dray_error err = { 0 };

    assert_int_equal(parse(data, len, &err), DRAY_EPROTO);
    assert_int_equal(err.code, DRAY_EPROTO);
    for (const char *c = err.text; *c; c++)
        assert_in_range(*c, ' ', '~');
    if (!strstr(err.text, want))
        fail_msg("\"%s\" does not hold \"%s\"", err.text, want);
}

static void append(struct dray_buf *buf, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        assert_int_equal(dray_buf_append(buf, text, strlen(text), SIZE_MAX - 1), DRAY_OK);
}

static void a_document_is_parsed(void **state)
{
    static const char text[] = " {\"a\": [1, -2.5e3, true, null, \"\\u00e9\\\"]\"], \"b\": {}} \n";
    DRAY_AUTO_JSON json_t *json = NULL;
    const json_t *a;

    (void)state;
    assert_int_equal(dray_json_parse(text, strlen(text), strlen(text), &json, NULL), DRAY_OK);
    a = json_object_get(json, "a");
    assert_int_equal(json_array_size(a), 5);
    assert_int_equal(json_integer_value(json_array_get(a, 0)), 1);
    assert_string_equal(json_string_value(json_array_get(a, 4)), "\xc3\xa9\"]");
}

static void the_document_need_not_end_with_nul(void **state)
{
    char *exact = malloc(2);

    (void)state;
    assert_non_null(exact);
    memcpy(exact, "[]", 2);
    assert_int_equal(parse(exact, 2, NULL), DRAY_OK);
    memcpy(exact, "[\"", 2);
    assert_refused(exact, 2, "ends too early");
    memcpy(exact, "\"\\", 2);
    assert_refused(exact, 2, "");
    free(exact);
}

/* H-34 */
static void an_empty_document_is_refused(void **state)
{
    (void)state;
    assert_refused(NULL, 0, "empty");
    assert_refused(" \n", 2, "ends too early");
}

static void a_document_over_the_limit_is_refused_unread(void **state)
{
    struct dray_error err = { 0 };
    json_t *json = NULL;

    (void)state;
    assert_int_equal(dray_json_parse("[1] ", 4, 3, &json, &err), DRAY_EPROTO);
    assert_null(json);
    assert_non_null(strstr(err.text, "4 bytes"));
    assert_non_null(strstr(err.text, "3 allowed"));
}

static void malformed_documents_are_refused(void **state)
{
    static const char *const documents[] = {
        "{",     "[1,]",      "{\"a\"}",     "{\"a\":}",      "{a:1}",    "[1}",
        "]",     "[01]",      "[+1]",        "[.5]",          "[1.]",     "[0x1]",
        "['a']", "[nul]",     "[NaN]",       "[-NaN]",        "[NAN]",    "[Infinity]",
        "[tru]", "[\"\\x\"]", "[\"\\u12\"]", "[\"\\ud800\"]", "[\"\t\"]", "[\"\n\"]",
        "[1 2]", "/**/[]",    "[:::::]",     "\"text\"",      "1",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++)
        assert_refused(documents[i], strlen(documents[i]), "JSON line ");
}

static void bytes_after_the_document_are_refused(void **state)
{
    (void)state;
    assert_refused("{}{}", 4, "follows the document");
    assert_refused("{} x", 4, "follows the document");
    assert_refused("{}\0", 3, "follows the document");
}

static void a_key_given_twice_is_refused(void **state)
{
    static const char text[] = "{\"size\":1,\n\"size\":2}";
    static const char escaped[] = "{\"a\":1,\"\\u0061\":2}";

    (void)state;
    assert_refused(text, strlen(text), "JSON line 2, column 6: the same key twice");
    assert_refused(escaped, strlen(escaped), "the same key twice");
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    assert_refused("[\"\xff\"]", 5, "not UTF-8");
    assert_refused("[\"\xc0\x80\"]", 6, "not UTF-8");         /* overlong */
    assert_refused("[\"\xed\xa0\x80\"]", 7, "not UTF-8");     /* surrogate */
    assert_refused("[\"\xe2\x82", 4, "not UTF-8");            /* cut */
    assert_refused("\xef\xbb\xbf{}", 5, "line 1, column 1:"); /* byte order mark */
    assert_refused("\xff\xfe{\0}\0", 6, "not UTF-8");         /* UTF-16 */
}

static void a_nul_character_is_refused(void **state)
{
    static const char value[] = "{\"a\":\"sha256\\u0000x\"}";
    static const char key[] = "{\"a\\u0000b\":1}";

    (void)state;
    assert_refused(value, strlen(value), "NUL");
    assert_refused(key, strlen(key), "NUL");
    assert_refused("[\"\0\"]", 5, "JSON line 1");
    assert_refused("[\0]", 3, "JSON line 1");
}

static void a_number_that_does_not_fit_is_refused(void **state)
{
    static const char *const documents[] = { "[9223372036854775808]", "[-9223372036854775809]",
                                             "[99999999999999999999999999]", "[1e999]" };

    (void)state;
    for (size_t i = 0; i < sizeof(documents) / sizeof(documents[0]); i++)
        assert_refused(documents[i], strlen(documents[i]), "a number too large");
    assert_int_equal(parse("[9223372036854775807]", 21, NULL), DRAY_OK);
}

static void the_text_never_quotes_the_document(void **state)
{
    static const char text[] = "{\"a\": \033]0;owned\007}";

    (void)state;
    assert_refused(text, strlen(text), "JSON line 1, column ");
}

static void nesting_is_limited(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;

    (void)state;
    append(&buf, "[", DRAY_JSON_MAX_DEPTH);
    append(&buf, "]", DRAY_JSON_MAX_DEPTH);
    assert_int_equal(parse(buf.data, buf.len, NULL), DRAY_OK);

    dray_buf_reset(&buf);
    append(&buf, "{\"a\":\n", DRAY_JSON_MAX_DEPTH);
    append(&buf, "{}", 1);
    append(&buf, "}", DRAY_JSON_MAX_DEPTH);
    assert_refused(buf.data, buf.len, "JSON line 65, column 1: nested too deeply");

    dray_buf_reset(&buf);
    append(&buf, "[", 1000000);
    assert_refused(buf.data, buf.len, "JSON line 1, column 65: nested too deeply");
}

static void the_number_of_values_is_limited(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;

    (void)state;
    append(&buf, "[1", 1);
    append(&buf, ",[]", DRAY_JSON_MAX_VALUES - 2); /* with the outer array and the 1 */
    append(&buf, "]", 1);
    assert_int_equal(parse(buf.data, buf.len, NULL), DRAY_OK);

    buf.data[buf.len - 1] = ',';
    append(&buf, "1]", 1);
    assert_refused(buf.data, buf.len, "too many values");

    dray_buf_reset(&buf);
    append(&buf, "[{}", 1);
    append(&buf, ",[1]", DRAY_JSON_MAX_VALUES / 2);
    append(&buf, "]", 1);
    assert_refused(buf.data, buf.len, "too many values");
}

static void brackets_and_commas_in_strings_do_not_count(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;

    (void)state;
    append(&buf, "[\"\\\\\\\"", 1);
    append(&buf, "[{,", DRAY_JSON_MAX_VALUES);
    append(&buf, "\"]", 1);
    assert_int_equal(parse(buf.data, buf.len, NULL), DRAY_OK);
}

static void columns_count_characters(void **state)
{
    static const char text[] = "[\n\"\xc3\xa9\xe2\x82\xac\", x]";

    (void)state;
    assert_refused(text, strlen(text), "JSON line 2, column 7:");
}

/* Jansson's memory, of which the given allocation fails. */
static struct {
    size_t fail_at;
    size_t made;
    size_t live;
} heap;

static void *fragile_malloc(size_t size)
{
    void *memory = heap.made++ == heap.fail_at ? NULL : malloc(size);

    heap.live += memory != NULL;
    return memory;
}

static void counting_free(void *memory)
{
    heap.live -= memory != NULL;
    free(memory);
}

/* Every token is shorter than 16 bytes: Jansson 2.14 does not notice when the buffer in which it
 * collects a longer one cannot grow. */
static void every_failing_allocation_is_an_error_without_a_leak(void **state)
{
    static const char text[] =
        "{\"a\":[1,2.5,\"b\",[],{\"c\":{}},3,4,5,6,7,8,9],\"d\":\"e\",\"f\":0,"
        "\"g\":1,\"h\":2,\"i\":3,\"j\":4,\"k\":5,\"l\":6,\"m\":7}";
    json_malloc_t old_malloc;
    json_free_t old_free;
    size_t failed = 0;
    size_t leaked = 0;
    int rc = DRAY_EINVAL;

    (void)state;
    json_get_alloc_funcs(&old_malloc, &old_free);
    json_set_alloc_funcs(fragile_malloc, counting_free);
    for (heap.fail_at = 0; rc < 0 && heap.fail_at < 1000; heap.fail_at++) {
        json_t *json = NULL;

        heap.made = 0;
        rc = dray_json_parse(text, strlen(text), strlen(text), &json, NULL);
        failed += rc < 0;
        json_decref(json);
        leaked += heap.live;
        heap.live = 0;
    }
    json_set_alloc_funcs(old_malloc, old_free);

    assert_int_equal(rc, DRAY_OK);
    assert_int_equal(leaked, 0);
    assert_true(failed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_is_parsed),
        cmocka_unit_test(the_document_need_not_end_with_nul),
        cmocka_unit_test(an_empty_document_is_refused),
        cmocka_unit_test(a_document_over_the_limit_is_refused_unread),
        cmocka_unit_test(malformed_documents_are_refused),
        cmocka_unit_test(bytes_after_the_document_are_refused),
        cmocka_unit_test(a_key_given_twice_is_refused),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(a_nul_character_is_refused),
        cmocka_unit_test(a_number_that_does_not_fit_is_refused),
        cmocka_unit_test(the_text_never_quotes_the_document),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(the_number_of_values_is_limited),
        cmocka_unit_test(brackets_and_commas_in_strings_do_not_count),
        cmocka_unit_test(columns_count_characters),
        cmocka_unit_test(every_failing_allocation_is_an_error_without_a_leak),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
