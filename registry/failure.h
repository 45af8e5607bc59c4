/* What a failed exchange means to the caller: from libcurl's codes and from HTTP statuses to
 * enum dray_code, each in one function. */
#ifndef DRAY_REGISTRY_FAILURE_H
#define DRAY_REGISTRY_FAILURE_H

#include <curl/curl.h>
#include <stdint.h>

#include "registry/response.h"
#include "registry/url.h"

/** What libcurl knows about a failure. */
struct dray_curl_failure {
    CURLcode code;
    const char *detail; /* its error buffer; may be "" */
    int sys_errno;      /* CURLINFO_OS_ERRNO */
    int proxy_status;   /* CURLINFO_HTTP_CONNECTCODE: a proxy's answer to CONNECT, 0 if none */
};

/**
 * An exchange that brought no answer. A server that speaks TLS but is not trusted, or does not
 * trust us, is DRAY_EUNREACHABLE with sys_errno EKEYREJECTED (registry/endpoint.h says why).
 *
 * @return DRAY_EUNREACHABLE, DRAY_ETRANSIENT, DRAY_EPROTO or DRAY_ENOMEM
 */
int dray_failure_from_curl(const struct dray_curl_failure *failure, const struct dray_url *url,
                           struct dray_error *err);

/**
 * An answer that is not the one hoped for. Quotes the first error of the body (OCI
 * distribution-spec 1.1, "Error Codes") and keeps the server's Retry-After.
 *
 * @return DRAY_EAUTH (401, 403), DRAY_ENOTFOUND (404), DRAY_ETRANSIENT (408, 425, 429, 5xx, and 401
 *         or 403 after a redirect elsewhere: a signed URL that expired), DRAY_EUNREACHABLE (407:
 *         the proxy), else DRAY_EPROTO
 */
int dray_failure_from_status(const struct dray_http_response *response, struct dray_error *err);

/* No server is waited for longer than this on its word. */
#define DRAY_RETRY_AFTER_MAX_MS INT64_C(3600000)

/**
 * Read a Retry-After value: seconds or a date (RFC 9110 section 10.2.3).
 *
 * @param now_s  wall clock, seconds since 1970
 * @return milliseconds to wait, at most DRAY_RETRY_AFTER_MAX_MS; 0 for a past date, junk or NULL
 */
int64_t dray_retry_after_ms(const char *value, int64_t now_s);

#endif
