/* The command "rm". */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <dray/cancel.h>
#include <dray/store.h>

#include "cmd/commands.h"
#include "cmd/console.h"
#include "cmd/quantity.h"
#include "cmd/store_options.h"

static int remove_image(const struct dray_call *call, struct dray_store *store, const char *name,
                        struct dray_error *err)
{
    struct dray_reference reference;
    struct dray_removal removal = { 0 };
    char canonical[DRAY_REFERENCE_TEXT_MAX];
    char size[DRAY_QUANTITY_TEXT_MAX];
    int rc = dray_reference_parse(name, &reference, err);

    if (rc == DRAY_OK)
        rc = dray_store_remove(store, &reference, call->cancel, &removal, err);
    if (rc < 0)
        return rc;
    dray_reference_canonical(&reference, canonical);
    dray_quantity_format_bytes(removal.freed_bytes, size);
    printf("%s  removed  %" PRIu64 " blobs, %s\n", canonical, removal.blob_count, size);
    return DRAY_OK;
}

static enum dray_exit remove_images(const struct dray_call *call, struct dray_store *store)
{
    enum dray_exit *exits = calloc(call->operand_count, sizeof(*exits));
    enum dray_exit exit_status;

    if (!exits)
        return dray_fault_nomem(call->console, "rm");
    for (size_t i = 0; i < call->operand_count && !dray_cancel_fired(call->cancel); i++) {
        struct dray_error err = { 0 };

        if (remove_image(call, store, call->operands[i], &err) < 0)
            dray_fault_report(call->console, "rm", call->operands[i], &err,
                              dray_fault_store_hint(&err));
        exits[i] = dray_fault_exit(&err);
    }
    exit_status = dray_fault_exit_all(exits, call->operand_count);
    free(exits);
    return exit_status;
}

static enum dray_exit run(const struct dray_call *call)
{
    const struct dray_store_options *options = call->values;
    struct dray_log log = dray_console_log(call->console, dray_store_options_level(options));
    struct dray_store *store = NULL;
    struct dray_error err = { 0 };
    enum dray_exit exit_status;

    /* A store that does not exist is not made just to find it empty. */
    if (dray_store_options_open(options, DRAY_STORE_READ, &log, &store, &err) < 0) {
        dray_fault_report(call->console, "rm", NULL, &err, dray_fault_store_hint(&err));
        return dray_fault_exit(&err);
    }
    dray_store_close(store);
    if (dray_store_options_open(options, DRAY_STORE_WRITE, &log, &store, &err) < 0) {
        dray_fault_report(call->console, "rm", NULL, &err, dray_fault_store_hint(&err));
        return dray_fault_exit(&err);
    }
    exit_status = remove_images(call, store);
    dray_store_close(store);
    return exit_status;
}

static const struct dray_example examples[] = {
    { "Remove two images", "dray rm nginx:1.26 ghcr.io/acme/app:1.1" },
    { NULL, NULL },
};

const struct dray_command dray_command_rm = {
    .name = "rm",
    .operands = "IMAGE...",
    .operands_min = 1,
    .operands_max = SIZE_MAX,
    .summary = "remove images from the store",
    .description =
        "Remove the names of images, and the blobs that no other image uses. It waits until no "
        "pull is running in the store.\n"
        "\n"
        "For each image, a line goes to standard output: its full name, \"removed\", and how many "
        "blobs of what size were deleted.",
    .shared = dray_store_option_table,
    .values_size = sizeof(struct dray_store_options),
    .examples = examples,
    .run = run,
};
