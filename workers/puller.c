/* The public face of pulling: dray/pull.h.
 *
 * Threads: the workers of the pool live as long as the puller. dray_puller_run() starts up to
 * parallel_images coordinators, each with its own client, which take image after image; the calling
 * thread meanwhile watches, calls the event callback and hands a fired cancel token on. */
#include <dray/pull.h>

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/limits.h"
#include "registry/registry.h"
#include "storage/staging.h"
#include "workers/coordinator.h"
#include "workers/thread.h"
#include "workers/transfer.h"
#include "workers/watch.h"

#define DEFAULT_JOBS            8
#define DEFAULT_PARALLEL_IMAGES 4
#define DEFAULT_RETRIES         5

/* How often progress is looked at: ten times a second is as fluent as a display needs. */
#define TICK_MS 100

struct dray_puller {
    struct dray_coordinator_shared shared;
    struct dray_throttle throttle;
    struct dray_cpu_gauge cpu_gauge;
    uint32_t parallel_images;
    dray_event_fn *on_event;
    void *event_ctx;

    struct dray_cancel *user_cancel; /* the caller's; may be NULL */
    /* What all work listens to: fired by the caller's token, and when the puller is freed, so that
     * a transfer nobody waits for cannot hold up the end. */
    struct dray_cancel *stop;
};

/* One call of dray_puller_run(). */
struct call {
    struct dray_puller *puller;
    struct dray_image_pull **pulls;
    size_t count;
    _Atomic size_t next;    /* the first image no coordinator has taken */
    _Atomic bool *finished; /* one an image, set by its coordinator last of all */
    int wake_fd;            /* eventfd: an image has finished */
};

DRAY_DEFINE_CLEANUP(struct dray_puller, dray_puller_free);

static int client_new(void *ctx, void **ret_state, struct dray_error *err)
{
    struct dray_puller *puller = ctx;
    struct dray_client *client;
    int rc = dray_client_new(puller->shared.engine.registry, puller->stop, &client, err);

    if (rc < 0)
        return rc;
    *ret_state = client;
    return DRAY_OK;
}

static void client_free(void *state)
{
    dray_client_free(state);
}

/* A worker without a job looks whom it can help. */
static int64_t help(void *ctx, void *state)
{
    struct dray_puller *puller = ctx;

    return dray_transfer_help(puller->shared.inflight, state);
}

static int check_options(const struct dray_puller_options *options, struct dray_error *err)
{
    if (options->jobs > DRAY_JOBS_MAX)
        return dray_error_set(err, DRAY_EINVAL, "jobs: %u is more than %d", options->jobs,
                              DRAY_JOBS_MAX);
    if (options->parallel_images > DRAY_PARALLEL_IMAGES_MAX)
        return dray_error_set(err, DRAY_EINVAL, "parallel images: %u is more than %d",
                              options->parallel_images, DRAY_PARALLEL_IMAGES_MAX);
    if (options->connections_per_blob > DRAY_JOBS_MAX)
        return dray_error_set(err, DRAY_EINVAL, "connections per blob: %u is more than %d",
                              options->connections_per_blob, DRAY_JOBS_MAX);
    if (options->connections_per_host > DRAY_JOBS_MAX)
        return dray_error_set(err, DRAY_EINVAL, "connections per host: %u is more than %d",
                              options->connections_per_host, DRAY_JOBS_MAX);
    if (options->retries > DRAY_RETRIES_MAX)
        return dray_error_set(err, DRAY_EINVAL, "retries: %u is more than %d", options->retries,
                              DRAY_RETRIES_MAX);
    return DRAY_OK;
}

int dray_puller_new(const struct dray_puller_options *options, struct dray_puller **ret_puller,
                    struct dray_error *err)
{
    DRAY_CLEANUP(dray_puller_freep) struct dray_puller *puller = NULL;
    uint32_t jobs = options->jobs ? options->jobs : DEFAULT_JOBS;
    struct dray_pool_options pool_options = {
        .workers = jobs,
        .capacity = 4 * (size_t)jobs,
        .state_new = client_new,
        .state_free = client_free,
        .spare = help,
    };
    int rc;

    rc = check_options(options, err);
    if (rc < 0)
        return rc;
    puller = calloc(1, sizeof(*puller));
    if (!puller)
        return dray_error_nomem(err);

    puller->user_cancel = options->cancel;
    puller->on_event = options->on_event;
    puller->event_ctx = options->event_ctx;
    puller->parallel_images =
        options->parallel_images ? options->parallel_images : DEFAULT_PARALLEL_IMAGES;
    dray_throttle_init(&puller->throttle, options->limit_rate_bytes_per_s);
    dray_cpu_gauge_init(&puller->cpu_gauge);
    rc = dray_cancel_new(&puller->stop, err);
    if (rc < 0)
        return rc;

