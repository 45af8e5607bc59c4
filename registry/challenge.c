#include "registry/challenge.h"

#include <string.h>
#include <strings.h>

/* RFC 9110 section 5.6.2 */
static bool is_token_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_length(const char *text)
{
    size_t len = 0;

    while (is_token_char(text[len]))
        len++;
    return len;
}

static const char *skip_space(const char *text)
{
    return text + strspn(text, " \t");
}

static bool is_name(const char *text, size_t len, const char *name)
{
    return len == strlen(name) && strncasecmp(text, name, len) == 0;
}

/* Where a parameter's value is kept; NULL for one that is not. */
static char *slot_of(struct dray_challenge *challenge, const char *name, size_t len)
{
    if (is_name(name, len, "realm"))
        return challenge->realm;
    if (is_name(name, len, "service"))
        return challenge->service;
    if (is_name(name, len, "scope"))
        return challenge->scope;
    return NULL;
}

/* Read a quoted or bare value at text into slot, which may be NULL. @return what follows it, or
 * NULL when a quote is not closed */
static const char *take_value(const char *text, char *slot, bool *ret_overlong)
{
    bool quoted = *text == '"';
    size_t len = 0;

    if (slot && slot[0] != '\0')
        slot = NULL; /* repeated: the first counts */
    if (quoted)
        text++;
    for (; *text; text++) {
        if (quoted ? *text == '"' : strchr(", \t", *text) != NULL)
            break;
        if (quoted && *text == '\\' && text[1] != '\0')
            text++;
        if (slot && len < DRAY_CHALLENGE_VALUE_MAX)
            slot[len] = *text;
        len++;
    }
    if (slot && len > DRAY_CHALLENGE_VALUE_MAX) {
        *ret_overlong = true;
        len = 0;
    }
    if (slot)
        slot[len] = '\0';
    if (!quoted)
        return text;
    return *text == '"' ? text + 1 : NULL;
}

/* At the start of a parameter "name = value"? @return the value, or NULL */
static const char *value_of_parameter(const char *text, size_t name_len)
{
    const char *at = skip_space(text + name_len);

    if (name_len == 0 || *at != '=')
        return NULL;
    return skip_space(at + 1);
}

bool dray_challenge_next(const char **cursor, struct dray_challenge *ret_challenge)
{
    const char *at = *cursor + strspn(*cursor, " \t,");
    size_t len = token_length(at);
    const char *value;

    *cursor = at + strlen(at); /* unless all goes well */
    if (len == 0 || !strchr(" \t,", at[len]))
        return false;

    memset(ret_challenge, 0, sizeof(*ret_challenge));
    if (is_name(at, len, "Bearer"))
        ret_challenge->scheme = DRAY_CHALLENGE_BEARER;
    else if (is_name(at, len, "Basic"))
        ret_challenge->scheme = DRAY_CHALLENGE_BASIC;
    at = skip_space(at + len);

    /* Parameters, until something that is none: the next scheme. */
    while (*at) {
        at += strspn(at, " \t,");
        len = token_length(at);
        value = value_of_parameter(at, len);
        if (!value || strspn(value, "=, \t") > 0 || *value == '\0')
            break;
        at = take_value(value, slot_of(ret_challenge, at, len), &ret_challenge->overlong);
        if (!at)
            return true; /* a quote is open: nothing behind it can be trusted */
    }
    if (ret_challenge->scheme == DRAY_CHALLENGE_OTHER) {
        /* A token68, as Negotiate has it, stands alone up to the comma. */
        size_t blob = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                 "0123456789-._~+/=");
        const char *behind = skip_space(at + blob);

        if (blob > 0 && (*behind == ',' || *behind == '\0'))
            at = behind;
    }
    *cursor = at;
    return true;
}
