#include "core/manifest.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/limits.h"

static const struct manifest_type {
    const char *media_type;
    enum dray_manifest_kind kind;
} manifest_types[] = {
    { DRAY_MT_OCI_MANIFEST, DRAY_MANIFEST_IMAGE },
    { DRAY_MT_OCI_INDEX, DRAY_MANIFEST_INDEX },
    { DRAY_MT_DOCKER_MANIFEST, DRAY_MANIFEST_IMAGE },
    { DRAY_MT_DOCKER_LIST, DRAY_MANIFEST_INDEX },
};

/* NULL when it is no manifest's that dray knows. */
static const struct manifest_type *find_type(const char *media_type)
{
    for (size_t i = 0; i < sizeof(manifest_types) / sizeof(manifest_types[0]); i++)
        if (dray_media_type_is(media_type, manifest_types[i].media_type))
            return &manifest_types[i];
    return NULL;
}

bool dray_media_type_is_manifest(const char *media_type)
{
    return find_type(media_type) != NULL;
}

bool dray_media_type_is_index(const char *media_type)
{
    const struct manifest_type *type = find_type(media_type);

    return type && type->kind == DRAY_MANIFEST_INDEX;
}

static const char *kind_text(enum dray_manifest_kind kind)
{
    return kind == DRAY_MANIFEST_INDEX ? "an index" : "an image manifest";
}

/* The document's own mediaType, "" if it has none, NULL if it is not a string. */
static const char *own_media_type(const json_t *root)
{
    const json_t *member = json_object_get(root, "mediaType");

    return member && !json_is_null(member) ? json_string_value(member) : "";
}

static bool is_schema1_type(const char *media_type)
{
    return dray_media_type_is(media_type, DRAY_MT_DOCKER_SCHEMA1) ||
           dray_media_type_is(media_type, DRAY_MT_DOCKER_SCHEMA1_SIGNED);
}

static int check_version(const json_t *root, const char *own_type, const char *content_type,
                         struct dray_error *err)
{
    const json_t *version = json_object_get(root, "schemaVersion");

    if ((json_is_integer(version) && json_integer_value(version) == 1) ||
        json_object_get(root, "fsLayers") || is_schema1_type(own_type) ||
        is_schema1_type(content_type)) {
        dray_error_set(err, DRAY_EUNSUPPORTED,
                       "Docker image manifest version 2, schema 1 is not supported");
        dray_error_hint(err, "ask the owner of the image to build it again, or to push it again "
                             "with Docker 1.10 or newer");
        return DRAY_EUNSUPPORTED;
    }
    if (!json_is_integer(version) || json_integer_value(version) != 2)
        return dray_error_set(err, DRAY_EPROTO, "schemaVersion is not 2");
    return DRAY_OK;
}

/* An index has manifests; an image has layers. One document must not pass for both, whatever it
 * calls itself and whatever a server calls it. */
static int read_kind(const json_t *root, const char *own_type, const char *content_type,
                     struct dray_manifest *manifest, struct dray_error *err)
{
    const struct manifest_type *own = find_type(own_type);
    const struct manifest_type *told = find_type(content_type);
    const bool has_layers = json_object_get(root, "layers");
    const char *media_type;

    if (own_type[0] != '\0' && !own)
        return dray_error_set(err, DRAY_EUNSUPPORTED,
                              "mediaType is not that of an image manifest or an index");
    if (json_object_get(root, "manifests")) {
        if (has_layers || json_object_get(root, "config"))
            return dray_error_set(err, DRAY_EPROTO,
                                  "ambiguous: members of both an index and an image manifest");
        manifest->kind = DRAY_MANIFEST_INDEX;
        media_type = DRAY_MT_OCI_INDEX;
    } else if (has_layers) {
        manifest->kind = DRAY_MANIFEST_IMAGE;
        media_type = DRAY_MT_OCI_MANIFEST;
    } else {
        return dray_error_set(err, DRAY_EPROTO, "neither layers nor manifests");
    }

    if (told && told->kind != manifest->kind)
        return dray_error_set(err, DRAY_EPROTO, "announced as %s, but it is %s", told->media_type,
                              kind_text(manifest->kind));
    if (own && own->kind != manifest->kind)
        return dray_error_set(err, DRAY_EPROTO, "mediaType is %s, but it is %s", own->media_type,
                              kind_text(manifest->kind));
    if (own)
        media_type = own->media_type;
    else if (told)
        media_type = told->media_type;

