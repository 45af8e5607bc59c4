#include "tests/support/http_server.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 256
#define REQUEST_MAX     65536

struct test_connection {
    struct test_server *server;
    pthread_t thread;
    int fd; /* guarded by the server's mutex once it is to be closed */
    SSL *ssl;
    bool closing;
    bool hard;
    bool head; /* the request was a HEAD: no body goes back */
};

struct test_server {
    test_handler_fn *handler;
    void *ctx;
    int listener;
    int port;
    char url[64];
    SSL_CTX *tls; /* NULL: plain */
    char cert[64];
    pthread_t acceptor;

    pthread_mutex_t mu; /* guards the rest */
    bool stopping;
    struct test_connection connections[CONNECTIONS_MAX];
    size_t connection_count;
    char *heads[4096];
    size_t head_count;
};

static void require(bool condition, const char *what)
{
    if (condition)
        return;
    perror(what);
    abort();
}

static bool is_stopping(struct test_server *server)
{
    bool stopping;

    pthread_mutex_lock(&server->mu);
    stopping = server->stopping;
    pthread_mutex_unlock(&server->mu);
    return stopping;
}

static ssize_t receive(struct test_connection *connection, char *data, size_t len)
{
    if (connection->ssl)
        return SSL_read(connection->ssl, data, (int)len);
    return recv(connection->fd, data, len, 0);
}

void test_send(struct test_connection *connection, const void *data, size_t len)
{
    const char *at = data;

    while (len > 0) {
        ssize_t sent = connection->ssl ? SSL_write(connection->ssl, at, (int)len)
                                       : send(connection->fd, at, len, MSG_NOSIGNAL);

        if (sent <= 0) {
            connection->closing = true;
            return;
        }
        at += sent;
        len -= (size_t)sent;
    }
}

void test_sendf(struct test_connection *connection, const char *fmt, ...)
{
    char *text = NULL;
    va_list args;
    int len;

    va_start(args, fmt);
    len = vasprintf(&text, fmt, args);
    va_end(args);
    require(len >= 0, "vasprintf");
    test_send(connection, text, (size_t)len);
    free(text);
}

void test_answer(struct test_connection *connection, int status, const char *fields,
                 const char *body)
{
    test_sendf(connection, "HTTP/1.1 %d Status\r\n%sContent-Length: %zu\r\n\r\n%s", status, fields,
               strlen(body), connection->head ? "" : body);
}

void test_close(struct test_connection *connection, bool hard)
{
    connection->closing = true;
    connection->hard = hard;
}

void test_stall(struct test_connection *connection)
{
    struct pollfd poller = { .fd = connection->fd, .events = POLLIN };
    char byte;

    while (!is_stopping(connection->server)) {
        if (poll(&poller, 1, 20) > 0 && recv(connection->fd, &byte, 1, MSG_PEEK) <= 0)
            break;
    }
    connection->closing = true;
}

const char *test_request_field(const struct test_request *request, const char *name, char *buf,
                               size_t size)
{
    size_t len = strlen(name);

    buf[0] = '\0';
    for (const char *line = strstr(request->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            line += len + 1 + strspn(line + len + 1, " ");
            snprintf(buf, size, "%.*s", (int)strcspn(line, "\r"), line);
            break;
        }
    }
    return buf;
}

static void record(struct test_server *server, struct test_request *request)
{
    pthread_mutex_lock(&server->mu);
    require(server->head_count < sizeof(server->heads) / sizeof(server->heads[0]), "requests");
    request->number = server->head_count;
    server->heads[server->head_count++] = strdup(request->head);
    pthread_mutex_unlock(&server->mu);
}

