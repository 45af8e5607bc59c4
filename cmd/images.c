/* The command "images". */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dray/store.h>

#include "cmd/commands.h"
#include "cmd/console.h"
#include "cmd/image_json.h"
#include "cmd/output.h"
#include "cmd/quantity.h"
#include "cmd/store_options.h"
#include "cmd/text.h"

enum format {
    FORMAT_TABLE,
    FORMAT_JSON,
};

struct images_options {
    struct dray_store_options common;
    int format;
};

static const char *const formats[] = { "table", "json", NULL };

static const struct dray_option images_options[] = {
    { .name = "format",
      .kind = DRAY_OPTION_CHOICE,
      .group = DRAY_GROUP_OUTPUT,
      .offset = offsetof(struct images_options, format),
      .argument = "FORMAT",
      .choices = formats,
      .initial = "table",
      .help = "how to print the list" },
    { .name = NULL },
};

#define COLUMNS  6
#define CELL_MAX DRAY_REFERENCE_TEXT_MAX

static void fill_row(const struct dray_image *image, char row[COLUMNS][CELL_MAX])
{
    char size[DRAY_QUANTITY_TEXT_MAX];
    char platform[DRAY_PLATFORM_TEXT_MAX] = "-";

    if (image->platform.os[0])
        dray_platform_format(&image->platform, platform);
    dray_quantity_format_bytes(image->size_bytes, size);
    snprintf(row[0], CELL_MAX, "%s", image->reference);
    snprintf(row[1], CELL_MAX, "%.12s", dray_digest_hex(&image->digest));
    snprintf(row[2], CELL_MAX, "%s", platform);
    snprintf(row[3], CELL_MAX, "%s", size);
    /* The day will do; what the image says may be anything. */
    snprintf(row[4], CELL_MAX, "%.10s", image->created[0] ? image->created : "-");
    snprintf(row[5], CELL_MAX, "%u%s", image->layer_count, image->complete ? "" : " incomplete");
    for (size_t i = 0; i < COLUMNS; i++)
        dray_text_clean(row[i]);
}

static void print_row(char row[COLUMNS][CELL_MAX], const size_t *widths)
{
    for (size_t i = 0; i + 1 < COLUMNS; i++)
        printf("%-*s  ", (int)widths[i], row[i]);
    printf("%s\n", row[COLUMNS - 1]);
}

static void print_table(const struct dray_image *images, size_t count)
{
    char titles[COLUMNS][CELL_MAX] = { "REFERENCE", "DIGEST",  "PLATFORM",
                                       "SIZE",      "CREATED", "LAYERS" };
    char row[COLUMNS][CELL_MAX];
    size_t widths[COLUMNS];

    for (size_t c = 0; c < COLUMNS; c++)
        widths[c] = strlen(titles[c]);
    for (size_t i = 0; i < count; i++) {
        fill_row(&images[i], row);
        for (size_t c = 0; c < COLUMNS; c++) {
            if (strlen(row[c]) > widths[c])
                widths[c] = strlen(row[c]);
        }
    }
    print_row(titles, widths);
    for (size_t i = 0; i < count; i++) {
        fill_row(&images[i], row);
        print_row(row, widths);
    }
}

static int print_json(const struct dray_image *images, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < count; i++) {
        if (json_array_append_new(list, dray_image_json(&images[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return dray_output_json(list, DRAY_OUTPUT_TREE);
}

static int print_images(const struct images_options *options, const struct dray_image *images,
                        size_t count, struct dray_error *err)
{
    if (options->format == FORMAT_TABLE)
        print_table(images, count);
    else if (print_json(images, count) < 0)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    return DRAY_OK;
}

static enum dray_exit run(const struct dray_call *call)
{
    const struct images_options *options = call->values;
    struct dray_log log =
        dray_console_log(call->console, dray_store_options_level(&options->common));
    struct dray_store *store = NULL;
    struct dray_image *images = NULL;
    size_t count = 0;
    struct dray_error err = { 0 };
    int rc = dray_store_options_open(&options->common, DRAY_STORE_READ, &log, &store, &err);

    /* Before the first pull there is no store, and so there are no images. One that was named and
     * does not exist is a mistake. */
    if (rc == DRAY_ENOTFOUND && !options->common.store)
        rc = print_images(options, NULL, 0, &err);
    else if (rc == DRAY_OK)
        rc = dray_store_list(store, &images, &count, &err);
    if (rc == DRAY_OK && store)
        rc = print_images(options, images, count, &err);
    if (rc < 0)
        dray_fault_report(call->console, "images", NULL, &err, dray_fault_store_hint(&err));
    free(images);
    dray_store_close(store);
    return rc < 0 ? dray_fault_exit(&err) : DRAY_EXIT_DONE;
}

static const struct dray_example examples[] = {
    { "List what is in the store", "dray images" },
    { "Print the names only", "dray images --format json | jq -r '.[].reference'" },
    { "Pull again whatever is incomplete",
      "dray images | awk '/ incomplete$/ { print $1 }' | xargs -r dray pull" },
    { NULL, NULL },
};

const struct dray_command dray_command_images = {
    .name = "images",
    .operands = "",
    .summary = "list the images in the store",
    .description =
        "List the images in the store, sorted by name: name, first 12 digits of the digest, "
        "platform, size (compressed, each blob once), day of creation and number of layers. A "
        "platform of \"-\" stands for several. An image that lacks a blob is marked incomplete; "
        "pulling it again completes it.\n"
        "\n"
        "--format json prints an array of objects: \"reference\", \"digest\", \"source_digest\" "
        "(what the registry's tag pointed at), \"media_type\", \"platform\", \"created\", "
        "\"size\" in bytes, \"layers\" and \"complete\". A text that is not known is \"\".",
    .shared = dray_store_option_table,
    .options = images_options,
    .values_size = sizeof(struct images_options),
    .examples = examples,
    .run = run,
};
