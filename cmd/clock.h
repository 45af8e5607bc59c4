/* The two clocks: one that never jumps, to measure with, and the one on the wall. */
#ifndef DRAY_CMD_CLOCK_H
#define DRAY_CMD_CLOCK_H

#include <jansson.h>
#include <stdint.h>

/** Milliseconds of a clock that never jumps; where it began means nothing. */
int64_t dray_clock_now_ms(void);

/** Milliseconds since 1970, as the machine's clock has it. */
int64_t dray_clock_wall_ms(void);

/** A time since 1970 as a JSON string: RFC 3339 in UTC with milliseconds. NULL without memory. */
json_t *dray_clock_json(int64_t time_ms);

#endif
