#include "storage/image_store.h"

#include <pthread.h>

#include "core/cancel.h"
#include "core/limits.h"
#include "storage/blob_store.h"
#include "tests/unit/storage/scratch.h"

#define CREATED "2024-02-29T12:00:00Z"

/* Put a document, and describe it. */
static struct dray_descriptor put(struct dray_store *store, const char *media_type,
                                  const char *text)
{
    struct dray_descriptor descriptor = { .size_bytes = strlen(text) };

    snprintf(descriptor.media_type, sizeof(descriptor.media_type), "%s", media_type);
    assert_ok(dray_digest_of(DRAY_SHA256, text, strlen(text), &descriptor.digest));
    assert_ok(dray_blob_put(store, &descriptor.digest, text, strlen(text), NULL));
    return descriptor;
}

static void append_descriptor(struct dray_buf *text, const struct dray_descriptor *descriptor)
{
    assert_ok(dray_buf_appendf(text, "{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu}",
                               descriptor->media_type, descriptor->digest.text,
                               (size_t)descriptor->size_bytes));
}

/* An image of these layers ("a b"), each a blob of its own name; its config names the first. */
static struct dray_descriptor put_image(struct dray_store *store, const char *layers)
{
    DRAY_AUTO_BUF struct dray_buf config = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf manifest = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf list = DRAY_BUF_INIT;
    DRAY_AUTO_FREE char *names = strdup(layers);
    struct dray_descriptor descriptor;
    char *rest = names;
    const char *name;

    assert_ok(dray_buf_appendf(&config,
                               "{\"created\":\"" CREATED "\",\"architecture\":\"amd64\","
                               "\"os\":\"linux\",\"author\":\"%s\",\"rootfs\":{\"type\":\"layers\","
                               "\"diff_ids\":[",
                               layers));
    while ((name = strsep(&rest, " "))) {
        descriptor = put(store, "application/vnd.oci.image.layer.v1.tar+gzip", name);
        if (list.len > 0) {
            assert_ok(dray_buf_appendf(&list, ","));
            assert_ok(dray_buf_appendf(&config, ","));
        }
        append_descriptor(&list, &descriptor);
        assert_ok(dray_buf_appendf(&config, "\"%s\"", descriptor.digest.text));
    }
    assert_ok(dray_buf_appendf(&config, "]}}"));
    descriptor = put(store, DRAY_MT_OCI_CONFIG, dray_buf_text(&config));

    assert_ok(dray_buf_appendf(
        &manifest, "{\"schemaVersion\":2,\"mediaType\":\"%s\",\"config\":", DRAY_MT_OCI_MANIFEST));
    append_descriptor(&manifest, &descriptor);
    assert_ok(dray_buf_appendf(&manifest, ",\"layers\":[%s]}", dray_buf_text(&list)));
    return put(store, DRAY_MT_OCI_MANIFEST, dray_buf_text(&manifest));
}

static struct dray_descriptor put_index(struct dray_store *store,
                                        const struct dray_descriptor *entries, size_t count)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;

    assert_ok(dray_buf_appendf(&text, "{\"schemaVersion\":2,\"manifests\":["));
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            assert_ok(dray_buf_appendf(&text, ","));
        append_descriptor(&text, &entries[i]);
    }
    assert_ok(dray_buf_appendf(&text, "]}"));
    return put(store, DRAY_MT_OCI_INDEX, dray_buf_text(&text));
}

static void tag(struct dray_store *store, const char *name, struct dray_descriptor descriptor)
{
    struct dray_tag entry = { .name = (char *)(uintptr_t)name, .descriptor = descriptor };

    assert_ok(dray_tag_set(store, &entry, NULL, NULL, NULL));
}

static bool has(struct dray_store *store, const char *content)
{
    struct dray_digest digest;

    assert_ok(dray_digest_of(DRAY_SHA256, content, strlen(content), &digest));
    return dray_blob_exists(store, &digest, strlen(content));
}

static void lose(struct dray_store *store, const char *content)
{
    struct dray_digest digest;
    bool removed;

    assert_ok(dray_digest_of(DRAY_SHA256, content, strlen(content), &digest));
    assert_ok(dray_blob_remove(store, &digest, &removed, NULL));
    assert_true(removed);
}

