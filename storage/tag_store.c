#include "storage/tag_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/json.h"
#include "core/limits.h"
#include "core/log.h"
#include "storage/file.h"

#define INDEX_PATH "index.json"

static const char *annotation(const json_t *entry, const char *key)
{
    return json_string_value(json_object_get(json_object_get(entry, "annotations"), key));
}

/* Load index.json: an object, whose "manifests" is an array. */
static int load_index(const struct dray_store *store, json_t **ret_index, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;
    DRAY_AUTO_JSON json_t *index = NULL;
    json_t *manifests;
    int rc;

    rc = dray_file_read(store, INDEX_PATH, DRAY_INDEX_MAX_BYTES, &text, err);
    if (rc == DRAY_OK)
        rc = dray_json_parse(text.data, text.len, DRAY_INDEX_MAX_BYTES, &index, err);
    if (rc == DRAY_ENOTFOUND || rc == DRAY_EPROTO) {
        if (err)
            err->code = DRAY_ESTORE;
        return dray_error_wrap(err, DRAY_ESTORE, "%s/" INDEX_PATH " is damaged", store->root);
    }
    if (rc < 0)
        return rc;

    manifests = json_object_get(index, "manifests");
    if (json_is_object(index) && (!manifests || json_is_null(manifests))) {
        /* How Go writes an empty list. */
        manifests = json_array();
        if (!manifests || json_object_set_new(index, "manifests", manifests) < 0)
            return dray_error_nomem(err);
    }
    if (!json_is_array(manifests))
        return dray_error_set(err, DRAY_ESTORE,
                              "%s/" INDEX_PATH " is damaged: it is no image index", store->root);
    *ret_index = DRAY_TAKE(index);
    return DRAY_OK;
}

static size_t count_values(json_t *json)
{
    size_t count = 1;
    const char *key;
    json_t *value;
    size_t i;

    json_object_foreach(json, key, value) count += count_values(value);
    json_array_foreach(json, i, value) count += count_values(value);
    return count;
}

/* Replace index.json. Under the index lock. */
static int save_index(struct dray_store *store, json_t *index, struct dray_error *err)
{
    DRAY_AUTO_FREE char *text = json_dumps(index, JSON_COMPACT);
    size_t len;
    int rc;

    if (!text)
        return dray_error_nomem(err);
    len = strlen(text);
    /* What load_index() would refuse is never written. */
    if (len > DRAY_INDEX_MAX_BYTES || count_values(index) > DRAY_JSON_MAX_VALUES)
        return dray_error_set(err, DRAY_ESTORE, "%s holds as many images as fit into " INDEX_PATH,
                              store->root);

    rc = dray_file_write(store, DRAY_STORE_TEMP_PATH, text, len, 0644, err);
    if (rc < 0)
        return rc;
    if (renameat(store->root_fd, DRAY_STORE_TEMP_PATH, store->root_fd, INDEX_PATH) < 0)
        return dray_error_errno(err, errno, "replace %s/" INDEX_PATH, store->root);
    return dray_file_sync_dir(store, ".", err);
}

static int read_entry(const json_t *entry, struct dray_tag *ret_tag, struct dray_error *err)
{
    const char *name = annotation(entry, DRAY_ANNOTATION_REF_NAME);
    const char *source = annotation(entry, DRAY_ANNOTATION_SOURCE_DIGEST);
    struct dray_tag tag = { 0 };
    int rc;

    rc = dray_descriptor_from_json(entry, &tag.descriptor, err);
    if (rc < 0)
        return rc;
    free(tag.descriptor.data); /* the blob is in the store */
    tag.descriptor.data = NULL;
    if (source && dray_digest_parse(source, strlen(source), &tag.source_digest, NULL) < 0)
        tag.source_digest = (struct dray_digest){ 0 };
    if (name) {
        tag.name = strdup(name);
        if (!tag.name)
            return dray_error_nomem(err);
    }
    *ret_tag = tag;
    return DRAY_OK;
}

int dray_tag_list_read(struct dray_store *store, struct dray_tag_list *ret_list,
                       struct dray_error *err)
{
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    DRAY_AUTO_JSON json_t *index = NULL;
    struct dray_error why = { 0 };
    const json_t *manifests;
    const json_t *entry;
    size_t i;
    int rc;

    rc = load_index(store, &index, err);
    if (rc < 0)
        return rc;
    manifests = json_object_get(index, "manifests");
    list.items = calloc(json_array_size(manifests) + 1, sizeof(*list.items));
    if (!list.items)
        return dray_error_nomem(err);

    json_array_foreach(manifests, i, entry)
    {
        rc = read_entry(entry, &list.items[list.count], &why);
        if (rc == DRAY_OK) {
            list.count++;
        } else if (rc == DRAY_ENOMEM) {
            return dray_error_nomem(err);
        } else {
            dray_log(&store->log, DRAY_LOG_WARNING, "%s/" INDEX_PATH ": entry %zu is ignored: %s",
                     store->root, i, why.text);
            list.unreadable_count++;
        }
    }

    *ret_list = DRAY_MOVE(list);
    return DRAY_OK;
}

