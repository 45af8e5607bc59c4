#include "registry/registry.h"

#include <assert.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/limits.h"
#include "registry/shared.h"

#define STALL_TIMEOUT_MS   30000
#define CONNECT_TIMEOUT_MS 10000

/* Large for blobs: fewer system calls and wake-ups. A blob of 700 MB over loopback took 1.60 s of
 * CPU with 128 KiB, 1.36 s with 256 KiB, 1.30 s with 512 KiB; twice this is what a worker takes. */
#define BLOB_BUFFER_BYTES (256L << 10)

/* Under a rate limit. A smaller receive buffer would be no whole TCP window, and a larger one is
 * cut by the kernel (net.core.rmem_max, as it comes), too small for a fast connection to a far
 * server: it is better off with what the kernel finds out by itself. */
#define RECEIVE_BUFFER_MIN_BYTES UINT64_C(65536)
#define RECEIVE_BUFFER_MAX_BYTES UINT64_C(212992)
#define LIMITED_BUFFER_MIN_BYTES UINT64_C(16384)
#define LIMITED_BUFFER_MAX_BYTES UINT64_C(65536)

/* Longer ones would overflow what counts in libcurl; a day is for ever here. */
#define TIMEOUT_MAX_MS INT64_C(86400000)

/* libcurl's shared data, one lock for each kind. The locks leave the function they are taken in. */
static void lock_share(CURL *easy, curl_lock_data data, curl_lock_access access, void *ctx)
    DRAY_TSA(no_thread_safety_analysis);
static void unlock_share(CURL *easy, curl_lock_data data, void *ctx)
    DRAY_TSA(no_thread_safety_analysis);

static void lock_share(CURL *easy, curl_lock_data data, curl_lock_access access, void *ctx)
{
    struct dray_registry *registry = ctx;

    (void)easy;
    (void)access;
    dray_mutex_lock(&registry->share_mu[data]);
}

static void unlock_share(CURL *easy, curl_lock_data data, void *ctx)
{
    struct dray_registry *registry = ctx;

    (void)easy;
    dray_mutex_unlock(&registry->share_mu[data]);
}

static int open_share(struct dray_registry *registry)
{
    registry->share = curl_share_init();
    if (!registry->share ||
        curl_share_setopt(registry->share, CURLSHOPT_LOCKFUNC, lock_share) != CURLSHE_OK ||
        curl_share_setopt(registry->share, CURLSHOPT_UNLOCKFUNC, unlock_share) != CURLSHE_OK ||
        curl_share_setopt(registry->share, CURLSHOPT_USERDATA, registry) != CURLSHE_OK ||
        curl_share_setopt(registry->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS) != CURLSHE_OK ||
        curl_share_setopt(registry->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION) !=
            CURLSHE_OK)
        return DRAY_ENOMEM;
    return DRAY_OK;
}

static int read_trust(struct dray_registry *registry, const char *ca_file, struct dray_error *err)
{
    registry->trust = X509_STORE_new();
    if (!registry->trust)
        return dray_error_nomem(err);
    /* A certificate the user names is trusted also when it is no self-signed authority. */
    X509_STORE_set_flags(registry->trust, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_TRUSTED_FIRST);
    if (!ca_file)
        return DRAY_OK;
    if (access(ca_file, R_OK) < 0)
        return dray_error_errno(err, errno, "CA file %s", ca_file);
    if (X509_STORE_load_file(registry->trust, ca_file) != 1)
        return dray_error_set(err, DRAY_EINVAL, "CA file %s: no PEM certificates", ca_file);
    return DRAY_OK;
}

X509_STORE *dray_registry_trust(struct dray_registry *registry)
{
    dray_mutex_lock(&registry->trust_mu);
    /* OpenSSL's own places, which SSL_CERT_FILE and SSL_CERT_DIR move. Nothing there: nobody is
     * trusted. Whoever comes second needs them as much, so it may wait for the disk. */
    if (!registry->trust_complete)
        X509_STORE_set_default_paths(registry->trust);
    registry->trust_complete = true;
    dray_mutex_unlock(&registry->trust_mu);
    return registry->trust;
}

/* libcurl reads the pair when it connects; a pair that cannot work is told now. */
static int check_pair(const char *cert_file, const char *key_file, struct dray_error *err)
{
    SSL_CTX *ctx;
    int rc = DRAY_OK;

    if (access(cert_file, R_OK) < 0)
        return dray_error_errno(err, errno, "client certificate %s", cert_file);
    if (access(key_file, R_OK) < 0)
        return dray_error_errno(err, errno, "client key %s", key_file);
    ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        return dray_error_nomem(err);
    if (SSL_CTX_use_certificate_chain_file(ctx, cert_file) != 1)
        rc = dray_error_set(err, DRAY_EINVAL, "client certificate %s: not PEM", cert_file);
    else if (SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) != 1)
        rc = dray_error_set(err, DRAY_EINVAL, "client key %s: not the key of %s", key_file,
                            cert_file);
    SSL_CTX_free(ctx);
    return rc;
}