static void damage(struct dray_store *store, const struct dray_digest *digest)
{
    const char *path = below(dray_store_root(store), "blobs/sha256/%s", dray_digest_hex(digest));
    DRAY_AUTO_FREE char *text = read_text(path);

    text[strlen(text) / 2] ^= 1;
    assert_int_equal(unlink(path), 0);
    write_text(path, text);
}

static struct dray_reference refer(const char *name)
{
    struct dray_reference reference;

    assert_ok(dray_reference_parse(name, &reference, NULL));
    return reference;
}

static bool complete(struct dray_store *store, const struct dray_descriptor *root)
{
    bool yes;

    assert_ok(dray_image_complete(store, root, &yes, NULL));
    return yes;
}

static int remove_image(struct dray_store *store, const char *name, struct dray_removal *removal)
{
    struct dray_reference reference = refer(name);

    return dray_store_remove(store, &reference, NULL, removal, NULL);
}

static void an_image_is_complete_with_all_its_blobs(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor image = put_image(store, "one two");

    assert_true(complete(store, &image));
    lose(store, "two");
    assert_false(complete(store, &image));
    put(store, "", "two");
    assert_true(complete(store, &image));
    damage(store, &image.digest);
    assert_false(complete(store, &image));
}

static void a_layer_of_the_wrong_size_is_not_there(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor image = put_image(store, "one");
    struct dray_digest digest;
    const char *path;

    assert_ok(dray_digest_of(DRAY_SHA256, "one", 3, &digest));
    path = below(*state, "blobs/sha256/%s", dray_digest_hex(&digest));
    assert_int_equal(unlink(path), 0);
    write_text(path, "on");
    assert_false(complete(store, &image));
}

static void an_index_is_complete_with_all_its_images(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor images[2] = { put_image(store, "one"), put_image(store, "two") };
    struct dray_descriptor inner = put_index(store, images, 2);
    struct dray_descriptor index = put_index(store, &inner, 1);
    bool removed;

    assert_true(complete(store, &index));
    lose(store, "two");
    assert_false(complete(store, &index));
    put(store, "", "two");
    assert_ok(dray_blob_remove(store, &images[0].digest, &removed, NULL));
    assert_false(complete(store, &index));
}

static void indexes_that_nest_too_deep_are_not_followed(void **state) /* H-36 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor top = put_image(store, "one");

    for (int level = 0; level < DRAY_INDEX_NESTING_MAX; level++)
        top = put_index(store, &top, 1);
    assert_true(complete(store, &top));
    top = put_index(store, &top, 1);
    assert_false(complete(store, &top));
}

static void an_index_that_repeats_itself_costs_its_length(void **state) /* H-36 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor top = put_image(store, "one");
    static struct dray_descriptor copies[2000];

    /* 2000 to the power of four images, if each were followed. */
    for (int level = 0; level < DRAY_INDEX_NESTING_MAX; level++) {
        for (size_t i = 0; i < 2000; i++)
            copies[i] = top;
        top = put_index(store, copies, 2000);
    }
    assert_true(complete(store, &top));
}

static void images_are_listed_by_name(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_FREE struct dray_image *images = NULL;
    struct dray_descriptor image = put_image(store, "one two one");
    struct dray_descriptor index = put_index(store, &image, 1);
    struct dray_tag with_source = { .name = (char *)(uintptr_t) "docker.io/library/b:1",
                                    .descriptor = image,
                                    .source_digest = index.digest };
    struct stat st;
    uint64_t config_size;
    size_t count;

    tag(store, "docker.io/library/c:1", index);
    assert_ok(dray_tag_set(store, &with_source, NULL, NULL, NULL));
    tag(store, "docker.io/library/a:1", image);

    assert_ok(dray_store_list(store, &images, &count, NULL));
    assert_int_equal(count, 3);
    assert_string_equal(images[0].reference, "docker.io/library/a:1");
    assert_string_equal(images[1].reference, "docker.io/library/b:1");
    assert_string_equal(images[2].reference, "docker.io/library/c:1");

    assert_true(dray_digest_equal(&images[0].digest, &image.digest));
    assert_true(dray_digest_equal(&images[0].source_digest, &image.digest));
    assert_true(dray_digest_equal(&images[1].source_digest, &index.digest));
    assert_string_equal(images[0].created, CREATED);
    assert_string_equal(images[0].platform.os, "linux");
    assert_string_equal(images[0].platform.architecture, "amd64");
    assert_string_equal(images[0].media_type, DRAY_MT_OCI_MANIFEST);
    assert_int_equal(images[0].layer_count, 3);
    assert_true(images[0].complete);

    /* Each blob once: one, two, the config and the manifest. */
    assert_int_equal(stat(below(*state, "blobs/sha256/%s", dray_digest_hex(&image.digest)), &st),
                     0);
    config_size = images[0].size_bytes - 6 - (uint64_t)st.st_size;
    assert_true(config_size > 100 && config_size < 500);
    assert_int_equal(images[2].size_bytes, images[0].size_bytes + index.size_bytes);

    assert_string_equal(images[2].media_type, DRAY_MT_OCI_INDEX);
    assert_string_equal(images[2].created, "");
    assert_string_equal(images[2].platform.os, "");
    assert_int_equal(images[2].layer_count, 0);
    assert_true(images[2].complete);
}