void dray_tag_list_done(struct dray_tag_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i].name);
        dray_descriptor_done(&list->items[i].descriptor);
    }
    free(list->items);
    *list = (struct dray_tag_list){ 0 };
}

const struct dray_tag *dray_tag_list_find(const struct dray_tag_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].name && strcmp(list->items[i].name, name) == 0)
            return &list->items[i];
    return NULL;
}

/* NULL without memory. (json_object_set_new() refuses a NULL value.) */
static json_t *make_platform(const struct dray_platform *platform)
{
    json_t *json =
        json_pack("{s:s, s:s}", "architecture", platform->architecture, "os", platform->os);

    if (json && platform->variant[0] != '\0' &&
        json_object_set_new(json, "variant", json_string(platform->variant)) < 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *make_entry(const struct dray_tag *tag)
{
    const struct dray_descriptor *descriptor = &tag->descriptor;
    DRAY_AUTO_JSON json_t *entry =
        json_pack("{s:s, s:s, s:I}", "mediaType", descriptor->media_type, "digest",
                  descriptor->digest.text, "size", (json_int_t)descriptor->size_bytes);
    DRAY_AUTO_JSON json_t *annotations = json_pack("{s:s}", DRAY_ANNOTATION_REF_NAME, tag->name);

    if (!entry || !annotations)
        return NULL;
    if (descriptor->has_platform &&
        json_object_set_new(entry, "platform", make_platform(&descriptor->platform)) < 0)
        return NULL;
    if (tag->source_digest.alg != 0 &&
        json_object_set_new(annotations, DRAY_ANNOTATION_SOURCE_DIGEST,
                            json_string(tag->source_digest.text)) < 0)
        return NULL;
    if (json_object_set(entry, "annotations", annotations) < 0)
        return NULL;
    return DRAY_TAKE(entry);
}

static bool has_name(const json_t *entry, const char *name)
{
    const char *other = annotation(entry, DRAY_ANNOTATION_REF_NAME);

    return other && strcmp(other, name) == 0;
}

/* Delete every entry of a name from an index on, and say whether there was one. */
static bool delete_named(json_t *manifests, size_t from, const char *name)
{
    bool deleted = false;

    for (size_t i = json_array_size(manifests); i > from; i--) {
        if (has_name(json_array_get(manifests, i - 1), name)) {
            json_array_remove(manifests, i - 1);
            deleted = true;
        }
    }
    return deleted;
}

/* Put the entry in the place of the first of its name, or at the end; other entries of that name
 * go. *ret_changed false: it stood there already, and alone. */
static int put_entry(json_t *manifests, json_t *entry, const char *name, bool *ret_changed)
{
    size_t place = 0;

    while (place < json_array_size(manifests) && !has_name(json_array_get(manifests, place), name))
        place++;
    *ret_changed = delete_named(manifests, place + 1, name);
    if (place == json_array_size(manifests)) {
        *ret_changed = true;
        return json_array_append(manifests, entry) < 0 ? DRAY_ENOMEM : DRAY_OK;
    }
    if (json_equal(json_array_get(manifests, place), entry))
        return DRAY_OK;
    *ret_changed = true;
    return json_array_set(manifests, place, entry) < 0 ? DRAY_ENOMEM : DRAY_OK;
}

int dray_tag_set(struct dray_store *store, const struct dray_tag *tag,
                 const struct dray_cancel *cancel, bool *ret_changed, struct dray_error *err)
{
    DRAY_AUTO_FD int lock_fd = -1;
    DRAY_AUTO_JSON json_t *entry = make_entry(tag);
    DRAY_AUTO_JSON json_t *index = NULL;
    bool changed;
    int rc;

    assert(store->mode == DRAY_STORE_WRITE);
    if (!entry)
        return dray_error_nomem(err);
    rc = dray_store_lock_index(store, cancel, &lock_fd, err);
    if (rc < 0)
        return rc;
    rc = load_index(store, &index, err);
    if (rc < 0)
        return rc;
    rc = put_entry(json_object_get(index, "manifests"), entry, tag->name, &changed);
    if (rc < 0)
        return dray_error_nomem(err);
    if (changed) {
        rc = save_index(store, index, err);
        if (rc < 0)
            return rc;
    }
    if (ret_changed)
        *ret_changed = changed;
    return DRAY_OK;
}

int dray_tag_remove(struct dray_store *store, const struct dray_tag *tags, size_t count,
                    const struct dray_cancel *cancel, struct dray_error *err)
{
    DRAY_AUTO_FD int lock_fd = -1;
    DRAY_AUTO_JSON json_t *index = NULL;
    bool changed = false;
    int rc;

    assert(store->mode == DRAY_STORE_WRITE);
    rc = dray_store_lock_index(store, cancel, &lock_fd, err);
    if (rc < 0)
        return rc;
    rc = load_index(store, &index, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < count; i++)
        if (delete_named(json_object_get(index, "manifests"), 0, tags[i].name))
            changed = true;
    if (!changed)
        return dray_error_set(err, DRAY_ENOTFOUND, "no such image in %s: %s", store->root,
                              tags[0].name);
    return save_index(store, index, err);
}