    snprintf(manifest->media_type, sizeof(manifest->media_type), "%s", media_type);
    return DRAY_OK;
}

/* Read an array of descriptors. What has been read is counted in any case, for the free. */
static int read_descriptors(const json_t *root, const char *key, size_t max,
                            struct dray_descriptor **descriptors, size_t *count,
                            struct dray_error *err)
{
    const json_t *array = json_object_get(root, key);
    const size_t size = json_array_size(array);

    if (!json_is_array(array) && !json_is_null(array)) /* null: Go's way to write an empty list */
        return dray_error_set(err, DRAY_EPROTO, "%s is not an array", key);
    if (size == 0)
        return DRAY_OK;
    if (size > max)
        return dray_error_set(err, DRAY_EPROTO, "%zu %s, more than the %zu allowed", size, key,
                              max);

    *descriptors = calloc(size, sizeof(**descriptors));
    if (!*descriptors)
        return dray_error_nomem(err);
    for (; *count < size; ++*count) {
        int rc =
            dray_descriptor_from_json(json_array_get(array, *count), &(*descriptors)[*count], err);
        if (rc < 0)
            return dray_error_wrap(err, rc, "%s[%zu]", key, *count);
    }
    return DRAY_OK;
}

static int read_members(const json_t *root, struct dray_manifest *manifest, struct dray_error *err)
{
    int rc;

    if (manifest->kind == DRAY_MANIFEST_INDEX)
        return read_descriptors(root, "manifests", DRAY_INDEX_ENTRIES_MAX, &manifest->manifests,
                                &manifest->manifest_count, err);

    rc = dray_descriptor_from_json(json_object_get(root, "config"), &manifest->config, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "config");
    return read_descriptors(root, "layers", DRAY_LAYERS_MAX, &manifest->layers,
                            &manifest->layer_count, err);
}

static int compare_digests(const void *a, const void *b)
{
    const struct dray_descriptor *const *left = a;
    const struct dray_descriptor *const *right = b;

    return strcmp((*left)->digest.text, (*right)->digest.text);
}

/* Bring the same digests together: comparing each with each would take 10 000 entries squared. */
static void sort_by_digest(const struct dray_descriptor **descriptors, size_t count)
{
    qsort(descriptors, count, sizeof(*descriptors), compare_digests);
}

/* One digest has one size. */
static int check_sizes(const struct dray_manifest *manifest, struct dray_error *err)
{
    const size_t max = 1 + manifest->layer_count + manifest->manifest_count;
    DRAY_AUTO_FREE const struct dray_descriptor **sorted = calloc(max, sizeof(*sorted));
    size_t count = 0;

    if (!sorted)
        return dray_error_nomem(err);
    if (manifest->kind == DRAY_MANIFEST_IMAGE)
        sorted[count++] = &manifest->config;
    for (size_t i = 0; i < manifest->layer_count; i++)
        sorted[count++] = &manifest->layers[i];
    for (size_t i = 0; i < manifest->manifest_count; i++)
        sorted[count++] = &manifest->manifests[i];

    sort_by_digest(sorted, count);
    for (size_t i = 1; i < count; i++)
        if (sorted[i]->size_bytes != sorted[i - 1]->size_bytes &&
            compare_digests(&sorted[i], &sorted[i - 1]) == 0)
            return dray_error_set(err, DRAY_EPROTO, "%s is there with two sizes",
                                  sorted[i]->digest.text);
    return DRAY_OK;
}

int dray_manifest_parse(const void *data, size_t len, const char *content_type,
                        struct dray_manifest **ret_manifest, struct dray_error *err)
{
    DRAY_AUTO_JSON json_t *root = NULL;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    const char *own_type;
    int rc;

    rc = dray_json_parse(data, len, DRAY_MANIFEST_MAX_BYTES, &root, err);
    if (rc < 0)
        return rc;
    if (!json_is_object(root))
        return dray_error_set(err, DRAY_EPROTO, "the document is not a JSON object");
    own_type = own_media_type(root);
    if (!own_type)
        return dray_error_set(err, DRAY_EPROTO, "mediaType is not a string");
    rc = check_version(root, own_type, content_type, err);
    if (rc < 0)
        return rc;

    manifest = calloc(1, sizeof(*manifest));
    if (!manifest)
        return dray_error_nomem(err);
    rc = read_kind(root, own_type, content_type, manifest, err);
    if (rc < 0)
        return rc;
    rc = read_members(root, manifest, err);
    if (rc < 0)
        return rc;
    rc = check_sizes(manifest, err);
    if (rc < 0)
        return rc;

