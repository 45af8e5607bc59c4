#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/descriptor.h"
#include "core/limits.h"

/* The blob "{}". */
#define EMPTY_DIGEST "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define HEAD         "{\"mediaType\":\"text/plain\",\"digest\":\"" EMPTY_DIGEST "\""

static int read_text(const char *text, struct dray_descriptor *descriptor, struct dray_error *err)
{
    DRAY_AUTO_JSON json_t *object = NULL;

    if (dray_json_parse(text, strlen(text), DRAY_MANIFEST_MAX_BYTES, &object, err) < 0)
        fail_msg("not JSON: %s", text);
    return dray_descriptor_from_json(object, descriptor, err);
}

/* The descriptor is refused with this code, output untouched, and a printable text with want. */
static void assert_refused(const char *text, int code, const char *want)
{
    struct dray_descriptor descriptor = { .size_bytes = 77 };
    struct dray_error err = { 0 };

    assert_int_equal(read_text(text, &descriptor, &err), code);
    assert_int_equal(err.code, code);
    assert_int_equal(descriptor.size_bytes, 77);
    assert_null(descriptor.data);
    for (const char *c = err.text; *c; c++)
        assert_in_range(*c, ' ', '~');
    if (!strstr(err.text, want))
        fail_msg("\"%s\" does not hold \"%s\"", err.text, want);
}

static void a_descriptor_is_read(void **state)
{
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_int_equal(read_text("{\"mediaType\":\"" DRAY_MT_OCI_CONFIG "\",\"size\":7023,"
                               "\"digest\":\"" EMPTY_DIGEST "\",\"annotations\":{\"a\":\"b\"},"
                               "\"artifactType\":\"x/y\",\"unknown\":[1]}",
                               &descriptor, NULL),
                     DRAY_OK);
    assert_string_equal(descriptor.media_type, DRAY_MT_OCI_CONFIG);
    assert_string_equal(descriptor.digest.text, EMPTY_DIGEST);
    assert_int_equal(descriptor.size_bytes, 7023);
    assert_null(descriptor.data);
    assert_false(descriptor.has_platform);
    dray_descriptor_done(&descriptor);
    assert_int_equal(descriptor.size_bytes, 0);
}

static void members_must_be_there_and_of_their_type(void **state)
{
    (void)state;
    assert_refused("[]", DRAY_EPROTO, "not an object");
    assert_refused("{}", DRAY_EPROTO, "mediaType");
    assert_refused("{\"mediaType\":\"\",\"size\":1,\"digest\":\"" EMPTY_DIGEST "\"}", DRAY_EPROTO,
                   "mediaType");
    assert_refused("{\"mediaType\":5,\"size\":1,\"digest\":\"" EMPTY_DIGEST "\"}", DRAY_EPROTO,
                   "mediaType");
    assert_refused("{\"mediaType\":\"a/b\",\"size\":1}", DRAY_EPROTO, "digest");
    assert_refused("{\"mediaType\":\"a/b\",\"size\":1,\"digest\":[]}", DRAY_EPROTO, "digest");
    assert_refused(HEAD "}", DRAY_EPROTO, "size");
    assert_refused(HEAD ",\"size\":1,\"platform\":[]}", DRAY_EPROTO, "platform");
    assert_refused(HEAD ",\"size\":1,\"platform\":{\"os\":1}}", DRAY_EPROTO, "platform: os");
    assert_refused(HEAD ",\"size\":1,\"data\":1}", DRAY_EPROTO, "data");
}

static void a_missing_object_is_refused(void **state)
{
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_int_equal(dray_descriptor_from_json(NULL, &descriptor, NULL), DRAY_EPROTO);
}

