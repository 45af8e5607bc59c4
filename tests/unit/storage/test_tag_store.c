#include "storage/tag_store.h"

#include <jansson.h>

#include "core/buffer.h"
#include "core/cancel.h"
#include "core/limits.h"
#include "tests/unit/storage/scratch.h"

static struct dray_tag make_tag(const char *name, const char *content)
{
    struct dray_tag tag = { .name = (char *)(uintptr_t)name };

    assert_ok(dray_digest_of(DRAY_SHA256, content, strlen(content), &tag.descriptor.digest));
    tag.descriptor.size_bytes = strlen(content);
    snprintf(tag.descriptor.media_type, sizeof(tag.descriptor.media_type), DRAY_MT_OCI_MANIFEST);
    return tag;
}

static bool set(struct dray_store *store, const char *name, const char *content)
{
    struct dray_tag tag = make_tag(name, content);
    bool changed = false;

    assert_ok(dray_tag_set(store, &tag, NULL, &changed, NULL));
    return changed;
}

static int take_off(struct dray_store *store, const char *name, struct dray_error *err)
{
    const struct dray_tag tag = { .name = (char *)(uintptr_t)name };

    return dray_tag_remove(store, &tag, 1, NULL, err);
}

/* Hold the names, in the file's order, to "a b c". */
static void assert_names(struct dray_store *store, const char *want)
{
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;

    assert_ok(dray_tag_list_read(store, &list, NULL));
    for (size_t i = 0; i < list.count; i++)
        assert_ok(dray_buf_appendf(&text, "%s%s", i > 0 ? " " : "",
                                   list.items[i].name ? list.items[i].name : "-"));
    assert_string_equal(dray_buf_text(&text), want);
}

static void a_new_store_has_no_tags(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);

    assert_names(store, "");
}

static void everything_of_a_tag_is_read_back(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    struct dray_tag tag = make_tag("docker.io/library/alpine:3", "manifest");
    const struct dray_tag *found;

    tag.descriptor.has_platform = true;
    tag.descriptor.platform =
        (struct dray_platform){ .os = "linux", .architecture = "arm", .variant = "v7" };
    assert_ok(dray_digest_of(DRAY_SHA512, "index", 5, &tag.source_digest));
    assert_ok(dray_tag_set(store, &tag, NULL, NULL, NULL));
    set(store, "plain", "other");

    assert_ok(dray_tag_list_read(store, &list, NULL));
    found = dray_tag_list_find(&list, "docker.io/library/alpine:3");
    assert_non_null(found);
    assert_true(dray_digest_equal(&found->descriptor.digest, &tag.descriptor.digest));
    assert_true(dray_digest_equal(&found->source_digest, &tag.source_digest));
    assert_int_equal(found->descriptor.size_bytes, 8);
    assert_string_equal(found->descriptor.media_type, DRAY_MT_OCI_MANIFEST);
    assert_true(found->descriptor.has_platform);
    assert_string_equal(found->descriptor.platform.architecture, "arm");
    assert_string_equal(found->descriptor.platform.variant, "v7");

    found = dray_tag_list_find(&list, "plain");
    assert_false(found->descriptor.has_platform);
    assert_int_equal(found->source_digest.alg, 0);
    assert_null(dray_tag_list_find(&list, "docker.io/library/alpine"));
}

