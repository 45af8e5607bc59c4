#include "cmd/commands.h"

#include "cmd/help.h"

const struct dray_command *const dray_commands[] = {
    &dray_command_pull,      &dray_command_images,  &dray_command_inspect, &dray_command_rm,
    &dray_command_reference, &dray_command_version, &dray_command_help,    NULL,
};
