/* Inside of struct dray_registry and struct dray_client, for the files of this room only. A
 * registry is immutable once there are clients, but for a count, the token cache and libcurl's
 * caches, which lock themselves. */
#ifndef DRAY_REGISTRY_SHARED_H
#define DRAY_REGISTRY_SHARED_H

#include <curl/curl.h>
#include <openssl/x509_vfy.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/log.h"
#include "core/sync.h"
#include "registry/auth.h"
#include "registry/client.h"
#include "registry/credentials.h"
#include "registry/registry.h"
#include "registry/url.h"

/* The domain of Docker Hub's images, which is not where its registry lives. */
#define DRAY_HUB_DOMAIN "docker.io"

struct dray_mirror {
    char *domain; /* of the references it serves */
    struct dray_url url;
};

struct dray_registry {
    struct dray_log log;
    bool plain_http;
    bool insecure;
    int64_t stall_timeout_ms;
    int64_t connect_timeout_ms;
    int receive_buffer_bytes; /* of each socket; 0: the kernel decides */
    long blob_buffer_bytes;   /* what libcurl receives, and we hand on, at once of a blob */
    char *user_agent;
    char *cert_file; /* NULL: no client certificate */
    char *key_file;
    char *http_proxy; /* from HTTP_PROXY, which libcurl does not read; NULL: libcurl decides */
    bool any_proxy;   /* the environment names a proxy for something */
    struct curl_slist *headers; /* the user's own */
    struct dray_mirror *mirrors;
    size_t mirror_count;

    X509_STORE *trust;          /* the user's own authorities; the system's once needed */
    struct dray_mutex trust_mu; /* guards the next field; the store locks itself */
    bool trust_complete DRAY_GUARDED_BY(&trust_mu);

    struct dray_credentials *credentials;
    struct dray_auth *auth;

    /* Exchanges that did not connect. Names may have moved then, so libcurl's cache of them, which
     * keeps each for a minute, is passed by. */
    _Atomic uint32_t connect_failures;

    CURLSH *share;                                   /* names and TLS sessions */
    struct dray_mutex share_mu[CURL_LOCK_DATA_LAST]; /* each guards one kind of libcurl's data */
};

struct dray_client {
    struct dray_registry *registry;
    const struct dray_cancel *cancel;
    CURLM *multi;
    CURL *easy;
    uint8_t *body; /* blob_buffer_bytes of a streamed body, to be handed on; NULL until needed */
    size_t body_len;
    uint32_t failures_seen; /* of the registry's connect_failures */
    char detail[CURL_ERROR_SIZE];
};

/** The authorities, for all connections of all threads. Reading the system's takes some 20 ms, so
 *  it is done when the first connection needs them. Borrowed. */
X509_STORE *dray_registry_trust(struct dray_registry *registry);

#endif
