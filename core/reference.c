#include <dray/reference.h>

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"

#define HUB        "docker.io"
#define HUB_LEGACY "index.docker.io"
#define LIBRARY    "library/"

#define IDENTIFIER_LEN 64 /* hex digits of an image ID */

/* A piece of the name being read. */
struct span {
    const char *text;
    size_t len;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_alnum(char c)
{
    return is_lower(c) || is_upper(c) || is_digit(c);
}

static bool span_is(struct span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.text, text, span.len) == 0;
}

static bool has_upper(struct span span)
{
    for (size_t i = 0; i < span.len; i++) {
        if (is_upper(span.text[i]))
            return true;
    }
    return false;
}

/* Split at the first c: what stands before it is returned, what follows is left in *rest. */
static bool cut(struct span *rest, char c, struct span *ret_before)
{
    const char *at = rest->len > 0 ? memchr(rest->text, c, rest->len) : NULL;

    if (!at)
        return false;
    *ret_before = (struct span){ rest->text, (size_t)(at - rest->text) };
    *rest = (struct span){ at + 1, rest->len - ret_before->len - 1 };
    return true;
}

/* ---- grammar ---- */

/* [a-zA-Z0-9] with '-' inside, joined by '.' */
static bool is_domain_name(struct span host)
{
    for (size_t i = 0; i < host.len; i++) {
        char c = host.text[i];
        bool first = i == 0 || host.text[i - 1] == '.';
        bool last = i + 1 == host.len || host.text[i + 1] == '.';

        if (c == '.' ? first || i + 1 == host.len : !is_alnum(c) && (c != '-' || first || last))
            return false;
    }
    return host.len > 0;
}

/* Without zone and without the dotted form for IPv4, as in distribution's grammar. */
static bool is_ipv6_address(struct span host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (host.len >= sizeof(text) || memchr(host.text, '.', host.len))
        return false;
    memcpy(text, host.text, host.len);
    text[host.len] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

static bool is_port(struct span port)
{
    unsigned int number = 0;

    for (size_t i = 0; i < port.len; i++) {
        if (!is_digit(port.text[i]))
            return false;
        number = 10 * number + (unsigned int)(port.text[i] - '0');
        if (number > 65535)
            return false;
    }
    return number > 0;
}

/* Components of lower-case letters and digits, joined inside by '.', '_', "__" or dashes. */
static bool is_path(struct span path)
{
    size_t separators = 0; /* how many stand in a row before i; at the start of a component 1 */
    char separator = '/';

    for (size_t i = 0; i < path.len; i++) {
        char c = path.text[i];

        if (is_lower(c) || is_digit(c)) {
            separators = 0;
            separator = '\0';
            continue;
        }
        if (!memchr("/._-", c, 4))
            return false;
        if (separator == '/' || (separators > 0 && c != separator))
            return false;
        separators++;
        separator = c;
        if ((c == '.' && separators > 1) || (c == '_' && separators > 2))
            return false;
    }
    return path.len > 0 && separators == 0;
}

static bool is_tag(struct span tag)
{
    for (size_t i = 0; i < tag.len; i++) {
        char c = tag.text[i];

        if (!is_alnum(c) && c != '_' && (i == 0 || (c != '.' && c != '-')))
            return false;
    }
    return tag.len > 0;
}

/* 64 lower-case hex digits: Docker reads them as an image ID, so that they cannot be a name. */
static bool is_identifier(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!is_digit(name.text[i]) && !(name.text[i] >= 'a' && name.text[i] <= 'f'))
            return false;
    }
    return name.len == IDENTIFIER_LEN;
}

/* Whether the first of several components is a host: only these cannot be a Hub namespace. */
static bool looks_like_host(struct span first)
{
    return memchr(first.text, '.', first.len) || memchr(first.text, ':', first.len) ||
           span_is(first, "localhost") || has_upper(first);
}

/* ---- errors ---- */

/* Say that a name is wrong. The name may be anything, so it is shown in printable ASCII only. */
static int refuse(struct dray_error *err, struct span name, const char *fmt, ...) DRAY_PRINTF(3, 4);

