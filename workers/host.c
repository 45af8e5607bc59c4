#include "workers/host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/sync.h"
#include "workers/limiter.h"
#include "workers/retry.h"

/* Less tells more about the round trip than about the connection. */
#define SAMPLE_BYTES (256u << 10)
#define SAMPLE_MS    200

/* A header and then nothing for so long is a rate, too. */
#define SILENCE_MS 2000

struct dray_host {
    struct dray_limiter limiter;
    int64_t (*now_ms)(void); /* fixed at creation, read without the lock */

    struct dray_mutex mu; /* guards the fields below */
    int64_t not_before_ms DRAY_GUARDED_BY(&mu);
    int64_t break_ms DRAY_GUARDED_BY(&mu); /* the length of the time out; 0: it is not broken */
    int64_t probe_ms DRAY_GUARDED_BY(&mu); /* while broken: when the next probe may go */
    bool probing DRAY_GUARDED_BY(&mu);     /* while broken: one is on its way, as far as known */
    int64_t slow_ms DRAY_GUARDED_BY(&mu);  /* how long it was called slow for; 0: it was not */
    int64_t slow_until_ms DRAY_GUARDED_BY(&mu);
    uint32_t bad_ranges_left DRAY_GUARDED_BY(&mu);   /* till it is asked for no more of them */
    struct dray_host_view view DRAY_GUARDED_BY(&mu); /* but for slots, in_use, broken, slow */

    struct dray_host *next; /* guarded by the table's lock */
    char origin[];          /* fixed at creation */
};

struct dray_hosts {
    uint32_t max_connections; /* fixed at creation */
    int64_t (*now_ms)(void);
    struct dray_mutex mu; /* guards the list, which only grows */
    struct dray_host *first DRAY_GUARDED_BY(&mu);
};

int dray_hosts_new(uint32_t max_connections, struct dray_hosts **ret_hosts, struct dray_error *err)
{
    struct dray_hosts *hosts = calloc(1, sizeof(*hosts));

    assert(max_connections >= 1);
    if (!hosts)
        return dray_error_nomem(err);
    hosts->max_connections = max_connections;
    hosts->now_ms = dray_now_ms;
    dray_mutex_init(&hosts->mu);
    *ret_hosts = hosts;
    return DRAY_OK;
}

static void host_free(struct dray_host *host)
{
    dray_mutex_done(&host->mu);
    dray_limiter_done(&host->limiter);
    free(host);
}

void dray_hosts_free(struct dray_hosts *hosts)
{
    if (!hosts)
        return;
    while (hosts->first) {
        struct dray_host *host = hosts->first;

        hosts->first = host->next;
        host_free(host);
    }
    dray_mutex_done(&hosts->mu);
    free(hosts);
}

void dray_hosts_use_clock(struct dray_hosts *hosts, int64_t (*now_ms)(void))
{
    hosts->now_ms = now_ms;
}

static struct dray_host *host_new(const struct dray_hosts *hosts, const char *origin)
{
    size_t size = strlen(origin) + 1;
    struct dray_host *host = calloc(1, sizeof(*host) + size);

    if (!host)
        return NULL;
    memcpy(host->origin, origin, size);
    dray_limiter_init(&host->limiter, hosts->max_connections);
    host->limiter.now_ms = hosts->now_ms;
    host->now_ms = hosts->now_ms;
    host->view.first_byte_ms = -1;
    host->view.ranges = true;
    dray_mutex_init(&host->mu);
    return host;
}

static struct dray_host **place_of(struct dray_hosts *hosts, const char *origin)
    DRAY_REQUIRES(&hosts->mu);

/* Where the link to a host is, or would go: there are few. */
static struct dray_host **place_of(struct dray_hosts *hosts, const char *origin)
{
    struct dray_host **link = &hosts->first;

    while (*link && strcmp((*link)->origin, origin) != 0)
        link = &(*link)->next;
    return link;
}

int dray_hosts_get(struct dray_hosts *hosts, const char *origin, struct dray_host **ret_host,
                   struct dray_error *err)
{
    struct dray_host **link;
    struct dray_host *host;
    struct dray_host *made;

    dray_mutex_lock(&hosts->mu);
    host = *place_of(hosts, origin);
    dray_mutex_unlock(&hosts->mu);
    if (host) {
        *ret_host = host;
        return DRAY_OK;
    }

    made = host_new(hosts, origin);
    if (!made)
        return dray_error_nomem(err);
    dray_mutex_lock(&hosts->mu);
    link = place_of(hosts, origin); /* another thread may have made it meanwhile */
    if (!*link)
        *link = made;
    host = *link;
    dray_mutex_unlock(&hosts->mu);
    if (host != made)
        host_free(made);
    *ret_host = host;
    return DRAY_OK;
}

