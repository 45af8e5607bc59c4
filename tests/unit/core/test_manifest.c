#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/limits.h"
#include "core/manifest.h"

/* The blob "{}". */
#define EMPTY_DIGEST "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

#define OCI_CONFIG                                                                                 \
    "\"config\":{\"mediaType\":\"" DRAY_MT_OCI_CONFIG "\",\"size\":2,\"digest\":\"" EMPTY_DIGEST   \
    "\"}"
#define IMAGE    "{\"schemaVersion\":2," OCI_CONFIG ",\"layers\":[]}"
#define INDEX    "{\"schemaVersion\":2,\"manifests\":[]}"
#define LAYER_MT "application/vnd.oci.image.layer.v1.tar+gzip"

static int parse(const char *text, const char *content_type, struct dray_manifest **ret_manifest,
                 struct dray_error *err)
{
    return dray_manifest_parse(text, strlen(text), content_type, ret_manifest, err);
}

static void assert_refused(const char *text, const char *content_type, int code, const char *want)
{
    struct dray_manifest *manifest = NULL;
    struct dray_error err = { 0 };

    assert_int_equal(parse(text, content_type, &manifest, &err), code);
    assert_null(manifest);
    assert_int_equal(err.code, code);
    for (const char *c = err.text; *c; c++)
        assert_in_range(*c, ' ', '~');
    if (!strstr(err.text, want))
        fail_msg("\"%s\" does not hold \"%s\"", err.text, want);
}

static void assert_media_type(const char *text, const char *content_type, const char *want)
{
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;

    assert_int_equal(parse(text, content_type, &manifest, NULL), DRAY_OK);
    assert_string_equal(manifest->media_type, want);
}

static void append(struct dray_buf *buf, const char *text)
{
    assert_int_equal(dray_buf_append(buf, text, strlen(text), SIZE_MAX - 1), DRAY_OK);
}

/* One descriptor; its digest is number, its platform is "" for none or "os/architecture". */
static void append_entry(struct dray_buf *buf, const char *media_type, unsigned number,
                         uint64_t size, const char *platform)
{
    const char *slash = strchr(platform, '/');

    assert_int_equal(dray_buf_appendf(buf,
                                      "%s{\"mediaType\":\"%s\",\"size\":%llu,\"digest\":"
                                      "\"sha256:%064x\"",
                                      buf->data[buf->len - 1] == '[' ? "" : ",", media_type,
                                      (unsigned long long)size, number),
                     DRAY_OK);
    if (slash)
        assert_int_equal(dray_buf_appendf(buf,
                                          ",\"platform\":{\"os\":\"%.*s\",\"architecture\":\"%s\"}",
                                          (int)(slash - platform), platform, slash + 1),
                         DRAY_OK);
    append(buf, "}");
}

static void begin_layers(struct dray_buf *buf)
{
    append(buf, "{\"schemaVersion\":2," OCI_CONFIG ",\"layers\":[");
}

static void begin_index(struct dray_buf *buf)
{
    append(buf, "{\"schemaVersion\":2,\"manifests\":[");
}

static int end_and_parse(struct dray_buf *buf, struct dray_manifest **ret_manifest,
                         struct dray_error *err)
{
    append(buf, "]}");
    return dray_manifest_parse(buf->data, buf->len, "", ret_manifest, err);
}

static void an_image_manifest_is_read(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;

    (void)state;
    begin_layers(&buf);
    append_entry(&buf, LAYER_MT, 2, 200, "");
    append_entry(&buf, LAYER_MT, 1, 100, "");
    assert_int_equal(end_and_parse(&buf, &manifest, NULL), DRAY_OK);

    assert_int_equal(manifest->kind, DRAY_MANIFEST_IMAGE);
    assert_string_equal(manifest->config.digest.text, EMPTY_DIGEST);
    assert_true(dray_media_type_is_config(manifest->config.media_type));
    assert_int_equal(manifest->layer_count, 2);
    assert_int_equal(manifest->layers[0].size_bytes, 200); /* the document's order */
    assert_int_equal(manifest->layers[1].size_bytes, 100);
    assert_string_equal(manifest->layers[1].media_type, LAYER_MT);
    assert_int_equal(manifest->manifest_count, 0);
}

