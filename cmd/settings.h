/* The settings of one call of a command, gathered from the command line, the environment, the
 * user's and the system's config file, in this order of precedence. */
#ifndef DRAY_CMD_SETTINGS_H
#define DRAY_CMD_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cmd/command.h"

struct dray_settings {
    const struct dray_command *command;
    void *values;        /* command->values_size bytes: the command's struct of options */
    uint8_t *sources;    /* of each option: where its value came from */
    uint8_t file_source; /* the source that the last file read stands for */
    char **operands;     /* NULL-terminated, borrowed from argv */
    size_t operand_count;
    bool help; /* --help was given; nothing after it was read */
};

/**
 * Read the command line after the command's name. Options and operands may be mixed; "--" ends the
 * options. Options that are secret are overwritten in argv, where other users could see them.
 *
 * @param ret_settings  free with dray_settings_done(), also after a failure
 * @return DRAY_OK, DRAY_EINVAL with a text for the user, or DRAY_ENOMEM
 */
int dray_settings_parse(const struct dray_command *command, int argc, char **argv,
                        struct dray_settings *ret_settings, struct dray_error *err);

/**
 * Give options that have no value yet that of their environment variable, DRAY_JOBS for --jobs. A
 * list has one item a line. An empty variable is none.
 *
 * @return DRAY_OK, DRAY_EINVAL or DRAY_ENOMEM
 */
int dray_settings_read_environment(struct dray_settings *settings, struct dray_error *err);

/**
 * Give options that have no value yet that of a config file: a JSON object whose keys are the long
 * names of options, of any of the commands. It is a regular file: nothing else can be relied on to
 * end.
 *
 * @param must_exist  whether a missing file is an error
 * @return DRAY_OK; DRAY_EINVAL with a text that names the file and, where it is one key's fault,
 *         the key; DRAY_ENOMEM
 */
int dray_settings_read_file(struct dray_settings *settings,
                            const struct dray_command *const *commands, const char *path,
                            bool must_exist, struct dray_error *err);

/** Free what the settings hold. */
void dray_settings_done(struct dray_settings *settings);

#endif
