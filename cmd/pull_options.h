/* The options of the command "pull". */
#ifndef DRAY_CMD_PULL_OPTIONS_H
#define DRAY_CMD_PULL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cmd/option.h"
#include "cmd/store_options.h"

struct dray_pull_options {
    struct dray_store_options common;
    char *platform;
    bool all_platforms;
    char **mirrors;
    bool plain_http;
    bool insecure;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *auth_file;
    char *credentials;
    char **headers;
    int64_t jobs;
    int64_t parallel_images;
    int64_t connections_per_blob; /* 0: as many as jobs */
    int64_t connections_per_host; /* 0: as many as jobs */
    int64_t limit_rate_bytes_per_s;
    int64_t retries;
    int64_t stall_timeout_ms;
    int64_t connect_timeout_ms;
    int progress; /* enum dray_progress_style */
    bool quiet;
    char *report; /* path */
};

/** The table that describes them, but for those of dray_store_option_table. */
extern const struct dray_option dray_pull_option_table[];

#endif
