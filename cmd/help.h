/* Help texts, made from the tables. */
#ifndef DRAY_CMD_HELP_H
#define DRAY_CMD_HELP_H

#include <stdio.h>

#include "cmd/command.h"

/** What 'dray --help' prints: all commands in a line each. */
void dray_help_overview(const struct dray_command *const *commands, FILE *out);

/** What 'dray COMMAND --help' prints. */
void dray_help_command(const struct dray_command *command, FILE *out);

/** The command "help". */
extern const struct dray_command dray_command_help;

#endif