static void a_docker_manifest_is_read(void **state)
{
    static const char text[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" DRAY_MT_DOCKER_MANIFEST "\",\"config\":{"
        "\"mediaType\":\"" DRAY_MT_DOCKER_CONFIG "\",\"size\":2,\"digest\":\"" EMPTY_DIGEST
        "\"},\"layers\":[{\"mediaType\":"
        "\"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip\",\"size\":9,\"digest\":"
        "\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\","
        "\"urls\":[\"https://elsewhere.example/\"]}]}";
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;

    (void)state;
    assert_int_equal(parse(text, DRAY_MT_DOCKER_MANIFEST, &manifest, NULL), DRAY_OK);
    assert_string_equal(manifest->media_type, DRAY_MT_DOCKER_MANIFEST);
    assert_true(dray_media_type_is_config(manifest->config.media_type));
}

static void an_index_is_read(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;

    (void)state;
    begin_index(&buf);
    append_entry(&buf, DRAY_MT_OCI_MANIFEST, 1, 100, "linux/amd64");
    append_entry(&buf, DRAY_MT_OCI_INDEX, 2, 200, ""); /* an index within the index */
    assert_int_equal(end_and_parse(&buf, &manifest, NULL), DRAY_OK);

    assert_int_equal(manifest->kind, DRAY_MANIFEST_INDEX);
    assert_int_equal(manifest->manifest_count, 2);
    assert_true(manifest->manifests[0].has_platform);
    assert_false(manifest->manifests[1].has_platform);
    assert_string_equal(manifest->manifests[1].media_type, DRAY_MT_OCI_INDEX);
    assert_int_equal(manifest->layer_count, 0);
    assert_false(dray_media_type_is_config(manifest->config.media_type));
}

/* H-34 */
static void what_is_no_json_object_is_refused(void **state)
{
    (void)state;
    assert_refused("", "", DRAY_EPROTO, "empty");
    assert_refused("[]", "", DRAY_EPROTO, "not a JSON object");
    assert_refused("{\"layers\":[],\"layers\":[]}", "", DRAY_EPROTO, "twice");
    assert_refused("<html>", "text/html", DRAY_EPROTO, "JSON");
}

static void a_document_that_is_too_large_is_refused(void **state)
{
    char *text = calloc(1, DRAY_MANIFEST_MAX_BYTES + 1);
    struct dray_manifest *manifest = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, ' ', DRAY_MANIFEST_MAX_BYTES + 1);
    memcpy(text, IMAGE, strlen(IMAGE));
    assert_int_equal(dray_manifest_parse(text, DRAY_MANIFEST_MAX_BYTES + 1, "", &manifest, NULL),
                     DRAY_EPROTO);
    assert_int_equal(dray_manifest_parse(text, DRAY_MANIFEST_MAX_BYTES, "", &manifest, NULL),
                     DRAY_OK);
    dray_manifest_free(manifest);
    free(text);
}

/* H-35, CVE-2021-41190 */
static void a_document_that_is_both_image_and_index_is_refused(void **state)
{
    static const char *const content_types[] = { "", DRAY_MT_OCI_INDEX, DRAY_MT_OCI_MANIFEST,
                                                 "application/json" };

    (void)state;
    for (size_t i = 0; i < sizeof(content_types) / sizeof(content_types[0]); i++) {
        const char *content_type = content_types[i];

        assert_refused("{\"schemaVersion\":2," OCI_CONFIG ",\"layers\":[],\"manifests\":[]}",
                       content_type, DRAY_EPROTO, "ambiguous");
        assert_refused("{\"schemaVersion\":2,\"layers\":null,\"manifests\":[]}", content_type,
                       DRAY_EPROTO, "ambiguous");
        assert_refused("{\"schemaVersion\":2,\"layers\":[],\"manifests\":null}", content_type,
                       DRAY_EPROTO, "ambiguous");
        assert_refused("{\"schemaVersion\":2," OCI_CONFIG ",\"manifests\":[]}", content_type,
                       DRAY_EPROTO, "ambiguous");
    }
}

static void a_document_that_is_neither_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"schemaVersion\":2}", "", DRAY_EPROTO, "neither");
    assert_refused("{\"schemaVersion\":2," OCI_CONFIG "}", DRAY_MT_OCI_MANIFEST, DRAY_EPROTO,
                   "neither");
}

