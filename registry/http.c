/* One exchange: set up the easy handle, drive it through the multi handle so that the cancel token
 * can wake the wait, and hand the body on from libcurl's receive buffer without a copy. */
#include "registry/http.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "core/error.h"
#include "core/limits.h"
#include "registry/failure.h"
#include "registry/shared.h"

/* Upstream, its token server and a content network or two: more are closed, the oldest first. */
#define CONNECTIONS_MAX 4

/* Large for blobs: fewer system calls and wake-ups. 600 MB over loopback took 0.70 s with 64 KiB,
 * 0.53 s with 512 KiB and with 1 MiB; the callbacks get 16 KiB at once, whatever is set here. */
#define BLOB_BUFFER_BYTES     (512L << 10)
#define DOCUMENT_BUFFER_BYTES (16L << 10)

#define STALL_MIN_BYTES_PER_S 100

/* An upper bound for one wait, for clocks and timers that libcurl does not know of. */
#define POLL_MAX_MS 1000

struct dray_client {
    struct dray_registry *registry;
    const struct dray_cancel *cancel;
    CURLM *multi;
    CURL *easy;
    char detail[CURL_ERROR_SIZE];
};

/* The state of one exchange while libcurl runs. */
struct exchange {
    struct dray_client *client;
    const struct dray_http_request *request;
    struct dray_http_response *response;
    struct dray_error *err;
    int callback_rc;     /* negative: a callback ended the exchange and set err */
    size_t header_bytes; /* of all answers, also of informational ones */
    bool header_done;
    bool body_cut;      /* enough of an error's body is here */
    bool local_refused; /* an address was not connected to */
    bool waiting;       /* connected: the peer's turn has come */
    int64_t window_start_ms;
    uint64_t window_bytes; /* received since then */
};

struct dray_registry *dray_client_registry(const struct dray_client *client)
{
    return client->registry;
}

const struct dray_cancel *dray_client_cancel(const struct dray_client *client)
{
    return client->cancel;
}

int dray_client_new(struct dray_registry *registry, const struct dray_cancel *cancel,
                    struct dray_client **ret_client, struct dray_error *err)
{
    DRAY_AUTO_CLIENT struct dray_client *client = calloc(1, sizeof(*client));

    if (!client)
        return dray_error_nomem(err);
    client->registry = registry;
    client->cancel = cancel;
    client->multi = curl_multi_init();
    client->easy = curl_easy_init();
    if (!client->multi || !client->easy)
        return dray_error_nomem(err);
    if (curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX) != CURLM_OK ||
        curl_easy_setopt(client->easy, CURLOPT_SHARE, registry->share) != CURLE_OK)
        return dray_error_nomem(err);
    *ret_client = DRAY_TAKE(client);
    return DRAY_OK;
}

void dray_client_free(struct dray_client *client)
{
    if (!client)
        return;
    curl_easy_cleanup(client->easy);
    curl_multi_cleanup(client->multi);
    free(client);
}

void dray_http_response_done(struct dray_http_response *response)
{
    dray_buf_done(&response->header);
    dray_buf_done(&response->body);
    dray_url_done(&response->url);
    *response = (struct dray_http_response){ 0 };
}

const char *dray_http_response_header(const struct dray_http_response *response, const char *name,
                                      size_t index)
{
    const char *line = dray_buf_text(&response->header);
    const char *end = line + response->header.len;
    size_t name_len = strlen(name);

    for (; line < end; line += strlen(line) + 1) {
        if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
            continue;
        if (index-- == 0)
            return line + name_len + 1 + strspn(line + name_len + 1, " \t");
    }
    return NULL;
}

/* Content-Length as RFC 9112 section 6.3 says: it does not count beside Transfer-Encoding, and two
 * that differ mean that somebody on the way reads the message differently. */
static int take_length(struct exchange *exchange)
{
    struct dray_http_response *response = exchange->response;
    const char *value;

    response->has_length = false;
    if (dray_http_response_header(response, "Transfer-Encoding", 0))
        return DRAY_OK;
    for (size_t i = 0; (value = dray_http_response_header(response, "Content-Length", i)); i++) {
        size_t digits = strspn(value, "0123456789");
        uint64_t length = strtoull(value, NULL, 10);

        if (digits == 0 || digits > 19 || value[digits] != '\0' ||
            (response->has_length && length != response->length_bytes))
            return dray_error_set(exchange->err, DRAY_EPROTO, "%s: bad Content-Length",
                                  exchange->request->url->shown);
        response->has_length = true;
        response->length_bytes = length;
    }
    return DRAY_OK;
}

