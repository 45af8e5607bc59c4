/* The summary of a pull: a few lines for people, as log lines of level info. */
#ifndef DRAY_CMD_SUMMARY_H
#define DRAY_CMD_SUMMARY_H

#include <dray/log.h>

struct dray_tally;

/** Tell what came and how fast, then a line for each endpoint; nothing if log does not want it. */
void dray_summary_tell(const struct dray_tally *tally, const struct dray_log *log);

#endif