static void a_damaged_image_is_listed_as_incomplete(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_FREE struct dray_image *images = NULL;
    struct dray_descriptor good = put_image(store, "one");
    struct dray_descriptor bad = put_image(store, "two");
    struct dray_descriptor lost = put_image(store, "three");
    bool removed;
    size_t count;

    tag(store, "docker.io/library/bad:1", bad);
    tag(store, "docker.io/library/good:1", good);
    tag(store, "docker.io/library/lost:1", lost);
    damage(store, &bad.digest);
    assert_ok(dray_blob_remove(store, &lost.digest, &removed, NULL));

    assert_ok(dray_store_list(store, &images, &count, NULL));
    assert_int_equal(count, 3);
    assert_false(images[0].complete);
    assert_true(images[1].complete);
    assert_false(images[2].complete);
    assert_string_equal(images[0].reference, "docker.io/library/bad:1");
}

static void an_empty_store_lists_nothing(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_FREE struct dray_image *images = NULL;
    size_t count = 1;

    assert_ok(dray_store_list(store, &images, &count, NULL));
    assert_int_equal(count, 0);
    assert_non_null(images);
}

static void an_image_is_found_by_every_name_it_has(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor image = put_image(store, "one");
    struct dray_descriptor other = put_image(store, "two");
    struct dray_digest source;
    struct dray_tag entry = { .name = (char *)(uintptr_t) "docker.io/library/alpine:3",
                              .descriptor = image };
    char by_digest[DRAY_REFERENCE_TEXT_MAX];
    char by_source[DRAY_REFERENCE_TEXT_MAX];
    char elsewhere[DRAY_REFERENCE_TEXT_MAX];

    assert_ok(dray_digest_of(DRAY_SHA256, "the index", 9, &source));
    entry.source_digest = source;
    tag(store, "busybox", other); /* as umoci writes it */
    assert_ok(dray_tag_set(store, &entry, NULL, NULL, NULL));

    snprintf(by_digest, sizeof(by_digest), "alpine@%s", image.digest.text);
    snprintf(by_source, sizeof(by_source), "alpine@%s", source.text);
    snprintf(elsewhere, sizeof(elsewhere), "busybox@%s", image.digest.text);
    const struct {
        const char *name;
        const struct dray_digest *digest; /* NULL: not found */
    } cases[] = {
        { "docker.io/library/alpine:3", &image.digest },
        { "alpine:3", &image.digest },
        { by_digest, &image.digest },
        { by_source, &image.digest },
        { "busybox", &other.digest },
        { "busybox:latest", &other.digest },
        { "alpine", NULL },
        { elsewhere, NULL },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dray_reference reference = refer(cases[i].name);
        struct dray_image found;
        struct dray_error err = { 0 };
        int rc = dray_store_inspect(store, &reference, &found, NULL, NULL, &err);

        if (cases[i].digest) {
            assert_int_equal(rc, DRAY_OK);
            assert_true(dray_digest_equal(&found.digest, cases[i].digest));
        } else {
            assert_int_equal(rc, DRAY_ENOTFOUND);
            assert_non_null(strstr(err.text, "no such image"));
            assert_non_null(strstr(err.hint, "dray images"));
        }
    }
}

