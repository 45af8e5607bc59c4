/* The report of a pull: a JSON document for programs. */
#ifndef DRAY_CMD_REPORT_H
#define DRAY_CMD_REPORT_H

#include <dray/pull.h>

struct dray_tally;

/* Of the schema "dray.report". What is added later keeps it; what changes meaning raises it. */
#define DRAY_REPORT_VERSION 1

/**
 * The report: "schema", "version", "command", "dray", "started", "seconds", "images", "blobs",
 * "endpoints" and "totals". Every key of an object is always there, but for "error"; what is not
 * known is null. Bytes and rates (bytes a second) are whole numbers, times are seconds with three
 * decimals.
 *
 * @param tally    finished
 * @param results  tally->image_count of them
 * @return its text, indented, ASCII, ended by a newline; malloc'ed; NULL without memory
 */
char *dray_report_text(const struct dray_tally *tally, const struct dray_pull_result *results);

#endif
