/* What a worker on a download does next: which bytes, and where from. */
#include "core/cancel.h"
#include "core/error.h"
#include "workers/download_state.h"

/* A segment is what one connection brings in about two seconds: long enough that asking for it
 * costs little, short enough that nobody is waited for at the end. Its size before any rate is
 * known, and its limits. */
#define SEGMENT_MS          2000
#define SEGMENT_FIRST_BYTES (UINT64_C(4) << 20)
#define SEGMENT_MIN_BYTES   (UINT64_C(1) << 20)
#define SEGMENT_MAX_BYTES   (UINT64_C(64) << 20)

/* What is here before another worker has asked and been answered needs no other worker, nor does
 * what takes no time to speak of. */
#define SPLIT_ROUND_TRIPS 4
#define SPLIT_MIN_MS      50

/* Taking a part off another worker costs its connection and what its server has sent ahead. So
 * there has to be so much left to do, by a speed that was measured for so long: a moment in which
 * the machine was busy makes nobody slow. */
#define STEAL_MIN_MS    1000
#define STEAL_MIN_BYTES (UINT64_C(2) << 20)
#define STEAL_SEEN_MS   500

static bool is_given_up(const struct dray_download *download)
{
    return atomic_load(download->wanted) == 0 ||
           dray_cancel_fired(download->source->engine->cancel);
}

/* The least time that is worth another request, or another worker. */
static uint64_t least_ms(const struct dray_host_view *host)
{
    uint64_t round_trips_ms =
        host->first_byte_ms > 0 ? (uint64_t)host->first_byte_ms * SPLIT_ROUND_TRIPS : 0;

    return round_trips_ms > SPLIT_MIN_MS ? round_trips_ms : SPLIT_MIN_MS;
}

/* Would more workers than so many, at least one, bring forward what nobody brings yet? */
static bool is_worth_help(const struct dray_host_view *host, uint64_t unclaimed_bytes,
                          uint32_t workers)
{
    if (!host->ranges)
        return false;
    if (host->rate_bytes_per_s == 0)
        return unclaimed_bytes >= 2 * SEGMENT_FIRST_BYTES;
    return unclaimed_bytes >= SEGMENT_MIN_BYTES &&
           unclaimed_bytes * 1000 / (host->rate_bytes_per_s * workers) > least_ms(host);
}

uint32_t dray_download_most_workers(const struct dray_download *download)
{
    const struct dray_engine *engine = download->source->engine;
    const struct dray_route *route = &download->route;

    if (route->one_only && route->places[route->only].in_one_piece)
        return 1;
    return dray_cpu_gauge_limit(engine->cpu_gauge, engine->connections_per_blob);
}

/* How much to ask for at once, where unclaimed_bytes wait. */
static uint64_t segment_bytes(const struct dray_download *download, size_t place,
                              const struct dray_host_view *host, uint64_t unclaimed_bytes)
{
    const struct dray_engine *engine = download->source->engine;
    uint64_t workers = download->active + dray_pool_idle(engine->pool);
    uint64_t least = SEGMENT_MIN_BYTES;
    uint64_t bytes = SEGMENT_FIRST_BYTES;

    if (engine->connections_per_blob == 1 || !host->ranges ||
        download->route.places[place].in_one_piece || !is_worth_help(host, unclaimed_bytes, 1))
        return unclaimed_bytes;
    if (host->rate_bytes_per_s > 0) {
        bytes = host->rate_bytes_per_s * SEGMENT_MS / 1000;
        if (least < host->rate_bytes_per_s * least_ms(host) / 1000)
            least = host->rate_bytes_per_s * least_ms(host) / 1000;
        /* All who work on it, or may come to, shall have something to do till the end. */
        if (workers > dray_download_most_workers(download))
            workers = dray_download_most_workers(download);
        if (workers > 1 && bytes > unclaimed_bytes / (2 * workers))
            bytes = unclaimed_bytes / (2 * workers);
    }
    if (bytes < least)
        bytes = least;
    if (bytes > SEGMENT_MAX_BYTES)
        bytes = SEGMENT_MAX_BYTES;
    /* No request for crumbs. */
    return unclaimed_bytes > bytes + bytes / 2 ? bytes : unclaimed_bytes;
}

struct dray_fetch *dray_download_find_longest(struct dray_download *download, int64_t *ret_left_ms)
{
    struct dray_fetch *longest = NULL;
    int64_t now_ms = dray_now_ms();

    *ret_left_ms = 0;
    for (struct dray_fetch *fetch = download->fetches; fetch; fetch = fetch->next) {
        uint64_t left_bytes = dray_staging_left(download->staging, &fetch->segment);
        uint64_t speed = dray_fetch_speed(fetch);
        int64_t left_ms = 0;

        /* One that has brought nothing yet may still be connecting, for a while. */
        if (dray_fetch_is_silent(fetch))
            left_ms = INT64_MAX;
        else if (speed > 0)
            left_ms = (int64_t)(left_bytes * 1000 / speed);
        else if (now_ms - fetch->begun_ms >= DRAY_SLOW_MS)
            left_ms = INT64_MAX;
        if (left_bytes == 0 || fetch->is_repeat || atomic_load(&fetch->repeated) ||
            left_ms <= *ret_left_ms)
            continue;
        *ret_left_ms = left_ms;
        longest = fetch;
    }
    return longest;
}

