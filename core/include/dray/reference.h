/* Image references: how a name such as "nginx" becomes docker.io/library/nginx:latest. */
#ifndef DRAY_REFERENCE_H
#define DRAY_REFERENCE_H

#include <dray/digest.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DRAY_DOMAIN_MAX 255
#define DRAY_PATH_MAX   255
#define DRAY_TAG_MAX    128
/* domain, '/', path, ':', tag, '@', digest, NUL */
#define DRAY_REFERENCE_TEXT_MAX                                                                    \
    (DRAY_DOMAIN_MAX + 1 + DRAY_PATH_MAX + 1 + DRAY_TAG_MAX + 1 + DRAY_DIGEST_TEXT_MAX)

/**
 * A normalised reference. A plain value.
 *
 * The grammar is that of distribution's reference package; the rules for Docker Hub are Docker's:
 * the first component is a host only if it holds '.' or ':', equals "localhost" or has an
 * upper-case letter; else the host is docker.io, and a single component gets "library/" before it.
 */
struct dray_reference {
    char domain[DRAY_DOMAIN_MAX + 1]; /* host[:port]; "docker.io" also for index.docker.io */
    char path[DRAY_PATH_MAX + 1];     /* repository as it stands in URLs: "library/nginx" */
    char tag[DRAY_TAG_MAX + 1]; /* "latest" if neither tag nor digest was given; else may be "" */
    struct dray_digest digest;  /* alg 0 if none. With a tag too, the digest is what is pulled */
};

/**
 * Parse and normalise a name that a user gave. Nothing is looked up.
 *
 * @return DRAY_OK, or DRAY_EINVAL with a text that says which rule the name breaks (too long,
 *         upper-case letters, a reserved name, 64 hex digits alone, a scheme "://", a bad tag or
 *         digest...)
 */
int dray_reference_parse(const char *name, struct dray_reference *ret_reference,
                         struct dray_error *err);

/** Write domain/path[:tag][@digest], the unambiguous form. buf holds DRAY_REFERENCE_TEXT_MAX. */
void dray_reference_canonical(const struct dray_reference *reference, char *buf);

/** Write the short form Docker shows: without "docker.io/" and "library/". */
void dray_reference_familiar(const struct dray_reference *reference, char *buf);

#ifdef __cplusplus
}
#endif

#endif
