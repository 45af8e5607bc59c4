/* A command: a struct of options, tables that describe it, and a function. */
#ifndef DRAY_CMD_COMMAND_H
#define DRAY_CMD_COMMAND_H

#include <stddef.h>

#include "cmd/fault.h"
#include "cmd/option.h"

struct dray_cancel;
struct dray_command;
struct dray_console;

/** One use of a command, its line read and checked. */
struct dray_call {
    const struct dray_command *command;
    const struct dray_command *const *commands; /* all there are, NULL-terminated */
    const void *values;                         /* the command's struct of options */
    char *const *operands;                      /* NULL-terminated */
    size_t operand_count;
    struct dray_console *console; /* standard error */
    struct dray_cancel *cancel;   /* fired by the first SIGINT or SIGTERM */
};

/** Do it: results to standard output, which the caller flushes and checks. */
typedef enum dray_exit dray_command_run_fn(const struct dray_call *call);

struct dray_example {
    const char *what; /* "Pull over a mirror"; NULL ends a table */
    const char *line; /* "dray pull --mirror https://mirror.example nginx" */
};

struct dray_command {
    const char *name;
    const char *operands; /* "IMAGE...", as the help shows it; "" for none */
    size_t operands_min;
    size_t operands_max;
    const char *summary;                 /* one line without full stop */
    const char *description;             /* paragraphs, separated by an empty line */
    const struct dray_option *shared;    /* options it has in common with others; NULL for none */
    const struct dray_option *options;   /* its own; NULL for none */
    size_t values_size;                  /* of the struct of options that both tables describe */
    const struct dray_example *examples; /* NULL for none */
    dray_command_run_fn *run;
};

/** The command's option number i over both tables, shared ones last; NULL beyond the last. */
const struct dray_option *dray_command_option(const struct dray_command *command, size_t i);

/** The command with this name; NULL if there is none. */
const struct dray_command *dray_command_find(const struct dray_command *const *commands,
                                             const char *name);

/** The command whose name is spelled most like name; NULL if none comes near. */
const struct dray_command *dray_command_nearest(const struct dray_command *const *commands,
                                                const char *name);

#endif
