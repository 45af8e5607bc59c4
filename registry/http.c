/* The easy handle is driven through the multi handle so that the cancel token can wake the wait.
 *
 * libcurl hands out a body by 16 KiB, however much it has received. What came at once is put
 * together again before it is handed on: the copy costs less than so many small writes do. Measured
 * on ext4: 700 MB in writes of 16 KiB took 0.23 s of CPU, with the copy 0.12 s; a whole pull of
 * them by two workers 1.87 s and 1.36 s. */
#include "registry/http.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/error.h"
#include "core/limits.h"
#include "registry/failure.h"
#include "registry/shared.h"

#define STALL_MIN_BYTES_PER_S 100

/* An upper bound for one wait, for clocks and timers that libcurl does not know of, and when there
 * is somebody to ask whether the answer is wanted. */
#define POLL_MAX_MS   1000
#define WANTED_ASK_MS 200

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
    int64_t start_ms;
    bool waiting;      /* connected: the peer's turn has come */
    int64_t sent_ms;   /* the request, since then */
    int64_t status_ms; /* the last status line came */
    int64_t asked_ms;  /* last, whether the answer is wanted */
    int64_t window_start_ms;
    uint64_t window_bytes; /* received since then */
};

/* A callback's own time, be it for a slow disk or a rate limit, is not the peer's doing. */
static void excuse_since(struct exchange *exchange, int64_t began_ms)
{
    exchange->window_start_ms += dray_now_ms() - began_ms;
}

static int end_of_header(struct exchange *exchange)
{
    const struct dray_http_request *request = exchange->request;
    struct dray_http_response *response = exchange->response;
    long status = 0;
    int64_t began_ms;
    int rc;

    curl_easy_getinfo(exchange->client->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return DRAY_OK; /* informational: the real one follows */

    exchange->header_done = true;
    response->status = (int)status;
    response->first_byte_ms = exchange->status_ms - exchange->sent_ms;
    if (!response->foreign)
        dray_quota_read(response, &response->quota);
    if (!dray_http_response_take_length(response))
        return dray_error_set(exchange->err, DRAY_EPROTO, "%s: bad Content-Length",
                              request->url->shown);
    if (!dray_http_response_is_success(response) || !request->on_start)
        return DRAY_OK;
    began_ms = dray_now_ms();
    rc = request->on_start(request->ctx, response, exchange->err);
    excuse_since(exchange, began_ms);
    return rc;
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
        exchange->status_ms = dray_now_ms();
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

    if (!dray_http_response_is_success(exchange->response)) {
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

/* Hand on what has come of a streamed body. */
static int hand_on(struct exchange *exchange)
{
    struct dray_client *client = exchange->client;
    size_t len = client->body_len;
    int64_t began_ms;
    int rc;

    if (len == 0)
        return DRAY_OK;
    client->body_len = 0;
    began_ms = dray_now_ms();
    rc = exchange->request->on_body(exchange->request->ctx, client->body, len, exchange->err);
    excuse_since(exchange, began_ms);
    return rc;
}

static int stream(struct exchange *exchange, const char *data, size_t len)
{
    struct dray_client *client = exchange->client;
    const size_t size = (size_t)client->registry->blob_buffer_bytes;

    if (!client->body)
        client->body = malloc(size);
    if (!client->body)
        return dray_error_nomem(exchange->err);
    while (len > 0) {
        size_t room = size - client->body_len;
        size_t part = len < room ? len : room;

        memcpy(client->body + client->body_len, data, part);
        client->body_len += part;
        data += part;
        len -= part;
        if (client->body_len == size) {
            int rc = hand_on(exchange);

            if (rc < 0)
                return rc;
        }
    }
    return DRAY_OK;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct exchange *exchange = ctx;
    const struct dray_http_request *request = exchange->request;
    size_t len = size * count;

    exchange->window_bytes += len;
    if (dray_cancel_fired(exchange->client->cancel)) {
        exchange->callback_rc = dray_error_set(exchange->err, DRAY_ECANCELED, "canceled");
    } else if (request->on_body && dray_http_response_is_success(exchange->response)) {
        exchange->callback_rc = stream(exchange, data, len);
    } else {
        exchange->callback_rc = collect(exchange, data, len);
    }
    return exchange->callback_rc < 0 || exchange->body_cut ? 0 : len;
}

/* The connection is there and the request about to be sent: from now on the peer is timed. */
static int on_connected(void *ctx, char *primary_ip, char *local_ip, int primary_port,
                        int local_port)
{
    struct exchange *exchange = ctx;
    long connects = 0;

    (void)primary_ip;
    (void)local_ip;
    (void)primary_port;
    (void)local_port;
    exchange->waiting = true;
    exchange->sent_ms = dray_now_ms();
    exchange->window_start_ms = exchange->sent_ms;
    exchange->window_bytes = 0;
    curl_easy_getinfo(exchange->client->easy, CURLINFO_NUM_CONNECTS, &connects);
    if (connects > 0)
        exchange->response->connect_ms = exchange->sent_ms - exchange->start_ms;
    return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct exchange *exchange = ctx;
    const struct dray_http_request *request = exchange->request;
    const struct dray_registry *registry = exchange->client->registry;
    int fd;

    (void)purpose;
    if (request->named_by_peer && !registry->any_proxy &&
        !dray_reach_allows(request->peer_reach, dray_reach_of_sockaddr(&address->addr))) {
        exchange->local_refused = true;
        return CURL_SOCKET_BAD;
    }
    fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd >= 0 && registry->receive_buffer_bytes > 0) /* a wish: the kernel may not grant it */
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &registry->receive_buffer_bytes,
                   sizeof(registry->receive_buffer_bytes));
    return fd;
}

#define SET(option, value)                                                                         \
    do {                                                                                           \
        CURLcode set_code = curl_easy_setopt(easy, option, value);                                 \
        if (set_code != CURLE_OK)                                                                  \
            return set_code;                                                                       \
    } while (0)

static CURLcode set_callbacks(struct exchange *exchange)
{
    CURL *easy = exchange->client->easy;

    SET(CURLOPT_ERRORBUFFER, exchange->client->detail);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, exchange);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, exchange);
    SET(CURLOPT_PREREQFUNCTION, on_connected);
    SET(CURLOPT_PREREQDATA, exchange);
    SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
    SET(CURLOPT_OPENSOCKETDATA, exchange);
    return CURLE_OK;
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