/* H-34 */
static void sizes_out_of_range_are_refused(void **state)
{
    static const char *const sizes[] = { "-1",
                                         "-9223372036854775808",
                                         "9223372036854775807",
                                         "1.5",
                                         "1125899906842625",
                                         "1e3",
                                         "1.0",
                                         "\"1\"",
                                         "null",
                                         "true" };
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), HEAD ",\"size\":%s}", sizes[i]);
        assert_refused(text, DRAY_EPROTO, "size");
    }
    assert_int_equal(read_text(HEAD ",\"size\":1125899906842624}", &descriptor, NULL), DRAY_OK);
    assert_true(descriptor.size_bytes == DRAY_BLOB_MAX_BYTES);
    assert_int_equal(read_text(HEAD ",\"size\":0}", &descriptor, NULL), DRAY_OK);
    assert_int_equal(descriptor.size_bytes, 0);
}

/* H-37 */
static void digests_are_read_strictly(void **state)
{
    static const struct {
        const char *digest;
        int code;
    } cases[] = {
        { "sha256:../../x", DRAY_EPROTO },
        { "sha256:44136FA355B3678A1146AD16F7E8649E94FB4FC21FE77E8310C060F61CAAFF8A", DRAY_EPROTO },
        { "sha256:44136fa355b3678a", DRAY_EPROTO },
        { "", DRAY_EPROTO },
        { "\\u001b[31m:00", DRAY_EPROTO },
        { "blake3:44136fa355b3678a1146ad16f7e8649e", DRAY_EUNSUPPORTED },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), "{\"mediaType\":\"a/b\",\"size\":1,\"digest\":\"%s\"}",
                 cases[i].digest);
        assert_refused(text, cases[i].code, "digest");
    }
}

static void a_media_type_is_printable_and_bounded(void **state)
{
    char text[512];
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_refused("{\"mediaType\":\"a/b\\r\\nX-Evil: 1\",\"size\":1,\"digest\":\"" EMPTY_DIGEST
                   "\"}",
                   DRAY_EPROTO, "mediaType");
    assert_refused("{\"mediaType\":\"a/\xc3\xa9\",\"size\":1,\"digest\":\"" EMPTY_DIGEST "\"}",
                   DRAY_EPROTO, "mediaType");
    snprintf(text, sizeof(text), "{\"mediaType\":\"%0255d\",\"size\":1,\"digest\":\"%s\"}", 0,
             EMPTY_DIGEST);
    assert_int_equal(read_text(text, &descriptor, NULL), DRAY_OK);
    assert_int_equal(strlen(descriptor.media_type), DRAY_MEDIA_TYPE_MAX);
    snprintf(text, sizeof(text), "{\"mediaType\":\"%0256d\",\"size\":1,\"digest\":\"%s\"}", 0,
             EMPTY_DIGEST);
    assert_refused(text, DRAY_EPROTO, "mediaType");
}

static void the_platform_is_normalised(void **state)
{
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_int_equal(read_text(HEAD ",\"size\":1,\"platform\":{\"os\":\"linux\","
                                    "\"architecture\":\"aarch64\",\"variant\":\"v8\","
                                    "\"os.version\":\"1\"}}",
                               &descriptor, NULL),
                     DRAY_OK);
    assert_true(descriptor.has_platform);
    assert_string_equal(descriptor.platform.os, "linux");
    assert_string_equal(descriptor.platform.architecture, "arm64");
    assert_string_equal(descriptor.platform.variant, "");
}

static void a_platform_that_is_null_is_absent(void **state)
{
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_int_equal(
        read_text(HEAD ",\"size\":1,\"platform\":null,\"data\":null}", &descriptor, NULL), DRAY_OK);
    assert_false(descriptor.has_platform);
    assert_null(descriptor.data);
}

static void a_platform_that_holds_control_characters_is_refused(void **state)
{
    (void)state;
    assert_refused(HEAD ",\"size\":1,\"platform\":{\"os\":\"\\u001b[2J\"}}", DRAY_EPROTO,
                   "platform: os");
    assert_refused(HEAD ",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":"
                        "\"0123456789012345678901234567890123456789012345678901234567890123\"}}",
                   DRAY_EPROTO, "platform: architecture");
}

