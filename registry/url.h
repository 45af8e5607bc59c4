/* http and https URLs: parsing, resolving a Location, and the origin that secrets are bound to. */
#ifndef DRAY_REGISTRY_URL_H
#define DRAY_REGISTRY_URL_H

#include <stdbool.h>

#include "core/cleanup.h"

struct dray_error;

/** A parsed URL. Immutable; release it with dray_url_done(). */
struct dray_url {
    char *text;   /* the whole URL, as it is requested: no userinfo, no fragment */
    char *origin; /* scheme://host[:port], lower case, a default port left out (RFC 6454) */
    char *host;   /* lower case; an IPv6 address in brackets */
    char *shown;  /* origin and path, for people: the query of a redirect is often a secret */
    char *path;   /* "/" at least */
    bool https;
};

/**
 * Parse an absolute URL. Other schemes than http and https, userinfo and control bytes are refused.
 *
 * @return DRAY_OK, DRAY_EINVAL (the text says what is wrong with it) or DRAY_ENOMEM
 */
int dray_url_parse(const char *text, struct dray_url *ret_url, struct dray_error *err);

/** Resolve a reference, absolute or relative, against a base (RFC 3986 section 5). As above. */
int dray_url_resolve(const struct dray_url *base, const char *reference, struct dray_url *ret_url,
                     struct dray_error *err);

/** Append name=value, percent-encoded, to the query. @return DRAY_OK or DRAY_ENOMEM (unchanged) */
int dray_url_add_query(struct dray_url *url, const char *name, const char *value);

void dray_url_done(struct dray_url *url);

/** Do secrets of one belong to the other: same scheme, host and port? */
bool dray_url_same_origin(const struct dray_url *a, const struct dray_url *b);

/** How far away a host is. */
enum dray_reach {
    DRAY_REACH_FAR,
    DRAY_REACH_LINK,     /* link-local; the metadata services of clouds live on 169.254/16 */
    DRAY_REACH_LOOPBACK, /* this machine */
};

/**
 * By name (localhost, *.localhost) or by address in any spelling that connects: 127.0.0.0/8, ::1,
 * and the unspecified addresses, are this machine. Other names count as far; nothing is looked up.
 *
 * @param host  an IPv6 address may have brackets; no port
 */
enum dray_reach dray_reach_of_host(const char *host);

struct sockaddr;

enum dray_reach dray_reach_of_sockaddr(const struct sockaddr *address);

/** May a peer at that reach send us to a target at this one? Nobody from afar has a business with
 *  this machine's own services, nor a registry on this machine with those of its link. */
static inline bool dray_reach_allows(enum dray_reach sender, enum dray_reach target)
{
    return target == DRAY_REACH_FAR || target == sender;
}

#define DRAY_AUTO_URL DRAY_CLEANUP(dray_url_done)

#endif