    puller->shared.engine.store = options->store;
    puller->shared.engine.cancel = puller->stop;
    puller->shared.engine.log = options->log;
    puller->shared.engine.throttle = &puller->throttle;
    puller->shared.engine.cpu_gauge = &puller->cpu_gauge;
    puller->shared.engine.connections_per_blob =
        options->connections_per_blob ? options->connections_per_blob : jobs;
    puller->shared.all_platforms = options->all_platforms;
    puller->shared.platform_asked = options->platform != NULL;
    if (options->platform)
        puller->shared.platform = *options->platform;
    else
        dray_platform_host(&puller->shared.platform);
    puller->shared.engine.retries =
        options->retries || options->no_retries ? options->retries : DEFAULT_RETRIES;
    rc = dray_registry_new(&options->registry, &options->log, &puller->shared.engine.registry, err);
    if (rc < 0)
        return rc;
    dray_registry_set_limit(puller->shared.engine.registry, options->limit_rate_bytes_per_s, jobs);
    rc = dray_hosts_new(options->connections_per_host ? options->connections_per_host : jobs,
                        &puller->shared.engine.hosts, err);
    if (rc < 0)
        return rc;
    rc = dray_inflight_new(&puller->shared.inflight, err);
    if (rc < 0)
        return rc;
    dray_staging_sweep(options->store, DRAY_STAGING_MAX_AGE_S);
    pool_options.ctx = puller;
    rc = dray_pool_new(&pool_options, &puller->shared.engine.pool, err);
    if (rc < 0)
        return rc;

    *ret_puller = DRAY_TAKE(puller);
    return DRAY_OK;
}

void dray_puller_free(struct dray_puller *puller)
{
    if (!puller)
        return;
    if (puller->stop)
        dray_cancel_fire(puller->stop);
    dray_pool_free(puller->shared.engine.pool);
    dray_inflight_free(puller->shared.inflight);
    dray_hosts_free(puller->shared.engine.hosts);
    dray_registry_free(puller->shared.engine.registry);
    dray_cancel_free(puller->stop);
    dray_cpu_gauge_done(&puller->cpu_gauge);
    dray_throttle_done(&puller->throttle);
    free(puller);
}

/* For dray_puller_endpoints(). */
struct endpoint_visit {
    dray_endpoint_fn *fn;
    void *ctx;
};

static void visit_host(void *ctx, const char *origin, const struct dray_host_view *view)
{
    const struct endpoint_visit *visit = ctx;
    const struct dray_endpoint_figures figures = {
        .endpoint = origin,
        .requests = view->requests,
        .bytes = view->bytes,
        .failures = view->failures,
        .connect_failures = view->connect_failures,
        .stalls = view->stalls,
        .overloads = view->overloads,
        .wrong_blobs = view->wrong_blobs,
        .rate_bytes_per_s = view->rate_bytes_per_s,
        .first_byte_ms = view->first_byte_ms,
        .connections = view->slots,
        .ranges = view->ranges,
        .reachable = !view->broken,
        .has_quota = view->quota.known,
        .quota_remaining = view->quota.remaining,
        .quota_limit = view->quota.limit,
    };

    if (view->requests > 0)
        visit->fn(visit->ctx, &figures);
}

void dray_puller_endpoints(struct dray_puller *puller, dray_endpoint_fn *fn, void *ctx)
{
    struct endpoint_visit visit = { .fn = fn, .ctx = ctx };

    dray_hosts_each(puller->shared.engine.hosts, visit_host, &visit);
}