void dray_hosts_each(struct dray_hosts *hosts,
                     void (*fn)(void *ctx, const char *origin, const struct dray_host_view *view),
                     void *ctx)
{
    struct dray_host *host;

    dray_mutex_lock(&hosts->mu);
    host = hosts->first;
    dray_mutex_unlock(&hosts->mu);
    while (host) {
        struct dray_host_view view;

        dray_host_look(host, &view);
        fn(ctx, host->origin, &view);
        dray_mutex_lock(&hosts->mu);
        host = host->next;
        dray_mutex_unlock(&hosts->mu);
    }
}

enum dray_host_gate dray_host_gate(struct dray_host *host, int64_t *ret_wait_ms)
{
    enum dray_host_gate gate = DRAY_HOST_OPEN;
    int64_t wait_ms = 0;
    int64_t now_ms;

    dray_mutex_lock(&host->mu);
    now_ms = host->now_ms(); /* under the lock, so that it never goes back */
    /* The pause first: it is kept also by those who would enter a broken host. */
    if (now_ms < host->not_before_ms) {
        gate = DRAY_HOST_LATER;
        wait_ms = host->not_before_ms - now_ms;
    } else if (host->break_ms > 0 && now_ms < host->probe_ms) {
        gate = DRAY_HOST_BROKEN;
        wait_ms = host->probe_ms - now_ms;
    }
    dray_mutex_unlock(&host->mu);
    *ret_wait_ms = wait_ms;
    return gate;
}

bool dray_host_enter(struct dray_host *host, int64_t wait_ms, bool though_broken)
{
    int64_t now_ms;
    bool shut;

    if (!dray_limiter_enter(&host->limiter, wait_ms))
        return false;
    dray_mutex_lock(&host->mu);
    now_ms = host->now_ms();
    /* What made the slot free may have been the refusal that all shall heed. */
    shut = now_ms < host->not_before_ms ||
           (host->break_ms > 0 && now_ms < host->probe_ms && !though_broken);
    if (!shut && host->break_ms > 0) {
        host->probing = true;
        host->probe_ms = now_ms + host->break_ms;
    }
    dray_mutex_unlock(&host->mu);
    if (shut)
        dray_limiter_leave(&host->limiter, DRAY_LIMITER_FAILED, 0);
    return !shut;
}

/* What an outcome says of the way to the host. */
enum contact {
    CONTACT_NONE,    /* it cannot be reached */
    CONTACT_UNKNOWN, /* nothing: the connection broke, or the request was stopped here */
    CONTACT_MADE,    /* something answered */
};

static enum contact contact_of(const struct dray_host_outcome *outcome)
{
    if (outcome->http_status != 0 || outcome->first_byte_ms >= 0)
        return CONTACT_MADE;
    switch ((enum dray_code)outcome->code) {
    case DRAY_EUNREACHABLE:
        return outcome->sys_errno == EKEYREJECTED ? CONTACT_MADE : CONTACT_NONE;
    case DRAY_OK:
    case DRAY_ENOTFOUND:
    case DRAY_EAUTH:
    case DRAY_EDIGEST:
    case DRAY_EPROTO:
    case DRAY_EUNSUPPORTED:
        return CONTACT_MADE;
    case DRAY_ETRANSIENT:
    case DRAY_ECANCELED:
    case DRAY_ENOMEM:
    case DRAY_EINVAL:
    case DRAY_ENOSPC:
    case DRAY_ESTORE:
    case DRAY_EIO:
        return CONTACT_UNKNOWN;
    }
    return CONTACT_UNKNOWN;
}

static void note_contact(struct dray_host *host, enum contact contact, int64_t now_ms)
    DRAY_REQUIRES(&host->mu);

static void note_contact(struct dray_host *host, enum contact contact, int64_t now_ms)
{
    if (contact == CONTACT_UNKNOWN)
        return;
    if (contact == CONTACT_MADE) {
        host->break_ms = 0;
        host->probing = false;
        return;
    }

    /* Requests that were on their way with the one that broke it fail for the same reason. */
    if (host->break_ms > 0 && !host->probing)
        return;
    host->probing = false;
    host->break_ms = host->break_ms == 0 ? DRAY_HOST_BREAK_MS : host->break_ms * 2;
    if (host->break_ms > DRAY_HOST_BREAK_MAX_MS)
        host->break_ms = DRAY_HOST_BREAK_MAX_MS;
    host->probe_ms = now_ms + host->break_ms;
}

/* A quarter of each new sample: a few requests make a new picture, one does not. */
static int64_t smooth(int64_t known, int64_t sample)
{
    return known + (sample - known) / 4;
}