static void inspecting_gives_the_documents_as_they_are(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_FREE char *manifest = NULL;
    DRAY_AUTO_FREE char *config = NULL;
    DRAY_AUTO_FREE char *index_text = NULL;
    DRAY_AUTO_FREE char *want = NULL;
    char *no_config = (char *)(uintptr_t) "something";
    struct dray_descriptor image = put_image(store, "one");
    struct dray_reference reference = refer("image");
    struct dray_image found;

    tag(store, "docker.io/library/image:latest", image);
    assert_ok(dray_store_inspect(store, &reference, &found, &manifest, &config, NULL));
    want = read_text(below(*state, "blobs/sha256/%s", dray_digest_hex(&image.digest)));
    assert_string_equal(manifest, want);
    assert_non_null(strstr(config, "\"rootfs\""));
    assert_true(found.complete);

    tag(store, "docker.io/library/index:latest", put_index(store, &image, 1));
    reference = refer("index");
    assert_ok(dray_store_inspect(store, &reference, &found, &index_text, &no_config, NULL));
    assert_non_null(strstr(index_text, "manifests"));
    assert_null(no_config);
}

static void a_damaged_image_cannot_be_inspected(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor image = put_image(store, "one");
    struct dray_reference reference = refer("image");
    struct dray_image found;
    struct dray_error err = { 0 };
    bool removed;

    tag(store, "docker.io/library/image:latest", image);
    damage(store, &image.digest);
    assert_int_equal(dray_store_inspect(store, &reference, &found, NULL, NULL, &err), DRAY_EDIGEST);
    assert_ok(dray_blob_remove(store, &image.digest, &removed, NULL));
    assert_int_equal(dray_store_inspect(store, &reference, &found, NULL, NULL, &err), DRAY_ESTORE);
    assert_int_equal(err.code, DRAY_ESTORE);
}

static void removing_deletes_what_no_other_image_uses(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    struct dray_descriptor a = put_image(store, "base only-a");
    struct dray_descriptor b = put_image(store, "base only-b");
    struct dray_descriptor index = put_index(store, &b, 1);
    struct dray_removal removal;

    put(store, "", "nobody's");
    tag(store, "docker.io/library/a:1", a);
    tag(store, "docker.io/library/b:1", index);
    assert_ok(remove_image(store, "a:1", &removal));

    assert_int_equal(removal.blob_count, 3); /* only-a, config, manifest */
    assert_true(removal.freed_bytes > 6 + a.size_bytes);
    assert_false(has(store, "only-a"));
    assert_true(has(store, "base"));
    assert_true(has(store, "only-b"));
    assert_true(has(store, "nobody's")); /* for gc */
    assert_true(complete(store, &index));
    assert_ok(dray_tag_list_read(store, &list, NULL));
    assert_int_equal(list.count, 1);

    assert_ok(remove_image(store, "b:1", &removal));
    assert_int_equal(removal.blob_count, 5); /* base, only-b, config, manifest, index */
    assert_int_equal(verify_blobs(*state), 1);
    assert_int_equal(remove_image(store, "b:1", &removal), DRAY_ENOTFOUND);
}

static void an_image_with_two_names_stays_with_one(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor image = put_image(store, "one");
    struct dray_removal removal;

    tag(store, "docker.io/library/a:1", image);
    tag(store, "docker.io/library/a:2", image);
    assert_ok(remove_image(store, "a:1", &removal));
    assert_int_equal(removal.blob_count, 0);
    assert_true(complete(store, &image));
}

static void removing_by_digest_takes_every_name_of_the_repository(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    struct dray_descriptor image = put_image(store, "one");
    struct dray_removal removal;
    char name[DRAY_REFERENCE_TEXT_MAX];

    tag(store, "docker.io/library/a:1", image);
    tag(store, "docker.io/library/b:1", image);
    tag(store, "docker.io/library/a:2", image);
    snprintf(name, sizeof(name), "a@%s", image.digest.text);
    assert_ok(remove_image(store, name, &removal));
    assert_int_equal(removal.blob_count, 0);
    assert_ok(dray_tag_list_read(store, &list, NULL));
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].name, "docker.io/library/b:1");
}

static void removing_by_tag_and_digest_takes_that_tag_alone(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    struct dray_descriptor image = put_image(store, "one");
    struct dray_removal removal;
    char name[DRAY_REFERENCE_TEXT_MAX];

    tag(store, "docker.io/library/a:1", image);
    tag(store, "docker.io/library/a:2", image);
    snprintf(name, sizeof(name), "a:3@%s", image.digest.text);
    assert_int_equal(remove_image(store, name, &removal), DRAY_ENOTFOUND);
    snprintf(name, sizeof(name), "a:1@%s", image.digest.text);
    assert_ok(remove_image(store, name, &removal));
    assert_int_equal(removal.blob_count, 0);
    assert_ok(dray_tag_list_read(store, &list, NULL));
    assert_int_equal(list.count, 1);
    assert_string_equal(list.items[0].name, "docker.io/library/a:2");
}

