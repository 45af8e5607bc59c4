#include "registry/quota.h"

#include <stddef.h>
#include <string.h>
#include <strings.h>

#include "registry/response.h"

/* RFC 8941 section 3.3.1: integers of structured fields. */
#define DIGITS_MAX 15

/* What stands between two separators, trimmed. */
struct piece {
    const char *text;
    size_t len;
};

/* Cut the next piece off at a ';' or ',' outside of quotes. @return false at the end */
static bool next_piece(const char **at, struct piece *ret_piece)
{
    const char *end = *at;
    bool quoted = false;

    if (!*end)
        return false;
    for (; *end && (quoted || (*end != ';' && *end != ',')); end++)
        if (*end == '"')
            quoted = !quoted;
    ret_piece->text = *at + strspn(*at, " \t");
    ret_piece->len = ret_piece->text < end ? (size_t)(end - ret_piece->text) : 0;
    while (ret_piece->len > 0 && strchr(" \t", ret_piece->text[ret_piece->len - 1]))
        ret_piece->len--;
    *at = *end ? end + 1 : end;
    return true;
}

/* Is the piece KEY and a number behind it? key: with its '=', or "" for a bare number */
static bool is_number(const struct piece *piece, const char *key, uint64_t *ret_number)
{
    size_t key_len = strlen(key);
    uint64_t number = 0;

    if (piece->len <= key_len || piece->len > key_len + DIGITS_MAX ||
        strncasecmp(piece->text, key, key_len) != 0)
        return false;
    for (size_t i = key_len; i < piece->len; i++) {
        if (piece->text[i] < '0' || piece->text[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(piece->text[i] - '0');
    }
    *ret_number = number;
    return true;
}

static bool read_structured(const char *value, struct dray_quota *quota)
{
    struct piece piece;
    uint64_t number;

    while (next_piece(&value, &piece)) {
        if (is_number(&piece, "limit=", &number)) {
            quota->limit = number;
        } else if (is_number(&piece, "remaining=", &number) || is_number(&piece, "r=", &number)) {
            if (!quota->known || number < quota->remaining)
                quota->remaining = number;
            quota->known = true;
        } else if (is_number(&piece, "w=", &number)) {
            quota->window_s = (int64_t)number;
        }
    }
    return quota->known;
}

/* "76", or "76;w=21600"; what follows a comma is about other windows. */
static bool read_number(const char *value, uint64_t *ret_number, int64_t *window_s)
{
    const char *comma = strchr(value, ',');
    struct piece piece;
    uint64_t number;

    if (!next_piece(&value, &piece) || !is_number(&piece, "", ret_number))
        return false;
    while ((!comma || value <= comma) && next_piece(&value, &piece))
        if (is_number(&piece, "w=", &number))
            *window_s = (int64_t)number;
    return true;
}

static bool read_pair(const char *remaining, const char *limit, struct dray_quota *quota)
{
    quota->known = remaining && read_number(remaining, &quota->remaining, &quota->window_s);
    if (quota->known && limit)
        read_number(limit, &quota->limit, &quota->window_s);
    return quota->known;
}

void dray_quota_read(const struct dray_http_response *response, struct dray_quota *quota)
{
    static const char *const pairs[][2] = {
        { "RateLimit-Remaining", "RateLimit-Limit" },
        { "X-RateLimit-Remaining", "X-RateLimit-Limit" },
    };
    const char *structured = dray_http_response_header(response, "RateLimit", 0);
    struct dray_quota said = { 0 };

    if (structured && read_structured(structured, &said)) {
        *quota = said;
        return;
    }
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        said = (struct dray_quota){ 0 };
        if (read_pair(dray_http_response_header(response, pairs[i][0], 0),
                      dray_http_response_header(response, pairs[i][1], 0), &said)) {
            *quota = said;
            return;
        }
    }
}