static bool is_success(const struct dray_http_response *response)
{
    return response->status >= 200 && response->status < 300;
}

static int end_of_header(struct exchange *exchange)
{
    const struct dray_http_request *request = exchange->request;
    long status = 0;
    int rc;

    curl_easy_getinfo(exchange->client->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return DRAY_OK; /* informational: the real one follows */

    exchange->header_done = true;
    exchange->response->status = (int)status;
    rc = take_length(exchange);
    if (rc < 0)
        return rc;
    if (is_success(exchange->response) && request->on_start)
        return request->on_start(request->ctx, exchange->response, exchange->err);
    return DRAY_OK;
}

static int header_line(struct exchange *exchange, const char *line, size_t len)
{
    struct dray_buf *header = &exchange->response->header;
    const char *shown = exchange->request->url->shown;

    exchange->header_bytes += len;
    if (exchange->header_bytes > DRAY_HEADERS_MAX_BYTES)
        return dray_error_set(exchange->err, DRAY_EPROTO, "%s: header longer than %u bytes", shown,
                              DRAY_HEADERS_MAX_BYTES);
    if (memchr(line, '\0', len))
        return dray_error_set(exchange->err, DRAY_EPROTO, "%s: NUL byte in the header", shown);
    if (exchange->header_done)
        return DRAY_OK; /* a trailer: nothing of it is used */

    while (len > 0 && strchr(" \t\r\n", line[len - 1]))
        len--;
    if (len == 0)
        return end_of_header(exchange);
    if (len > 5 && memcmp(line, "HTTP/", 5) == 0) {
        dray_buf_reset(header);
        return DRAY_OK;
    }
    /* RFC 9112 section 5.2: a folded line goes on with the one before. */
    if ((line[0] == ' ' || line[0] == '\t') && header->len > 0)
        header->data[header->len - 1] = ' ';
    if (dray_buf_append(header, line, len, SIZE_MAX - 1) < 0 ||
        dray_buf_append(header, "", 1, SIZE_MAX - 1) < 0)
        return dray_error_nomem(exchange->err);
    return DRAY_OK;
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct exchange *exchange = ctx;
    size_t len = size * count;

    exchange->window_bytes += len;
    exchange->callback_rc = header_line(exchange, data, len);
    return exchange->callback_rc < 0 ? 0 : len;
}

static int collect(struct exchange *exchange, const char *data, size_t len)
{
    struct dray_buf *body = &exchange->response->body;
    size_t max = exchange->request->body_max_bytes;
    int rc;

    if (!is_success(exchange->response)) {
        size_t room = DRAY_ERROR_BODY_MAX_BYTES - body->len;

        max = DRAY_ERROR_BODY_MAX_BYTES;
        if (len > room) {
            exchange->body_cut = true;
            len = room;
        }
    }
    rc = dray_buf_append(body, data, len, max);
    if (rc == DRAY_EPROTO)
        return dray_error_set(exchange->err, rc, "%s: answer longer than %zu bytes",
                              exchange->request->url->shown, max);
    return rc < 0 ? dray_error_nomem(exchange->err) : DRAY_OK;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct exchange *exchange = ctx;
    const struct dray_http_request *request = exchange->request;
    size_t len = size * count;

    exchange->window_bytes += len;
    if (dray_cancel_fired(exchange->client->cancel))
        exchange->callback_rc = dray_error_set(exchange->err, DRAY_ECANCELED, "canceled");
    else if (request->on_body && is_success(exchange->response))
        exchange->callback_rc =
            request->on_body(request->ctx, (const uint8_t *)data, len, exchange->err);
    else
        exchange->callback_rc = collect(exchange, data, len);
    return exchange->callback_rc < 0 || exchange->body_cut ? 0 : len;
}

/* The connection is there and the request about to be sent: from now on the peer is timed. */
static int on_connected(void *ctx, char *primary_ip, char *local_ip, int primary_port,
                        int local_port)
{
    struct exchange *exchange = ctx;

    (void)primary_ip;
    (void)local_ip;
    (void)primary_port;
    (void)local_port;
    exchange->waiting = true;
    exchange->window_start_ms = dray_now_ms();
    exchange->window_bytes = 0;
    return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct exchange *exchange = ctx;
    const struct dray_http_request *request = exchange->request;

    (void)purpose;
    if (request->named_by_peer && !exchange->client->registry->any_proxy &&
        !dray_reach_allows(request->peer_reach, dray_reach_of_sockaddr(&address->addr))) {
        exchange->local_refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *ctx)
{
    struct dray_registry *registry = ctx;

    (void)easy;
    SSL_CTX_set1_cert_store(ssl_ctx, dray_registry_trust(registry));
    return CURLE_OK;
}

static void free_headers(struct curl_slist *headers)
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

static int make_headers(const struct exchange *exchange, bool trusted,
                        struct curl_slist **ret_headers)
{
    const struct dray_http_request *request = exchange->request;
    const struct curl_slist *own = exchange->client->registry->headers;
    struct curl_slist *headers = NULL;
    char range[64];
    bool ok = true;

    if (request->accept) {
        DRAY_AUTO_BUF struct dray_buf accept = DRAY_BUF_INIT;

        ok = dray_buf_appendf(&accept, "Accept: %s", request->accept) == DRAY_OK &&
             add_header(&headers, dray_buf_text(&accept));
    }
    if (ok && request->range_from > 0) {
        snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-", request->range_from);
        ok = add_header(&headers, range);
    }
    if (ok && request->authorization && !dray_secret_empty(request->authorization))
        ok = add_authorization(&headers, request->authorization);
    for (; ok && trusted && own; own = own->next)
        ok = add_header(&headers, own->data);
    if (!ok) {
        free_headers(headers);
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

static CURLcode set_options(struct exchange *exchange, struct curl_slist *headers, bool trusted)
{
    const struct dray_http_request *request = exchange->request;
    struct dray_registry *registry = exchange->client->registry;
    CURL *easy = exchange->client->easy;
    CURLcode code;

    curl_easy_reset(easy); /* nothing of the request before may be left over */
    SET(CURLOPT_URL, request->url->text);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* do not wait for a name lookup when canceled */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)registry->connect_timeout_ms);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_BUFFERSIZE, request->on_body ? BLOB_BUFFER_BYTES : DOCUMENT_BUFFER_BYTES);
    SET(CURLOPT_HTTP_CONTENT_DECODING, 0L);
    SET(CURLOPT_USERAGENT, registry->user_agent);
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_ERRORBUFFER, exchange->client->detail);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, exchange);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, exchange);
    SET(CURLOPT_PREREQFUNCTION, on_connected);
    SET(CURLOPT_PREREQDATA, exchange);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
    SET(CURLOPT_OPENSOCKETDATA, exchange);
    code = set_method(easy, request);
    if (code == CURLE_OK)
        code = set_tls(easy, registry, request, trusted);
    if (code == CURLE_OK)
        code = set_proxy(easy, registry, request->url);
    return code;
}

