#include "core/image_config.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/json.h"
#include "core/limits.h"

/* Does the text follow a pattern, in which '0' stands for any digit and the rest for itself? */
static bool has_shape(const char *text, const char *shape)
{
    for (; *shape; text++, shape++)
        if (*shape == '0' ? *text < '0' || *text > '9' : *text != *shape)
            return false;
    return true;
}

/* A number of two digits within bounds. */
static bool in_range(const char *digits, int min, int max)
{
    const int value = 10 * (digits[0] - '0') + (digits[1] - '0');

    return value >= min && value <= max;
}

/* "2016-01-02T15:04:05.999999999+01:00" (RFC 3339 section 5.6, upper-case T and Z as Go writes). */
static bool is_timestamp(const char *text)
{
    const char *rest;

    if (!has_shape(text, "0000-00-00T00:00:00"))
        return false;
    if (!in_range(text + 5, 1, 12) || !in_range(text + 8, 1, 31) || !in_range(text + 11, 0, 23) ||
        !in_range(text + 14, 0, 59) || !in_range(text + 17, 0, 60))
        return false;

    rest = text + strlen("0000-00-00T00:00:00");
    if (has_shape(rest, ".0")) {
        rest++;
        rest += strspn(rest, "0123456789");
    }
    if (strcmp(rest, "Z") == 0)
        return true;
    return (has_shape(rest, "+00:00") || has_shape(rest, "-00:00")) && rest[6] == '\0' &&
           in_range(rest + 1, 0, 23) && in_range(rest + 4, 0, 59);
}

/* The date is for people to read: a config that spells it wrongly is still a good config. */
static void read_created(const json_t *root, struct dray_image_config *config)
{
    const json_t *member = json_object_get(root, "created");

    if (json_is_string(member) && json_string_length(member) < sizeof(config->created) &&
        is_timestamp(json_string_value(member)))
        memcpy(config->created, json_string_value(member), json_string_length(member) + 1);
}

/* An array, or nothing, which json_array_size() takes for an empty one. */
static bool is_list(const json_t *member)
{
    return !member || json_is_null(member) || json_is_array(member);
}

static int read_diff_ids(const json_t *root, struct dray_image_config *config,
                         struct dray_error *err)
{
    const json_t *rootfs = json_object_get(root, "rootfs");
    const char *type = json_string_value(json_object_get(rootfs, "type"));
    const json_t *diff_ids = json_object_get(rootfs, "diff_ids");
    struct dray_error cause = { 0 };

    if (!type || strcmp(type, "layers") != 0)
        return dray_error_set(err, DRAY_EPROTO, "no rootfs of type \"layers\"");
    if (!is_list(diff_ids))
        return dray_error_set(err, DRAY_EPROTO, "diff_ids is not an array");
    if (json_array_size(diff_ids) == 0)
        return DRAY_OK;
    if (json_array_size(diff_ids) > DRAY_LAYERS_MAX)
        return dray_error_set(err, DRAY_EPROTO, "%zu diff_ids, more than the %d allowed",
                              json_array_size(diff_ids), DRAY_LAYERS_MAX);

    config->diff_id_count = json_array_size(diff_ids);
    config->diff_ids = calloc(config->diff_id_count, sizeof(*config->diff_ids));
    if (!config->diff_ids)
        return dray_error_nomem(err);
    for (size_t i = 0; i < config->diff_id_count; i++) {
        const json_t *item = json_array_get(diff_ids, i);
        int rc;

        if (!json_is_string(item))
            return dray_error_set(err, DRAY_EPROTO, "diff_ids[%zu] is not a string", i);
        rc = dray_digest_parse(json_string_value(item), json_string_length(item),
                               &config->diff_ids[i], &cause);
        if (rc < 0) /* what would be the caller's mistake in a name is the image's here */
            return dray_error_set(err, rc == DRAY_EINVAL ? DRAY_EPROTO : rc, "diff_ids[%zu]: %s", i,
                                  cause.text);
    }
    return DRAY_OK;
}

/* History may say less than the layers do (docker and buildah leave entries out), never more. */
static int check_history(const json_t *root, const struct dray_image_config *config,
                         struct dray_error *err)
{
    const json_t *history = json_object_get(root, "history");
    size_t layers = 0;

    if (!is_list(history))
        return dray_error_set(err, DRAY_EPROTO, "history is not an array");
    for (size_t i = 0; i < json_array_size(history); i++) {
        const json_t *entry = json_array_get(history, i);
        const json_t *empty = json_object_get(entry, "empty_layer");

        if (!json_is_object(entry) || (empty && !json_is_boolean(empty) && !json_is_null(empty)))
            return dray_error_set(err, DRAY_EPROTO, "history[%zu] is malformed", i);
        if (!json_is_true(empty))
            layers++;
    }
    if (layers > config->diff_id_count)
        return dray_error_set(err, DRAY_EPROTO, "history tells of %zu layers, diff_ids of %zu",
                              layers, config->diff_id_count);
    return DRAY_OK;
}

int dray_image_config_parse(const void *data, size_t len, struct dray_image_config **ret_config,
                            struct dray_error *err)
{
    DRAY_AUTO_JSON json_t *root = NULL;
    DRAY_AUTO_IMAGE_CONFIG struct dray_image_config *config = NULL;
    int rc;

    rc = dray_json_parse(data, len, DRAY_CONFIG_MAX_BYTES, &root, err);
    if (rc < 0)
        return rc;
    config = calloc(1, sizeof(*config));
    if (!config)
        return dray_error_nomem(err);

    rc = dray_platform_from_json(root, &config->platform, err);
    if (rc < 0)
        return rc;
    read_created(root, config);
    rc = read_diff_ids(root, config, err);
    if (rc < 0)
        return rc;
    rc = check_history(root, config, err);
    if (rc < 0)
        return rc;

    *ret_config = DRAY_TAKE(config);
    return DRAY_OK;
}

int dray_image_config_check(const struct dray_image_config *config,
                            const struct dray_manifest *manifest, struct dray_error *err)
{
    if (config->diff_id_count != manifest->layer_count)
        return dray_error_set(err, DRAY_EPROTO,
                              "the manifest has %zu layers, its image config %zu diff_ids",
                              manifest->layer_count, config->diff_id_count);
    return DRAY_OK;
}

void dray_image_config_free(struct dray_image_config *config)
{
    if (!config)
        return;
    free(config->diff_ids);
    free(config);
}