/* Write index.json as other tools may: names as they come. */
static void write_index(const char *root, const struct dray_descriptor *entries,
                        const char *const *names, size_t count)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;

    assert_ok(dray_buf_appendf(&text, "{\"schemaVersion\":2,\"manifests\":["));
    for (size_t i = 0; i < count; i++)
        assert_ok(dray_buf_appendf(
            &text,
            "%s{\"mediaType\":\"%s\",\"digest\":\"%s\",\"size\":%zu,\"annotations\":{"
            "\"" DRAY_ANNOTATION_REF_NAME "\":\"%s\"}}",
            i > 0 ? "," : "", entries[i].media_type, entries[i].digest.text,
            (size_t)entries[i].size_bytes, names[i]));
    assert_ok(dray_buf_appendf(&text, "]}"));
    write_text(below(root, "index.json"), dray_buf_text(&text));
}

static void a_name_of_several_entries_is_removed_as_a_whole(void **state)
{
    static const char *const names[] = { "docker.io/library/a:1", "docker.io/library/b:1",
                                         "docker.io/library/a:1" };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor images[] = { put_image(store, "one base"), put_image(store, "base"),
                                        put_image(store, "two base") };
    char by_digest[DRAY_REFERENCE_TEXT_MAX];

    snprintf(by_digest, sizeof(by_digest), "a@%s", images[0].digest.text);
    for (int round = 0; round < 2; round++) {
        DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
        struct dray_removal removal;

        put_image(store, "one base");
        put_image(store, "two base");
        write_index(*state, images, names, 3);
        assert_ok(remove_image(store, round == 0 ? "a:1" : by_digest, &removal));
        assert_int_equal(removal.blob_count, 6); /* of each: a layer, config, manifest */
        assert_false(has(store, "one"));
        assert_false(has(store, "two"));
        assert_true(complete(store, &images[1]));
        assert_ok(dray_tag_list_read(store, &list, NULL));
        assert_int_equal(list.count, 1);
        assert_string_equal(list.items[0].name, names[1]);
    }
}

static void a_blob_that_is_a_layer_here_and_a_manifest_there_is_followed(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_descriptor image = put_image(store, "precious");
    struct dray_descriptor same = put_image(store, "precious other");
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;
    struct dray_removal removal;

    /* Listed first: an artifact whose layer is the manifest of the next image. */
    assert_ok(dray_buf_appendf(&text, "{\"schemaVersion\":2,\"config\":"));
    append_descriptor(&text, &image);
    assert_ok(dray_buf_appendf(&text, ",\"layers\":["));
    append_descriptor(&text, &image);
    assert_ok(dray_buf_appendf(&text, "]}"));
    tag(store, "docker.io/library/artifact:1",
        put(store, DRAY_MT_OCI_MANIFEST, dray_buf_text(&text)));
    tag(store, "docker.io/library/image:1", image);
    tag(store, "docker.io/library/same:1", same);

    assert_ok(remove_image(store, "same:1", &removal));
    assert_true(has(store, "precious"));
    assert_true(complete(store, &image));
}

static void while_an_image_cannot_be_read_no_blob_is_deleted(void **state)
{
    struct scratch_log log = { 0 };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, &log);
    struct dray_descriptor a = put_image(store, "base only-a");
    struct dray_descriptor b = put_image(store, "base only-b");
    struct dray_removal removal;

    tag(store, "docker.io/library/a:1", a);
    tag(store, "docker.io/library/b:1", b);
    damage(store, &b.digest);
    assert_ok(remove_image(store, "a:1", &removal));
    assert_int_equal(removal.blob_count, 0);
    assert_true(has(store, "only-a"));
    assert_non_null(strstr(log.text, "no blob of docker.io/library/a:1 is deleted"));
    assert_non_null(strstr(log.text, b.digest.text + 7));
    assert_int_equal(remove_image(store, "a:1", &removal), DRAY_ENOTFOUND);

    /* The damaged one itself can go. */
    assert_ok(remove_image(store, "b:1", &removal));
    assert_int_equal(removal.blob_count, 1);
}

