#include "registry/failure.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "core/error.h"
#include "core/json.h"
#include "core/limits.h"

/* Copy text for a message: control bytes become '?', too much is cut. */
static void quote(const char *text, char *buf, size_t size)
{
    size_t len = 0;

    for (; text[len] && len < size - 1; len++) {
        unsigned char byte = (unsigned char)text[len];

        buf[len] = byte < 0x20 || byte == 0x7f ? '?' : (char)byte;
    }
    /* Do not cut inside a UTF-8 sequence. */
    if (text[len])
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    buf[len] = '\0';
}

/* Does OpenSSL's reason say that the peer spoke TLS with us before it failed? */
static bool is_tls_alert(const char *detail)
{
    return strstr(detail, " alert ") != NULL;
}

static void hint_for_certificate(const char *detail, struct dray_error *err)
{
    if (strstr(detail, "expired") || strstr(detail, "not yet valid"))
        dray_error_hint(err, "check this machine's clock, then the server's certificate");
    else if (strstr(detail, "does not match") || strstr(detail, "no alternative certificate"))
        dray_error_hint(err, "the certificate is for another host: use the name it was made for");
    else if (is_tls_alert(detail))
        dray_error_hint(err, "the server may want a client certificate: --cert FILE --key FILE");
    else
        dray_error_hint(err, "trust the authority that signed it with --cacert FILE");
}

/* The server speaks TLS, but one of the two does not trust the other. */
static int untrusted(const char *shown, const char *detail, struct dray_error *err)
{
    int rc = dray_error_set(err, DRAY_EUNREACHABLE, "%s: %s", shown, detail);

    if (err)
        err->sys_errno = EKEYREJECTED;
    hint_for_certificate(detail, err);
    return rc;
}

static int unreachable(const struct dray_curl_failure *failure, const char *shown,
                       const char *detail, struct dray_error *err)
{
    int rc;

    if (failure->sys_errno != 0)
        rc = dray_error_set(err, DRAY_EUNREACHABLE, "%s: %s: %s", shown, detail,
                            strerror(failure->sys_errno));
    else
        rc = dray_error_set(err, DRAY_EUNREACHABLE, "%s: %s", shown, detail);
    if (err)
        err->sys_errno = failure->sys_errno;
    return rc;
}

int dray_failure_from_curl(const struct dray_curl_failure *failure, const struct dray_url *url,
                           struct dray_error *err)
{
    const char *shown = url->shown;
    char detail[CURL_ERROR_SIZE];
    int rc;

    quote(failure->detail[0] ? failure->detail : curl_easy_strerror(failure->code), detail,
          sizeof(detail));
    if (failure->proxy_status != 0 && failure->proxy_status / 100 != 2) {
        rc = dray_error_set(err, DRAY_EUNREACHABLE, "%s: the proxy refused: HTTP %d", shown,
                            failure->proxy_status);
        dray_error_hint(err, "check https_proxy and no_proxy in the environment");
        return rc;
    }

    switch (failure->code) {
    case CURLE_OUT_OF_MEMORY:
        return dray_error_nomem(err);

    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
    case CURLE_OPERATION_TIMEDOUT: /* only connecting has a time limit in libcurl */
        return unreachable(failure, shown, detail, err);

    case CURLE_SSL_CONNECT_ERROR:
        if (is_tls_alert(detail))
            return untrusted(shown, detail, err);
        rc = dray_error_set(err, DRAY_EUNREACHABLE, "%s: %s", shown, detail);
        if (strstr(detail, "wrong version number") || strstr(detail, "packet length too long"))
            dray_error_hint(err, "the server seems to speak http: --plain-http");
        return rc;

    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return untrusted(shown, detail, err);

    case CURLE_RECV_ERROR:
        /* In TLS 1.3 the server judges our certificate after the handshake. */
        if (is_tls_alert(detail))
            return untrusted(shown, detail, err);
        return dray_error_set(err, DRAY_ETRANSIENT, "%s: %s", shown, detail);

    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        return dray_error_set(err, DRAY_ETRANSIENT, "%s: %s", shown, detail);

    default:
        return dray_error_set(err, DRAY_EPROTO, "%s: %s", shown, detail);
    }
}

int64_t dray_retry_after_ms(const char *value, int64_t now_s)
{
    size_t digits = value ? strspn(value, "0123456789") : 0;
    int64_t delay_s = 0;

    if (!value)
        return 0;
    if (digits > 0 && value[digits] == '\0') {
        delay_s = digits > 9 ? INT32_MAX : strtol(value, NULL, 10);
    } else if (digits == 0 && value[0] != '-') {
        time_t date = curl_getdate(value, NULL);

        if (date != -1)
            delay_s = (int64_t)date - now_s;
    }
    if (delay_s <= 0)
        return 0;
    return delay_s < DRAY_RETRY_AFTER_MAX_MS / 1000 ? delay_s * 1000 : DRAY_RETRY_AFTER_MAX_MS;
}

static int code_of_status(int status, bool foreign)
{
    switch (status) {
    case 401:
    case 403:
        return foreign ? DRAY_ETRANSIENT : DRAY_EAUTH;
    case 404:
        return DRAY_ENOTFOUND;
    case 407:
        return DRAY_EUNREACHABLE;
    case 408:
    case 425:
    case 429:
        return DRAY_ETRANSIENT;
    default:
        return status >= 500 && status <= 599 ? DRAY_ETRANSIENT : DRAY_EPROTO;
    }
}

/* " (CODE: message)" from {"errors":[{"code":...,"message":...}]}; "" from anything else. */
static void quote_body(const struct dray_buf *body, char *buf, size_t size)
{
    DRAY_AUTO_JSON json_t *json = NULL;
    const json_t *first;
    const char *code;
    const char *message;
    char code_text[64] = "";
    char message_text[256] = "";

    buf[0] = '\0';
    if (dray_json_parse(body->data, body->len, DRAY_ERROR_BODY_MAX_BYTES, &json, NULL) < 0)
        return;
    first = json_array_get(json_object_get(json, "errors"), 0);
    code = json_string_value(json_object_get(first, "code"));
    message = json_string_value(json_object_get(first, "message"));
    if (code)
        quote(code, code_text, sizeof(code_text));
    if (message)
        quote(message, message_text, sizeof(message_text));
    if (code || message)
        snprintf(buf, size, " (%s%s%s)", code_text, code && message ? ": " : "", message_text);
}

int dray_failure_from_status(const struct dray_http_response *response, struct dray_error *err)
{
    int code = code_of_status(response->status, response->foreign);
    char quoted[64 + 256 + 8];

    quote_body(&response->body, quoted, sizeof(quoted));
    dray_error_set(err, code, "%s: HTTP %d%s", response->url.shown, response->status, quoted);
    if (err) {
        err->http_status = response->status;
        err->retry_after_ms = dray_retry_after_ms(
            dray_http_response_header(response, "Retry-After", 0), (int64_t)time(NULL));
    }
    return code;
}
