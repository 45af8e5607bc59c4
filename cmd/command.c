#include "cmd/command.h"

#include <string.h>

#include "cmd/text.h"

const struct dray_option *dray_command_option(const struct dray_command *command, size_t i)
{
    const struct dray_option *tables[] = { command->options, command->shared };

    for (size_t t = 0; t < 2; t++) {
        for (const struct dray_option *option = tables[t]; option && option->name; option++) {
            if (i-- == 0)
                return option;
        }
    }
    return NULL;
}

const struct dray_command *dray_command_find(const struct dray_command *const *commands,
                                             const char *name)
{
    for (; *commands; commands++) {
        if (strcmp((*commands)->name, name) == 0)
            return *commands;
    }
    return NULL;
}

const struct dray_command *dray_command_nearest(const struct dray_command *const *commands,
                                                const char *name)
{
    const struct dray_command *nearest = NULL;
    unsigned least = DRAY_TEXT_NEAR + 1;

    for (; *commands; commands++) {
        unsigned distance = dray_text_distance((*commands)->name, name);

        if (distance < least) {
            nearest = *commands;
            least = distance;
        }
    }
    return nearest;
}