static void begin_fetch(struct dray_download *download, struct dray_fetch *fetch)
{
    fetch->begun_ms = dray_now_ms();
    fetch->asked_end = fetch->segment.end;
    if (fetch->segment.at == 0 && fetch->segment.end == download->blob.size_bytes)
        fetch->whole = true;
    fetch->no_other = dray_route_is_only(&download->route, fetch->place);
    fetch->next = download->fetches;
    download->fetches = fetch;
}

/* All is claimed; but who has most left may be slow: then bring what he has left, too. */
static bool repeat(struct dray_download *download, struct dray_fetch *slow, int64_t left_ms,
                   struct dray_fetch *fetch)
{
    uint64_t left_bytes = dray_staging_left(download->staging, &slow->segment);
    struct dray_host_view host;
    int64_t wait_ms;

    if (left_ms < DRAY_SLOW_MS || dray_now_ms() - slow->begun_ms < DRAY_SLOW_MS ||
        dray_route_choose(&download->route, DRAY_ROUTE_INSTEAD, slow->place, &fetch->place,
                          &wait_ms) != DRAY_ROUTE_GO)
        return false;
    dray_host_look(download->route.places[fetch->place].host, &host);
    /* Nothing is known of a host that was never asked: then it cannot be worse. */
    if (!host.ranges ||
        (host.rate_bytes_per_s > 0 &&
         left_ms / 2 < (int64_t)(left_bytes * 1000 / host.rate_bytes_per_s)) ||
        !dray_staging_claim_again(download->staging, &slow->segment, (uint32_t)fetch->place,
                                  &fetch->segment))
        return false;
    atomic_store(&slow->repeated, true);
    fetch->repeats = slow;
    fetch->is_repeat = true;
    return true;
}

/* Or he is not slow but has much to do: then take half of it off him. */
static bool split(struct dray_download *download, const struct dray_fetch *busy, int64_t left_ms,
                  struct dray_fetch *fetch)
{
    struct dray_host_view host;
    uint64_t least;
    int64_t wait_ms;

    if (left_ms < STEAL_MIN_MS || dray_now_ms() - busy->begun_ms < STEAL_SEEN_MS ||
        dray_route_choose(&download->route, DRAY_ROUTE_BESIDE, 0, &fetch->place, &wait_ms) !=
            DRAY_ROUTE_GO)
        return false;
    dray_host_look(download->route.places[fetch->place].host, &host);
    least = host.rate_bytes_per_s * least_ms(&host) / 1000;
    return host.ranges && host.in_use < host.slots &&
           dray_staging_split(download->staging, &busy->segment,
                              least > STEAL_MIN_BYTES ? least : STEAL_MIN_BYTES,
                              (uint32_t)fetch->place, &fetch->segment);
}

static enum dray_download_step plan_beside(struct dray_download *download, struct dray_fetch *fetch)
{
    int64_t left_ms;
    struct dray_fetch *longest = dray_download_find_longest(download, &left_ms);

    if (dray_throttle_is_on(download->source->engine->throttle) || !longest ||
        (!repeat(download, longest, left_ms, fetch) && !split(download, longest, left_ms, fetch)))
        return DRAY_STEP_NOTHING;
    begin_fetch(download, fetch);
    return DRAY_STEP_FETCH;
}

enum dray_download_step dray_download_plan(struct dray_download *download, bool helper,
                                           struct dray_fetch *fetch, int64_t *ret_wait_ms)
{
    const uint64_t size_bytes = download->blob.size_bytes;
    struct dray_error err = { 0 };
    struct dray_host_view host;
    uint64_t unclaimed_bytes;

    if (download->rc == DRAY_OK && is_given_up(download))
        dray_download_fail(download, dray_error_set(&err, DRAY_ECANCELED, "canceled"), &err);
    if (download->rc < 0)
        return DRAY_STEP_STOP;
    if (dray_staging_held(download->staging) == size_bytes)
        return DRAY_STEP_COMPLETE;
    unclaimed_bytes = dray_staging_unclaimed(download->staging);
    if (unclaimed_bytes == 0)
        return helper ? plan_beside(download, fetch) : DRAY_STEP_NOTHING;

    switch (dray_route_choose(&download->route,
                              download->active > 1 ? DRAY_ROUTE_BESIDE : DRAY_ROUTE_FIRST, 0,
                              &fetch->place, ret_wait_ms)) {
    case DRAY_ROUTE_GO:
        break;
    case DRAY_ROUTE_LATER:
        return DRAY_STEP_WAIT;
    case DRAY_ROUTE_NONE:
        dray_download_fail(download, dray_route_error(&download->route, &err), &err);
        return DRAY_STEP_STOP;
    }
    dray_host_look(download->route.places[fetch->place].host, &host);
    if (helper &&
        (host.in_use >= host.slots || !is_worth_help(&host, unclaimed_bytes, download->active - 1)))
        return DRAY_STEP_NOTHING;
    if (!dray_staging_claim(download->staging,
                            segment_bytes(download, fetch->place, &host, unclaimed_bytes),
                            (uint32_t)fetch->place, &fetch->segment))
        return DRAY_STEP_NOTHING;
    fetch->whole = !host.ranges;
    begin_fetch(download, fetch);
    return DRAY_STEP_FETCH;
}