/* @return whether it brought a body, and at some speed */
static bool note_speed(struct dray_host_view *view, const struct dray_host_outcome *outcome)
{
    int64_t body_ms;

    if (outcome->first_byte_ms < 0)
        return false;
    view->first_byte_ms = view->first_byte_ms < 0
                              ? outcome->first_byte_ms
                              : smooth(view->first_byte_ms, outcome->first_byte_ms);

    body_ms = outcome->duration_ms - outcome->first_byte_ms;
    if (outcome->bytes >= SAMPLE_BYTES || (outcome->bytes > 0 && body_ms >= SAMPLE_MS) ||
        body_ms >= SILENCE_MS) {
        double seconds = (double)(body_ms > 0 ? body_ms : 1) / 1000;
        int64_t rate = (int64_t)((double)outcome->bytes / seconds);

        if (view->rate_bytes_per_s > 0)
            rate = smooth((int64_t)view->rate_bytes_per_s, rate);
        view->rate_bytes_per_s = rate > 0 ? (uint64_t)rate : 1;
    }
    return outcome->bytes >= SAMPLE_BYTES;
}

static bool is_overload(const struct dray_host_outcome *outcome)
{
    return outcome->http_status == 429 || outcome->http_status == 503;
}

static void count(struct dray_host_view *view, const struct dray_host_outcome *outcome,
                  enum contact contact)
{
    view->requests++;
    view->bytes += outcome->bytes;
    view->failures += dray_retry_elsewhere(outcome->code);
    view->connect_failures += contact == CONTACT_NONE;
    view->stalls += outcome->stalled;
    view->overloads += is_overload(outcome);
}

void dray_host_leave(struct dray_host *host, const struct dray_host_outcome *outcome)
{
    enum dray_limiter_outcome load = DRAY_LIMITER_FAILED;
    enum contact contact = contact_of(outcome);
    int64_t now_ms;

    dray_mutex_lock(&host->mu);
    now_ms = host->now_ms();
    note_contact(host, contact, now_ms);
    if (note_speed(&host->view, outcome))
        host->slow_ms = 0;
    count(&host->view, outcome, contact);
    if (outcome->pause_ms > 0 && now_ms + outcome->pause_ms > host->not_before_ms)
        host->not_before_ms = now_ms + outcome->pause_ms;
    dray_mutex_unlock(&host->mu);

    if (is_overload(outcome))
        load = DRAY_LIMITER_OVERLOADED;
    else if (outcome->code == DRAY_OK)
        load = DRAY_LIMITER_GOOD;
    dray_limiter_leave(&host->limiter, load, outcome->bytes);
}

void dray_host_slow(struct dray_host *host)
{
    int64_t now_ms;

    dray_mutex_lock(&host->mu);
    now_ms = host->now_ms();
    if (now_ms >= host->slow_until_ms) { /* those who leave it together leave it once */
        host->slow_ms = host->slow_ms == 0 ? DRAY_HOST_SLOW_MS : host->slow_ms * 2;
        if (host->slow_ms > DRAY_HOST_SLOW_MAX_MS)
            host->slow_ms = DRAY_HOST_SLOW_MAX_MS;
        host->slow_until_ms = now_ms + host->slow_ms;
    }
    dray_mutex_unlock(&host->mu);
}

void dray_host_good_range(struct dray_host *host, bool to_the_end)
{
    dray_mutex_lock(&host->mu);
    if (to_the_end || host->bad_ranges_left == 0)
        host->bad_ranges_left = DRAY_HOST_BAD_RANGES;
    dray_mutex_unlock(&host->mu);
}

bool dray_host_bad_range(struct dray_host *host)
{
    bool is_off;

    dray_mutex_lock(&host->mu);
    if (host->bad_ranges_left > 0)
        host->bad_ranges_left--;
    if (host->bad_ranges_left == 0)
        host->view.ranges = false;
    is_off = !host->view.ranges;
    dray_mutex_unlock(&host->mu);
    return is_off;
}

void dray_host_wrong_bytes(struct dray_host *host)
{
    dray_mutex_lock(&host->mu);
    host->view.wrong_blobs++;
    dray_mutex_unlock(&host->mu);
}

void dray_host_quota(struct dray_host *host, const struct dray_quota *quota)
{
    if (!quota->known)
        return;
    dray_mutex_lock(&host->mu);
    host->view.quota = *quota;
    dray_mutex_unlock(&host->mu);
}

void dray_host_look(struct dray_host *host, struct dray_host_view *ret_view)
{
    dray_mutex_lock(&host->mu);
    *ret_view = host->view;
    ret_view->broken = host->break_ms > 0;
    ret_view->slow = host->now_ms() < host->slow_until_ms;
    dray_mutex_unlock(&host->mu);
    ret_view->slots = dray_limiter_slots(&host->limiter);
    ret_view->in_use = dray_limiter_in_use(&host->limiter);
}
