#include "storage/image_store.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/digest.h"
#include "core/error.h"
#include "core/image_config.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/manifest.h"
#include "storage/blob_store.h"

/* A digest that a walk came across. */
struct member {
    struct dray_digest digest;
    uint64_t size_bytes;
    bool followed;       /* as a manifest or index: its own members are members too */
    struct member *next; /* in the order of discovery */
};

/* Everything that is reached from the roots walked so far. */
struct closure {
    void *tree; /* of struct member, by digest: looked up 10 000 times for a large index */
    struct member *first;
    struct member **last;
    bool incomplete;       /* a blob is absent or damaged */
    struct dray_error why; /* code 0, or why the first document whose members are not known is so */
};

static void closure_init(struct closure *closure)
{
    *closure = (struct closure){ 0 };
    closure->last = &closure->first;
}

static void keep_member(void *member)
{
    (void)member; /* the list owns it */
}

static void closure_done(struct closure *closure)
{
    tdestroy(closure->tree, keep_member);
    while (closure->first) {
        struct member *member = closure->first;

        closure->first = member->next;
        free(member);
    }
}
#define AUTO_CLOSURE DRAY_CLEANUP(closure_done)

/* Digests are public: this needs an order, not constant time. */
static int compare_members(const void *a, const void *b)
{
    const struct member *left = a;
    const struct member *right = b;

    return strcmp(left->digest.text, right->digest.text);
}

static const struct member *closure_find(const struct closure *closure,
                                         const struct dray_digest *digest)
{
    const struct member key = { .digest = *digest };
    const struct member *const *found = tfind(&key, &closure->tree, compare_members);

    return found ? *found : NULL;
}

/* @return the member of this digest, which may be an old one, or NULL without memory */
static struct member *closure_add(struct closure *closure, const struct dray_descriptor *blob)
{
    struct member *member = calloc(1, sizeof(*member));
    struct member **found;

    if (!member)
        return NULL;
    member->digest = blob->digest;
    member->size_bytes = blob->size_bytes;
    found = tsearch(member, &closure->tree, compare_members);
    if (!found || *found != member) {
        free(member);
        return found ? *found : NULL;
    }
    *closure->last = member;
    closure->last = &member->next;
    return member;
}

/* Read a manifest or index and hold it to its digest. */
static int read_manifest(struct dray_store *store, const struct dray_descriptor *descriptor,
                         struct dray_buf *ret_text, struct dray_manifest **ret_manifest,
                         struct dray_error *err)
{
    int rc = dray_blob_read(store, &descriptor->digest, DRAY_MANIFEST_MAX_BYTES, ret_text, err);

    if (rc < 0)
        return rc;
    return dray_manifest_parse(ret_text->data, ret_text->len, descriptor->media_type, ret_manifest,
                               err);
}

/* Add one blob. NULL when memory is gone. */
static struct member *add_blob(struct dray_store *store, struct closure *closure,
                               const struct dray_descriptor *blob)
{
    struct member *member = closure_add(closure, blob);

    if (member && (member->size_bytes != blob->size_bytes ||
                   !dray_blob_exists(store, &blob->digest, blob->size_bytes)))
        closure->incomplete = true;
    return member;
}

/* Read and parse a document whose members are to be followed. */
static int read_members(struct dray_store *store, const struct dray_descriptor *descriptor,
                        unsigned level, struct dray_manifest **ret_manifest, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;

    if (!dray_media_type_is_manifest(descriptor->media_type))
        return dray_error_set(err, DRAY_EUNSUPPORTED, "%s is neither a manifest nor an index",
                              descriptor->digest.text);
    if (level > DRAY_INDEX_NESTING_MAX)
        return dray_error_set(err, DRAY_EPROTO, "%s: indexes are nested more than %d deep",
                              descriptor->digest.text, DRAY_INDEX_NESTING_MAX);
    return read_manifest(store, descriptor, &text, ret_manifest, err);
}

/*
 * Add a manifest or index and all that it names, depth first. A document that cannot be read is
 * noted, not an error. Each is followed once, so an index that names another many times, on many
 * levels, costs no more than its length.
 *
 * @param level  how many indexes stand above this one
 * @return DRAY_OK or DRAY_ENOMEM
 */
static int add_document(struct dray_store *store, struct closure *closure,
                        const struct dray_descriptor *descriptor, unsigned level,
                        struct dray_error *err)
{
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    struct dray_error why = { 0 };
    struct member *member = add_blob(store, closure, descriptor);
    int rc;

