#include "registry/request.h"

#include <inttypes.h>
#include <openssl/ssl.h>
#include <string.h>

#include "core/buffer.h"
#include "registry/shared.h"

#define DOCUMENT_BUFFER_BYTES (16L << 10)

void dray_http_headers_free(struct curl_slist *headers)
{
    for (struct curl_slist *node = headers; node; node = node->next)
        dray_secret_wipe(node->data);
    curl_slist_free_all(headers);
}

static bool add_header(struct curl_slist **headers, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*headers, line);

    if (longer)
        *headers = longer;
    return longer != NULL;
}

static bool add_authorization(struct curl_slist **headers, const struct dray_secret *value)
{
    static const char name[] = "Authorization: ";
    DRAY_AUTO_SECRET struct dray_secret line = { 0 };

    if (dray_secret_resize(&line, sizeof(name) - 1 + value->len) < 0)
        return false;
    memcpy(line.text, name, sizeof(name) - 1);
    memcpy(line.text + sizeof(name) - 1, value->text, value->len);
    return add_header(headers, line.text);
}

static int make_headers(const struct dray_http_request *request, const struct curl_slist *own,
                        struct curl_slist **ret_headers)
{
    struct curl_slist *headers = NULL;
    char range[64];
    bool ok = true;

    if (request->accept) {
        DRAY_AUTO_BUF struct dray_buf accept = DRAY_BUF_INIT;

        ok = dray_buf_appendf(&accept, "Accept: %s", request->accept) == DRAY_OK &&
             add_header(&headers, dray_buf_text(&accept));
    }
    if (ok && request->range_end > 0) {
        snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, request->range_begin,
                 request->range_end - 1);
        ok = add_header(&headers, range);
    }
    if (ok && request->authorization && !dray_secret_empty(request->authorization))
        ok = add_authorization(&headers, request->authorization);
    for (; ok && own; own = own->next)
        ok = add_header(&headers, own->data);
    if (!ok) {
        dray_http_headers_free(headers);
        return DRAY_ENOMEM;
    }
    *ret_headers = headers;
    return DRAY_OK;
}

#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode set_code = curl_easy_setopt(easy, option, value);                                 \
        if (set_code != CURLE_OK)                                                                  \
            return set_code;                                                                       \
    } while (0)

static CURLcode set_method(CURL *easy, const struct dray_http_request *request)
{
    switch (request->method) {
    case DRAY_HTTP_GET:
        SET(CURLOPT_HTTPGET, 1L);
        break;
    case DRAY_HTTP_HEAD:
        SET(CURLOPT_NOBODY, 1L);
        break;
    case DRAY_HTTP_POST:
        SET(CURLOPT_POST, 1L);
        SET(CURLOPT_POSTFIELDS, request->form->text); /* borrowed until the exchange is over */
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->form->len);
        break;
    }
    return CURLE_OK;
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *ctx)
{
    struct dray_registry *registry = ctx;

    (void)easy;
    SSL_CTX_set1_cert_store(ssl_ctx, dray_registry_trust(registry));
    return CURLE_OK;
}

static CURLcode set_tls(CURL *easy, struct dray_registry *registry,
                        const struct dray_http_request *request, bool trusted)
{
    long verify = request->endpoint->skip_verify ? 0L : 1L;

    SET(CURLOPT_SSL_VERIFYPEER, verify);
    SET(CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    /* libcurl would parse the system's whole bundle anew for every connection. */
    SET(CURLOPT_CAINFO, NULL);
    SET(CURLOPT_CAPATH, NULL);
    if (verify) {
        SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
        SET(CURLOPT_SSL_CTX_DATA, registry);
    }
    if (trusted && registry->cert_file) {
        SET(CURLOPT_SSLCERT, registry->cert_file);
        SET(CURLOPT_SSLKEY, registry->key_file);
    }
    return CURLE_OK;
}

static CURLcode set_proxy(CURL *easy, const struct dray_registry *registry,
                          const struct dray_url *url)
{
    if (dray_reach_of_host(url->host) == DRAY_REACH_LOOPBACK)
        SET(CURLOPT_PROXY, ""); /* as Go: what is on this machine is never asked for elsewhere */
    else if (!url->https && registry->http_proxy)
        SET(CURLOPT_PROXY, registry->http_proxy);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* no secret in a CONNECT */
    return CURLE_OK;
}

static CURLcode set_options(const struct dray_http_request *request, struct dray_client *client,
                            struct curl_slist *headers, bool trusted)
{
    struct dray_registry *registry = client->registry;
    const uint32_t failures = atomic_load(&registry->connect_failures);
    CURL *easy = client->easy;
    CURLcode code;

    curl_easy_reset(easy); /* nothing of the request before may be left over */
    SET(CURLOPT_URL, request->url->text);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* do not wait for a name lookup when canceled */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)registry->connect_timeout_ms);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    if (client->failures_seen != failures)
        SET(CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    client->failures_seen = failures;
    SET(CURLOPT_BUFFERSIZE, request->on_body ? registry->blob_buffer_bytes : DOCUMENT_BUFFER_BYTES);
    SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    SET(CURLOPT_USERAGENT, registry->user_agent);
    SET(CURLOPT_HTTPHEADER, headers);
    code = set_method(easy, request);
    if (code == CURLE_OK)
        code = set_tls(easy, registry, request, trusted);
    if (code == CURLE_OK)
        code = set_proxy(easy, registry, request->url);
    return code;
}

#undef SET

bool dray_http_request_is_foreign(const struct dray_http_request *request)
{
    return strcmp(request->url->origin, request->endpoint->origin) != 0;
}

int dray_http_request_set_up(const struct dray_http_request *request, struct dray_client *client,
                             struct curl_slist **ret_headers)
{
    bool trusted = !dray_http_request_is_foreign(request) && !request->endpoint->mirror;
    struct curl_slist *headers = NULL;

    if (make_headers(request, trusted ? client->registry->headers : NULL, &headers) < 0)
        return DRAY_ENOMEM;
    if (set_options(request, client, headers, trusted) != CURLE_OK) {
        dray_http_headers_free(headers);
        return DRAY_ENOMEM;
    }
    *ret_headers = headers;
    return DRAY_OK;
}
