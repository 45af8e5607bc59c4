#include "cmd/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <dray/error.h>

#include "cmd/text.h"

int dray_output_json(json_t *json, enum dray_output_shape shape)
{
    size_t flags = JSON_ENSURE_ASCII | (shape == DRAY_OUTPUT_TREE ? JSON_INDENT(2) : 0);
    char *text = json ? json_dumps(json, flags) : NULL;

    json_decref(json);
    if (!text)
        return DRAY_ENOMEM;
    puts(text);
    free(text);
    return DRAY_OK;
}

void dray_output_raw(char *text)
{
    if (isatty(STDOUT_FILENO))
        dray_text_clean(text);
    fputs(text, stdout);
}

int dray_output_finish(void)
{
    int had_error = ferror(stdout);

    errno = 0;
    return fflush(stdout) != 0 || had_error ? -1 : 0;
}