    if (!member)
        return dray_error_nomem(err);
    if (member->followed)
        return DRAY_OK;

    rc = read_members(store, descriptor, level, &manifest, &why);
    if (rc == DRAY_ENOMEM)
        return dray_error_nomem(err);
    if (rc < 0) {
        if (rc != DRAY_EUNSUPPORTED) /* what is only unknown may well be whole */
            closure->incomplete = true;
        if (closure->why.code == DRAY_OK)
            closure->why = why;
        return DRAY_OK;
    }
    member->followed = true;

    if (manifest->kind == DRAY_MANIFEST_IMAGE && !add_blob(store, closure, &manifest->config))
        return dray_error_nomem(err);
    for (size_t i = 0; i < manifest->layer_count; i++)
        if (!add_blob(store, closure, &manifest->layers[i]))
            return dray_error_nomem(err);
    for (size_t i = 0; i < manifest->manifest_count; i++) {
        rc = add_document(store, closure, &manifest->manifests[i], level + 1, err);
        if (rc < 0)
            return rc;
    }
    return DRAY_OK;
}

int dray_image_complete(struct dray_store *store, const struct dray_descriptor *root,
                        bool *ret_complete, struct dray_error *err)
{
    AUTO_CLOSURE struct closure closure;
    int rc;

    closure_init(&closure);
    rc = add_document(store, &closure, root, 0, err);
    if (rc < 0)
        return rc;
    if (closure.why.code == DRAY_EIO) { /* nothing is known, so do not call it damaged */
        if (err)
            *err = closure.why;
        return DRAY_EIO;
    }
    *ret_complete = !closure.incomplete;
    return DRAY_OK;
}

/* What stands in the store as a whole: size and completeness. */
static int fill_sizes(struct dray_store *store, const struct dray_tag *tag,
                      struct dray_image *image, struct dray_error *err)
{
    AUTO_CLOSURE struct closure closure;
    int rc;

    closure_init(&closure);
    rc = add_document(store, &closure, &tag->descriptor, 0, err);
    if (rc < 0)
        return rc;
    for (const struct member *member = closure.first; member; member = member->next)
        if (!dray_add_u64(image->size_bytes, member->size_bytes, &image->size_bytes))
            image->size_bytes = UINT64_MAX;
    image->complete = !closure.incomplete;
    return DRAY_OK;
}

/* What the index entry and the image's own documents say; manifest and config may be missing. */
static void fill_text(const struct dray_tag *tag, const struct dray_manifest *manifest,
                      const struct dray_image_config *config, struct dray_image *image)
{
    snprintf(image->reference, sizeof(image->reference), "%s", tag->name ? tag->name : "");
    image->digest = tag->descriptor.digest;
    image->source_digest = tag->source_digest;
    if (image->source_digest.alg == 0)
        image->source_digest = image->digest;
    if (config)
        image->platform = config->platform;
    else if (tag->descriptor.has_platform)
        image->platform = tag->descriptor.platform;
    snprintf(image->media_type, sizeof(image->media_type), "%s",
             manifest ? manifest->media_type : tag->descriptor.media_type);
    snprintf(image->created, sizeof(image->created), "%s", config ? config->created : "");
    image->layer_count = manifest ? (uint32_t)manifest->layer_count : 0;
}

/* An image as one that is damaged can be listed too: with what is known of it. */
static int list_image(struct dray_store *store, const struct dray_tag *tag,
                      struct dray_image *ret_image, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
    struct dray_image image = { 0 };
    int rc;

    rc = fill_sizes(store, tag, &image, err);
    if (rc < 0)
        return rc;
    rc = read_manifest(store, &tag->descriptor, &text, &manifest, NULL);
    if (rc == DRAY_OK && manifest->kind == DRAY_MANIFEST_IMAGE &&
        dray_media_type_is_config(manifest->config.media_type)) {
        rc = dray_blob_read(store, &manifest->config.digest, DRAY_CONFIG_MAX_BYTES, &text, NULL);
        if (rc == DRAY_OK)
            rc = dray_image_config_parse(text.data, text.len, &config, NULL);
    }
    if (rc == DRAY_ENOMEM)
        return dray_error_nomem(err);
    fill_text(tag, manifest, config, &image);
    *ret_image = image;
    return DRAY_OK;
}

