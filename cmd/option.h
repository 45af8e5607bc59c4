/* One option of a command: the table entry from which parsing, environment, config file, --help
 * and manual page all come. */
#ifndef DRAY_CMD_OPTION_H
#define DRAY_CMD_OPTION_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <dray/error.h>

/* What an option takes, and the type of its value in the command's struct of options. */
enum dray_option_kind {
    DRAY_OPTION_FLAG,     /* bool */
    DRAY_OPTION_NUMBER,   /* int64_t */
    DRAY_OPTION_DURATION, /* int64_t, milliseconds */
    DRAY_OPTION_BYTES,    /* int64_t */
    DRAY_OPTION_CHOICE,   /* int, the place in choices */
    DRAY_OPTION_TEXT,     /* char *, owned; NULL if not given */
    DRAY_OPTION_LIST,     /* char **, owned, NULL-terminated; NULL if not given */
};

/* Headings of --help and the manual page, in this order. */
enum dray_option_group {
    DRAY_GROUP_IMAGE,
    DRAY_GROUP_REGISTRY,
    DRAY_GROUP_ENGINE,
    DRAY_GROUP_OUTPUT,
    DRAY_GROUP_GENERAL,
    DRAY_GROUP_COUNT,
};

struct dray_option {
    const char *name; /* "parallel-images"; NULL ends a table */
    const char *help; /* one sentence without full stop */
    enum dray_option_kind kind;
    enum dray_option_group group;
    size_t offset;              /* of the value in the struct of options */
    const char *argument;       /* "N"; NULL for a flag */
    const char *const *choices; /* of a CHOICE, NULL-terminated */
    int64_t min;                /* of a NUMBER, DURATION or BYTES */
    int64_t max;
    const char *initial; /* default as the user would write it; NULL: false, 0 or NULL */
    char letter;         /* 'j', or 0 */
    bool secret;         /* wiped from argv once read, never shown in an error */
};

/**
 * Set the option's value in values from text; of a LIST, append one item. A FLAG takes true, yes,
 * on, 1 and their opposites.
 *
 * @return DRAY_OK, DRAY_EINVAL with a text such as "--jobs takes a number from 1 to 256, not
 *         'x'", or DRAY_ENOMEM
 */
int dray_option_set(const struct dray_option *option, void *values, const char *text,
                    struct dray_error *err);

/**
 * The same from a config file: true or false for a FLAG, a number for a NUMBER, a number (of
 * seconds, of bytes) or a text for a DURATION or BYTES, an array of texts for a LIST, a text for
 * the others.
 *
 * @return DRAY_OK, DRAY_EINVAL with a text such as "takes a number from 1 to 256", or DRAY_ENOMEM
 */
int dray_option_set_json(const struct dray_option *option, void *values, const json_t *json,
                         struct dray_error *err);

/** Free the option's value in values, wiping a secret, and make it that of one not given. */
void dray_option_clear(const struct dray_option *option, void *values);

/** Write what it takes: "a number from 1 to 256". */
void dray_option_describe(const struct dray_option *option, FILE *out);

/** Write the environment variable's name, "DRAY_PARALLEL_IMAGES", cut to size. */
void dray_option_variable(const struct dray_option *option, char *buf, size_t size);

/** The heading of a group: "Registry options". */
const char *dray_option_group_title(enum dray_option_group group);

#endif