static int copy_pair(const struct dray_registry_options *options, struct dray_registry *registry,
                     struct dray_error *err)
{
    const char *key_file = options->key_file ? options->key_file : options->cert_file;

    if (!options->cert_file && options->key_file)
        return dray_error_set(err, DRAY_EINVAL, "a client key without a client certificate");
    if (!options->cert_file)
        return DRAY_OK;
    registry->cert_file = strdup(options->cert_file);
    registry->key_file = strdup(key_file);
    if (!registry->cert_file || !registry->key_file)
        return dray_error_nomem(err);
    return check_pair(options->cert_file, key_file, err);
}

/* "Name: value" with a token before the colon and no control byte (RFC 9110 section 5.5). */
static bool is_header(const char *line)
{
    size_t name_len = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789!#$%&'*+-.^_`|~");

    if (name_len == 0 || line[name_len] != ':' || line[name_len + 1] == '\0')
        return false;
    for (; *line; line++)
        if (((unsigned char)*line < 0x20 && *line != '\t') || *line == 0x7f)
            return false;
    return true;
}

static int copy_headers(const char *const *lines, struct dray_registry *registry,
                        struct dray_error *err)
{
    for (; lines && *lines; lines++) {
        struct curl_slist *longer;

        /* Its value may be a secret, so the line is not shown. */
        if (!is_header(*lines))
            return dray_error_set(err, DRAY_EINVAL, "a header is not of the form 'Name: value'");
        longer = curl_slist_append(registry->headers, *lines);
        if (!longer)
            return dray_error_nomem(err);
        registry->headers = longer;
    }
    return DRAY_OK;
}

/* The domain of the images that a mirror serves, as it would stand in their references. */
static int read_mirror_domain(const char *text, size_t len, char **ret_domain,
                              struct dray_error *err)
{
    struct dray_reference reference;
    char name[DRAY_DOMAIN_MAX + sizeof("/y/x")];

    /* What is no host ends up in the path, or makes no reference. */
    if (len <= DRAY_DOMAIN_MAX) {
        snprintf(name, sizeof(name), "%.*s/y/x", (int)len, text);
        if (dray_reference_parse(name, &reference, NULL) == DRAY_OK &&
            strcmp(reference.path, "y/x") == 0) {
            *ret_domain = strdup(reference.domain);
            return *ret_domain ? DRAY_OK : dray_error_nomem(err);
        }
    }
    return dray_error_set(err, DRAY_EINVAL, "what stands before '=' is not a registry's host");
}

/* [HOST=]URL; without HOST it is Docker Hub's. */
static int read_mirror(const char *text, struct dray_mirror *mirror, struct dray_error *err)
{
    const char *equals = strchr(text, '=');
    const char *scheme_end = strstr(text, "://");
    const char *url = text;
    const char *domain = DRAY_HUB_DOMAIN;
    size_t domain_len = strlen(domain);
    int rc;

    if (equals && (!scheme_end || equals < scheme_end)) { /* not one of the URL's own */
        domain = text;
        domain_len = (size_t)(equals - text);
        url = equals + 1;
    }
    rc = read_mirror_domain(domain, domain_len, &mirror->domain, err);
    if (rc < 0)
        return rc;
    if (strpbrk(url, "?#"))
        return dray_error_set(err, DRAY_EINVAL, "URL with a query or fragment");
    return dray_url_parse(url, &mirror->url, err);
}

static int copy_mirrors(const char *const *texts, struct dray_registry *registry,
                        struct dray_error *err)
{
    size_t count = 0;

    while (texts && texts[count])
        count++;
    if (count == 0)
        return DRAY_OK;
    if (count > DRAY_MIRRORS_MAX)
        return dray_error_set(err, DRAY_EINVAL, "more than %d mirrors", DRAY_MIRRORS_MAX);
    registry->mirrors = calloc(count, sizeof(*registry->mirrors));
    if (!registry->mirrors)
        return dray_error_nomem(err);
    registry->mirror_count = count; /* half-read ones are released too */
    for (size_t i = 0; i < count; i++) {
        int rc = read_mirror(texts[i], &registry->mirrors[i], err);

        if (rc < 0) /* not quoted: it may hold a password */
            return dray_error_wrap(err, rc, "mirror %zu", i + 1);
    }
    return DRAY_OK;
}

/* libcurl takes http_proxy in lower case only, for under CGI the upper-case one is what a remote
 * client sent as its "Proxy" header. Like Go, dray takes it where there is no CGI. */
static int read_proxies(struct dray_registry *registry)
{
    static const char *const names[] = { "http_proxy",  "https_proxy", "all_proxy",
                                         "HTTPS_PROXY", "ALL_PROXY",   "HTTP_PROXY" };
    const char *proxy = getenv("HTTP_PROXY");

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = getenv(names[i]);

        if (value && value[0])
            registry->any_proxy = true;
    }
    if (!proxy || !proxy[0] || getenv("http_proxy") || getenv("REQUEST_METHOD"))
        return DRAY_OK;
    registry->http_proxy = strdup(proxy);
    return registry->http_proxy ? DRAY_OK : DRAY_ENOMEM;
}