/* Read one request and have it handled. @return false when the client has gone */
static bool serve_one(struct test_connection *connection, char *buf)
{
    struct test_request request = { 0 };
    char field[32];
    size_t have = 0;
    size_t body_len;
    char *end;

    while (buf[have] = '\0', !(end = strstr(buf, "\r\n\r\n"))) {
        ssize_t got = receive(connection, buf + have, REQUEST_MAX - 1 - have);

        if (got <= 0)
            return false;
        have += (size_t)got;
        if (buf[0] == 0x16) { /* a TLS handshake: say so in clear, as nginx and Go do */
            test_sendf(connection, "HTTP/1.0 400 Bad Request\r\n\r\n");
            return false;
        }
    }
    end[2] = '\0';
    end += 4;
    request.head = buf;
    request.body = end;
    body_len =
        strtoul(test_request_field(&request, "Content-Length", field, sizeof(field)), NULL, 10);
    while (have < (size_t)(end - buf) + body_len) {
        ssize_t got = receive(connection, buf + have, REQUEST_MAX - 1 - have);

        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    buf[have] = '\0';
    require(sscanf(buf, "%7s %2047s", request.method, request.target) == 2, "request line");
    record(connection->server, &request);
    connection->head = strcmp(request.method, "HEAD") == 0;
    connection->server->handler(connection->server->ctx, &request, connection);
    return !connection->closing;
}

static void *connection_main(void *ctx)
{
    struct test_connection *connection = ctx;
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    char *buf = malloc(REQUEST_MAX);
    bool up = true;

    require(buf != NULL, "malloc");
    if (connection->server->tls) {
        connection->ssl = SSL_new(connection->server->tls);
        SSL_set_fd(connection->ssl, connection->fd);
        up = SSL_accept(connection->ssl) == 1;
    }
    while (up && serve_one(connection, buf))
        ;
    free(buf);
    SSL_free(connection->ssl);
    if (connection->hard)
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    pthread_mutex_lock(&connection->server->mu);
    close(connection->fd);
    connection->fd = -1;
    pthread_mutex_unlock(&connection->server->mu);
    return NULL;
}

static void *acceptor_main(void *ctx)
{
    struct test_server *server = ctx;

    for (;;) {
        int fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
        struct test_connection *connection;

        pthread_mutex_lock(&server->mu);
        if (server->stopping || fd < 0) {
            pthread_mutex_unlock(&server->mu);
            if (fd >= 0)
                close(fd);
            return NULL;
        }
        require(server->connection_count < CONNECTIONS_MAX, "connections");
        connection = &server->connections[server->connection_count++];
        connection->server = server;
        connection->fd = fd;
        require(pthread_create(&connection->thread, NULL, connection_main, connection) == 0,
                "pthread_create");
        pthread_mutex_unlock(&server->mu);
    }
}

static struct test_server *start(test_handler_fn *handler, void *ctx, SSL_CTX *tls)
{
    struct test_server *server = calloc(1, sizeof(*server));
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t len = sizeof(address);

    require(server != NULL, "calloc");
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets whose peer has gone */
    server->handler = handler;
    server->ctx = ctx;
    server->tls = tls;
    pthread_mutex_init(&server->mu, NULL);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    require(server->listener >= 0, "socket");
    require(bind(server->listener, (struct sockaddr *)&address, len) == 0, "bind");
    require(listen(server->listener, 64) == 0, "listen");
    require(getsockname(server->listener, (struct sockaddr *)&address, &len) == 0, "getsockname");
    server->port = ntohs(address.sin_port);
    snprintf(server->url, sizeof(server->url), "%s://127.0.0.1:%d", tls ? "https" : "http",
             server->port);
    require(pthread_create(&server->acceptor, NULL, acceptor_main, server) == 0, "pthread_create");
    return server;
}

struct test_server *test_server_start(test_handler_fn *handler, void *ctx)
{
    return start(handler, ctx, NULL);
}

static X509 *make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_EXTENSION *hosts =
        X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");

    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    X509_add_ext(certificate, hosts, -1);
    X509_EXTENSION_free(hosts);
    require(X509_sign(certificate, key, EVP_sha256()) > 0, "X509_sign");
    return certificate;
}

struct test_server *test_server_start_tls(test_handler_fn *handler, void *ctx)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = make_certificate(key);
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    struct test_server *server;
    FILE *file;
    int fd;

    require(SSL_CTX_use_certificate(tls, certificate) == 1, "certificate");
    require(SSL_CTX_use_PrivateKey(tls, key) == 1, "key");
    server = start(handler, ctx, tls);
    snprintf(server->cert, sizeof(server->cert), "/tmp/dray-test-cert-XXXXXX");
    fd = mkstemp(server->cert);
    require(fd >= 0, "mkstemp");
    file = fdopen(fd, "w");
    require(file && PEM_write_X509(file, certificate) == 1 && fclose(file) == 0, "PEM_write_X509");
    X509_free(certificate);
    EVP_PKEY_free(key);
    return server;
}

void test_server_stop(struct test_server *server)
{
    pthread_mutex_lock(&server->mu);
    server->stopping = true;
    for (size_t i = 0; i < server->connection_count; i++)
        if (server->connections[i].fd >= 0)
            shutdown(server->connections[i].fd, SHUT_RDWR);
    pthread_mutex_unlock(&server->mu);
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->acceptor, NULL);
    for (size_t i = 0; i < server->connection_count; i++)
        pthread_join(server->connections[i].thread, NULL);
    close(server->listener);
    for (size_t i = 0; i < server->head_count; i++)
        free(server->heads[i]);
    if (server->tls) {
        SSL_CTX_free(server->tls);
        unlink(server->cert);
    }
    pthread_mutex_destroy(&server->mu);
    free(server);
}

const char *test_server_url(const struct test_server *server)
{
    return server->url;
}

int test_server_port(const struct test_server *server)
{
    return server->port;
}

const char *test_server_cert(const struct test_server *server)
{
    return server->cert;
}

size_t test_server_count(struct test_server *server, const char *text)
{
    size_t count = 0;

    pthread_mutex_lock(&server->mu);
    for (size_t i = 0; i < server->head_count; i++)
        if (strstr(server->heads[i], text))
            count++;
    pthread_mutex_unlock(&server->mu);
    return count;
}

size_t test_server_connections(struct test_server *server)
{
    size_t count;

    pthread_mutex_lock(&server->mu);
    count = server->connection_count;
    pthread_mutex_unlock(&server->mu);
    return count;
}