static void a_name_moves_and_keeps_its_place(void **state) /* T-5 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    struct dray_tag want = make_tag("b", "new");

    assert_true(set(store, "a", "1"));
    assert_true(set(store, "b", "2"));
    assert_true(set(store, "c", "3"));
    assert_true(set(store, "b", "new"));
    assert_names(store, "a b c");
    assert_ok(dray_tag_list_read(store, &list, NULL));
    assert_true(dray_digest_equal(&list.items[1].descriptor.digest, &want.descriptor.digest));
}

static void an_equal_tag_is_not_written_again(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct stat before;
    struct stat after;

    assert_true(set(store, "a", "1"));
    assert_int_equal(stat(below(*state, "index.json"), &before), 0);
    assert_false(set(store, "a", "1"));
    assert_int_equal(stat(below(*state, "index.json"), &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void a_tag_can_be_removed_once(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_error err = { 0 };

    set(store, "a", "1");
    set(store, "b", "2");
    assert_ok(take_off(store, "a", NULL));
    assert_names(store, "b");
    assert_int_equal(take_off(store, "a", &err), DRAY_ENOTFOUND);
    assert_non_null(strstr(err.text, "no such image"));
    assert_names(store, "b");
}

static void several_tags_are_removed_in_one_change(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_tag tags[] = { make_tag("a", ""), make_tag("none", ""), make_tag("c", ""),
                               make_tag("a", "") };

    set(store, "a", "1");
    set(store, "b", "2");
    set(store, "c", "3");
    assert_ok(dray_tag_remove(store, tags, 4, NULL, NULL));
    assert_names(store, "b");
    assert_int_equal(dray_tag_remove(store, tags, 4, NULL, NULL), DRAY_ENOTFOUND);
}

static void waiting_for_another_change_can_be_canceled(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_CANCEL struct dray_cancel *cancel = NULL;
    DRAY_AUTO_FD int lock_fd = -1;
    struct dray_tag tag = make_tag("a", "1");

    set(store, "a", "1");
    assert_ok(dray_cancel_new(&cancel, NULL));
    assert_ok(dray_store_lock_index(store, NULL, &lock_fd, NULL));
    dray_cancel_fire(cancel);
    assert_int_equal(dray_tag_set(store, &tag, cancel, NULL, NULL), DRAY_ECANCELED);
    assert_int_equal(dray_tag_remove(store, &tag, 1, cancel, NULL), DRAY_ECANCELED);
    assert_names(store, "a");
}

#define DIGEST_OF_ABC "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define FOREIGN                                                                                    \
    "{\"schemaVersion\":2,\"annotations\":{\"k\":\"v\"},\"manifests\":["                           \
    "{\"mediaType\":\"application/x\",\"digest\":\"" DIGEST_OF_ABC "\",\"size\":3,"                \
    "\"artifactType\":\"t\",\"annotations\":{\"x\":\"y\"}},"                                       \
    "{\"mediaType\":\"application/y\",\"digest\":\"blake3:00\",\"size\":1,"                        \
    "\"annotations\":{\"org.opencontainers.image.ref.name\":\"odd\"}},"                            \
    "{\"mediaType\":\"application/x\",\"digest\":\"" DIGEST_OF_ABC "\",\"size\":3,"                \
    "\"data\":\"YWJj\",\"annotations\":{\"org.opencontainers.image.ref.name\":\"v1\"}}],"          \
    "\"extra\":[1,null,1.5]}"

static void entries_of_other_tools_are_kept(void **state)
{
    struct scratch_log log = { 0 };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, &log);
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    DRAY_AUTO_FREE char *after = NULL;
    json_t *want = json_loads(FOREIGN, 0, NULL);
    json_t *got;

    write_text(below(*state, "index.json"), FOREIGN);
    assert_ok(dray_tag_list_read(store, &list, NULL));
    assert_int_equal(list.count, 2);
    assert_int_equal(list.unreadable_count, 1);
    assert_non_null(strstr(log.text, "entry 1 is ignored"));
    assert_null(list.items[0].name);
    assert_string_equal(list.items[1].name, "v1");
    assert_null(list.items[1].descriptor.data);

    set(store, "a", "1");
    assert_ok(take_off(store, "a", NULL));
    after = read_text(below(*state, "index.json"));
    got = json_loads(after, 0, NULL);
    assert_true(json_equal(got, want));
    assert_string_equal(after, FOREIGN); /* not even the order changed */
    json_decref(got);
    json_decref(want);
}

static void of_several_entries_of_a_name_one_is_left(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    DRAY_AUTO_FREE char *one = NULL;
    char twice[2048];
    const char *entry;

    set(store, "a", "1");
    one = read_text(below(*state, "index.json"));
    entry = strstr(one, "[{") + 1;
    snprintf(twice, sizeof(twice), "{\"manifests\":[%.*s,%.*s]}",
             (int)(strrchr(entry, ']') - entry), entry, (int)(strrchr(entry, ']') - entry), entry);
    write_text(below(*state, "index.json"), twice);
    assert_names(store, "a a");
    assert_true(set(store, "a", "1"));
    assert_names(store, "a");
}

static void a_list_that_go_wrote_empty_is_empty(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);

    write_text(below(*state, "index.json"), "{\"schemaVersion\":2,\"manifests\":null}");
    assert_names(store, "");
    set(store, "a", "1");
    assert_names(store, "a");
}

static void a_damaged_index_is_neither_read_nor_written(void **state)
{
    static const char *const texts[] = {
        "", "{", "[]", "17", "{\"manifests\":{}}", "{\"manifests\":[]} x"
    };
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_tag tag = make_tag("a", "1");

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        DRAY_AUTO_FREE char *after = NULL;
        struct dray_tag_list list;
        struct dray_error err = { 0 };

        write_text(below(*state, "index.json"), texts[i]);
        assert_int_equal(dray_tag_list_read(store, &list, &err), DRAY_ESTORE);
        assert_int_equal(err.code, DRAY_ESTORE);
        assert_non_null(strstr(err.text, *state));
        assert_int_equal(dray_tag_set(store, &tag, NULL, NULL, NULL), DRAY_ESTORE);
        assert_int_equal(take_off(store, "a", NULL), DRAY_ESTORE);
        after = read_text(below(*state, "index.json"));
        assert_string_equal(after, texts[i]);
    }
}

