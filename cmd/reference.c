/* The command "reference". */
#include <stdlib.h>

#include <dray/reference.h>

#include "cmd/commands.h"
#include "cmd/output.h"
#include "cmd/text.h"

static json_t *describe(const char *name, const struct dray_reference *reference)
{
    char canonical[DRAY_REFERENCE_TEXT_MAX];
    char familiar[DRAY_REFERENCE_TEXT_MAX];

    dray_reference_canonical(reference, canonical);
    dray_reference_familiar(reference, familiar);
    return json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:s}", "input", dray_text_json(name), "domain",
                     reference->domain, "path", reference->path, "tag", reference->tag, "digest",
                     reference->digest.text, "canonical", canonical, "familiar", familiar);
}

static enum dray_exit run(const struct dray_call *call)
{
    enum dray_exit *exits = calloc(call->operand_count, sizeof(*exits));
    enum dray_exit exit_status;

    if (!exits)
        return dray_fault_nomem(call->console, "reference");
    for (size_t i = 0; i < call->operand_count; i++) {
        const char *name = call->operands[i];
        struct dray_reference reference = { 0 };
        struct dray_error err = { 0 };
        json_t *json;

        if (dray_reference_parse(name, &reference, &err) == DRAY_OK)
            json = describe(name, &reference);
        else
            json = json_pack("{s:o, s:o}", "input", dray_text_json(name), "error",
                             dray_text_json(err.text));
        exits[i] = dray_fault_exit(&err);
        if (dray_output_json(json, DRAY_OUTPUT_LINE) < 0)
            exits[i] = dray_fault_nomem(call->console, "reference");
    }
    exit_status = dray_fault_exit_all(exits, call->operand_count);
    free(exits);
    return exit_status;
}

static const struct dray_example examples[] = {
    { "See what a short name stands for", "dray reference nginx ghcr.io/acme/app:1.2" },
    { "Print the registry's host only", "dray reference nginx | jq -r .domain" },
    { NULL, NULL },
};

const struct dray_command dray_command_reference = {
    .name = "reference",
    .operands = "NAME...",
    .operands_min = 1,
    .operands_max = SIZE_MAX,
    .summary = "show how image names are understood",
    .description =
        "Take image names apart and print, for each, one JSON object on a line: \"input\", "
        "\"domain\", \"path\", \"tag\", \"digest\", \"canonical\" and \"familiar\"; or \"input\" "
        "and \"error\" for a name that is none. A name without tag and digest gets the tag "
        "latest. Nothing is looked up anywhere.",
    .examples = examples,
    .run = run,
};
