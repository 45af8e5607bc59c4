#include "core/json.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/error.h"
#include "core/limits.h"

/* Refuse what stands at an offset. Lines and columns count from 1, columns in characters, as
 * Jansson does. */
static int refuse(const uint8_t *text, size_t offset, const char *problem, struct dray_error *err)
{
    int line = 1;
    int column = 1;

    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if ((text[i + 1] & 0xc0) != 0x80) {
            column++;
        }
    }
    return dray_error_set(err, DRAY_EPROTO, "JSON line %d, column %d: %s", line, column, problem);
}

/*
 * Measure the nesting and the number of values of a document, well-formed or not, without memory.
 * Only brackets, commas and the ends of strings are looked at; what else is wrong Jansson will
 * say, and until it does it has made no more values than were counted here.
 *
 * A document holds one value, one more for each comma, and one more for each container that is not
 * empty.
 */
static int check_limits(const uint8_t *text, size_t len, struct dray_error *err)
{
    size_t values = 1;
    size_t depth = 0;
    bool opened = false; /* the last thing seen opened a container */

    for (size_t i = 0; i < len; i++) {
        const uint8_t byte = text[i];

        if (byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r')
            continue;
        if (byte == ',' || (opened && byte != ']' && byte != '}'))
            values++;
        if (values > DRAY_JSON_MAX_VALUES)
            return refuse(text, i, "too many values", err);
        opened = byte == '[' || byte == '{';

        if (opened) {
            if (++depth > DRAY_JSON_MAX_DEPTH)
                return refuse(text, i, "nested too deeply", err);
        } else if (byte == ']' || byte == '}') {
            if (depth > 0)
                depth--;
        } else if (byte == '"') {
            for (i++; i < len && text[i] != '"'; i++)
                if (text[i] == '\\')
                    i++;
        }
    }
    return DRAY_OK;
}

/* Jansson's own text quotes the document, which may hold anything; these never do. */
static const char *describe(enum json_error_code code)
{
    switch (code) {
    case json_error_premature_end_of_input:
        return "the document ends too early";
    case json_error_end_of_input_expected:
        return "something follows the document";
    case json_error_invalid_utf8:
        return "not UTF-8";
    case json_error_duplicate_key:
        return "the same key twice in one object";
    case json_error_numeric_overflow:
        return "a number too large";
    case json_error_null_character:
    case json_error_null_byte_in_key:
        return "a NUL character in a string";
    default:
        return "not valid JSON";
    }
}

int dray_json_parse(const void *data, size_t len, size_t max_bytes, json_t **ret_json,
                    struct dray_error *err)
{
    json_error_t problem = { 0 };
    json_t *json;
    int rc;

    if (len == 0)
        return dray_error_set(err, DRAY_EPROTO, "the JSON document is empty");
    if (len > max_bytes)
        return dray_error_set(err, DRAY_EPROTO,
                              "the JSON document has %zu bytes, more than the %zu allowed", len,
                              max_bytes);
    rc = check_limits(data, len, err);
    if (rc < 0)
        return rc;

    json = json_loadb(data, len, JSON_REJECT_DUPLICATES, &problem);
    if (!json) {
        /* Where Jansson fails to allocate it often says nothing at all. */
        if (problem.text[0] == '\0' || json_error_code(&problem) == json_error_out_of_memory)
            return dray_error_nomem(err);
        return dray_error_set(err, DRAY_EPROTO, "JSON line %d, column %d: %s", problem.line,
                              problem.column, describe(json_error_code(&problem)));
    }
    *ret_json = json;
    return DRAY_OK;
}

int dray_json_copy_text(const json_t *object, const char *key, char *buf, size_t size,
                        struct dray_error *err)
{
    const json_t *member = json_object_get(object, key);
    const char *text;
    size_t len;

    buf[0] = '\0';
    if (!member || json_is_null(member))
        return DRAY_OK;
    if (!json_is_string(member))
        return dray_error_set(err, DRAY_EPROTO, "%s is not a string", key);

    text = json_string_value(member);
    len = json_string_length(member);
    if (len >= size)
        return dray_error_set(err, DRAY_EPROTO, "%s has more than %zu characters", key, size - 1);
    for (size_t i = 0; i < len; i++)
        if (text[i] < ' ' || text[i] > '~')
            return dray_error_set(err, DRAY_EPROTO, "%s holds more than printable ASCII", key);
    memcpy(buf, text, len + 1);
    return DRAY_OK;
}
