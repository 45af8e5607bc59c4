#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/image_config.h"
#include "core/limits.h"

#define DIFF_A "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define DIFF_B "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ROOTFS "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIFF_A "\",\"" DIFF_B "\"]}"

static int parse(const char *text, struct dray_image_config **ret_config, struct dray_error *err)
{
    return dray_image_config_parse(text, strlen(text), ret_config, err);
}

static void assert_accepted(const char *text)
{
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
    struct dray_error err = { 0 };

    if (parse(text, &config, &err) != DRAY_OK)
        fail_msg("%s: %s", text, err.text);
}

static void assert_refused(const char *text, int code, const char *want)
{
    struct dray_image_config *config = NULL;
    struct dray_error err = { 0 };

    assert_int_equal(parse(text, &config, &err), code);
    assert_null(config);
    assert_int_equal(err.code, code);
    for (const char *c = err.text; *c; c++)
        assert_in_range(*c, ' ', '~');
    if (!strstr(err.text, want))
        fail_msg("\"%s\" does not hold \"%s\"", err.text, want);
}

static void a_config_is_read(void **state)
{
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;

    (void)state;
    assert_int_equal(parse("{\"created\":\"2015-10-31T22:22:56.015925234Z\",\"author\":\"x\","
                           "\"os\":\"linux\",\"architecture\":\"aarch64\",\"variant\":\"v8\","
                           "\"config\":{\"Env\":[\"A=b\"],\"Volumes\":{\"/\":{}}}," ROOTFS ","
                           "\"history\":[{\"created_by\":\"ADD\"},{\"empty_layer\":true},"
                           "{\"empty_layer\":false}]}",
                           &config, NULL),
                     DRAY_OK);
    assert_string_equal(config->platform.os, "linux");
    assert_string_equal(config->platform.architecture, "arm64");
    assert_string_equal(config->platform.variant, "");
    assert_string_equal(config->created, "2015-10-31T22:22:56.015925234Z");
    assert_int_equal(config->diff_id_count, 2);
    assert_string_equal(config->diff_ids[0].text, DIFF_A);
    assert_string_equal(config->diff_ids[1].text, DIFF_B);
}

static void a_config_without_layers_is_read(void **state)
{
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;

    (void)state;
    assert_accepted("{\"rootfs\":{\"type\":\"layers\"}}");
    assert_accepted("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}");
    assert_int_equal(parse("{\"os\":null,\"history\":null,\"rootfs\":{\"type\":\"layers\","
                           "\"diff_ids\":null}}",
                           &config, NULL),
                     DRAY_OK);
    assert_int_equal(config->diff_id_count, 0);
    assert_string_equal(config->platform.os, "");
    assert_string_equal(config->created, "");
}

static void a_config_needs_a_rootfs_of_layers(void **state)
{
    (void)state;
    assert_refused("{}", DRAY_EPROTO, "rootfs"); /* H-42: the empty config of artifacts */
    assert_refused("[]", DRAY_EPROTO, "rootfs");
    assert_refused("{\"rootfs\":[]}", DRAY_EPROTO, "rootfs");
    assert_refused("{\"rootfs\":{\"diff_ids\":[]}}", DRAY_EPROTO, "rootfs");
    assert_refused("{\"rootfs\":{\"type\":\"layers+base\"}}", DRAY_EPROTO, "rootfs");
    assert_refused("{\"rootfs\":{\"type\":1}}", DRAY_EPROTO, "rootfs");
}

static void malformed_configs_are_refused(void **state)
{
    (void)state;
    assert_refused("", DRAY_EPROTO, "empty");
    assert_refused("{" ROOTFS "," ROOTFS "}", DRAY_EPROTO, "twice");
    assert_refused("{" ROOTFS ",\"os\":7}", DRAY_EPROTO, "os is not a string");
    assert_refused("{" ROOTFS ",\"os\":\"li\\nnux\"}", DRAY_EPROTO, "os holds");
    assert_refused("{" ROOTFS ",\"variant\":"
                   "\"0123456789012345678901234567890123456789012345678901234567890123\"}",
                   DRAY_EPROTO, "variant has more than 63");
    assert_refused("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":{}}}", DRAY_EPROTO, "diff_ids");
    assert_refused("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" DIFF_A "\",1]}}",
                   DRAY_EPROTO, "diff_ids[1]");
    assert_refused("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:../../x\"]}}",
                   DRAY_EPROTO, "diff_ids[0]");
    assert_refused("{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"blake3:00\"]}}",
                   DRAY_EUNSUPPORTED, "diff_ids[0]");
    assert_refused("{" ROOTFS ",\"history\":{}}", DRAY_EPROTO, "history is not an array");
    assert_refused("{" ROOTFS ",\"history\":[1]}", DRAY_EPROTO, "history[0]");
    assert_refused("{" ROOTFS ",\"history\":[{},{\"empty_layer\":\"true\"}]}", DRAY_EPROTO,
                   "history[1]");
}

