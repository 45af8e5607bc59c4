/* Pulling images into a store. */
#ifndef DRAY_PULL_H
#define DRAY_PULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dray/cancel.h>
#include <dray/event.h>
#include <dray/log.h>
#include <dray/platform.h>
#include <dray/reference.h>
#include <dray/store.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_puller;

/** How to talk to registries. Strings are copied; NULL and 0 mean the default. */
struct dray_registry_options {
    bool plain_http;     /* speak http to every registry */
    bool insecure;       /* accept any certificate, and http where https does not answer */
    const char *ca_file; /* PEM, trusted beside the system's authorities */
    const char
        *cert_file; /* PEM client certificate, shown only to the registries named by images */
    const char *key_file;
    const char *auth_file;   /* default: $DOCKER_CONFIG/config.json, ~/.docker/config.json */
    const char *credentials; /* USER:PASSWORD for the registries named by images; beats auth_file */
    const char *const
        *headers; /* "Name: value" for the registries named by images; NULL-terminated */
    const char *const *mirrors; /* "[HOST=]URL": for images of HOST (default: docker.io) the URL is
                                   asked before the upstream, in this order; NULL-terminated */
    const char *user_agent;     /* default "dray/VERSION" */
    int64_t
        stall_timeout_ms; /* give up a connection on which nothing moved so long; default 30 000 */
    int64_t connect_timeout_ms; /* default 10 000 */
};

struct dray_puller_options {
    struct dray_store *store; /* opened for writing; outlives the puller */
    struct dray_registry_options registry;
    uint32_t jobs;                 /* connections and blobs at once, 1 to 256; default 8 */
    uint32_t parallel_images;      /* images at once; default 4 */
    uint32_t connections_per_blob; /* to fetch one large blob with, 1 to 256; default: jobs */
    uint32_t connections_per_host; /* requests to one host at once, 1 to 256; default: jobs. A host
                                      that says it is overloaded gets fewer for a while */
    uint64_t limit_rate_bytes_per_s; /* of all downloads together; 0: no limit */
    uint32_t retries;   /* of one blob at one endpoint after the first try; default 5 */
    bool no_retries;    /* retries == 0 is meant */
    bool all_platforms; /* keep indexes whole */
    const struct dray_platform *platform; /* default: the host's */
    struct dray_cancel *cancel;           /* may be NULL; outlives the puller */
    struct dray_log log;
    dray_event_fn *on_event; /* may be NULL */
    void *event_ctx;
};

enum dray_pull_status {
    DRAY_PULL_FAILED,
    DRAY_PULL_UNCHANGED, /* everything was there already */
    DRAY_PULL_NEW,       /* a blob was fetched or the name moved */
};

/** The outcome of one image. A plain value. */
struct dray_pull_result {
    enum dray_pull_status status;
    struct dray_reference reference;
    struct dray_digest digest; /* what the registry's tag points at; alg 0 if never known */
    uint64_t fetched_bytes;    /* received into the store by this pull */
    uint64_t total_bytes;      /* of all blobs of the image; 0 when unchanged, or never known */
    struct dray_error error;   /* code DRAY_OK unless failed */
};

/**
 * Start a puller: its worker threads wait for jobs.
 *
 * @return DRAY_OK, DRAY_EINVAL (an option: the text names it), DRAY_EIO, DRAY_ENOMEM
 */
int dray_puller_new(const struct dray_puller_options *options, struct dray_puller **ret_puller,
                    struct dray_error *err);

/**
 * Pull images; all share the workers, and each blob is fetched once. Blocks; events arrive in this
 * thread. One image's failure does not stop the others. One call at a time; once its cancel token
 * has fired, every call ends with DRAY_ECANCELED.
 *
 * @param results  count of them, filled in any case
 * @return DRAY_OK when every image succeeded; else the code of the first that failed, or
 *         DRAY_ECANCELED
 */
int dray_puller_run(struct dray_puller *puller, const struct dray_reference *references,
                    size_t count, struct dray_pull_result *results);

/** What a puller has seen of one endpoint's host, since it was made. */
struct dray_endpoint_figures {
    const char *endpoint; /* scheme://host[:port] */
    uint64_t requests;
    uint64_t bytes;            /* received in bodies */
    uint64_t failures;         /* requests that failed, for whatever reason */
    uint64_t connect_failures; /* of these: no connection came about */
    uint64_t stalls;           /* of these: nothing moved for too long */
    uint64_t overloads;        /* of these: refused with 429 or 503 */
    uint64_t wrong_blobs;      /* blobs in which its bytes failed the digest */
    uint64_t rate_bytes_per_s; /* of one connection, smoothed; 0: not known */
    int64_t first_byte_ms;     /* from request to answer, smoothed; -1: not known */
    uint32_t connections;      /* allowed at once by now */
    bool ranges;               /* serves parts of blobs, as far as is known */
    bool reachable;            /* as far as is known */
    bool has_quota;            /* the registry says how many requests it still takes */
    uint64_t quota_remaining;
    uint64_t quota_limit; /* 0: not said */
};

/** Receives one endpoint's figures; they are valid only during the call. */
typedef void dray_endpoint_fn(void *ctx, const struct dray_endpoint_figures *figures);

/**
 * Tell the figures of every endpoint that was asked so far, in the order they first were.
 *
 * @param fn  called in this thread, with no lock held
 */
void dray_puller_endpoints(struct dray_puller *puller, dray_endpoint_fn *fn, void *ctx);

/** Stop the workers, join them, free everything. NULL is allowed. */
void dray_puller_free(struct dray_puller *puller);

#ifdef __cplusplus
}
#endif

#endif
