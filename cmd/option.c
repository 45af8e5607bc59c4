#include "cmd/option.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cmd/fault.h"
#include "cmd/quantity.h"

static void *value_of(const struct dray_option *option, void *values)
{
    return (char *)values + option->offset;
}

static void wipe(char *text)
{
    explicit_bzero(text, strlen(text));
    free(text);
}

void dray_option_clear(const struct dray_option *option, void *values)
{
    void *value = value_of(option, values);

    switch (option->kind) {
    case DRAY_OPTION_FLAG:
        *(bool *)value = false;
        break;
    case DRAY_OPTION_NUMBER:
    case DRAY_OPTION_DURATION:
    case DRAY_OPTION_BYTES:
        *(int64_t *)value = 0;
        break;
    case DRAY_OPTION_CHOICE:
        *(int *)value = 0;
        break;
    case DRAY_OPTION_TEXT:
        if (*(char **)value)
            wipe(*(char **)value);
        *(char **)value = NULL;
        break;
    case DRAY_OPTION_LIST:
        for (char **item = *(char ***)value; item && *item; item++)
            wipe(*item);
        free(*(char ***)value);
        *(char ***)value = NULL;
        break;
    }
}

static void describe_duration(int64_t duration_ms, FILE *out)
{
    if (duration_ms % 3600000 == 0)
        fprintf(out, "%" PRId64 "h", duration_ms / 3600000);
    else if (duration_ms % 1000 == 0)
        fprintf(out, "%" PRId64 "s", duration_ms / 1000);
    else
        fprintf(out, "%" PRId64 "ms", duration_ms);
}

void dray_option_describe(const struct dray_option *option, FILE *out)
{
    switch (option->kind) {
    case DRAY_OPTION_FLAG:
        fputs("true or false", out);
        break;
    case DRAY_OPTION_NUMBER:
        fprintf(out, "a number from %" PRId64 " to %" PRId64, option->min, option->max);
        break;
    case DRAY_OPTION_DURATION:
        fputs("a time from ", out);
        describe_duration(option->min, out);
        fputs(" to ", out);
        describe_duration(option->max, out);
        break;
    case DRAY_OPTION_BYTES:
        fprintf(out,
                "a number of bytes, which K, M, G, Ki, Mi or Gi may follow, from %" PRId64
                " to %" PRId64 "G",
                option->min, option->max / 1000000000);
        break;
    case DRAY_OPTION_CHOICE:
        for (const char *const *choice = option->choices; *choice; choice++)
            fprintf(out, "%s%s", *choice, !choice[1] ? "" : choice[2] ? ", " : " or ");
        break;
    case DRAY_OPTION_TEXT:
        fputs("a text", out);
        break;
    case DRAY_OPTION_LIST:
        fputs("a list of texts", out);
        break;
    }
}

/* "takes a number from 1 to 256" */
static int refuse(const struct dray_option *option, struct dray_error *err)
{
    char what[256] = "";
    FILE *out = fmemopen(what, sizeof(what), "w");

    if (out) {
        dray_option_describe(option, out);
        fclose(out);
    }
    return dray_fault_set(err, DRAY_EINVAL, "takes %s", what);
}

static int set_number(const struct dray_option *option, void *values, int64_t number,
                      struct dray_error *err)
{
    if (number < option->min || number > option->max)
        return refuse(option, err);
    *(int64_t *)value_of(option, values) = number;
    return DRAY_OK;
}

static int set_flag(const struct dray_option *option, void *values, const char *text,
                    struct dray_error *err)
{
    static const char *const words[] = { "false", "true", "no", "yes", "off", "on", "0", "1" };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *(bool *)value_of(option, values) = i % 2;
            return DRAY_OK;
        }
    }
    return refuse(option, err);
}

static int set_choice(const struct dray_option *option, void *values, const char *text,
                      struct dray_error *err)
{
    for (int i = 0; option->choices[i]; i++) {
        if (strcmp(text, option->choices[i]) == 0) {
            *(int *)value_of(option, values) = i;
            return DRAY_OK;
        }
    }
    return refuse(option, err);
}

static int set_text(const struct dray_option *option, void *values, const char *text,
                    struct dray_error *err)
{
    char *copy = strdup(text);

    if (!copy)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    dray_option_clear(option, values);
    *(char **)value_of(option, values) = copy;
    return DRAY_OK;
}

static int append_item(const struct dray_option *option, void *values, const char *text,
                       struct dray_error *err)
{
    char ***list = value_of(option, values);
    size_t count = 0;
    char **grown;