static int refuse(struct dray_error *err, struct span name, const char *fmt, ...)
{
    char shown[4 * 256 + sizeof("...")];
    size_t used = 0;
    char reason[256];
    va_list args;

    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.text[i];

        if (used + 4 + sizeof("...") > sizeof(shown)) {
            used += (size_t)snprintf(shown + used, sizeof(shown) - used, "...");
            break;
        }
        if (c >= ' ' && c < 0x7f)
            shown[used++] = (char)c;
        else
            used += (size_t)snprintf(shown + used, sizeof(shown) - used, "\\x%02x", c);
    }
    shown[used] = '\0';

    va_start(args, fmt);
    vsnprintf(reason, sizeof(reason), fmt, args);
    va_end(args);
    return dray_error_set(err, DRAY_EINVAL, "invalid image name \"%s\": %s", shown, reason);
}

/* ---- parts ---- */

static int read_domain(struct span name, struct span domain, struct dray_reference *reference,
                       struct dray_error *err)
{
    struct span host;
    struct span port = domain;
    bool has_port;

    if (domain.len > DRAY_DOMAIN_MAX)
        return refuse(err, name, "the host is longer than %d characters", DRAY_DOMAIN_MAX);

    if (domain.text[0] == '[') {
        const char *end = memchr(domain.text, ']', domain.len);

        if (!end)
            return refuse(err, name, "the IPv6 address is not closed by ']'");
        host = (struct span){ domain.text + 1, (size_t)(end - domain.text) - 1 };
        if (!is_ipv6_address(host))
            return refuse(err, name, "the host in brackets is not a plain IPv6 address");
        port = (struct span){ end + 1, domain.len - host.len - 2 };
        has_port = port.len > 0;
        if (has_port && port.text[0] != ':')
            return refuse(err, name, "only a port can follow the IPv6 address");
        if (has_port)
            port = (struct span){ port.text + 1, port.len - 1 };
    } else {
        has_port = cut(&port, ':', &host);
        if (!has_port)
            host = domain;
        if (!is_domain_name(host))
            return refuse(err, name, "what stands before the first '/' is not a host name");
    }
    if (has_port && !is_port(port))
        return refuse(err, name, "the port is not a number from 1 to 65535");

    memcpy(reference->domain, domain.text, domain.len);
    return DRAY_OK;
}

static int read_path(struct span name, struct span path, struct dray_reference *reference,
                     struct dray_error *err)
{
    const bool official =
        strcmp(reference->domain, HUB) == 0 && path.len > 0 && !memchr(path.text, '/', path.len);
    const char *prefix = official ? LIBRARY : "";

    if (path.len == 0)
        return refuse(err, name, "the repository name is missing");
    if (has_upper(path))
        return refuse(err, name, "repository names are lower-case");
    if (!is_path(path))
        return refuse(err, name,
                      "a repository name holds lower-case letters and digits, joined by one '.', "
                      "'_' or '__', by '-' or by '/'");
    if (strlen(prefix) + path.len > DRAY_PATH_MAX)
        return refuse(err, name, "the repository name is longer than %d characters", DRAY_PATH_MAX);

    snprintf(reference->path, sizeof(reference->path), "%s%.*s", prefix, (int)path.len, path.text);
    if (strcmp(reference->domain, HUB) == 0 && strcmp(reference->path, LIBRARY "scratch") == 0)
        return refuse(err, name, "'scratch' is a reserved name");
    return DRAY_OK;
}

static int read_tag(struct span name, struct span tag, struct dray_reference *reference,
                    struct dray_error *err)
{
    if (tag.len > DRAY_TAG_MAX)
        return refuse(err, name, "the tag is longer than %d characters", DRAY_TAG_MAX);
    if (!is_tag(tag))
        return refuse(err, name,
                      "a tag holds letters, digits, '_', '.' and '-', and begins with neither '.' "
                      "nor '-'");
    memcpy(reference->tag, tag.text, tag.len);
    return DRAY_OK;
}

static int read_digest(struct span name, struct span digest, struct dray_reference *reference,
                       struct dray_error *err)
{
    struct dray_error cause = { 0 };