static int copy_timeout(int64_t option_ms, int64_t default_ms, const char *name, int64_t *ret_ms,
                        struct dray_error *err)
{
    if (option_ms < 0)
        return dray_error_set(err, DRAY_EINVAL, "negative %s time-out", name);
    *ret_ms = option_ms == 0 ? default_ms : option_ms;
    if (*ret_ms > TIMEOUT_MAX_MS)
        *ret_ms = TIMEOUT_MAX_MS;
    return DRAY_OK;
}

static int copy_options(const struct dray_registry_options *options, struct dray_registry *registry,
                        struct dray_error *err)
{
    int rc = copy_timeout(options->stall_timeout_ms, STALL_TIMEOUT_MS, "stall",
                          &registry->stall_timeout_ms, err);

    if (rc == DRAY_OK)
        rc = copy_timeout(options->connect_timeout_ms, CONNECT_TIMEOUT_MS, "connect",
                          &registry->connect_timeout_ms, err);
    if (rc == DRAY_OK)
        rc = copy_headers(options->headers, registry, err);
    if (rc == DRAY_OK)
        rc = copy_mirrors(options->mirrors, registry, err);
    if (rc == DRAY_OK)
        rc = copy_pair(options, registry, err);
    if (rc == DRAY_OK)
        rc = read_trust(registry, options->ca_file, err);
    if (rc == DRAY_OK)
        rc = dray_credentials_new(options->auth_file, options->credentials, &registry->log,
                                  &registry->credentials, err);
    if (rc < 0)
        return rc;

    registry->plain_http = options->plain_http;
    registry->insecure = options->insecure;
    registry->blob_buffer_bytes = BLOB_BUFFER_BYTES;
    registry->user_agent = strdup(options->user_agent ? options->user_agent : "dray/" DRAY_VERSION);
    if (!registry->user_agent || read_proxies(registry) < 0)
        return dray_error_nomem(err);
    return DRAY_OK;
}

int dray_registry_new(const struct dray_registry_options *options, const struct dray_log *log,
                      struct dray_registry **ret_registry, struct dray_error *err)
{
    DRAY_AUTO_REGISTRY struct dray_registry *registry = calloc(1, sizeof(*registry));
    int rc;

    if (!registry)
        return dray_error_nomem(err);
    dray_mutex_init(&registry->trust_mu);
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++)
        dray_mutex_init(&registry->share_mu[i]);
    if (log)
        registry->log = *log;
    rc = copy_options(options, registry, err);
    if (rc < 0)
        return rc;
    rc = dray_auth_new(&registry->auth, err);
    if (rc < 0)
        return rc;
    if (open_share(registry) < 0)
        return dray_error_nomem(err);
    *ret_registry = DRAY_TAKE(registry);
    return DRAY_OK;
}

static uint64_t clamp(uint64_t value, uint64_t min, uint64_t max)
{
    if (value < min)
        return min;
    return value < max ? value : max;
}

void dray_registry_set_limit(struct dray_registry *registry, uint64_t rate_bytes_per_s,
                             uint32_t connections)
{
    uint64_t half_second;

    assert(connections > 0);
    half_second = rate_bytes_per_s / connections / 2;
    registry->receive_buffer_bytes = 0;
    registry->blob_buffer_bytes = BLOB_BUFFER_BYTES;
    if (rate_bytes_per_s == 0)
        return;
    if (half_second <= RECEIVE_BUFFER_MAX_BYTES)
        registry->receive_buffer_bytes =
            (int)clamp(half_second, RECEIVE_BUFFER_MIN_BYTES, RECEIVE_BUFFER_MAX_BYTES);
    registry->blob_buffer_bytes =
        (long)clamp(half_second / 4, LIMITED_BUFFER_MIN_BYTES, LIMITED_BUFFER_MAX_BYTES);
}

void dray_registry_free(struct dray_registry *registry)
{
    if (!registry)
        return;
    if (registry->share)
        curl_share_cleanup(registry->share);
    dray_auth_free(registry->auth);
    dray_credentials_free(registry->credentials);
    X509_STORE_free(registry->trust);
    for (size_t i = 0; i < registry->mirror_count; i++) {
        free(registry->mirrors[i].domain);
        dray_url_done(&registry->mirrors[i].url);
    }
    free(registry->mirrors);
    for (struct curl_slist *node = registry->headers; node; node = node->next)
        dray_secret_wipe(node->data);
    curl_slist_free_all(registry->headers);
    free(registry->http_proxy);
    free(registry->key_file);
    free(registry->cert_file);
    free(registry->user_agent);
    dray_mutex_done(&registry->trust_mu);
    for (size_t i = 0; i < CURL_LOCK_DATA_LAST; i++)
        dray_mutex_done(&registry->share_mu[i]);
    free(registry);
}
