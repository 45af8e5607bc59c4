/* Challenges: what a WWW-Authenticate header asks for (RFC 9110 section 11.6.1). */
#ifndef DRAY_REGISTRY_CHALLENGE_H
#define DRAY_REGISTRY_CHALLENGE_H

#include <stdbool.h>

#define DRAY_CHALLENGE_VALUE_MAX 2047

enum dray_challenge_scheme {
    DRAY_CHALLENGE_OTHER, /* Negotiate, Digest... */
    DRAY_CHALLENGE_BASIC,
    DRAY_CHALLENGE_BEARER,
};

/** One challenge. A plain value. Parameters that dray does not use are left out. */
struct dray_challenge {
    enum dray_challenge_scheme scheme;
    bool overlong; /* a parameter did not fit: do not use this challenge */
    char realm[DRAY_CHALLENGE_VALUE_MAX + 1];   /* "" if absent; so the others */
    char service[DRAY_CHALLENGE_VALUE_MAX + 1]; /* Bearer: the Docker token specification's */
    char scope[DRAY_CHALLENGE_VALUE_MAX + 1];
};

/**
 * Take the next challenge of a header line's value; a line may hold several. Names are compared in
 * any case, of a repeated parameter the first counts, and an unquoted value may hold what only a
 * quoted one should (some servers write realm=https://...).
 *
 * @param cursor  start at the value; moved behind the challenge
 * @return false at the end, or where the text stops making sense
 */
bool dray_challenge_next(const char **cursor, struct dray_challenge *ret_challenge);

#endif