    if (dray_digest_parse(digest.text, digest.len, &reference->digest, &cause) < 0)
        return refuse(err, name, "%s", cause.text);
    return DRAY_OK;
}

/* name := [host '/'] path [':' tag] ['@' digest], and there is no "://" in it. */
static int read_name(struct span name, struct dray_reference *ret_reference, struct dray_error *err)
{
    const struct span hub = { HUB, strlen(HUB) };
    struct dray_reference reference = { 0 };
    struct span rest = name;
    struct span domain;
    struct span path;
    struct span before;
    bool has_tag;
    bool has_digest;
    int rc;

    if (name.len == 0)
        return dray_error_set(err, DRAY_EINVAL, "the image name is empty");
    if (is_identifier(name))
        return refuse(err, name, "64 hex digits are an image ID, not a name");

    if (!cut(&rest, '/', &domain)) {
        domain = hub;
    } else if (memchr(domain.text, '@', domain.len)) {
        /* not shown: it may hold a password */
        return dray_error_set(err, DRAY_EINVAL,
                              "invalid image name: '@' stands before the first '/'; credentials "
                              "do not belong in a name");
    } else if (!looks_like_host(domain)) {
        domain = hub;
        rest = name;
    } else if (span_is(domain, HUB_LEGACY)) {
        domain = hub;
    }
    rc = read_domain(name, domain, &reference, err);
    if (rc < 0)
        return rc;

    has_digest = cut(&rest, '@', &before);
    path = has_digest ? before : rest;
    if (has_digest) {
        rc = read_digest(name, rest, &reference, err);
        if (rc < 0)
            return rc;
    }
    rest = path;
    has_tag = cut(&rest, ':', &path);
    rc = read_path(name, path, &reference, err);
    if (rc < 0)
        return rc;
    if (has_tag) {
        rc = read_tag(name, rest, &reference, err);
        if (rc < 0)
            return rc;
    } else if (!has_digest) {
        memcpy(reference.tag, "latest", sizeof("latest"));
    }

    *ret_reference = reference;
    return DRAY_OK;
}

int dray_reference_parse(const char *name, struct dray_reference *ret_reference,
                         struct dray_error *err)
{
    const char *scheme = strstr(name, "://");
    const size_t len = strlen(name);
    struct dray_reference ignored;
    const char *plain;

    if (len >= DRAY_REFERENCE_TEXT_MAX)
        return dray_error_set(err, DRAY_EINVAL, "an image name of %zu characters is too long", len);
    if (!scheme)
        return read_name((struct span){ name, len }, ret_reference, err);

    /* the name is not shown, since URLs may hold passwords; what is a name by itself cannot */
    plain = scheme + strlen("://");
    dray_error_set(err, DRAY_EINVAL, "invalid image name: it begins with a scheme (\"://\")");
    if (read_name((struct span){ plain, strlen(plain) }, &ignored, NULL) == DRAY_OK)
        dray_error_hint(err, "write %s", plain);
    return DRAY_EINVAL;
}

void dray_reference_canonical(const struct dray_reference *reference, char *buf)
{
    snprintf(buf, DRAY_REFERENCE_TEXT_MAX, "%s/%s%s%s%s%s", reference->domain, reference->path,
             reference->tag[0] ? ":" : "", reference->tag, reference->digest.alg ? "@" : "",
             reference->digest.text);
}

void dray_reference_familiar(const struct dray_reference *reference, char *buf)
{
    char full[DRAY_REFERENCE_TEXT_MAX];
    struct span rest = { reference->path, strlen(reference->path) };
    struct span first;
    size_t skip = 0;

    if (strcmp(reference->domain, HUB) == 0) {
        bool nested = cut(&rest, '/', &first);

        if (nested && span_is(first, "library") && !memchr(rest.text, '/', rest.len))
            skip = strlen(HUB "/" LIBRARY);
        else if (!nested || !looks_like_host(first))
            skip = strlen(HUB "/");
        /* else the short form would be read as another registry's name */
    }
    dray_reference_canonical(reference, full);
    snprintf(buf, DRAY_REFERENCE_TEXT_MAX, "%s", full + skip);
}
