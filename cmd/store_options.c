#include "cmd/store_options.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const log_levels[] = { "error", "warning", "info", "debug", NULL };

const struct dray_option dray_store_option_table[] = {
    { .name = "store",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_GENERAL,
      .offset = offsetof(struct dray_store_options, store),
      .argument = "DIR",
      .help = "where images are kept (default: /var/lib/dray as root, else "
              "$XDG_DATA_HOME/dray or ~/.local/share/dray)" },
    { .name = "config",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_GENERAL,
      .offset = offsetof(struct dray_store_options, config),
      .argument = "FILE",
      .help = "read settings from FILE instead of the user's and the system's config file" },
    { .name = "log-level",
      .kind = DRAY_OPTION_CHOICE,
      .group = DRAY_GROUP_GENERAL,
      .offset = offsetof(struct dray_store_options, log_level),
      .argument = "LEVEL",
      .choices = log_levels,
      .initial = "warning",
      .help = "how much to tell about what goes on" },
    { .name = "verbose",
      .letter = 'v',
      .kind = DRAY_OPTION_FLAG,
      .group = DRAY_GROUP_GENERAL,
      .offset = offsetof(struct dray_store_options, verbose),
      .help = "the same as --log-level debug" },
    { .name = NULL },
};

enum dray_log_level dray_store_options_level(const struct dray_store_options *options)
{
    return options->verbose ? DRAY_LOG_DEBUG : (enum dray_log_level)options->log_level;
}

static bool is_link(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 && S_ISLNK(status.st_mode);
}

int dray_store_options_open(const struct dray_store_options *options, enum dray_store_mode mode,
                            const struct dray_log *log, struct dray_store **ret_store,
                            struct dray_error *err)
{
    char *root = options->store ? strdup(options->store) : dray_store_default_root();
    int rc;

    if (!root && options->store)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    if (!root)
        return dray_fault_set(err, DRAY_EINVAL,
                              "there is no home directory to keep images in: name one with "
                              "--store DIR");
    rc = dray_store_open(root, mode, log, ret_store, err);
    if (rc == DRAY_ENOTFOUND)
        snprintf(err->hint, sizeof(err->hint), "%s",
                 is_link(root) ? "it is a symbolic link to nothing: make the directory it points at"
                               : "'dray pull' makes a store");
    free(root);
    return rc;
}
