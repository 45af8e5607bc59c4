#include "cmd/quantity.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Digits into *number; the first byte after them, or NULL if there is none or they do not fit. */
static const char *read_digits(const char *text, int64_t *number)
{
    int64_t value = 0;

    if (*text < '0' || *text > '9')
        return NULL;
    for (; *text >= '0' && *text <= '9'; text++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, *text - '0', &value))
            return NULL;
    }
    *number = value;
    return text;
}

int dray_quantity_parse_number(const char *text, int64_t *ret_number)
{
    int64_t number;
    const char *end = read_digits(text, &number);

    if (!end || *end)
        return -1;
    *ret_number = number;
    return 0;
}

struct scale {
    const char *unit;
    int64_t factor;
};

/* A number with at most three decimals and one of the units; the last scale has none. */
static int read_scaled(const char *text, const struct scale *scales, int64_t *ret_value)
{
    int64_t whole;
    int64_t thousandths = 0;
    const char *end = read_digits(text, &whole);

    if (!end)
        return -1;
    if (*end == '.') {
        int64_t place = 100;

        end++;
        if (*end < '0' || *end > '9')
            return -1;
        for (; *end >= '0' && *end <= '9'; end++, place /= 10) {
            if (place == 0)
                return -1;
            thousandths += (*end - '0') * place;
        }
    }
    for (; scales->unit; scales++) {
        int64_t total;

        if (strcmp(end, scales->unit) != 0)
            continue;
        if (__builtin_mul_overflow(whole, scales->factor, &total) ||
            __builtin_add_overflow(total, thousandths * scales->factor / 1000, &total))
            return -1;
        if (total == 0 &&
            thousandths > 0) /* too little to be kept, and 0 may mean something else */
            return -1;
        *ret_value = total;
        return 0;
    }
    return -1;
}

int dray_quantity_parse_duration(const char *text, int64_t *ret_duration_ms)
{
    static const struct scale scales[] = {
        { "", 1000 }, { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { NULL, 0 },
    };

    return read_scaled(text, scales, ret_duration_ms);
}

int dray_quantity_parse_bytes(const char *text, int64_t *ret_bytes)
{
    static const struct scale scales[] = {
        { "", 1 },         { "k", 1000 },       { "K", 1000 },       { "m", 1000000 },
        { "M", 1000000 },  { "g", 1000000000 }, { "G", 1000000000 }, { "Ki", 1 << 10 },
        { "Mi", 1 << 20 }, { "Gi", 1 << 30 },   { NULL, 0 },
    };

    return read_scaled(text, scales, ret_bytes);
}

struct unit {
    const char *name;
    double bytes;
    int decimals;
};

/* The largest unit in which the amount is at least 1 as it will be printed: 999 950 bytes would be
 * "1000.0 kB" otherwise. */
static const struct unit *unit_for(uint64_t bytes)
{
    static const struct unit units[] = {
        { "B", 1, 0 }, { "kB", 1e3, 1 }, { "MB", 1e6, 1 }, { "GB", 1e9, 2 }, { "TB", 1e12, 2 },
    };
    const struct unit *unit = &units[0];

    for (size_t i = 1; i < sizeof(units) / sizeof(units[0]); i++) {
        if ((double)bytes >= units[i].bytes * (i == 1 ? 1 : 0.99995))
            unit = &units[i];
    }
    return unit;
}

void dray_quantity_format_bytes(uint64_t bytes, char *buf)
{
    const struct unit *unit = unit_for(bytes);

    snprintf(buf, DRAY_QUANTITY_TEXT_MAX, "%.*f %s", unit->decimals, (double)bytes / unit->bytes,
             unit->name);
}

void dray_quantity_format_part(uint64_t part_bytes, uint64_t whole_bytes, char *buf)
{
    const struct unit *unit = unit_for(whole_bytes);

    snprintf(buf, DRAY_QUANTITY_TEXT_MAX, "%.*f/%.*f %s", unit->decimals,
             (double)part_bytes / unit->bytes, unit->decimals, (double)whole_bytes / unit->bytes,
             unit->name);
}

#define DURATION_END_S (INT64_C(100) * 3600)

void dray_quantity_format_duration(int64_t duration_ms, char *buf)
{
    int64_t seconds = duration_ms / 1000 + (duration_ms % 1000 >= 500);

    if (seconds >= DURATION_END_S)
        seconds = DURATION_END_S - 1;
    if (seconds < 60)
        snprintf(buf, DRAY_QUANTITY_TEXT_MAX, "%" PRId64 "s", seconds);
    else if (seconds < 3600)
        snprintf(buf, DRAY_QUANTITY_TEXT_MAX, "%" PRId64 "m%02" PRId64 "s", seconds / 60,
                 seconds % 60);
    else
        snprintf(buf, DRAY_QUANTITY_TEXT_MAX, "%" PRId64 "h%02" PRId64 "m", seconds / 3600,
                 seconds / 60 % 60);
}

void dray_quantity_format_elapsed(int64_t elapsed_ms, char *buf)
{
    if (elapsed_ms < 9950)
        snprintf(buf, DRAY_QUANTITY_TEXT_MAX, "%.1fs", (double)elapsed_ms / 1000);
    else
        dray_quantity_format_duration(elapsed_ms, buf);
}
