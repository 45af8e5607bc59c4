/* Amounts as people write and read them: bytes and times on the way in and out, rates on the way
 * out. */
#ifndef DRAY_CMD_QUANTITY_H
#define DRAY_CMD_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

/* Room for every text written here, the NUL included: "17179869184.00/17179869184.00 GB". */
#define DRAY_QUANTITY_TEXT_MAX 40

/**
 * Read a whole number in decimal, nothing before or after it.
 *
 * @return 0, or -1 if it is none or does not fit
 */
int dray_quantity_parse_number(const char *text, int64_t *ret_number);

/**
 * Read a time: a number with at most three decimals and a unit of ms, s, m or h; seconds without
 * one. "1.5m" is 90 000.
 *
 * @return 0, or -1 if it is none, does not fit, or is above 0 and less than a millisecond
 */
int dray_quantity_parse_duration(const char *text, int64_t *ret_duration_ms);

/**
 * Read an amount of bytes: a number with at most three decimals and a unit of K, M, G (powers of
 * 1000; k, m, g as well) or Ki, Mi, Gi (of 1024); bytes without one. "1.5K" is 1500.
 *
 * @return 0, or -1 if it is none, does not fit, or is above 0 and less than one byte
 */
int dray_quantity_parse_bytes(const char *text, int64_t *ret_bytes);

/** Write bytes in decimal units: "999 B", "1.2 kB", "12.3 MB", "4.56 GB". */
void dray_quantity_format_bytes(uint64_t bytes, char *buf);

/** Write a part of a whole, both in the unit of the whole: "1.2/45.6 MB". */
void dray_quantity_format_part(uint64_t part_bytes, uint64_t whole_bytes, char *buf);

/** Write a time that has passed: "0.4s", "9.9s", from ten seconds on as
 *  dray_quantity_format_duration(). */
void dray_quantity_format_elapsed(int64_t elapsed_ms, char *buf);

/** Write a time, rounded to seconds: "5s", "3m05s", "2h03m"; never more than "99h59m". */
void dray_quantity_format_duration(int64_t duration_ms, char *buf);

#endif