    *ret_manifest = DRAY_TAKE(manifest);
    return DRAY_OK;
}

/* BuildKit stores provenance and SBOMs beside the images, as manifests for platform "unknown". */
static bool is_attestation(const struct dray_descriptor *entry)
{
    return entry->has_platform && strcmp(entry->platform.os, "unknown") == 0 &&
           strcmp(entry->platform.architecture, "unknown") == 0;
}

static bool is_selectable(const struct dray_descriptor *entry)
{
    return find_type(entry->media_type) && !is_attestation(entry);
}

static bool same_platform(const struct dray_platform *a, const struct dray_platform *b)
{
    return strcmp(a->os, b->os) == 0 && strcmp(a->architecture, b->architecture) == 0 &&
           strcmp(a->variant, b->variant) == 0;
}

/* Write "linux/amd64, linux/arm64", each platform once, as many as fit in list. */
static void list_platforms(const struct dray_manifest *index, char *list, size_t size)
{
    const struct dray_platform *listed[32];
    size_t count = 0;
    size_t len = 0;

    list[0] = '\0';
    for (size_t i = 0; i < index->manifest_count; i++) {
        const struct dray_descriptor *entry = &index->manifests[i];
        char text[DRAY_PLATFORM_TEXT_MAX];
        size_t known = 0;

        if (!entry->has_platform || !is_selectable(entry))
            continue;
        while (known < count && !same_platform(listed[known], &entry->platform))
            known++;
        if (known < count)
            continue;

        dray_platform_format(&entry->platform, text);
        if (count == sizeof(listed) / sizeof(listed[0]) ||
            len + strlen(text) + sizeof(", , ...") > size) {
            snprintf(list + len, size - len, ", ...");
            return;
        }
        len += (size_t)snprintf(list + len, size - len, "%s%s", count > 0 ? ", " : "", text);
        listed[count++] = &entry->platform;
    }
}

static void explain_no_match(const struct dray_manifest *index, const struct dray_platform *wanted,
                             struct dray_error *err)
{
    char platform[DRAY_PLATFORM_TEXT_MAX];
    char list[1024];

    dray_platform_format(wanted, platform);
    list_platforms(index, list, sizeof(list));
    if (list[0] == '\0') {
        dray_error_set(err, DRAY_EUNSUPPORTED, "no image for %s: the index holds none at all",
                       platform);
        return;
    }
    dray_error_set(err, DRAY_EUNSUPPORTED, "no image for %s, only for %s", platform, list);
    dray_error_hint(err, "ask for one of the platforms that exist");
}

const struct dray_descriptor *dray_manifest_select(const struct dray_manifest *index,
                                                   const struct dray_platform *wanted,
                                                   struct dray_error *err)
{
    const struct dray_descriptor *best = NULL;
    const struct dray_descriptor *bare = NULL; /* the first without a platform */
    bool platforms = false;
    int best_rank = 0;

    assert(index->kind == DRAY_MANIFEST_INDEX);
    for (size_t i = 0; i < index->manifest_count; i++) {
        const struct dray_descriptor *entry = &index->manifests[i];
        int rank;

        if (!is_selectable(entry))
            continue;
        if (!entry->has_platform) {
            bare = bare ? bare : entry;
            continue;
        }
        platforms = true;
        rank = dray_platform_rank(wanted, &entry->platform);
        if (rank > best_rank) {
            best = entry;
            best_rank = rank;
        }
    }
    if (!platforms)
        best = bare;
    if (!best)
        explain_no_match(index, wanted, err);
    return best;
}

bool dray_media_type_is_config(const char *media_type)
{
    return dray_media_type_is(media_type, DRAY_MT_OCI_CONFIG) ||
           dray_media_type_is(media_type, DRAY_MT_DOCKER_CONFIG);
}

void dray_manifest_free(struct dray_manifest *manifest)
{
    if (!manifest)
        return;
    dray_descriptor_done(&manifest->config);
    for (size_t i = 0; i < manifest->layer_count; i++)
        dray_descriptor_done(&manifest->layers[i]);
    for (size_t i = 0; i < manifest->manifest_count; i++)
        dray_descriptor_done(&manifest->manifests[i]);
    free(manifest->layers);
    free(manifest->manifests);
    free(manifest);
}