#undef SET

/* Milliseconds this exchange may still wait for bytes; 0: it has stalled. */
static int64_t patience_ms(struct exchange *exchange)
{
    int64_t timeout_ms = exchange->client->registry->stall_timeout_ms;
    uint64_t enough = (uint64_t)timeout_ms * STALL_MIN_BYTES_PER_S / 1000 + 1;
    int64_t now_ms = dray_now_ms();

    if (!exchange->waiting)
        return POLL_MAX_MS; /* libcurl's connect time-out is at work */
    if (exchange->window_bytes >= enough) {
        exchange->window_start_ms = now_ms;
        exchange->window_bytes = 0;
    }
    if (now_ms - exchange->window_start_ms >= timeout_ms)
        return 0;
    return timeout_ms - (now_ms - exchange->window_start_ms);
}

static int explain(const struct exchange *exchange, CURLcode code)
{
    CURL *easy = exchange->client->easy;
    long sys_errno = 0;
    long proxy_status = 0;

    if (exchange->local_refused)
        return dray_error_set(exchange->err, DRAY_EPROTO,
                              "%s: refused: the server sent us to a local address",
                              exchange->request->url->shown);
    curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &sys_errno);
    curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &proxy_status);
    return dray_failure_from_curl(
        &(struct dray_curl_failure){
            .code = code,
            .detail = exchange->client->detail,
            .sys_errno = (int)sys_errno,
            .proxy_status = (int)proxy_status,
        },
        exchange->request->url, exchange->err);
}

