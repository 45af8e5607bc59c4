/* What every command that works on the store has in common: its options, opening the store, and
 * where diagnostics go. */
#ifndef DRAY_CMD_STORE_OPTIONS_H
#define DRAY_CMD_STORE_OPTIONS_H

#include <dray/log.h>
#include <dray/store.h>

#include "cmd/command.h"

/* The first member of the struct of options of each such command. */
struct dray_store_options {
    char *store;
    char *config;
    int log_level; /* enum dray_log_level */
    bool verbose;
};

/** The table that describes them, for dray_command.shared. */
extern const struct dray_option dray_store_option_table[];

/** The level that the options ask for. */
enum dray_log_level dray_store_options_level(const struct dray_store_options *options);

/** Open the store that the options name, else the user's. As dray_store_open(). */
int dray_store_options_open(const struct dray_store_options *options, enum dray_store_mode mode,
                            const struct dray_log *log, struct dray_store **ret_store,
                            struct dray_error *err);

#endif