static void inline_data_is_decoded(void **state)
{
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_int_equal(read_text(HEAD ",\"size\":2,\"data\":\"e30=\"}", &descriptor, NULL), DRAY_OK);
    assert_non_null(descriptor.data);
    assert_memory_equal(descriptor.data, "{}", 2);
    dray_descriptor_done(&descriptor);
    assert_null(descriptor.data);
    dray_descriptor_done(&descriptor);
}

static void inline_data_of_no_bytes_is_data(void **state)
{
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_int_equal(
        read_text("{\"mediaType\":\"a/b\",\"size\":0,\"data\":\"\",\"digest\":\"sha256:"
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"}",
                  &descriptor, NULL),
        DRAY_OK);
    assert_non_null(descriptor.data);
    dray_descriptor_done(&descriptor);
}

/* H-39 */
static void inline_data_that_differs_is_refused(void **state)
{
    (void)state;
    assert_refused(HEAD ",\"size\":2,\"data\":\"e31=\"}", DRAY_EPROTO, "base64"); /* stray bits */
    assert_refused(HEAD ",\"size\":2,\"data\":\"fXs=\"}", DRAY_EDIGEST, "data: ");
    assert_refused(HEAD ",\"size\":3,\"data\":\"e30=\"}", DRAY_EDIGEST, "data has 2 bytes");
    assert_refused(HEAD ",\"size\":1,\"data\":\"e30=\"}", DRAY_EDIGEST, "size says 1");
    assert_refused(HEAD ",\"size\":1125899906842624,\"data\":\"e30=\"}", DRAY_EDIGEST, "data has");
    assert_refused(HEAD ",\"size\":2,\"data\":\"\"}", DRAY_EDIGEST, "data has 0 bytes");
}

static void inline_data_that_is_not_base64_is_refused(void **state)
{
    static const char *const texts[] = { "e30", "e30==", "e3 0=", "e30=\\n", "e-_=", "=", "*" };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char text[256];

        snprintf(text, sizeof(text), HEAD ",\"size\":2,\"data\":\"%s\"}", texts[i]);
        assert_refused(text, DRAY_EPROTO, "base64");
    }
}

/* H-40 */
static void foreign_urls_are_ignored(void **state)
{
    struct dray_descriptor descriptor = { 0 };

    (void)state;
    assert_int_equal(
        read_text(HEAD ",\"size\":2,\"urls\":[\"file:///etc/passwd\",5]}", &descriptor, NULL),
        DRAY_OK);
}

static void media_types_are_compared_without_parameters_and_case(void **state)
{
    (void)state;
    assert_true(dray_media_type_is("application/json", "application/json"));
    assert_true(dray_media_type_is("Application/JSON; charset=utf-8", "application/json"));
    assert_true(dray_media_type_is("application/json \t;x", "application/json"));
    assert_false(dray_media_type_is("application/jsonx", "application/json"));
    assert_false(dray_media_type_is("application/jso", "application/json"));
    assert_false(dray_media_type_is("application;/json", "application/json"));
    assert_false(dray_media_type_is("", "application/json"));
    assert_false(dray_media_type_is(";", "application/json"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_is_read),
        cmocka_unit_test(members_must_be_there_and_of_their_type),
        cmocka_unit_test(a_missing_object_is_refused),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(digests_are_read_strictly),
        cmocka_unit_test(a_media_type_is_printable_and_bounded),
        cmocka_unit_test(the_platform_is_normalised),
        cmocka_unit_test(a_platform_that_is_null_is_absent),
        cmocka_unit_test(a_platform_that_holds_control_characters_is_refused),
        cmocka_unit_test(inline_data_is_decoded),
        cmocka_unit_test(inline_data_of_no_bytes_is_data),
        cmocka_unit_test(inline_data_that_differs_is_refused),
        cmocka_unit_test(inline_data_that_is_not_base64_is_refused),
        cmocka_unit_test(foreign_urls_are_ignored),
        cmocka_unit_test(media_types_are_compared_without_parameters_and_case),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