/* Where is the one who answered? Behind a proxy only the name can tell. */
static enum dray_reach reach_of_peer(const struct dray_client *client, const struct dray_url *url)
{
    char *ip = NULL;

    if (!client->registry->any_proxy)
        curl_easy_getinfo(client->easy, CURLINFO_PRIMARY_IP, &ip);
    return dray_reach_of_host(ip && ip[0] ? ip : url->host);
}

/* Run the transfer that was added to the multi handle to its end. */
static int drive(struct exchange *exchange)
{
    struct dray_client *client = exchange->client;
    struct curl_waitfd wake = { .fd = dray_cancel_fd(client->cancel), .events = CURL_WAIT_POLLIN };
    struct CURLMsg *message;
    int running = 1;
    int left;

    for (;;) {
        CURLMcode code = curl_multi_perform(client->multi, &running);
        int64_t wait_ms = patience_ms(exchange);

        if (code != CURLM_OK)
            return dray_error_nomem(exchange->err);
        if (!running)
            break;
        if (dray_cancel_fired(client->cancel))
            return dray_error_set(exchange->err, DRAY_ECANCELED, "canceled");
        if (wait_ms == 0)
            return dray_error_set(exchange->err, DRAY_ETRANSIENT,
                                  "%s: stalled: under %d bytes a second for %" PRId64 " ms",
                                  exchange->request->url->shown, STALL_MIN_BYTES_PER_S,
                                  client->registry->stall_timeout_ms);
        if (wait_ms > POLL_MAX_MS)
            wait_ms = POLL_MAX_MS;
        if (curl_multi_poll(client->multi, &wake, wake.fd >= 0, (int)wait_ms, NULL) != CURLM_OK)
            return dray_error_nomem(exchange->err);
    }

    message = curl_multi_info_read(client->multi, &left);
    if (exchange->callback_rc < 0)
        return exchange->callback_rc;
    if (exchange->body_cut)
        return DRAY_OK;
    /* A connection closed within the header is success to libcurl, with what came so far. */
    if (message->data.result == CURLE_OK && !exchange->header_done)
        return dray_error_set(exchange->err, DRAY_ETRANSIENT,
                              "%s: the connection was closed within the header",
                              exchange->request->url->shown);
    if (message->data.result == CURLE_OK)
        return DRAY_OK;
    return explain(exchange, message->data.result);
}

int dray_http_exchange(struct dray_client *client, const struct dray_http_request *request,
                       struct dray_http_response *response, struct dray_error *err)
{
    struct exchange exchange = {
        .client = client, .request = request, .response = response, .err = err
    };
    struct curl_slist *headers = NULL;
    bool trusted;
    int rc;

    if (dray_cancel_fired(client->cancel))
        return dray_error_set(err, DRAY_ECANCELED, "canceled");
    response->status = 0;
    response->has_length = false;
    response->foreign = strcmp(request->url->origin, request->endpoint->origin) != 0;
    dray_buf_reset(&response->header);
    dray_buf_reset(&response->body);
    client->detail[0] = '\0';

    trusted = !response->foreign && !request->endpoint->mirror;
    if (make_headers(&exchange, trusted, &headers) < 0)
        return dray_error_nomem(err);
    if (set_options(&exchange, headers, trusted) != CURLE_OK ||
        curl_multi_add_handle(client->multi, client->easy) != CURLM_OK) {
        free_headers(headers);
        return dray_error_nomem(err);
    }
    rc = drive(&exchange);
    response->reach = reach_of_peer(client, request->url);
    /* Of an exchange that is not over, this closes the connection or resets the stream. */
    curl_multi_remove_handle(client->multi, client->easy);
    free_headers(headers);
    if (rc == DRAY_OK)
        dray_log(&client->registry->log, DRAY_LOG_DEBUG, "%s: %d", request->url->shown,
                 response->status);
    return rc;
}
