/* The commands that there are. */
#ifndef DRAY_CMD_COMMANDS_H
#define DRAY_CMD_COMMANDS_H

#include "cmd/command.h"

extern const struct dray_command dray_command_images;
extern const struct dray_command dray_command_inspect;
extern const struct dray_command dray_command_pull;
extern const struct dray_command dray_command_reference;
extern const struct dray_command dray_command_rm;
extern const struct dray_command dray_command_version;

/** All of them, NULL-terminated, in the order of the help. */
extern const struct dray_command *const dray_commands[];

#endif
