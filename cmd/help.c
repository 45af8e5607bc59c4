#include "cmd/help.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/console.h"

#define WIDTH         79
#define OPTION_INDENT 28 /* where the texts of options begin */

/* Write text in lines of at most WIDTH, the first one going on at column, the others indented. A
 * newline stays one. */
static void wrap(const char *text, size_t column, size_t indent, FILE *out)
{
    bool at_start = true; /* of a line: no blank goes before the next word */

    while (*text) {
        size_t len = strcspn(text, " \n");

        if (!at_start && column + 1 + len > WIDTH) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            at_start = true;
        }
        if (len > 0) {
            column += len + !at_start;
            fprintf(out, "%s%.*s", at_start ? "" : " ", (int)len, text);
            at_start = false;
        }
        text += len;
        if (*text == '\n') {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
            at_start = true;
        }
        text += *text != '\0';
    }
    fputc('\n', out);
}

static void print_option(const struct dray_option *option, FILE *out)
{
    int column = option->letter ? fprintf(out, "  -%c, --%s", option->letter, option->name)
                                : fprintf(out, "      --%s", option->name);
    char *text = NULL;
    size_t len;
    FILE *help;

    if (option->argument)
        column += fprintf(out, " %s", option->argument);
    if (column > OPTION_INDENT - 2) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", OPTION_INDENT - column, "");

    help = open_memstream(&text, &len);
    if (!help)
        return;
    fputs(option->help, help);
    if (option->kind == DRAY_OPTION_CHOICE) {
        fputs(": ", help);
        dray_option_describe(option, help);
    } else if (option->kind == DRAY_OPTION_NUMBER) {
        fputs(", ", help);
        dray_option_describe(option, help);
    }
    if (option->initial)
        fprintf(help, " (default: %s)", option->initial);
    if (fclose(help) == 0)
        wrap(text, OPTION_INDENT, OPTION_INDENT, out);
    free(text);
}

void dray_help_command(const struct dray_command *command, FILE *out)
{
    bool has_options = dray_command_option(command, 0) != NULL;

    fprintf(out, "Usage: dray %s%s%s%s\n\n", command->name, has_options ? " [OPTION]..." : "",
            *command->operands ? " " : "", command->operands);
    wrap(command->description, 0, 0, out);
    for (int group = 0; group < DRAY_GROUP_COUNT; group++) {
        const struct dray_option *option;
        bool titled = false;

        for (size_t i = 0; (option = dray_command_option(command, i)); i++) {
            if ((int)option->group != group)
                continue;
            if (!titled)
                fprintf(out, "\n%s:\n", dray_option_group_title(option->group));
            titled = true;
            print_option(option, out);
        }
    }
    if (command->examples)
        fputs("\nExamples:\n", out);
    for (const struct dray_example *example = command->examples; example && example->what;
         example++)
        fprintf(out, "  # %s\n  %s\n", example->what, example->line);
    if (has_options)
        fprintf(out,
                "\nEvery option has an environment variable and a key in the config file; see\n"
                "'man dray'.\n");
}

void dray_help_overview(const struct dray_command *const *commands, FILE *out)
{
    fputs("Usage: dray COMMAND [OPTION]... [OPERAND]...\n\n"
          "Pull container images: in parallel, verified, and resumed where it was stopped.\n\n"
          "Commands:\n",
          out);
    for (; *commands; commands++) {
        int column = fprintf(out, "  %s %s", (*commands)->name, (*commands)->operands);

        fprintf(out, "%*s%s\n", column < 22 ? 22 - column : 1, "", (*commands)->summary);
    }
    fputs("\n'dray COMMAND --help' tells more of a command, 'dray --version' the version.\n", out);
}

static enum dray_exit run(const struct dray_call *call)
{
    const struct dray_command *command;
    struct dray_error err;

    if (call->operand_count == 0) {
        dray_help_overview(call->commands, stdout);
        return DRAY_EXIT_DONE;
    }
    command = dray_command_find(call->commands, call->operands[0]);
    if (!command) {
        dray_fault_set(&err, DRAY_EINVAL, "there is no command '%s'", call->operands[0]);
        dray_fault_report(call->console, "help", NULL, &err, "'dray help' lists the commands");
        return DRAY_EXIT_USAGE;
    }
    dray_help_command(command, stdout);
    return DRAY_EXIT_DONE;
}

const struct dray_command dray_command_help = {
    .name = "help",
    .operands = "[COMMAND]",
    .operands_max = 1,
    .summary = "tell what the commands do",
    .description = "Print the list of commands, or all about one of them.",
    .run = run,
};