/* H-35, CVE-2021-41190 */
static void a_media_type_that_contradicts_the_members_is_refused(void **state)
{
    (void)state;
    assert_refused("{\"schemaVersion\":2,\"mediaType\":\"" DRAY_MT_OCI_INDEX "\"," OCI_CONFIG
                   ",\"layers\":[]}",
                   "", DRAY_EPROTO, "mediaType is " DRAY_MT_OCI_INDEX);
    assert_refused("{\"schemaVersion\":2,\"mediaType\":\"" DRAY_MT_DOCKER_MANIFEST
                   "\",\"manifests\":[]}",
                   "", DRAY_EPROTO, "mediaType is " DRAY_MT_DOCKER_MANIFEST);
    assert_refused(IMAGE, DRAY_MT_OCI_INDEX, DRAY_EPROTO, "announced as");
    assert_refused(IMAGE, DRAY_MT_DOCKER_LIST "; charset=utf-8", DRAY_EPROTO, "announced as");
    assert_refused(INDEX, DRAY_MT_OCI_MANIFEST, DRAY_EPROTO, "announced as");
    assert_refused("{\"schemaVersion\":2,\"mediaType\":\"" DRAY_MT_OCI_INDEX "\",\"manifests\":[]}",
                   DRAY_MT_OCI_MANIFEST, DRAY_EPROTO, "announced as");
}

static void a_media_type_of_something_else_is_unsupported(void **state)
{
    (void)state;
    assert_refused("{\"schemaVersion\":2,\"mediaType\":"
                   "\"application/vnd.oci.artifact.manifest.v1+json\",\"blobs\":[]}",
                   "", DRAY_EUNSUPPORTED, "mediaType");
    assert_refused("{\"schemaVersion\":2,\"mediaType\":\"a/\\u001b[2J\",\"manifests\":[]}", "",
                   DRAY_EUNSUPPORTED, "mediaType");
    assert_refused("{\"schemaVersion\":2,\"mediaType\":7,\"manifests\":[]}", "", DRAY_EPROTO,
                   "mediaType is not a string");
}

static void the_media_type_is_the_documents_own_else_the_servers_else_oci(void **state)
{
    (void)state;
    assert_media_type("{\"schemaVersion\":2,\"mediaType\":\"" DRAY_MT_DOCKER_LIST
                      "\",\"manifests\":[]}",
                      DRAY_MT_OCI_INDEX, DRAY_MT_DOCKER_LIST);
    assert_media_type(INDEX, DRAY_MT_DOCKER_LIST, DRAY_MT_DOCKER_LIST);
    assert_media_type(INDEX, "APPLICATION/vnd.oci.image.index.v1+json ; q=1", DRAY_MT_OCI_INDEX);
    assert_media_type(INDEX, "", DRAY_MT_OCI_INDEX);
    assert_media_type(INDEX, "application/json", DRAY_MT_OCI_INDEX);
    assert_media_type(IMAGE, "", DRAY_MT_OCI_MANIFEST);
    assert_media_type(IMAGE, "text/plain; charset=utf-8", DRAY_MT_OCI_MANIFEST);
    assert_media_type(IMAGE, DRAY_MT_DOCKER_MANIFEST, DRAY_MT_DOCKER_MANIFEST);
    assert_media_type("{\"schemaVersion\":2,\"mediaType\":\"\"," OCI_CONFIG ",\"layers\":[]}", "",
                      DRAY_MT_OCI_MANIFEST);
    assert_media_type("{\"schemaVersion\":2,\"mediaType\":null," OCI_CONFIG ",\"layers\":[]}", "",
                      DRAY_MT_OCI_MANIFEST);
}

