/* Writes the manual pages, dray.1 and dray-COMMAND.1, from the tables of the commands. Part of the
 * build, not of the program: dray_manpage DIRECTORY */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dray/dray.h>

#include "cmd/commands.h"

/* Text for roff: no hyphenated options, no line that looks like a request. An empty line starts a
 * new paragraph. */
static void put_text(FILE *out, const char *text)
{
    bool at_start = true;

    for (; *text; text++) {
        if (*text == '\n') {
            fputs(text[1] == '\n' ? "\n.PP\n" : "\n", out);
            text += text[1] == '\n';
            at_start = true;
            continue;
        }
        if (at_start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        at_start = false;
        if (*text == '-')
            fputs("\\-", out);
        else if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '\'')
            fputs("\\(aq", out);
        else if (*text == '~')
            fputs("\\(ti", out);
        else if (*text == '^')
            fputs("\\(ha", out);
        else if (*text == '`')
            fputs("\\(ga", out);
        else
            fputc(*text, out);
    }
}

static void put_header(FILE *out, const char *command, const char *summary)
{
    fprintf(out, ".TH DRAY%s", *command ? "\\-" : "");
    for (const char *p = command; *p; p++)
        fputc(*p - 'a' + 'A', out);
    fprintf(out, " 1 \"\" \"dray %s\" \"User Commands\"\n", dray_version());
    fprintf(out, ".SH NAME\ndray%s%s \\- ", *command ? "\\-" : "", command);
    put_text(out, summary);
    fputs("\n.SH SYNOPSIS\n", out);
}

static void put_option(FILE *out, const struct dray_option *option)
{
    char variable[64];

    fputs(".TP\n", out);
    if (option->letter)
        fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
    fputs("\\fB\\-\\-", out);
    put_text(out, option->name);
    fputs("\\fR", out);
    if (option->argument) {
        fputs(" \\fI", out);
        put_text(out, option->argument);
        fputs("\\fR", out);
    }
    fputc('\n', out);
    put_text(out, option->help);
    if (option->kind == DRAY_OPTION_CHOICE || option->kind == DRAY_OPTION_NUMBER ||
        option->kind == DRAY_OPTION_DURATION || option->kind == DRAY_OPTION_BYTES) {
        fputs(": ", out);
        dray_option_describe(option, out);
    }
    if (option->initial)
        fprintf(out, "; %s by default", option->initial);
    dray_option_variable(option, variable, sizeof(variable));
    fprintf(out, ".\nEnvironment: %s.\n", variable);
}

static void put_options(FILE *out, const struct dray_command *command)
{
    const struct dray_option *option;

    fputs(".SH OPTIONS\n", out);
    for (int group = 0; group < DRAY_GROUP_COUNT; group++) {
        bool titled = false;

        for (size_t i = 0; (option = dray_command_option(command, i)); i++) {
            if ((int)option->group != group)
                continue;
            if (!titled)
                fprintf(out, ".SS %s\n", dray_option_group_title(option->group));
            titled = true;
            put_option(out, option);
        }
    }
    fputs(".SS Help\n.TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nprint a summary and exit.\n", out);
}

static void put_examples(FILE *out, const struct dray_example *example)
{
    fputs(".SH EXAMPLES\n", out);
    for (; example->what; example++) {
        put_text(out, example->what);
        fputs(":\n.PP\n.RS 4\n.nf\n", out);
        put_text(out, example->line);
        fputs("\n.fi\n.RE\n.PP\n", out);
    }
}

static void put_command(FILE *out, const struct dray_command *command)
{
    put_header(out, command->name, command->summary);
    fprintf(out, "\\fBdray %s\\fR", command->name);
    fputs(" [\\fIOPTION\\fR]...", out);
    if (*command->operands)
        fprintf(out, " \\fI%s\\fR", command->operands);
    fputs("\n.SH DESCRIPTION\n", out);
    put_text(out, command->description);
    fputc('\n', out);
    put_options(out, command);
    if (command->examples)
        put_examples(out, command->examples);
    fputs(".SH EXIT STATUS\nSee\n.BR dray (1).\n.SH SEE ALSO\n.BR dray (1)\n", out);
}

static void put_exit_statuses(FILE *out)
{
    static const struct {
        enum dray_exit exit_status;
        const char *meaning;
    } rows[] = {
        { DRAY_EXIT_DONE, "Everything was done." },
        { DRAY_EXIT_FAILED, "It failed, for a reason not named below." },
        { DRAY_EXIT_USAGE, "The command line, a variable, the config file or a name is wrong." },
        { DRAY_EXIT_PARTLY, "Some of several operands failed, others were done." },
        { DRAY_EXIT_NOTFOUND, "There is no such image or store." },
        { DRAY_EXIT_AUTH, "Authentication failed, or permission was denied." },
        { DRAY_EXIT_DIGEST, "Data differ from their digest." },
        { DRAY_EXIT_STORE, "No space is left, or the store is damaged." },
        { DRAY_EXIT_INTERRUPTED, "Interrupted by a signal." },
    };

    fputs(".SH EXIT STATUS\n", out);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        fprintf(out, ".TP\n.B %d\n%s\n", (int)rows[i].exit_status, rows[i].meaning);
    fputs(".PP\nIf several operands fail for the same reason, the status is that of the reason.\n",
          out);
}