/* Asking takes locks, so it is not done at each wake-up; what comes meanwhile is refused by
 * on_body. */
static bool is_wanted(struct exchange *exchange)
{
    const struct dray_http_request *request = exchange->request;
    int64_t now_ms = dray_now_ms();

    if (!request->wanted || now_ms - exchange->asked_ms < WANTED_ASK_MS)
        return true;
    exchange->asked_ms = now_ms;
    return request->wanted(request->ctx);
}

/* How long the peer may be waited for at once: until somebody wants to be asked again. */
static int64_t wait_max_ms(const struct exchange *exchange)
{
    int64_t left_ms = exchange->asked_ms + WANTED_ASK_MS - dray_now_ms();

    if (!exchange->request->wanted)
        return POLL_MAX_MS;
    return left_ms > 1 ? left_ms : 1;
}

/* Run the transfer that was added to the multi handle to its end. */
static int drive(struct exchange *exchange)
{
    struct dray_client *client = exchange->client;
    const struct dray_http_request *request = exchange->request;
    struct curl_waitfd wake = { .fd = dray_cancel_fd(client->cancel), .events = CURL_WAIT_POLLIN };
    struct CURLMsg *message;
    int running = 1;
    int left;

    for (;;) {
        CURLMcode code = curl_multi_perform(client->multi, &running);
        int64_t wait_ms;
        int64_t max_ms;

        if (code != CURLM_OK)
            return dray_error_nomem(exchange->err);
        /* All of it, so that nothing that is here waits for more. */
        if (exchange->callback_rc == DRAY_OK)
            exchange->callback_rc = hand_on(exchange);
        if (exchange->callback_rc < 0)
            return exchange->callback_rc;
        if (!running)
            break;
        if (dray_cancel_fired(client->cancel))
            return dray_error_set(exchange->err, DRAY_ECANCELED, "canceled");
        if (!is_wanted(exchange))
            return dray_error_set(exchange->err, DRAY_ECANCELED, "no longer wanted");
        wait_ms = patience_ms(exchange);
        if (wait_ms == 0) {
            exchange->response->stalled = true;
            return dray_error_set(exchange->err, DRAY_ETRANSIENT,
                                  "%s: stalled: under %d bytes a second for %" PRId64 " ms",
                                  request->url->shown, STALL_MIN_BYTES_PER_S,
                                  client->registry->stall_timeout_ms);
        }
        max_ms = wait_max_ms(exchange);
        if (wait_ms > max_ms)
            wait_ms = max_ms;
        if (curl_multi_poll(client->multi, &wake, wake.fd >= 0, (int)wait_ms, NULL) != CURLM_OK)
            return dray_error_nomem(exchange->err);
    }

    message = curl_multi_info_read(client->multi, &left);
    if (exchange->body_cut)
        return DRAY_OK;
    /* A connection closed within the header is success to libcurl, with what came so far. */
    if (message->data.result == CURLE_OK && !exchange->header_done)
        return dray_error_set(exchange->err, DRAY_ETRANSIENT,
                              "%s: the connection was closed within the header",
                              request->url->shown);
    if (message->data.result == CURLE_OK)
        return DRAY_OK;
    return explain(exchange, message->data.result);
}

int dray_http_exchange(struct dray_client *client, const struct dray_http_request *request,
                       struct dray_http_response *response, struct dray_error *err)
{
    struct exchange exchange = {
        .client = client,
        .request = request,
        .response = response,
        .err = err,
        .start_ms = dray_now_ms(),
    };
    struct curl_slist *headers = NULL;
    int rc;

    if (dray_cancel_fired(client->cancel))
        return dray_error_set(err, DRAY_ECANCELED, "canceled");
    dray_http_response_reset(response);
    response->foreign = dray_http_request_is_foreign(request);
    response->sender_reach = request->peer_reach;
    client->detail[0] = '\0';
    client->body_len = 0;

    if (dray_http_request_set_up(request, client, &headers) < 0)
        return dray_error_nomem(err);
    if (set_callbacks(&exchange) != CURLE_OK ||
        curl_multi_add_handle(client->multi, client->easy) != CURLM_OK) {
        dray_http_headers_free(headers);
        return dray_error_nomem(err);
    }
    rc = drive(&exchange);
    response->reach = reach_of_peer(client, request->url);
    if (rc < 0 && rc != DRAY_ECANCELED && !exchange.waiting)
        atomic_fetch_add(&client->registry->connect_failures, 1);
    if (!exchange.waiting) /* it never came to the request */
        response->connect_ms = dray_now_ms() - exchange.start_ms;
    /* Of an exchange that is not over, this closes the connection or resets the stream. */
    curl_multi_remove_handle(client->multi, client->easy);
    dray_http_headers_free(headers);
    if (rc == DRAY_OK)
        dray_log(&client->registry->log, DRAY_LOG_DEBUG, "%s: %d", request->url->shown,
                 response->status);
    return rc;
}