static void schema_1_is_unsupported_with_a_hint(void **state)
{
    static const struct {
        const char *text;
        const char *content_type;
    } cases[] = {
        { "{\"schemaVersion\":1,\"name\":\"a\",\"fsLayers\":[],\"history\":[]}", "" },
        { "{\"schemaVersion\":1}", "application/json" },
        { "{\"schemaVersion\":2,\"fsLayers\":[]," OCI_CONFIG ",\"layers\":[]}", "" },
        { "{\"schemaVersion\":2,\"mediaType\":\"" DRAY_MT_DOCKER_SCHEMA1 "\"}", "" },
        { IMAGE, DRAY_MT_DOCKER_SCHEMA1_SIGNED "; charset=utf-8" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dray_manifest *manifest = NULL;
        struct dray_error err = { 0 };

        assert_int_equal(parse(cases[i].text, cases[i].content_type, &manifest, &err),
                         DRAY_EUNSUPPORTED);
        assert_int_equal(err.code, DRAY_EUNSUPPORTED);
        assert_non_null(strstr(err.text, "schema 1"));
        assert_true(err.hint[0] != '\0');
    }
}

static void the_schema_version_must_be_2(void **state)
{
    (void)state;
    assert_refused("{" OCI_CONFIG ",\"layers\":[]}", "", DRAY_EPROTO, "schemaVersion");
    assert_refused("{\"schemaVersion\":\"2\",\"manifests\":[]}", "", DRAY_EPROTO, "schemaVersion");
    assert_refused("{\"schemaVersion\":2.0,\"manifests\":[]}", "", DRAY_EPROTO, "schemaVersion");
    assert_refused("{\"schemaVersion\":3,\"manifests\":[]}", "", DRAY_EPROTO, "schemaVersion");
}

static void an_error_names_the_descriptor(void **state)
{
    (void)state;
    assert_refused("{\"schemaVersion\":2,\"layers\":[]}", "", DRAY_EPROTO, "config: ");
    assert_refused("{\"schemaVersion\":2," OCI_CONFIG ",\"layers\":{}}", "", DRAY_EPROTO,
                   "layers is not an array");
    assert_refused("{\"schemaVersion\":2,\"manifests\":7}", "", DRAY_EPROTO,
                   "manifests is not an array");
    assert_refused("{\"schemaVersion\":2," OCI_CONFIG ",\"layers\":[{\"mediaType\":\"a/b\","
                   "\"size\":2,\"digest\":\"" EMPTY_DIGEST "\"},{}]}",
                   "", DRAY_EPROTO, "layers[1]: mediaType");
    assert_refused("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"a/b\",\"size\":2,"
                   "\"data\":\"e30=\",\"digest\":\"" EMPTY_DIGEST "\"},{\"mediaType\":\"a/b\","
                   "\"size\":1,\"data\":\"eA==\",\"digest\":\"" EMPTY_DIGEST "\"}]}",
                   "", DRAY_EDIGEST, "manifests[1]: data");
    assert_refused("{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"a/b\",\"size\":2,"
                   "\"digest\":\"md5:00\"}]}",
                   "", DRAY_EUNSUPPORTED, "manifests[0]");
}

/* H-42 */
static void an_image_may_have_no_layers(void **state)
{
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;

    (void)state;
    assert_int_equal(
        parse("{\"schemaVersion\":2," OCI_CONFIG ",\"layers\":null}", "", &manifest, NULL),
        DRAY_OK);
    assert_int_equal(manifest->kind, DRAY_MANIFEST_IMAGE);
    assert_int_equal(manifest->layer_count, 0);
}

/* H-42 */
static void the_number_of_layers_is_limited(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf more = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    struct dray_error err = { 0 };

    (void)state;
    begin_layers(&buf);
    begin_layers(&more);
    for (unsigned i = 0; i < DRAY_LAYERS_MAX; i++) {
        append_entry(&buf, "a/b", i, DRAY_BLOB_MAX_BYTES, "");
        append_entry(&more, "a/b", i, 1, "");
    }
    assert_int_equal(end_and_parse(&buf, &manifest, NULL), DRAY_OK);
    assert_int_equal(manifest->layer_count, DRAY_LAYERS_MAX);

    append_entry(&more, "a/b", DRAY_LAYERS_MAX, 1, "");
    assert_int_equal(end_and_parse(&more, &manifest, &err), DRAY_EPROTO);
    assert_non_null(strstr(err.text, "4097 layers"));
}

/* H-42 */
static void a_layer_may_stand_there_a_hundred_times(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;

    (void)state;
    begin_layers(&buf);
    for (unsigned i = 0; i < 100; i++)
        append_entry(&buf, LAYER_MT, 7, 1000, "");
    append_entry(&buf, LAYER_MT, 3, 10, "");
    assert_int_equal(end_and_parse(&buf, &manifest, NULL), DRAY_OK);
    assert_int_equal(manifest->layer_count, 101);
}

/* OCI image-spec 1.1, "Guidelines for Artifact Usage": config and layer are the same blob. */
static void an_artifact_is_read(void **state)
{
    static const char text[] =
        "{\"schemaVersion\":2,\"mediaType\":\"" DRAY_MT_OCI_MANIFEST "\",\"artifactType\":"
        "\"application/vnd.example+type\",\"config\":{\"mediaType\":"
        "\"application/vnd.oci.empty.v1+json\",\"digest\":\"" EMPTY_DIGEST "\",\"size\":2,"
        "\"data\":\"e30=\"},\"layers\":[{\"mediaType\":\"application/vnd.oci.empty.v1+json\","
        "\"digest\":\"" EMPTY_DIGEST "\",\"size\":2,\"data\":\"e30=\"}],\"subject\":{}}";
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;

    (void)state;
    assert_int_equal(parse(text, DRAY_MT_OCI_MANIFEST, &manifest, NULL), DRAY_OK);
    assert_int_equal(manifest->kind, DRAY_MANIFEST_IMAGE);
    assert_false(dray_media_type_is_config(manifest->config.media_type));
    assert_memory_equal(manifest->layers[0].data, "{}", 2);
}

/* H-41 */
static void one_digest_with_two_sizes_is_refused(void **state)
{
    DRAY_AUTO_BUF struct dray_buf layers = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf entries = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf types = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    struct dray_error err = { 0 };

    (void)state;
    begin_layers(&layers);
    append_entry(&layers, LAYER_MT, 7, 1000, "");
    append_entry(&layers, LAYER_MT, 8, 1000, "");
    append_entry(&layers, LAYER_MT, 7, 1001, "");
    assert_int_equal(end_and_parse(&layers, &manifest, &err), DRAY_EPROTO);
    assert_non_null(strstr(err.text, "0007 is there with two sizes"));

    assert_refused("{\"schemaVersion\":2," OCI_CONFIG ",\"layers\":[{\"mediaType\":\"a/b\","
                   "\"size\":3,\"digest\":\"" EMPTY_DIGEST "\"}]}",
                   "", DRAY_EPROTO, "two sizes");

    begin_index(&entries);
    append_entry(&entries, DRAY_MT_OCI_MANIFEST, 7, 5, "linux/amd64");
    append_entry(&entries, DRAY_MT_OCI_MANIFEST, 7, 6, "linux/arm64");
    assert_int_equal(end_and_parse(&entries, &manifest, NULL), DRAY_EPROTO);

    begin_layers(&types);
    append_entry(&types, "a/b", 7, 5, "");
    append_entry(&types, "c/d", 7, 5, "");
    assert_int_equal(end_and_parse(&types, &manifest, NULL), DRAY_OK);
}

/* H-36 */
static void the_number_of_index_entries_is_limited(void **state)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf more = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    struct dray_error err = { 0 };

    (void)state;
    begin_index(&buf);
    begin_index(&more);
    for (unsigned i = 0; i < DRAY_INDEX_ENTRIES_MAX; i++) {
        append_entry(&buf, DRAY_MT_OCI_MANIFEST, i, 1, "linux/amd64");
        append_entry(&more, "a/b", i, 1, "");
    }
    assert_int_equal(end_and_parse(&buf, &manifest, NULL), DRAY_OK);
    assert_int_equal(manifest->manifest_count, DRAY_INDEX_ENTRIES_MAX);

    append_entry(&more, "a/b", DRAY_INDEX_ENTRIES_MAX, 1, "");
    assert_int_equal(end_and_parse(&more, &manifest, &err), DRAY_EPROTO);
    assert_non_null(strstr(err.text, "10001 manifests"));
}