static void put_overview(FILE *out)
{
    static const char config_example[] = "{\n"
                                         "  \"store\": \"/srv/dray\",\n"
                                         "  \"jobs\": 16,\n"
                                         "  \"timeout\": \"1m\",\n"
                                         "  \"mirror\": [\"https://mirror.example.net\"]\n"
                                         "}";

    put_header(out, "", "pull container images");
    fputs("\\fBdray\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]... [\\fIOPERAND\\fR]...\n"
          ".SH DESCRIPTION\n",
          out);
    put_text(out, "dray pulls container images from registries into a store on disk: in parallel, "
                  "verified, and resumed where an earlier pull was stopped. The store is an OCI "
                  "image layout, which skopeo, podman, umoci and others read as it is.\n\n"
                  "Results go to standard output, everything else to standard error.");
    fputs("\n.SH COMMANDS\n", out);
    for (const struct dray_command *const *p = dray_commands; *p; p++) {
        fprintf(out, ".TP\n\\fBdray %s\\fR", (*p)->name);
        if (*(*p)->operands)
            fprintf(out, " \\fI%s\\fR", (*p)->operands);
        fputc('\n', out);
        put_text(out, (*p)->summary);
        fprintf(out, "; see\n.BR dray\\-%s (1).\n", (*p)->name);
    }
    fputs(".SH OPTIONS\n", out);
    put_text(out, "Options follow the command; they are described on its page. Options and "
                  "operands may be mixed, and \"--\" ends the options. Times take a unit of ms, "
                  "s, m or h and are seconds without one.");
    fputs("\n.TP\n\\fB\\-\\-help\\fR\nlist the commands.\n"
          ".TP\n\\fB\\-\\-version\\fR\nprint the version.\n"
          ".SH ENVIRONMENT\n",
          out);
    put_text(out, "Every option can be set by a variable as well, DRAY_PARALLEL_IMAGES for "
                  "--parallel-images. A flag takes true or false. An option that may be repeated "
                  "takes one value a line. The command line counts for more than the environment, "
                  "and this for more than the config files.");
    fputs("\n.TP\n.B NO_COLOR\nif set, the terminal shows no colours.\n"
          ".TP\n.BR HTTPS_PROXY \", \" HTTP_PROXY \", \" ALL_PROXY \", \" NO_PROXY\n"
          "proxies, as curl understands them.\n"
          ".SH FILES\n.TP\n.I $XDG_CONFIG_HOME/dray/config.json\n.TQ\n"
          ".I \\(ti/.config/dray/config.json\n"
          "the user\\(aqs settings: a JSON object with the long names of options as keys.\n"
          ".TP\n.I /etc/dray/config.json\n"
          "the system\\(aqs settings, which count for less.\n.PP\nFor example:\n.PP\n.RS 4\n.nf\n",
          out);
    put_text(out, config_example);
    fputs("\n.fi\n.RE\n", out);
    put_exit_statuses(out);
    fputs(".SH SEE ALSO\n", out);
    for (const struct dray_command *const *p = dray_commands; *p; p++)
        fprintf(out, ".BR dray\\-%s (1)%s\n", (*p)->name, p[1] ? "," : "");
}

/* The page of a command; of them all together if command is NULL. */
static int write_page(const char *directory, const struct dray_command *command)
{
    char *path = NULL;
    FILE *out;
    int rc;

    if (asprintf(&path, "%s/dray%s%s.1", directory, command ? "-" : "",
                 command ? command->name : "") < 0)
        return -1;
    out = fopen(path, "w");
    if (out && command)
        put_command(out, command);
    else if (out)
        put_overview(out);
    rc = out && !ferror(out) ? 0 : -1;
    if (out && fclose(out) != 0)
        rc = -1;
    if (rc < 0)
        fprintf(stderr, "dray_manpage: %s: %s\n", path, strerror(errno));
    free(path);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("usage: dray_manpage DIRECTORY\n", stderr);
        return DRAY_EXIT_USAGE;
    }
    if (write_page(argv[1], NULL) < 0)
        return DRAY_EXIT_FAILED;
    for (const struct dray_command *const *p = dray_commands; *p; p++) {
        if (write_page(argv[1], *p) < 0)
            return DRAY_EXIT_FAILED;
    }
    return DRAY_EXIT_DONE;
}
