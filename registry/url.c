#include "registry/url.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include "core/buffer.h"
#include "core/error.h"

/* A part of the URL as malloc'ed text; "" where the URL has none. */
static int get_part(CURLU *handle, CURLUPart what, unsigned int flags, char **ret_text)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(handle, what, &text, flags);
    bool absent = code == CURLUE_NO_QUERY || code == CURLUE_NO_PORT;

    if (code != CURLUE_OK && !absent)
        return DRAY_ENOMEM;
    *ret_text = strdup(absent ? "" : text);
    curl_free(text);
    return *ret_text ? DRAY_OK : DRAY_ENOMEM;
}

static void lower(char *text)
{
    for (; *text; text++)
        if (*text >= 'A' && *text <= 'Z')
            *text = (char)(*text - 'A' + 'a');
}

static int take_parts(CURLU *handle, struct dray_url *url)
{
    DRAY_AUTO_FREE char *scheme = NULL;
    DRAY_AUTO_FREE char *port = NULL;

    if (curl_url_set(handle, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK ||
        get_part(handle, CURLUPART_SCHEME, 0, &scheme) < 0 ||
        get_part(handle, CURLUPART_HOST, 0, &url->host) < 0 ||
        get_part(handle, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT, &port) < 0 ||
        get_part(handle, CURLUPART_PATH, 0, &url->path) < 0 ||
        get_part(handle, CURLUPART_URL, 0, &url->text) < 0)
        return DRAY_ENOMEM;

    lower(scheme);
    lower(url->host);
    url->https = strcmp(scheme, "https") == 0;
    if (asprintf(&url->origin, "%s://%s%s%s", scheme, url->host, port[0] ? ":" : "", port) < 0) {
        url->origin = NULL;
        return DRAY_ENOMEM;
    }
    if (asprintf(&url->shown, "%s%s", url->origin, url->path) < 0) {
        url->shown = NULL;
        return DRAY_ENOMEM;
    }
    return DRAY_OK;
}

static int parse_into(CURLU *handle, const char *text, unsigned int flags, struct dray_url *ret_url,
                      struct dray_error *err)
{
    struct dray_url url = { 0 };
    DRAY_AUTO_FREE char *scheme = NULL;
    CURLUcode code;

    /* Without CURLU_NON_SUPPORT_SCHEME libcurl refuses schemes it was built without; file: and the
     * like are left for the check below. The text itself is not shown: it may hold a password. */
    code = curl_url_set(handle, CURLUPART_URL, text, flags | CURLU_DISALLOW_USER);
    if (code == CURLUE_OUT_OF_MEMORY)
        return dray_error_nomem(err);
    if (code == CURLUE_USER_NOT_ALLOWED)
        return dray_error_set(err, DRAY_EINVAL, "URL with a user name");
    if (code != CURLUE_OK)
        return dray_error_set(err, DRAY_EINVAL, "malformed URL: %s", curl_url_strerror(code));
    if (get_part(handle, CURLUPART_SCHEME, 0, &scheme) < 0)
        return dray_error_nomem(err);
    if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
        return dray_error_set(err, DRAY_EINVAL, "URL is neither http nor https");
    if (take_parts(handle, &url) < 0) {
        dray_url_done(&url);
        return dray_error_nomem(err);
    }
    *ret_url = url;
    return DRAY_OK;
}

int dray_url_parse(const char *text, struct dray_url *ret_url, struct dray_error *err)
{
    CURLU *handle = curl_url();
    int rc;

    if (!handle)
        return dray_error_nomem(err);
    rc = parse_into(handle, text, 0, ret_url, err);
    curl_url_cleanup(handle);
    return rc;
}

int dray_url_resolve(const struct dray_url *base, const char *reference, struct dray_url *ret_url,
                     struct dray_error *err)
{
    CURLU *handle = curl_url();
    int rc;

    if (!handle)
        return dray_error_nomem(err);
    if (curl_url_set(handle, CURLUPART_URL, base->text, 0) != CURLUE_OK)
        rc = dray_error_nomem(err);
    else /* servers send spaces and raw UTF-8 in Location; browsers and curl encode them */
        rc = parse_into(handle, reference, CURLU_URLENCODE, ret_url, err);
    curl_url_cleanup(handle);
    return rc;
}

static int add_query(CURLU *handle, struct dray_url *url, const char *parameter)
{
    char *text = NULL;

    if (curl_url_set(handle, CURLUPART_URL, url->text, 0) != CURLUE_OK ||
        curl_url_set(handle, CURLUPART_QUERY, parameter, CURLU_APPENDQUERY | CURLU_URLENCODE) !=
            CURLUE_OK ||
        get_part(handle, CURLUPART_URL, 0, &text) < 0)
        return DRAY_ENOMEM;
    free(url->text);
    url->text = text;
    return DRAY_OK;
}

int dray_url_add_query(struct dray_url *url, const char *name, const char *value)
{
    DRAY_AUTO_BUF struct dray_buf parameter = DRAY_BUF_INIT;
    CURLU *handle;
    int rc;

    if (dray_buf_appendf(&parameter, "%s=%s", name, value) < 0)
        return DRAY_ENOMEM;
    handle = curl_url();
    if (!handle)
        return DRAY_ENOMEM;
    rc = add_query(handle, url, dray_buf_text(&parameter));
    curl_url_cleanup(handle);
    return rc;
}

void dray_url_done(struct dray_url *url)
{
    free(url->text);
    free(url->origin);
    free(url->host);
    free(url->shown);
    free(url->path);
    *url = (struct dray_url){ 0 };
}

bool dray_url_same_origin(const struct dray_url *a, const struct dray_url *b)
{
    return strcmp(a->origin, b->origin) == 0;
}

static enum dray_reach reach_of_ipv4(uint32_t address)
{
    if (address >> 24 == 127 || address == INADDR_ANY)
        return DRAY_REACH_LOOPBACK;
    return address >> 16 == 0xa9fe ? DRAY_REACH_LINK : DRAY_REACH_FAR;
}

static enum dray_reach reach_of_ipv6(const struct in6_addr *address)
{
    static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
    uint32_t embedded;

    if (IN6_IS_ADDR_LOOPBACK(address) || IN6_IS_ADDR_UNSPECIFIED(address))
        return DRAY_REACH_LOOPBACK;
    if (IN6_IS_ADDR_LINKLOCAL(address))
        return DRAY_REACH_LINK;
    /* What stands for an IPv4 address is as near as that: RFC 4291 section 2.5.5, RFC 6052. */
    if (!IN6_IS_ADDR_V4MAPPED(address) && !IN6_IS_ADDR_V4COMPAT(address) &&
        memcmp(address, nat64, sizeof(nat64)) != 0)
        return DRAY_REACH_FAR;
    memcpy(&embedded, &address->s6_addr[12], sizeof(embedded));
    return reach_of_ipv4(ntohl(embedded));
}

enum dray_reach dray_reach_of_host(const char *host)
{
    size_t len = strlen(host);
    struct in6_addr ipv6;
    struct in_addr ipv4;
    char bare[INET6_ADDRSTRLEN + 32];

    if (len > 0 && host[len - 1] == '.')
        len--; /* the root of the DNS */
    if ((len == 9 && strncasecmp(host, "localhost", 9) == 0) ||
        (len > 10 && strncasecmp(host + len - 10, ".localhost", 10) == 0))
        return DRAY_REACH_LOOPBACK;

    if (len >= sizeof(bare))
        return DRAY_REACH_FAR;
    memcpy(bare, host, len);
    bare[len] = '\0';
    if (strchr(bare, ':')) {
        char *address = bare + (bare[0] == '[');

        address[strcspn(address, "]%")] = '\0'; /* without a zone */
        return inet_pton(AF_INET6, address, &ipv6) == 1 ? reach_of_ipv6(&ipv6) : DRAY_REACH_FAR;
    }
    /* inet_aton() takes what getaddrinfo() takes: also 2130706433, 0x7f.1 and 127.1. */
    return inet_aton(bare, &ipv4) ? reach_of_ipv4(ntohl(ipv4.s_addr)) : DRAY_REACH_FAR;
}

enum dray_reach dray_reach_of_sockaddr(const struct sockaddr *address)
{
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;

    switch (address->sa_family) {
    case AF_INET:
        memcpy(&ipv4, address, sizeof(ipv4));
        return reach_of_ipv4(ntohl(ipv4.sin_addr.s_addr));
    case AF_INET6:
        memcpy(&ipv6, address, sizeof(ipv6));
        return reach_of_ipv6(&ipv6.sin6_addr);
    default:
        return DRAY_REACH_FAR;
    }
}