/* The index made of pairs of media type and platform; entry i has size i + 1. */
static struct dray_manifest *make_index(const char *const (*entries)[2], size_t count)
{
    DRAY_AUTO_BUF struct dray_buf buf = DRAY_BUF_INIT;
    struct dray_manifest *manifest = NULL;

    begin_index(&buf);
    for (unsigned i = 0; i < count; i++)
        append_entry(&buf, entries[i][0], i, i + 1, entries[i][1]);
    assert_int_equal(end_and_parse(&buf, &manifest, NULL), DRAY_OK);
    return manifest;
}

static void the_entry_for_the_platform_is_selected(void **state)
{
    static const char *const entries[][2] = {
        { "application/vnd.unknown+json", "linux/arm64" },
        { DRAY_MT_OCI_MANIFEST, "" },
        { DRAY_MT_OCI_MANIFEST, "linux/amd64" },
        { DRAY_MT_OCI_MANIFEST, "unknown/unknown" },
        { DRAY_MT_DOCKER_MANIFEST, "linux/aarch64" },
        { DRAY_MT_OCI_MANIFEST, "linux/arm64" },
        { DRAY_MT_OCI_INDEX, "windows/amd64" },
    };
    DRAY_AUTO_MANIFEST struct dray_manifest *index = make_index(entries, 7);
    const struct dray_platform arm64 = { .os = "linux", .architecture = "arm64" };
    const struct dray_platform amd64 = { .os = "linux", .architecture = "amd64" };
    const struct dray_platform windows = { .os = "windows", .architecture = "amd64" };

    (void)state;
    assert_ptr_equal(dray_manifest_select(index, &amd64, NULL), &index->manifests[2]);
    assert_ptr_equal(dray_manifest_select(index, &arm64, NULL), &index->manifests[4]);
    assert_ptr_equal(dray_manifest_select(index, &windows, NULL), &index->manifests[6]);
}