static void a_config_that_is_too_large_is_refused(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    struct dray_image_config *config = NULL;
    char blanks[4096];

    (void)state;
    memset(blanks, ' ', sizeof(blanks));
    while (buf.len <= DRAY_CONFIG_MAX_BYTES)
        assert_int_equal(dray_buf_append(&buf, blanks, sizeof(blanks), SIZE_MAX - 1), DRAY_OK);
    memcpy(buf.data, "{" ROOTFS "}", strlen("{" ROOTFS "}"));
    assert_int_equal(dray_image_config_parse(buf.data, DRAY_CONFIG_MAX_BYTES + 1, &config, NULL),
                     DRAY_EPROTO);
    assert_int_equal(dray_image_config_parse(buf.data, DRAY_CONFIG_MAX_BYTES, &config, NULL),
                     DRAY_OK);
    dray_image_config_free(config);
}

static void the_number_of_diff_ids_is_limited(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
    size_t end;

    (void)state;
    assert_int_equal(
        dray_buf_appendf(&buf, "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"", DIFF_A),
        DRAY_OK);
    for (int i = 1; i < DRAY_LAYERS_MAX; i++)
        assert_int_equal(dray_buf_appendf(&buf, ",\"%s\"", DIFF_A), DRAY_OK);
    end = buf.len;
    assert_int_equal(dray_buf_appendf(&buf, "]}}"), DRAY_OK);
    assert_int_equal(dray_image_config_parse(buf.data, buf.len, &config, NULL), DRAY_OK);
    assert_int_equal(config->diff_id_count, DRAY_LAYERS_MAX);

    buf.len = end;
    assert_int_equal(dray_buf_appendf(&buf, ",\"%s\"]}}", DIFF_A), DRAY_OK);
    assert_refused(dray_buf_text(&buf), DRAY_EPROTO, "4097 diff_ids");
}

/* I-3 */
static void history_tells_of_no_more_layers_than_there_are(void **state)
{
    (void)state;
    assert_accepted("{" ROOTFS ",\"history\":[]}");
    assert_accepted("{" ROOTFS ",\"history\":[{},{}]}");
    assert_accepted("{" ROOTFS ",\"history\":[{},{\"empty_layer\":true},{\"empty_layer\":null}]}");
    assert_refused("{" ROOTFS ",\"history\":[{},{},{\"empty_layer\":false}]}", DRAY_EPROTO,
                   "history tells of 3 layers, diff_ids of 2");
    assert_refused("{\"rootfs\":{\"type\":\"layers\"},\"history\":[{}]}", DRAY_EPROTO, "history");
}

static void created_is_kept_only_if_it_is_a_date(void **state)
{
    static const struct {
        const char *text;
        bool is_date;
    } cases[] = {
        { "\"2024-02-29T23:59:60Z\"", true },
        { "\"0001-01-01T00:00:00Z\"", true },
        { "\"2024-01-01T00:00:00.1-23:59\"", true },
        { "\"2024-01-01T00:00:00+00:00\"", true },
        { "\"2024-01-01T00:00:00\"", false },
        { "\"2024-01-01T00:00:00.Z\"", false },
        { "\"2024-01-01T00:00:00Zx\"", false },
        { "\"2024-01-01T00:00:00+00:00x\"", false },
        { "\"2024-01-01T00:00:00+24:00\"", false },
        { "\"2024-01-01 00:00:00Z\"", false },
        { "\"2024-13-01T00:00:00Z\"", false },
        { "\"2024-00-01T00:00:00Z\"", false },
        { "\"2024-01-32T00:00:00Z\"", false },
        { "\"2024-01-01T24:00:00Z\"", false },
        { "\"2024-01-01T00:60:00Z\"", false },
        { "\"2024\"", false },
        { "\"yesterday\\u001b[2J\"", false },
        { "\"\"", false },
        { "\"2024-01-01T00:00:00.00000000000000000000000000000000000000000000000000Z\"", false },
        { "1700000000", false },
        { "null", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
        char text[512];

        snprintf(text, sizeof(text), "{\"created\":%s," ROOTFS "}", cases[i].text);
        assert_int_equal(parse(text, &config, NULL), DRAY_OK);
        if (cases[i].is_date)
            assert_memory_equal(config->created, cases[i].text + 1, strlen(cases[i].text) - 2);
        else if (config->created[0] != '\0')
            fail_msg("%s was taken for a date", cases[i].text);
    }
}

static void a_config_must_have_a_diff_id_for_each_layer(void **state)
{
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
    struct dray_manifest manifest = { .layer_count = 2 };
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(parse("{" ROOTFS "}", &config, NULL), DRAY_OK);
    assert_int_equal(dray_image_config_check(config, &manifest, &err), DRAY_OK);
    manifest.layer_count = 1;
    assert_int_equal(dray_image_config_check(config, &manifest, &err), DRAY_EPROTO);
    assert_non_null(strstr(err.text, "1 layers"));
    manifest.layer_count = 3;
    assert_int_equal(dray_image_config_check(config, &manifest, &err), DRAY_EPROTO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_config_is_read),
        cmocka_unit_test(a_config_without_layers_is_read),
        cmocka_unit_test(a_config_needs_a_rootfs_of_layers),
        cmocka_unit_test(malformed_configs_are_refused),
        cmocka_unit_test(a_config_that_is_too_large_is_refused),
        cmocka_unit_test(the_number_of_diff_ids_is_limited),
        cmocka_unit_test(history_tells_of_no_more_layers_than_there_are),
        cmocka_unit_test(created_is_kept_only_if_it_is_a_date),
        cmocka_unit_test(a_config_must_have_a_diff_id_for_each_layer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