static int compare_images(const void *a, const void *b)
{
    const struct dray_image *left = a;
    const struct dray_image *right = b;

    return strcmp(left->reference, right->reference);
}

int dray_store_list(struct dray_store *store, struct dray_image **ret_images, size_t *ret_count,
                    struct dray_error *err)
{
    DRAY_AUTO_FD int lock_fd = -1;
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    DRAY_AUTO_FREE struct dray_image *images = NULL;
    int rc;

    rc = dray_store_lock(store, DRAY_LOCK_SHARED, NULL, &lock_fd, err);
    if (rc < 0)
        return rc;
    rc = dray_tag_list_read(store, &list, err);
    if (rc < 0)
        return rc;
    images = calloc(list.count + 1, sizeof(*images));
    if (!images)
        return dray_error_nomem(err);
    for (size_t i = 0; i < list.count; i++) {
        rc = list_image(store, &list.items[i], &images[i], err);
        if (rc < 0)
            return rc;
    }

    qsort(images, list.count, sizeof(*images), compare_images);
    *ret_images = DRAY_TAKE(images);
    *ret_count = list.count;
    return DRAY_OK;
}

/* How a user's reference can mean an entry of index.json, the surest way first. */
enum match {
    MATCH_NAME,   /* the very name */
    MATCH_NORMAL, /* a short name that another tool wrote: "alpine" */
    MATCH_DIGEST, /* the repository, the tag if there is one, and the digest of the entry or of its
                     source */
    MATCH_END,
};

static bool matches(const struct dray_tag *tag, const struct dray_reference *reference,
                    const char *canonical, enum match match)
{
    struct dray_reference parsed;
    char name[DRAY_REFERENCE_TEXT_MAX];

    if (!tag->name)
        return false;
    if (match == MATCH_NAME)
        return strcmp(tag->name, canonical) == 0;
    if (dray_reference_parse(tag->name, &parsed, NULL) < 0)
        return false;
    if (match == MATCH_NORMAL) {
        dray_reference_canonical(&parsed, name);
        return strcmp(name, canonical) == 0;
    }
    return strcmp(parsed.domain, reference->domain) == 0 &&
           strcmp(parsed.path, reference->path) == 0 &&
           (reference->tag[0] == '\0' || strcmp(parsed.tag, reference->tag) == 0) &&
           (dray_digest_equal(&tag->descriptor.digest, &reference->digest) ||
            dray_digest_equal(&tag->source_digest, &reference->digest));
}

static void swap_tags(struct dray_tag *a, struct dray_tag *b)
{
    const struct dray_tag tag = *a;

    *a = *b;
    *b = tag;
}

/* Move the tags that a reference means to the front, in the file's order. @return DRAY_OK or
 * DRAY_ENOTFOUND */
static int choose_tags(const struct dray_store *store, struct dray_tag_list *list,
                       const struct dray_reference *reference, size_t *ret_chosen,
                       struct dray_error *err)
{
    char canonical[DRAY_REFERENCE_TEXT_MAX];
    size_t chosen = 0;

    dray_reference_canonical(reference, canonical);
    for (int match = MATCH_NAME; match < MATCH_END && chosen == 0; match++) {
        for (size_t i = 0; i < list->count; i++) {
            if (matches(&list->items[i], reference, canonical, (enum match)match))
                swap_tags(&list->items[i], &list->items[chosen++]);
        }
    }
    if (chosen == 0) {
        dray_error_set(err, DRAY_ENOTFOUND, "no such image in %s: %s", store->root, canonical);
        dray_error_hint(err, "`dray images` lists what is there");
        return DRAY_ENOTFOUND;
    }
    *ret_chosen = chosen;
    return DRAY_OK;
}

/* Move the other entries of the chosen names behind them: a name goes as a whole. */
static size_t choose_namesakes(struct dray_tag_list *list, size_t chosen)
{
    const struct dray_tag_list names = { .items = list->items, .count = chosen };

    for (size_t i = chosen; i < list->count; i++)
        if (list->items[i].name && dray_tag_list_find(&names, list->items[i].name))
            swap_tags(&list->items[i], &list->items[chosen++]);
    return chosen;
}

/* A name leads to this document, so its absence or nonsense is the store's, not the user's. */
static int damaged(struct dray_error *err, int rc, const struct dray_tag *tag)
{
    if (rc == DRAY_ENOTFOUND || rc == DRAY_EPROTO || rc == DRAY_EUNSUPPORTED) {
        rc = DRAY_ESTORE;
        if (err)
            err->code = rc;
    }
    return dray_error_wrap(err, rc, "%s", tag->name);
}