static void what_could_not_be_read_again_is_not_written(void **state)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
    struct dray_tag tag = make_tag("a", "1");
    struct dray_error err = { 0 };
    FILE *file = fopen(below(*state, "index.json"), "w");

    fputs("{\"manifests\":[],\"full\":[0", file);
    for (int i = 0; i < DRAY_JSON_MAX_VALUES - 5; i++)
        fputs(",0", file);
    fputs("]}", file);
    assert_int_equal(fclose(file), 0);

    assert_names(store, "");
    assert_int_equal(dray_tag_set(store, &tag, NULL, NULL, &err), DRAY_ESTORE);
    assert_non_null(strstr(err.text, "as many images as fit"));
    assert_names(store, "");
}

static int set_past_the_limit(void *ctx)
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(ctx, DRAY_STORE_WRITE, NULL);
    struct dray_tag tag = make_tag("b", "2");
    struct dray_error err = { 0 };

    if (!limit_file_size(200))
        return 1;
    if (dray_tag_set(store, &tag, NULL, NULL, &err) != DRAY_EIO || err.sys_errno != EFBIG)
        return 3;
    return exists(below(ctx, DRAY_STORE_TEMP_PATH)) ? 4 : 0;
}

static void an_index_that_cannot_be_written_stays_as_it_was(void **state) /* H-57 */
{
    DRAY_AUTO_STORE struct dray_store *store = scratch_open(*state, DRAY_STORE_WRITE, NULL);

    set(store, "a", "1");
    assert_int_equal(end_child(start_child(set_past_the_limit, *state)), 0);
    assert_names(store, "a");
}

struct tagger {
    const char *root;
    int number;
    int count;
    bool stops; /* for wait_for_child(), with the first tag set */
};

static int set_many(void *ctx)
{
    const struct tagger *tagger = ctx;
    DRAY_AUTO_STORE struct dray_store *store = NULL;

    if (dray_store_open(tagger->root, DRAY_STORE_WRITE, NULL, &store, NULL) != DRAY_OK)
        return 1;
    for (int i = 0; i < tagger->count; i++) {
        char name[64];
        struct dray_tag tag;

        snprintf(name, sizeof(name), "p%d-%d", tagger->number, i);
        tag = make_tag(name, name);
        if (dray_tag_set(store, &tag, NULL, NULL, NULL) != DRAY_OK)
            return 1;
        if (i == 0 && tagger->stops)
            raise(SIGSTOP);
    }
    return 0;
}

static void changes_of_many_processes_are_all_kept(void **state) /* T-4 */
{
    DRAY_AUTO_STORE struct dray_store *store = NULL;
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    struct tagger taggers[8];
    pid_t pids[8];

    for (int i = 0; i < 8; i++) {
        taggers[i] = (struct tagger){ .root = *state, .number = i, .count = 20 };
        pids[i] = start_child(set_many, &taggers[i]);
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(end_child(pids[i]), 0);

    store = scratch_open(*state, DRAY_STORE_READ, NULL);
    assert_ok(dray_tag_list_read(store, &list, NULL));
    assert_int_equal(list.count, 8 * 20);
    for (int i = 0; i < 8; i++) {
        for (int j = 0; j < 20; j++) {
            char name[64];

            snprintf(name, sizeof(name), "p%d-%d", i, j);
            assert_non_null(dray_tag_list_find(&list, name));
        }
    }
}

static void a_kill_at_any_instant_leaves_an_index_that_reads(void **state) /* H-55 */
{
    uint64_t random_state = 20260104;
    size_t known = 0;

    for (int round = 0; round < 50; round++) {
        struct tagger tagger = { .root = *state, .number = round, .count = 1000, .stops = true };
        DRAY_AUTO_STORE struct dray_store *store = NULL;
        DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
        pid_t pid = start_child(set_many, &tagger);

        wait_for_child(pid);
        kill_child(pid, &random_state, 8000);
        store = scratch_open(*state, DRAY_STORE_WRITE, NULL);
        assert_ok(dray_tag_list_read(store, &list, NULL));
        assert_true(list.count > known);
        known = list.count;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_new_store_has_no_tags),
        scratch_test(everything_of_a_tag_is_read_back),
        scratch_test(a_name_moves_and_keeps_its_place),
        scratch_test(an_equal_tag_is_not_written_again),
        scratch_test(a_tag_can_be_removed_once),
        scratch_test(several_tags_are_removed_in_one_change),
        scratch_test(waiting_for_another_change_can_be_canceled),
        scratch_test(entries_of_other_tools_are_kept),
        scratch_test(of_several_entries_of_a_name_one_is_left),
        scratch_test(a_list_that_go_wrote_empty_is_empty),
        scratch_test(a_damaged_index_is_neither_read_nor_written),
        scratch_test(what_could_not_be_read_again_is_not_written),
        scratch_test(an_index_that_cannot_be_written_stays_as_it_was),
        scratch_test(changes_of_many_processes_are_all_kept),
        scratch_test(a_kill_at_any_instant_leaves_an_index_that_reads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
