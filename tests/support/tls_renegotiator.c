/* A TLS 1.2 server on loopback that negotiates anew in the middle of its answers.
 *
 *   tls_renegotiator TARGET_PORT CERTIFICATE KEY
 *
 * It listens on a free port of 127.0.0.1, prints that port, and carries each connection to
 * 127.0.0.1:TARGET_PORT, where no TLS is spoken. Each EVERY_BYTES of answers it asks its client for
 * another handshake (HelloRequest, RFC 5246 section 7.4.1.1), and prints a line when that is done.
 * It runs until it is killed. */
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "relay.h"

#define EVERY_BYTES 100000

static uint16_t target_port;
static SSL_CTX *context;

static void on_state(const SSL *ssl, int where, int value)
{
    intptr_t before = (intptr_t)SSL_get_ex_data(ssl, 0);

    (void)value;
    if (!(where & SSL_CB_HANDSHAKE_DONE))
        return;
    SSL_set_ex_data((SSL *)(uintptr_t)ssl, 0, (void *)(before + 1));
    if (before > 0) {
        printf("renegotiated\n");
        fflush(stdout);
    }
}

/* What the client has sent, if it is more than a handshake. */
static bool carry_there(SSL *ssl, int far)
{
    char data[16384];
    int len = SSL_read(ssl, data, sizeof data);

    if (len > 0)
        return write(far, data, (size_t)len) == len;
    return SSL_get_error(ssl, len) == SSL_ERROR_WANT_READ;
}

static bool carry_back(SSL *ssl, int far, size_t *carried)
{
    char data[16384];
    ssize_t len = read(far, data, sizeof data);

    if (len <= 0 || SSL_write(ssl, data, (int)len) != len)
        return false;
    *carried += (size_t)len;
    if (*carried < EVERY_BYTES)
        return true;
    *carried = 0;
    return SSL_renegotiate(ssl) == 1 && SSL_do_handshake(ssl) == 1;
}

static void carry(SSL *ssl, int near, int far)
{
    size_t carried = 0;
    bool goes_on = true;

    while (goes_on) {
        struct pollfd fds[] = { { .fd = near, .events = POLLIN }, { .fd = far, .events = POLLIN } };

        if (SSL_pending(ssl) == 0 && poll(fds, 2, -1) < 0)
            break;
        if (SSL_pending(ssl) > 0 || fds[0].revents)
            goes_on = carry_there(ssl, far);
        if (goes_on && fds[1].revents)
            goes_on = carry_back(ssl, far, &carried);
    }
}

static void *serve(void *arg)
{
    int near = (int)(intptr_t)arg, far = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(target_port);
    SSL *ssl = SSL_new(context);

    if (far < 0 || !ssl || !SSL_set_fd(ssl, near))
        die("connection");
    if (SSL_accept(ssl) == 1 && connect(far, (struct sockaddr *)&address, sizeof address) == 0)
        carry(ssl, near, far);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(far);
    close(near);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: tls_renegotiator TARGET_PORT CERTIFICATE KEY\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    target_port = (uint16_t)strtol(argv[1], NULL, 10);
    context = SSL_CTX_new(TLS_server_method());
    if (!context || SSL_CTX_use_certificate_chain_file(context, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[3], SSL_FILETYPE_PEM) != 1)
        die("certificate");
    SSL_CTX_set_max_proto_version(context, TLS1_2_VERSION);
    /* A read returns after a handshake, too, and does not wait for what the client may never send.
     */
    SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_info_callback(context, on_state);
    serve_for_ever(serve);
}