static void notify(int wake_fd)
{
    uint64_t one = 1;

    while (write(wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* A coordinator thread: image after image, until none is left. */
static void *coordinate(void *arg)
{
    struct call *call = arg;
    struct dray_puller *puller = call->puller;
    DRAY_AUTO_CLIENT struct dray_client *client = NULL;
    struct dray_error err = { 0 };
    int rc = dray_client_new(puller->shared.engine.registry, puller->stop, &client, &err);
    size_t i;

    while ((i = atomic_fetch_add(&call->next, 1)) < call->count) {
        struct dray_image_pull *pull = call->pulls[i];

        if (rc < 0)
            dray_image_pull_fail(pull, &err);
        else
            dray_image_pull_run(pull, &puller->shared, client);
        atomic_store(&call->finished[i], true);
        notify(call->wake_fd);
    }
    return NULL;
}

/* Tell what is new of every image under way, and free those that have ended. */
static void watch_all(struct call *call, struct dray_watch **watches, size_t *left)
{
    struct dray_puller *puller = call->puller;

    for (size_t i = 0; i < call->count; i++) {
        bool finished;

        if (!call->pulls[i])
            continue;
        if (i >= atomic_load(&call->next))
            break; /* the rest has not begun */
        /* Read before the look: what is told last is then complete. */
        finished = atomic_load(&call->finished[i]);
        if (watches[i])
            dray_watch_tell(watches[i], puller->on_event, puller->event_ctx);
        if (!finished)
            continue;
        dray_watch_free(watches[i]);
        watches[i] = NULL;
        dray_image_pull_free(call->pulls[i]);
        call->pulls[i] = NULL;
        (*left)--;
    }
}

/* The calling thread, until every image has ended. */
static void watch(struct call *call, struct dray_watch **watches)
{
    struct dray_puller *puller = call->puller;
    size_t left = call->count;

    while (left > 0) {
        struct pollfd fds[] = {
            { .fd = call->wake_fd, .events = POLLIN },
            { .fd = dray_cancel_fd(puller->user_cancel), .events = POLLIN },
        };
        uint64_t wakes;

        if (dray_cancel_fired(puller->user_cancel)) {
            dray_cancel_fire(puller->stop);
            fds[1].fd = -1; /* readable for ever */
        }
        poll(fds, 2, puller->on_event ? TICK_MS : -1);
        if (read(call->wake_fd, &wakes, sizeof(wakes)) < 0)
            assert(errno == EAGAIN || errno == EINTR);
        watch_all(call, watches, &left);
    }
}

static int first_failure(const struct dray_pull_result *results, size_t count)
{
    int rc = DRAY_OK;

    for (size_t i = 0; i < count; i++) {
        if (results[i].error.code == DRAY_ECANCELED)
            return DRAY_ECANCELED;
        if (rc == DRAY_OK)
            rc = results[i].error.code;
    }
    return rc;
}

static void fail_all(struct dray_pull_result *results, size_t count, const struct dray_error *err)
{
    for (size_t i = 0; i < count; i++)
        results[i].error = *err;
}

static void call_done(struct call *call, struct dray_watch **watches)
{
    for (size_t i = 0; i < call->count; i++) {
        if (watches)
            dray_watch_free(watches[i]);
        if (call->pulls)
            dray_image_pull_free(call->pulls[i]);
    }
    free(call->pulls);
    free(call->finished);
    if (call->wake_fd >= 0)
        close(call->wake_fd);
}

static int call_init(struct call *call, struct dray_watch **watches,
                     const struct dray_reference *references, struct dray_pull_result *results,
                     struct dray_error *err)
{
    call->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (call->wake_fd < 0)
        return dray_error_errno(err, errno, "make an eventfd");
    call->pulls = calloc(call->count, sizeof(call->pulls[0]));
    call->finished = calloc(call->count, sizeof(call->finished[0]));
    if (!call->pulls || !call->finished)
        return dray_error_nomem(err);

    for (size_t i = 0; i < call->count; i++) {
        int rc = dray_image_pull_new(&references[i], &results[i], &call->pulls[i], err);

        if (rc == DRAY_OK && call->puller->on_event)
            rc = dray_watch_new(call->pulls[i], (uint32_t)i, &watches[i], err);
        if (rc < 0)
            return rc;
    }
    return DRAY_OK;
}

/* Start the coordinators; one is enough to go on with. */
static int start_coordinators(struct call *call, pthread_t *threads, uint32_t wanted,
                              uint32_t *ret_started, struct dray_error *err)
{
    uint32_t started = 0;
    int rc = DRAY_OK;

    while (started < wanted && rc == DRAY_OK) {
        rc = dray_thread_start("dray-image", coordinate, call, &threads[started], err);
        if (rc == DRAY_OK)
            started++;
    }
    *ret_started = started;
    return started > 0 ? DRAY_OK : rc;
}

int dray_puller_run(struct dray_puller *puller, const struct dray_reference *references,
                    size_t count, struct dray_pull_result *results)
{
    struct call call = { .puller = puller, .count = count, .wake_fd = -1 };
    DRAY_AUTO_FREE struct dray_watch **watches = NULL;
    pthread_t threads[DRAY_PARALLEL_IMAGES_MAX];
    uint32_t wanted = count < puller->parallel_images ? (uint32_t)count : puller->parallel_images;
    uint32_t started = 0;
    struct dray_error err = { 0 };
    int rc;

    for (size_t i = 0; i < count; i++)
        results[i] = (struct dray_pull_result){ .reference = references[i] };
    if (count == 0)
        return DRAY_OK;

    watches = calloc(count, sizeof(watches[0]));
    rc = watches ? call_init(&call, watches, references, results, &err) : dray_error_nomem(&err);
    if (rc == DRAY_OK)
        rc = start_coordinators(&call, threads, wanted, &started, &err);
    if (rc == DRAY_OK)
        watch(&call, watches);
    else
        fail_all(results, count, &err);

    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    call_done(&call, watches);
    return first_failure(results, count);
}
