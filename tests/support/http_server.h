/* A scripted HTTP/1.1 server on loopback for unit tests: a handler is called for each request and
 * writes whatever bytes it likes, well-formed or not. Each connection has its own thread, so a
 * handler may stall. Everything that goes wrong in here fails the test by abort(). */
#ifndef DRAY_TESTS_HTTP_SERVER_H
#define DRAY_TESTS_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include <dray/error.h>

struct test_server;
struct test_connection;

/** One request. Valid during the handler's call. */
struct test_request {
    char method[8];
    char target[2048];
    const char *head; /* the whole header: request line and fields */
    const char *body;
    size_t number; /* counted from 0 over all connections */
};

typedef void test_handler_fn(void *ctx, const struct test_request *request,
                             struct test_connection *connection);

/** Listen on a free port of 127.0.0.1. The handler runs in connection threads, several at once. */
struct test_server *test_server_start(test_handler_fn *handler, void *ctx);

/** The same behind TLS, with a self-signed certificate for 127.0.0.1 and localhost. */
struct test_server *test_server_start_tls(test_handler_fn *handler, void *ctx);

/** Cut all connections, join all threads, free. */
void test_server_stop(struct test_server *server);

/** http://127.0.0.1:PORT, or https */
const char *test_server_url(const struct test_server *server);
int test_server_port(const struct test_server *server);

/** The certificate as a PEM file, which test_server_stop() removes. */
const char *test_server_cert(const struct test_server *server);

/** How many requests came whose header holds this text ("" for all). */
size_t test_server_count(struct test_server *server, const char *text);

/** How many connections were accepted. */
size_t test_server_connections(struct test_server *server);

/** A field's value in buf, "" if the request has none. @return buf */
const char *test_request_field(const struct test_request *request, const char *name, char *buf,
                               size_t size);

/** Send bytes as they are. A client that has gone is no failure. */
void test_send(struct test_connection *connection, const void *data, size_t len);
void test_sendf(struct test_connection *connection, const char *fmt, ...) DRAY_PRINTF(2, 3);

/** Send a whole answer. fields: lines that end in \r\n, or "". */
void test_answer(struct test_connection *connection, int status, const char *fields,
                 const char *body);

/** Close after the handler returns; abortively (RST) if hard. */
void test_close(struct test_connection *connection, bool hard);

/** Send nothing more until the client hangs up or the server stops. */
void test_stall(struct test_connection *connection);

#endif
