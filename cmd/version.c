/* The command "version". */
#include <stdio.h>

#include <dray/dray.h>

#include "cmd/commands.h"

static enum dray_exit run(const struct dray_call *call)
{
    (void)call;
    printf("dray %s\n%s\n", dray_version(), dray_library_versions());
    return DRAY_EXIT_DONE;
}

const struct dray_command dray_command_version = {
    .name = "version",
    .operands = "",
    .summary = "print the version of dray and of its libraries",
    .description = "Print the version of dray on the first line and those of the libraries it "
                   "runs with on the second.",
    .run = run,
};