    while (*list && (*list)[count])
        count++;
    grown = reallocarray(*list, count + 2, sizeof(*grown));
    if (!grown)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    *list = grown;
    grown[count] = strdup(text);
    if (!grown[count])
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    grown[count + 1] = NULL;
    return DRAY_OK;
}

/* Errors say "takes ...": the caller puts in front where the value came from. */
static int set_value(const struct dray_option *option, void *values, const char *text,
                     struct dray_error *err)
{
    int64_t number;

    switch (option->kind) {
    case DRAY_OPTION_FLAG:
        return set_flag(option, values, text, err);
    case DRAY_OPTION_NUMBER:
        if (dray_quantity_parse_number(text, &number) < 0)
            return refuse(option, err);
        return set_number(option, values, number, err);
    case DRAY_OPTION_DURATION:
        if (dray_quantity_parse_duration(text, &number) < 0)
            return refuse(option, err);
        return set_number(option, values, number, err);
    case DRAY_OPTION_BYTES:
        if (dray_quantity_parse_bytes(text, &number) < 0)
            return refuse(option, err);
        return set_number(option, values, number, err);
    case DRAY_OPTION_CHOICE:
        return set_choice(option, values, text, err);
    case DRAY_OPTION_TEXT:
        return set_text(option, values, text, err);
    case DRAY_OPTION_LIST:
        return append_item(option, values, text, err);
    }
    return refuse(option, err);
}

int dray_option_set(const struct dray_option *option, void *values, const char *text,
                    struct dray_error *err)
{
    struct dray_error cause = { 0 };
    int rc = set_value(option, values, text, &cause);

    if (rc == DRAY_OK)
        return DRAY_OK;
    if (option->secret || rc != DRAY_EINVAL)
        return dray_fault_set(err, rc, "--%s %s", option->name, cause.text);
    return dray_fault_set(err, rc, "--%s %s, not '%s'", option->name, cause.text, text);
}

static int set_list_json(const struct dray_option *option, void *values, const json_t *json,
                         struct dray_error *err)
{
    for (size_t i = 0; i < json_array_size(json); i++) {
        const json_t *item = json_array_get(json, i);
        int rc;

        if (!json_is_string(item))
            return refuse(option, err);
        rc = append_item(option, values, json_string_value(item), err);
        if (rc < 0)
            return rc;
    }
    return DRAY_OK;
}

int dray_option_set_json(const struct dray_option *option, void *values, const json_t *json,
                         struct dray_error *err)
{
    switch (option->kind) {
    case DRAY_OPTION_FLAG:
        if (!json_is_boolean(json))
            return refuse(option, err);
        *(bool *)value_of(option, values) = json_is_true(json);
        return DRAY_OK;
    case DRAY_OPTION_NUMBER:
        if (!json_is_integer(json))
            return refuse(option, err);
        return set_number(option, values, json_integer_value(json), err);
    case DRAY_OPTION_DURATION:
        if (json_is_integer(json)) {
            int64_t seconds = json_integer_value(json);

            if (seconds < 0 || seconds > INT64_MAX / 1000)
                return refuse(option, err);
            return set_number(option, values, seconds * 1000, err);
        }
        break;
    case DRAY_OPTION_BYTES:
        if (json_is_integer(json))
            return set_number(option, values, json_integer_value(json), err);
        break;
    case DRAY_OPTION_LIST:
        if (!json_is_array(json))
            return refuse(option, err);
        return set_list_json(option, values, json, err);
    case DRAY_OPTION_CHOICE:
    case DRAY_OPTION_TEXT:
        break;
    }
    if (!json_is_string(json))
        return refuse(option, err);
    return set_value(option, values, json_string_value(json), err);
}

void dray_option_variable(const struct dray_option *option, char *buf, size_t size)
{
    snprintf(buf, size, "DRAY_%s", option->name);
    for (char *p = buf; *p; p++) {
        if (*p == '-')
            *p = '_';
        else if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
    }
}

const char *dray_option_group_title(enum dray_option_group group)
{
    static const char *const titles[DRAY_GROUP_COUNT] = {
        [DRAY_GROUP_IMAGE] = "Image options",     [DRAY_GROUP_REGISTRY] = "Registry options",
        [DRAY_GROUP_ENGINE] = "Engine options",   [DRAY_GROUP_OUTPUT] = "Output options",
        [DRAY_GROUP_GENERAL] = "General options",
    };

    return titles[group];
}