static void the_best_variant_is_selected(void **state)
{
    static const char text[] =
        "{\"schemaVersion\":2,\"manifests\":["
        "{\"mediaType\":\"" DRAY_MT_OCI_MANIFEST "\",\"size\":5,\"digest\":\"" EMPTY_DIGEST "\","
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v5\"}},"
        "{\"mediaType\":\"" DRAY_MT_OCI_MANIFEST "\",\"size\":5,\"digest\":\"" EMPTY_DIGEST "\","
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}},"
        "{\"mediaType\":\"" DRAY_MT_OCI_MANIFEST "\",\"size\":5,\"digest\":\"" EMPTY_DIGEST "\","
        "\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v6\"}}]}";
    DRAY_AUTO_MANIFEST struct dray_manifest *index = NULL;
    struct dray_platform wanted = { .os = "linux", .architecture = "arm", .variant = "v7" };

    (void)state;
    assert_int_equal(parse(text, "", &index, NULL), DRAY_OK);
    assert_ptr_equal(dray_manifest_select(index, &wanted, NULL), &index->manifests[1]);
    memcpy(wanted.variant, "v6", sizeof("v6"));
    assert_ptr_equal(dray_manifest_select(index, &wanted, NULL), &index->manifests[2]);
}

static void an_entry_without_platform_is_selected_only_where_no_entry_has_one(void **state)
{
    static const char *const bare[][2] = {
        { "application/vnd.unknown+json", "linux/arm64" },
        { DRAY_MT_OCI_MANIFEST, "unknown/unknown" },
        { DRAY_MT_OCI_INDEX, "" },
        { DRAY_MT_OCI_MANIFEST, "" },
    };
    static const char *const mixed[][2] = {
        { DRAY_MT_OCI_MANIFEST, "" },
        { DRAY_MT_OCI_MANIFEST, "linux/s390x" },
    };
    DRAY_AUTO_MANIFEST struct dray_manifest *bare_index = make_index(bare, 4);
    DRAY_AUTO_MANIFEST struct dray_manifest *mixed_index = make_index(mixed, 2);
    const struct dray_platform wanted = { .os = "linux", .architecture = "arm64" };

    (void)state;
    assert_ptr_equal(dray_manifest_select(bare_index, &wanted, NULL), &bare_index->manifests[2]);
    assert_null(dray_manifest_select(mixed_index, &wanted, NULL));
}

static void without_a_match_the_error_lists_each_platform_once(void **state)
{
    static const char *const entries[][2] = {
        { DRAY_MT_OCI_MANIFEST, "linux/amd64" },
        { DRAY_MT_OCI_MANIFEST, "unknown/unknown" },
        { DRAY_MT_OCI_MANIFEST, "windows/amd64" },
        { DRAY_MT_OCI_MANIFEST, "linux/amd64" },
        { "application/vnd.unknown+json", "plan9/amd64" },
    };
    DRAY_AUTO_MANIFEST struct dray_manifest *index = make_index(entries, 5);
    const struct dray_platform wanted = { .os = "linux", .architecture = "s390x" };
    struct dray_error err = { 0 };

    (void)state;
    assert_null(dray_manifest_select(index, &wanted, &err));
    assert_int_equal(err.code, DRAY_EUNSUPPORTED);
    assert_string_equal(err.text, "no image for linux/s390x, only for linux/amd64, windows/amd64");
    assert_true(err.hint[0] != '\0');
}

