#include "core/descriptor.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core/digest.h"
#include "core/error.h"
#include "core/limits.h"

static int read_digest(const json_t *object, struct dray_digest *digest, struct dray_error *err)
{
    const json_t *member = json_object_get(object, "digest");
    struct dray_error cause = { 0 };
    int rc;

    if (!json_is_string(member))
        return dray_error_set(err, DRAY_EPROTO, "digest is missing or not a string");

    rc = dray_digest_parse(json_string_value(member), json_string_length(member), digest, &cause);
    if (rc < 0) /* what would be the caller's mistake in a name is the server's here */
        return dray_error_set(err, rc == DRAY_EINVAL ? DRAY_EPROTO : rc, "%s", cause.text);
    return DRAY_OK;
}

static int read_size(const json_t *object, uint64_t *size_bytes, struct dray_error *err)
{
    const json_t *member = json_object_get(object, "size");
    json_int_t value;

    if (!json_is_integer(member))
        return dray_error_set(err, DRAY_EPROTO, "size is missing or not an integer");
    value = json_integer_value(member);
    if (value < 0 || (uint64_t)value > DRAY_BLOB_MAX_BYTES)
        return dray_error_set(err, DRAY_EPROTO, "size is %" JSON_INTEGER_FORMAT ", out of range",
                              value);
    *size_bytes = (uint64_t)value;
    return DRAY_OK;
}

static int read_platform(const json_t *object, struct dray_descriptor *descriptor,
                         struct dray_error *err)
{
    const json_t *member = json_object_get(object, "platform");
    int rc;

    if (!member || json_is_null(member))
        return DRAY_OK;
    if (!json_is_object(member))
        return dray_error_set(err, DRAY_EPROTO, "platform is not an object");

    rc = dray_platform_from_json(member, &descriptor->platform, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "platform");
    descriptor->has_platform = true;
    return DRAY_OK;
}

/* The text is part of a document that is in memory, which bounds what is allocated here. */
static int read_data(const json_t *object, struct dray_descriptor *descriptor,
                     struct dray_error *err)
{
    const json_t *member = json_object_get(object, "data");
    DRAY_AUTO_FREE uint8_t *data = NULL;
    size_t room;
    size_t len;
    int rc;

    if (!member || json_is_null(member))
        return DRAY_OK;
    if (!json_is_string(member))
        return dray_error_set(err, DRAY_EPROTO, "data is not a string");

    room = json_string_length(member) / 4 * 3 + 1;
    data = malloc(room);
    if (!data)
        return dray_error_nomem(err);
    if (sodium_base642bin(data, room, json_string_value(member), json_string_length(member), NULL,
                          &len, NULL, sodium_base64_VARIANT_ORIGINAL) != 0)
        return dray_error_set(err, DRAY_EPROTO, "data is not base64");
    if (len != descriptor->size_bytes)
        return dray_error_set(err, DRAY_EDIGEST, "data has %zu bytes, size says %" PRIu64, len,
                              descriptor->size_bytes);
    rc = dray_digest_verify(&descriptor->digest, data, len, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "data");

    descriptor->data = DRAY_TAKE(data);
    return DRAY_OK;
}

int dray_descriptor_from_json(const json_t *object, struct dray_descriptor *ret_descriptor,
                              struct dray_error *err)
{
    struct dray_descriptor descriptor = { 0 };
    int rc;

    if (!json_is_object(object))
        return dray_error_set(err, DRAY_EPROTO, "descriptor is not an object");

    rc = dray_json_copy_text(object, "mediaType", descriptor.media_type,
                             sizeof(descriptor.media_type), err);
    if (rc < 0)
        return rc;
    if (descriptor.media_type[0] == '\0')
        return dray_error_set(err, DRAY_EPROTO, "mediaType is missing");
    rc = read_digest(object, &descriptor.digest, err);
    if (rc < 0)
        return rc;
    rc = read_size(object, &descriptor.size_bytes, err);
    if (rc < 0)
        return rc;
    rc = read_platform(object, &descriptor, err);
    if (rc < 0)
        return rc;
    rc = read_data(object, &descriptor, err); /* last: nothing owned is left behind on failure */
    if (rc < 0)
        return rc;

    *ret_descriptor = descriptor;
    return DRAY_OK;
}

void dray_descriptor_done(struct dray_descriptor *descriptor)
{
    free(descriptor->data);
    *descriptor = (struct dray_descriptor){ 0 };
}

/* Not tolower(): a Turkish locale has its own idea of 'I'. */
static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

bool dray_media_type_is(const char *media_type, const char *want)
{
    size_t len = strcspn(media_type, ";");

    while (len > 0 && (media_type[len - 1] == ' ' || media_type[len - 1] == '\t'))
        len--;
    if (len != strlen(want))
        return false;
    for (size_t i = 0; i < len; i++)
        if (ascii_lower(media_type[i]) != ascii_lower(want[i]))
            return false;
    return true;
}
