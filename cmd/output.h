/* Results on standard output. */
#ifndef DRAY_CMD_OUTPUT_H
#define DRAY_CMD_OUTPUT_H

#include <jansson.h>

enum dray_output_shape {
    DRAY_OUTPUT_LINE, /* all on one line */
    DRAY_OUTPUT_TREE, /* indented */
};

/**
 * Print a JSON value and a newline, in ASCII so that nothing in it can steer a terminal.
 *
 * @param json  freed; NULL stands for memory that ran out
 * @return DRAY_OK or DRAY_ENOMEM; trouble with standard output itself shows in dray_output_finish()
 */
int dray_output_json(json_t *json, enum dray_output_shape shape);

/** Print text as it is, but cleaned (cmd/text.h) if a terminal shows it; text may be changed. */
void dray_output_raw(char *text);

/** Flush. @return 0, or -1 if anything that was printed has been lost; errno may say why */
int dray_output_finish(void);

#endif