int dray_store_inspect(struct dray_store *store, const struct dray_reference *reference,
                       struct dray_image *ret_image, char **ret_manifest, char **ret_config,
                       struct dray_error *err)
{
    DRAY_AUTO_FD int lock_fd = -1;
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    DRAY_AUTO_BUF struct dray_buf manifest_text = DRAY_BUF_INIT;
    DRAY_AUTO_BUF struct dray_buf config_text = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    struct dray_image image;
    const struct dray_tag *tag;
    size_t chosen;
    int rc;

    rc = dray_store_lock(store, DRAY_LOCK_SHARED, NULL, &lock_fd, err);
    if (rc < 0)
        return rc;
    rc = dray_tag_list_read(store, &list, err);
    if (rc < 0)
        return rc;
    rc = choose_tags(store, &list, reference, &chosen, err);
    if (rc < 0)
        return rc;
    tag = &list.items[0];

    rc = read_manifest(store, &tag->descriptor, &manifest_text, &manifest, err);
    if (rc == DRAY_OK && manifest->kind == DRAY_MANIFEST_IMAGE)
        rc = dray_blob_read(store, &manifest->config.digest, DRAY_CONFIG_MAX_BYTES, &config_text,
                            err);
    if (rc < 0)
        return damaged(err, rc, tag);
    rc = list_image(store, tag, &image, err);
    if (rc < 0)
        return rc;

    *ret_image = image;
    if (ret_manifest)
        *ret_manifest = (char *)DRAY_TAKE(manifest_text.data);
    if (ret_config)
        *ret_config = (char *)DRAY_TAKE(config_text.data);
    return DRAY_OK;
}

static int delete_unused(struct dray_store *store, const struct closure *removed,
                         const struct closure *kept, struct dray_removal *removal,
                         struct dray_error *err)
{
    for (const struct member *member = removed->first; member; member = member->next) {
        bool was_there;
        int rc;

        if (closure_find(kept, &member->digest))
            continue;
        rc = dray_blob_remove(store, &member->digest, &was_there, err);
        if (rc < 0)
            return rc;
        if (was_there) {
            removal->blob_count++;
            removal->freed_bytes += member->size_bytes;
        }
    }
    return DRAY_OK;
}

int dray_store_remove(struct dray_store *store, const struct dray_reference *reference,
                      struct dray_cancel *cancel, struct dray_removal *ret_removal,
                      struct dray_error *err)
{
    DRAY_AUTO_FD int lock_fd = -1;
    DRAY_AUTO_TAG_LIST struct dray_tag_list list = { 0 };
    AUTO_CLOSURE struct closure removed;
    AUTO_CLOSURE struct closure kept;
    struct dray_removal removal = { 0 };
    size_t chosen;
    int rc;

    closure_init(&removed);
    closure_init(&kept);
    if (store->mode != DRAY_STORE_WRITE)
        return dray_error_set(err, DRAY_EINVAL, "%s is open for reading only", store->root);
    rc = dray_store_lock(store, DRAY_LOCK_EXCLUSIVE, cancel, &lock_fd, err);
    if (rc < 0)
        return rc;
    rc = dray_tag_list_read(store, &list, err);
    if (rc < 0)
        return rc;
    rc = choose_tags(store, &list, reference, &chosen, err);
    if (rc < 0)
        return rc;
    chosen = choose_namesakes(&list, chosen);
    for (size_t i = 0; i < list.count; i++) {
        rc = add_document(store, i < chosen ? &removed : &kept, &list.items[i].descriptor, 0, err);
        if (rc < 0)
            return rc;
    }

    /* The names first: should this be interrupted, blobs without a name are left, never a name
     * without its blobs. */
    rc = dray_tag_remove(store, list.items, chosen, cancel, err);
    if (rc < 0)
        return rc;
    if (list.unreadable_count > 0 || kept.why.code != DRAY_OK) {
        dray_log(&store->log, DRAY_LOG_WARNING,
                 "no blob of %s is deleted, since another image may need it: %s",
                 list.items[0].name,
                 kept.why.code != DRAY_OK ? kept.why.text : "index.json has unknown entries");
    } else {
        rc = delete_unused(store, &removed, &kept, &removal, err);
        if (rc < 0)
            return rc;
    }
    if (ret_removal)
        *ret_removal = removal;
    return DRAY_OK;
}
