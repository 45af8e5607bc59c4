#include "registry/range.h"

#include <stddef.h>
#include <strings.h>

/* Read digits at *text and step behind them. */
static bool take_number(const char **text, uint64_t *ret_number)
{
    const char *at = *text;
    uint64_t number = 0;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    }
    if (at == *text)
        return false;
    *text = at;
    *ret_number = number;
    return true;
}

static bool take_char(const char **text, char want)
{
    if (**text != want)
        return false;
    ++*text;
    return true;
}

bool dray_content_range_parse(const char *text, struct dray_content_range *ret_range)
{
    struct dray_content_range range = { 0 };

    if (strncasecmp(text, "bytes ", 6) != 0)
        return false;
    text += 6;
    if (!take_number(&text, &range.first) || !take_char(&text, '-') ||
        !take_number(&text, &range.last) || !take_char(&text, '/') || range.last < range.first)
        return false;
    if (!take_char(&text, '*')) {
        if (!take_number(&text, &range.total) || range.total <= range.last)
            return false;
        range.has_total = true;
    }
    if (*text != '\0')
        return false;
    *ret_range = range;
    return true;
}
