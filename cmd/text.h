/* Text that came from outside, made fit to be shown. */
#ifndef DRAY_CMD_TEXT_H
#define DRAY_CMD_TEXT_H

#include <jansson.h>

/**
 * Replace, in place, everything that could steer a terminal by '?': control characters other than
 * newline (C0, DEL, C1), marks that reverse the direction of writing, and bytes that are not
 * UTF-8. The text never grows.
 */
void dray_text_clean(char *text);

/** A JSON string of any bytes: what is not UTF-8 becomes '?'. NULL without memory. */
json_t *dray_text_json(const char *text);

/** How many single-letter edits, swaps of neighbours included, lead from one word to the other;
 *  words beyond 63 letters are not compared and infinitely far (UINT_MAX). */
unsigned dray_text_distance(const char *a, const char *b);

/* Words no further apart than this may be slips of each other. */
#define DRAY_TEXT_NEAR 2

#endif