static void entries_that_mean_nothing_to_us_protect_every_blob(void **state)
{
    static const char *const entries[] = {
        "{\"mediaType\":\"application/x\",\"digest\":\"blake3:00\",\"size\":1}",
        "{\"mediaType\":\"application/x\",\"digest\":"
        "\"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\",\"size\":3}",
    };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);

    for (size_t i = 0; i < 2; i++) {
        DRAY_AUTO_FREE char *text = NULL;
        struct dray_removal removal;
        char index[512];

        snprintf(index, sizeof(index), "{\"schemaVersion\":2,\"manifests\":[%s]}", entries[i]);
        write_text(below(*state, "index.json"), index);
        put(store, "", "abc");
        tag(store, "docker.io/library/a:1", put_image(store, "one"));
        assert_ok(remove_image(store, "a:1", &removal));
        assert_int_equal(removal.blob_count, 0);
        assert_true(has(store, "one"));
        text = read_text(below(*state, "index.json"));
        assert_string_equal(text, index);
    }
}

struct remover {
    struct dray_store *store;
    struct dray_cancel *cancel;
    int rc;
};

static void *remove_in_thread(void *arg)
{
    struct remover *remover = arg;
    struct dray_reference reference = refer("a:1");

    remover->rc = dray_store_remove(remover->store, &reference, remover->cancel, NULL, NULL);
    return NULL;
}

static void removing_waits_for_running_pulls(void **state) /* H-60 */
{
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct remover remover = { .store = store, .rc = 1 };
    pthread_t thread;
    int pull;

    tag(store, "docker.io/library/a:1", put_image(store, "one"));
    assert_ok(dray_cancel_new(&cancel, NULL));
    remover.cancel = cancel;

    for (int round = 0; round < 2; round++) {
        assert_ok(dray_store_lock(store, DRAY_LOCK_SHARED, NULL, &pull, NULL));
        assert_int_equal(pthread_create(&thread, NULL, remove_in_thread, &remover), 0);
        usleep(30000);
        assert_true(has(store, "one"));
        if (round == 0)
            dray_cancel_fire(cancel); /* the first gives up, the second gets its turn */
        else
            close(pull);
        pthread_join(thread, NULL);
        if (round == 0) {
            assert_int_equal(remover.rc, DRAY_ECANCELED);
            assert_true(has(store, "one"));
            close(pull);
            remover.cancel = NULL;
        }
    }
    assert_int_equal(remover.rc, DRAY_OK);
    assert_false(has(store, "one"));
}

static void a_store_that_is_read_only_keeps_its_images(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_STORE struct dray_store *reader = scratch_open(*state, DRAY_STORE_READ, NULL);

    tag(store, "docker.io/library/a:1", put_image(store, "one"));
    assert_int_equal(remove_image(reader, "a:1", NULL), DRAY_EINVAL);
    assert_true(has(store, "one"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(an_image_is_complete_with_all_its_blobs),
        scratch_test(a_layer_of_the_wrong_size_is_not_there),
        scratch_test(an_index_is_complete_with_all_its_images),
        scratch_test(indexes_that_nest_too_deep_are_not_followed),
        scratch_test(an_index_that_repeats_itself_costs_its_length),
        scratch_test(images_are_listed_by_name),
        scratch_test(a_damaged_image_is_listed_as_incomplete),
        scratch_test(an_empty_store_lists_nothing),
        scratch_test(an_image_is_found_by_every_name_it_has),
        scratch_test(inspecting_gives_the_documents_as_they_are),
        scratch_test(a_damaged_image_cannot_be_inspected),
        scratch_test(removing_deletes_what_no_other_image_uses),
        scratch_test(an_image_with_two_names_stays_with_one),
        scratch_test(removing_by_digest_takes_every_name_of_the_repository),
        scratch_test(removing_by_tag_and_digest_takes_that_tag_alone),
        scratch_test(a_name_of_several_entries_is_removed_as_a_whole),
        scratch_test(a_blob_that_is_a_layer_here_and_a_manifest_there_is_followed),
        scratch_test(while_an_image_cannot_be_read_no_blob_is_deleted),
        scratch_test(entries_that_mean_nothing_to_us_protect_every_blob),
        scratch_test(removing_waits_for_running_pulls),
        scratch_test(a_store_that_is_read_only_keeps_its_images),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
