/* The program: finds the command, gathers its settings, runs it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <dray/dray.h>

#include "cmd/commands.h"
#include "cmd/console.h"
#include "cmd/help.h"
#include "cmd/output.h"
#include "cmd/settings.h"
#include "cmd/store_options.h"

#define SYSTEM_CONFIG "/etc/dray/config.json"

/* For the signal handler, which is given nothing else. Set before it is installed, and never freed:
 * a signal may come until the very end. */
static struct dray_cancel *interrupt;
static volatile sig_atomic_t interrupted;

/* The first signal asks everything to stop, the second no longer waits for it. Runs in this thread
 * only: the library blocks all signals in its own. */
static void on_interrupt(int signal_number)
{
    (void)signal_number;
    if (interrupted)
        _exit(DRAY_EXIT_INTERRUPTED);
    interrupted = 1;
    dray_cancel_fire(interrupt);
}

static void install_handlers(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = on_interrupt, .sa_flags = SA_RESTART };

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction before;

        /* A shell starts background jobs with SIGINT ignored, nohup(1) its command with SIGHUP;
         * that is kept. */
        if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
    }
}

/* Closed standard streams would be the first files that we open: a message could end up in an
 * image. Put something there on which output fails. */
static void fill_standard_streams(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDONLY);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* A pull may have a file open for each blob of several images, and the usual limit of 1024 is there
 * for the sake of select(2). */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static enum dray_exit usage_error(struct dray_console *console, const struct dray_command *command,
                                  const struct dray_error *err)
{
    char hint[64];

    snprintf(hint, sizeof(hint), "see 'dray %s --help'", command->name);
    dray_fault_report(console, command->name, NULL, err, err->code == DRAY_EINVAL ? hint : NULL);
    return dray_fault_exit(err);
}

/* The path of the user's config file, malloc'ed; NULL without home or memory. */
static char *user_config(void)
{
    const char *base = getenv("XDG_CONFIG_HOME");
    const char *below = "/dray/config.json";
    char *path = NULL;

    if (!base || base[0] != '/') { /* XDG Base Directory Specification: a relative one is void */
        base = getenv("HOME");
        below = "/.config/dray/config.json";
    }
    if (!base || !*base || asprintf(&path, "%s%s", base, below) < 0)
        return NULL;
    return path;
}

static int read_files(struct dray_settings *settings, struct dray_error *err)
{
    const struct dray_store_options *options = settings->values;
    char *path;
    int rc;

    if (options->config)
        return dray_settings_read_file(settings, dray_commands, options->config, true, err);
    path = user_config();
    rc = path ? dray_settings_read_file(settings, dray_commands, path, false, err) : DRAY_OK;
    free(path);
    if (rc == DRAY_OK)
        rc = dray_settings_read_file(settings, dray_commands, SYSTEM_CONFIG, false, err);
    return rc;
}

static int load_settings(const struct dray_command *command, int argc, char **argv,
                         struct dray_settings *settings, struct dray_error *err)
{
    int rc = dray_settings_parse(command, argc, argv, settings, err);

    if (rc < 0 || settings->help)
        return rc;
    rc = dray_settings_read_environment(settings, err);
    if (rc == DRAY_OK && command->shared)
        rc = read_files(settings, err);
    return rc;
}

static enum dray_exit run_command(const struct dray_command *command, int argc, char **argv,
                                  struct dray_console *console)
{
    struct dray_settings settings = { 0 };
    struct dray_error err = { 0 };
    enum dray_exit exit_status;
    struct dray_call call = { .command = command, .commands = dray_commands, .console = console };

    if (load_settings(command, argc, argv, &settings, &err) < 0) {
        exit_status = usage_error(console, command, &err);
    } else if (settings.help) {
        dray_help_command(command, stdout);
        exit_status = DRAY_EXIT_DONE;
    } else if (dray_init(&err) < 0 || dray_cancel_new(&interrupt, &err) < 0) {
        dray_fault_report(console, command->name, NULL, &err, NULL);
        exit_status = dray_fault_exit(&err);
    } else {
        install_handlers();
        call.values = settings.values;
        call.operands = settings.operands;
        call.operand_count = settings.operand_count;
        call.cancel = interrupt;
        exit_status = command->run(&call);
        dray_exit();
    }
    dray_settings_done(&settings);
    return exit_status;
}

static enum dray_exit refuse(struct dray_console *console, const char *word)
{
    const struct dray_command *nearest = dray_command_nearest(dray_commands, word);
    struct dray_error err;

    if (word[0] == '-')
        dray_fault_set(&err, DRAY_EINVAL, "dray: option %s must follow a command", word);
    else if (nearest)
        dray_fault_set(&err, DRAY_EINVAL, "dray: there is no command '%s'; did you mean '%s'?",
                       word, nearest->name);
    else
        dray_fault_set(&err, DRAY_EINVAL, "dray: there is no command '%s'", word);
    dray_console_line(console, err.text);
    dray_console_line(console, "  hint: 'dray help' lists the commands");
    return DRAY_EXIT_USAGE;
}

static enum dray_exit dispatch(int argc, char **argv, struct dray_console *console)
{
    const char *word = argc > 1 ? argv[1] : NULL;
    const struct dray_command *command;

    if (!word) {
        char *text = NULL;
        size_t len;
        FILE *out = open_memstream(&text, &len);

        if (out) {
            dray_help_overview(dray_commands, out);
            if (fclose(out) == 0)
                dray_console_line(console, text);
        }
        free(text);
        return DRAY_EXIT_USAGE;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    else if (strcmp(word, "--version") == 0)
        word = "version";
    command = dray_command_find(dray_commands, word);
    if (!command)
        return refuse(console, word);
    return run_command(command, argc - 2, argv + 2, console);
}

int main(int argc, char **argv)
{
    struct dray_console *console;
    enum dray_exit exit_status;

    fill_standard_streams();
    raise_file_limit();
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error like any other */
    if (dray_console_new(STDERR_FILENO, &console) < 0)
        return DRAY_EXIT_FAILED;
    exit_status = dispatch(argc, argv, console);
    if (dray_output_finish() < 0) {
        struct dray_error err;

        dray_fault_set(&err, DRAY_EIO, "dray: cannot write to standard output%s%s",
                       errno ? ": " : "", errno ? strerror(errno) : "");
        dray_console_line(console, err.text);
        if (exit_status == DRAY_EXIT_DONE)
            exit_status = DRAY_EXIT_FAILED;
    }
    dray_console_free(console);
    return (int)exit_status;
}
