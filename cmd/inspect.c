/* The command "inspect". */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dray/store.h>

#include "cmd/commands.h"
#include "cmd/console.h"
#include "cmd/image_json.h"
#include "cmd/output.h"
#include "cmd/store_options.h"

struct inspect_options {
    struct dray_store_options common;
    bool raw;
    bool raw_config;
};

static const struct dray_option inspect_options[] = {
    { .name = "raw",
      .kind = DRAY_OPTION_FLAG,
      .group = DRAY_GROUP_OUTPUT,
      .offset = offsetof(struct inspect_options, raw),
      .help = "print the manifest or index, byte for byte" },
    { .name = "raw-config",
      .kind = DRAY_OPTION_FLAG,
      .group = DRAY_GROUP_OUTPUT,
      .offset = offsetof(struct inspect_options, raw_config),
      .help = "print the image's config, byte for byte" },
    { .name = NULL },
};

/* A document as a member of the result; null if there is none. */
static int add_document(json_t *result, const char *key, const char *text, struct dray_error *err)
{
    json_error_t json_error;
    json_t *json = text ? json_loads(text, JSON_ALLOW_NUL, &json_error) : json_null();

    if (!json)
        return dray_fault_set(err, DRAY_EPROTO, "the %s is no JSON that can be shown: %s", key,
                              json_error.text);
    if (json_object_set_new(result, key, json) < 0)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    return DRAY_OK;
}

static int print_all(const struct dray_image *image, const char *manifest, const char *config,
                     struct dray_error *err)
{
    json_t *result = dray_image_json(image);
    int rc;

    if (!result)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    rc = add_document(result, "manifest", manifest, err);
    if (rc == DRAY_OK)
        rc = add_document(result, "config", config, err);
    if (rc < 0) {
        json_decref(result);
        return rc;
    }
    if (dray_output_json(result, DRAY_OUTPUT_TREE) < 0)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    return DRAY_OK;
}

static int inspect(struct dray_store *store, const struct inspect_options *options,
                   const char *name, struct dray_error *err)
{
    struct dray_reference reference;
    struct dray_image image;
    char *manifest = NULL;
    char *config = NULL;
    int rc = dray_reference_parse(name, &reference, err);

    if (rc == DRAY_OK)
        rc = dray_store_inspect(store, &reference, &image, &manifest, &config, err);
    if (rc < 0)
        return rc;
    if (options->raw)
        dray_output_raw(manifest);
    else if (options->raw_config && !config)
        rc = dray_fault_set(err, DRAY_ENOTFOUND,
                            "it is an index of several images: it has no "
                            "config of its own");
    else if (options->raw_config)
        dray_output_raw(config);
    else
        rc = print_all(&image, manifest, config, err);
    free(manifest);
    free(config);
    return rc;
}

static enum dray_exit run(const struct dray_call *call)
{
    const struct inspect_options *options = call->values;
    struct dray_log log =
        dray_console_log(call->console, dray_store_options_level(&options->common));
    struct dray_store *store = NULL;
    struct dray_error err = { 0 };
    int rc;

    if (options->raw && options->raw_config)
        rc = dray_fault_set(&err, DRAY_EINVAL, "--raw and --raw-config exclude one another");
    else
        rc = dray_store_options_open(&options->common, DRAY_STORE_READ, &log, &store, &err);
    if (rc == DRAY_OK)
        rc = inspect(store, options, call->operands[0], &err);
    if (rc < 0)
        dray_fault_report(call->console, "inspect", call->operands[0], &err,
                          dray_fault_store_hint(&err));
    dray_store_close(store);
    return rc < 0 ? dray_fault_exit(&err) : DRAY_EXIT_DONE;
}

static const struct dray_example examples[] = {
    { "Show all about an image", "dray inspect nginx" },
    { "Print its environment", "dray inspect nginx | jq -r '.config.config.Env[]'" },
    { "Check the manifest against the digest", "dray inspect --raw nginx | sha256sum" },
    { NULL, NULL },
};

const struct dray_command dray_command_inspect = {
    .name = "inspect",
    .operands = "IMAGE",
    .operands_min = 1,
    .operands_max = 1,
    .summary = "show one image of the store",
    .description =
        "Print one JSON object about an image in the store: \"reference\", \"digest\", "
        "\"source_digest\" (what the registry's tag pointed at), \"media_type\", \"platform\", "
        "\"created\", \"size\" in bytes, \"layers\", \"complete\", and the documents \"manifest\" "
        "and \"config\"; the config is null for an index of several images.",
    .shared = dray_store_option_table,
    .options = inspect_options,
    .values_size = sizeof(struct inspect_options),
    .examples = examples,
    .run = run,
};