static void nothing_is_selected_from_an_index_without_images(void **state)
{
    DRAY_AUTO_MANIFEST struct dray_manifest *index = NULL;
    const struct dray_platform wanted = { .os = "linux", .architecture = "s390x" };
    struct dray_error err = { 0 };

    (void)state;
    assert_int_equal(parse(INDEX, "", &index, NULL), DRAY_OK);
    assert_null(dray_manifest_select(index, &wanted, &err));
    assert_int_equal(err.code, DRAY_EUNSUPPORTED);
    assert_non_null(strstr(err.text, "no image for linux/s390x"));
}

static void the_list_of_platforms_is_bounded(void **state)
{
    DRAY_AUTO_BUF struct dray_buf many = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf long_names = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *many_index = NULL;
    DRAY_AUTO_MANIFEST struct dray_manifest *long_index = NULL;
    const struct dray_platform wanted = { .os = "linux", .architecture = "s390x" };
    struct dray_error err = { 0 };

    (void)state;
    begin_index(&many);
    begin_index(&long_names);
    for (unsigned i = 0; i < 1000; i++) {
        char platform[128];

        snprintf(platform, sizeof(platform), "os/a%u", i);
        append_entry(&many, DRAY_MT_OCI_MANIFEST, i, 1, platform);
        snprintf(platform, sizeof(platform), "%063u/%063u", i, i);
        append_entry(&long_names, DRAY_MT_OCI_MANIFEST, i, 1, platform);
    }
    assert_int_equal(end_and_parse(&many, &many_index, NULL), DRAY_OK);
    assert_null(dray_manifest_select(many_index, &wanted, &err));
    assert_string_equal(err.text + strlen(err.text) - 5, ", ...");
    assert_true(strlen(err.text) < 1200);

    assert_int_equal(end_and_parse(&long_names, &long_index, NULL), DRAY_OK);
    assert_null(dray_manifest_select(long_index, &wanted, &err));
    assert_string_equal(err.text + strlen(err.text) - 5, ", ...");
    assert_true(strlen(err.text) < 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_manifest_is_read),
        cmocka_unit_test(a_docker_manifest_is_read),
        cmocka_unit_test(an_index_is_read),
        cmocka_unit_test(what_is_no_json_object_is_refused),
        cmocka_unit_test(a_document_that_is_too_large_is_refused),
        cmocka_unit_test(a_document_that_is_both_image_and_index_is_refused),
        cmocka_unit_test(a_document_that_is_neither_is_refused),
        cmocka_unit_test(a_media_type_that_contradicts_the_members_is_refused),
        cmocka_unit_test(a_media_type_of_something_else_is_unsupported),
        cmocka_unit_test(the_media_type_is_the_documents_own_else_the_servers_else_oci),
        cmocka_unit_test(schema_1_is_unsupported_with_a_hint),
        cmocka_unit_test(the_schema_version_must_be_2),
        cmocka_unit_test(an_error_names_the_descriptor),
        cmocka_unit_test(an_image_may_have_no_layers),
        cmocka_unit_test(the_number_of_layers_is_limited),
        cmocka_unit_test(a_layer_may_stand_there_a_hundred_times),
        cmocka_unit_test(an_artifact_is_read),
        cmocka_unit_test(one_digest_with_two_sizes_is_refused),
        cmocka_unit_test(the_number_of_index_entries_is_limited),
        cmocka_unit_test(the_entry_for_the_platform_is_selected),
        cmocka_unit_test(the_best_variant_is_selected),
        cmocka_unit_test(an_entry_without_platform_is_selected_only_where_no_entry_has_one),
        cmocka_unit_test(without_a_match_the_error_lists_each_platform_once),
        cmocka_unit_test(nothing_is_selected_from_an_index_without_images),
        cmocka_unit_test(the_list_of_platforms_is_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
