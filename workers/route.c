#include "workers/route.h"

#include <errno.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/sync.h"
#include "storage/segment_map.h"

/* Mirrors are there to spare the upstream: it has to be so many times faster to be preferred. And
 * so many times faster has to be who shall take over from another. */
#define ADVANTAGE 4

/* What is expected of one connection to a host that was not measured yet. */
#define UNKNOWN_BYTES_PER_S (512u << 10)

int dray_route_init(struct dray_route *route, const struct dray_source *source,
                    struct dray_error *err)
{
    const struct dray_endpoint_list *endpoints = &source->endpoints;

    /* The first endpoint has answered already: it knew the manifest. */
    *route = (struct dray_route){ .source = source,
                                  .errors = { .answered = &endpoints->items[source->first] } };
    route->places = calloc(endpoints->count, sizeof(route->places[0]));
    if (!route->places)
        return dray_error_nomem(err);
    for (size_t i = source->first; i < endpoints->count; i++) {
        struct dray_route_place *place = &route->places[i];
        int rc =
            dray_hosts_get(source->engine->hosts, endpoints->items[i].origin, &place->host, err);

        if (rc < 0)
            return rc;
        place->retry.limit = source->engine->retries;
    }
    return DRAY_OK;
}

void dray_route_done(struct dray_route *route)
{
    free(route->places);
    route->places = NULL;
}

static const struct dray_endpoint *endpoint_at(const struct dray_route *route, size_t place)
{
    return &route->source->endpoints.items[place];
}

/* Is an upstream before this one still the way to go? The next one is the same host by plain http,
 * for when nobody speaks https there. */
static bool is_second_to_https(const struct dray_route *route, size_t place)
{
    for (size_t i = route->source->first; i < place; i++) {
        struct dray_host_view view;

        if (endpoint_at(route, i)->mirror || route->places[i].given_up)
            continue;
        dray_host_look(route->places[i].host, &view);
        if (!view.broken)
            return true;
    }
    return false;
}

/* The next place, from this one on, that may be asked at all; the number of places: there is none.
 */
static size_t next_usable(const struct dray_route *route, size_t place)
{
    for (; place < route->source->endpoints.count; place++) {
        const struct dray_endpoint *endpoint = endpoint_at(route, place);

        if (!route->places[place].given_up &&
            dray_endpoint_errors_allow(&route->errors, endpoint) &&
            (!route->one_only || place == route->only) &&
            (endpoint->mirror || !is_second_to_https(route, place)))
            break;
    }
    return place;
}

static size_t count_usable(const struct dray_route *route)
{
    size_t count = 0;

    for (size_t i = next_usable(route, route->source->first); i < route->source->endpoints.count;
         i = next_usable(route, i + 1))
        count++;
    return count;
}

/* How long the place is to be left alone; 0: it may be asked now. The only place left is asked in
 * spite of a broken circuit: there is nobody else, and its own retries wait as well. */
static int64_t ready_in_ms(const struct dray_route *route, size_t place, bool is_only)
{
    const struct dray_route_place *at = &route->places[place];
    int64_t own_ms = at->not_before_ms - dray_now_ms();
    int64_t wait_ms = 0;
    enum dray_host_gate gate = dray_host_gate(at->host, &wait_ms);

    if (gate == DRAY_HOST_OPEN || (gate == DRAY_HOST_BROKEN && is_only))
        wait_ms = 0;
    return own_ms > wait_ms ? own_ms : wait_ms;
}

/* Is there another endpoint that is in reach and can be asked soon? */
static bool has_alternative(const struct dray_route *route, size_t place)
{
    for (size_t i = next_usable(route, route->source->first); i < route->source->endpoints.count;
         i = next_usable(route, i + 1)) {
        struct dray_host_view view;

        dray_host_look(route->places[i].host, &view);
        if (i != place && !view.broken && ready_in_ms(route, i, false) <= DRAY_RETRY_PATIENCE_MS)
            return true;
    }
    return false;
}

/* The best of what may be asked now, so far. */
struct choice {
    size_t place;
    uint64_t rate; /* of one connection; UINT64_MAX: worth a try */
    bool found;
};

/* The best of each kind. */
struct choices {
    struct choice mirror;
    struct choice upstream;
    struct choice full; /* no slot is free there */
    struct choice slow; /* the last resort */
};

static uint64_t expected_rate(const struct dray_host_view *host)
{
    return host->rate_bytes_per_s > 0 ? host->rate_bytes_per_s : UNKNOWN_BYTES_PER_S;
}

static void consider(struct choice *choice, size_t place, uint64_t rate)
{
    if (choice->found && rate <= choice->rate)
        return;
    *choice = (struct choice){ .place = place, .rate = rate, .found = true };
}

static void sort_in(struct choices *choices, const struct dray_route *route, size_t place,
                    enum dray_route_purpose purpose, bool is_slow,
                    const struct dray_host_view *host)
{
    uint64_t rate = expected_rate(host);

    if (is_slow)
        consider(&choices->slow, place, rate);
    else if (host->in_use >= host->slots)
        consider(&choices->full, place, rate);
    else if (!endpoint_at(route, place)->mirror)
        consider(&choices->upstream, place, rate);
    else if (purpose == DRAY_ROUTE_BESIDE && host->rate_bytes_per_s == 0 && host->in_use == 0)
        consider(&choices->mirror, place, UINT64_MAX);
    else
        consider(&choices->mirror, place, rate);
}

static const struct choice *best_of(const struct choices *choices, enum dray_route_purpose purpose)
{
    const struct choice *best = &choices->mirror;

    if (!best->found ||
        (choices->upstream.found && choices->upstream.rate / ADVANTAGE > best->rate))
        best = &choices->upstream;
    if (!best->found)
        best = &choices->full;
    /* A new connection to the same host may be better than another host that is known to be slow.
     */
    if (!best->found || (purpose == DRAY_ROUTE_INSTEAD && choices->slow.found &&
                         choices->slow.rate / ADVANTAGE > best->rate))
        best = &choices->slow;
    return best;
}

enum dray_route_way dray_route_choose(const struct dray_route *route,
                                      enum dray_route_purpose purpose, size_t slow_place,
                                      size_t *ret_place, int64_t *ret_wait_ms)
{
    const size_t count = route->source->endpoints.count;
    const size_t usable = count_usable(route);
    struct choices choices = { 0 };
    const struct choice *best;
    int64_t wait_ms = INT64_MAX;

    if (usable == 0)
        return DRAY_ROUTE_NONE;
    for (size_t i = next_usable(route, route->source->first); i < count;
         i = next_usable(route, i + 1)) {
        int64_t place_wait_ms = ready_in_ms(route, i, usable == 1);
        struct dray_host_view view;

        dray_host_look(route->places[i].host, &view);
        if (place_wait_ms > 0)
            wait_ms = place_wait_ms < wait_ms ? place_wait_ms : wait_ms;
        else if (purpose == DRAY_ROUTE_FIRST || view.ranges)
            sort_in(&choices, route, i, purpose,
                    view.slow || (purpose == DRAY_ROUTE_INSTEAD && i == slow_place), &view);
    }

    best = best_of(&choices, purpose);
    if (!best->found) {
        *ret_wait_ms = wait_ms;
        return DRAY_ROUTE_LATER;
    }
    *ret_place = best->place;
    return DRAY_ROUTE_GO;
}

/* Whom to ask when only one shall be asked: the last one, for the upstream knows best. */
static void choose_only(struct dray_route *route)
{
    const size_t count = route->source->endpoints.count;
    size_t last = count;

    route->one_only = false;
    for (size_t i = next_usable(route, route->source->first); i < count;
         i = next_usable(route, i + 1))
        last = i;
    route->one_only = last < count;
    route->only = last;
}

static void give_up(struct dray_route *route, size_t place, const struct dray_error *err)
{
    if (route->places[place].given_up) /* requests that failed together */
        return;
    route->places[place].given_up = true;
    dray_endpoint_errors_add(&route->errors, endpoint_at(route, place), err);
    if (route->one_only && place == route->only)
        choose_only(route);
}

bool dray_route_leave_slow(struct dray_route *route, size_t place, uint64_t rate_bytes_per_s)
{
    const size_t count = route->source->endpoints.count;

    if (rate_bytes_per_s == 0 && route->places[place].left_silent)
        return false;
    for (size_t i = next_usable(route, route->source->first); i < count;
         i = next_usable(route, i + 1)) {
        struct dray_host_view view;

        if (i == place || ready_in_ms(route, i, false) > 0)
            continue;
        dray_host_look(route->places[i].host, &view);
        if (view.slow || expected_rate(&view) / ADVANTAGE <= rate_bytes_per_s)
            continue;
        dray_host_slow(route->places[place].host);
        route->places[place].left_silent = rate_bytes_per_s == 0;
        return true;
    }
    return false;
}

bool dray_route_is_only(const struct dray_route *route, size_t place)
{
    return count_usable(route) == 1 && next_usable(route, place) == place;
}

void dray_route_succeeded(struct dray_route *route, size_t place)
{
    route->places[place].answered = true;
    route->places[place].left_silent = false;
    route->places[place].retry.failures = 0;
}

/* Would this failure be waited out, if it were the first? */
static bool may_pass(const struct dray_route_place *at, const struct dray_error *err,
                     int64_t *ret_delay_ms)
{
    struct dray_retry fresh = at->retry;

    fresh.failures = 0;
    if (fresh.limit == 0)
        fresh.limit = 1;
    return dray_retry_decide(&fresh, err, 0, ret_delay_ms);
}

bool dray_route_failed(struct dray_route *route, size_t place, const struct dray_error *err,
                       int64_t begun_ms, uint64_t progress_bytes, bool bears, int64_t *ret_delay_ms)
{
    struct dray_route_place *at = &route->places[place];
    int64_t now_ms = dray_now_ms();
    bool counts;

    /* It served the manifest, or a part of the blob. */
    at->retry.known_good = place == route->source->first || at->answered;
    at->retry.elsewhere = has_alternative(route, place);
    counts = begun_ms >= at->failed_ms && !(bears && dray_retry_is_overload(err));
    if (counts ? !dray_retry_decide(&at->retry, err, progress_bytes, ret_delay_ms)
               : !may_pass(at, err, ret_delay_ms)) {
        give_up(route, place, err);
        return false;
    }
    if (counts)
        at->failed_ms = now_ms;
    if (at->not_before_ms < now_ms + *ret_delay_ms)
        at->not_before_ms = now_ms + *ret_delay_ms;
    return true;
}

/* The only place that delivered anything; -1: there are several, or nobody knows. */
static int only_place(uint64_t origins)
{
    if (!origins || (origins & (origins - 1)) || origins >> DRAY_ORIGIN_RESUMED)
        return -1;
    return __builtin_ctzll(origins);
}

int dray_route_wrong_bytes(struct dray_route *route, uint64_t origins, bool several_answers,
                           const struct dray_error *err)
{
    int place = only_place(origins);
    struct dray_error blamed = *err;

    if (place < 0) {
        choose_only(route);
        return -1;
    }
    if (several_answers && !route->places[place].in_one_piece) {
        route->places[place].in_one_piece = true;
        route->one_only = true;
        route->only = (size_t)place;
        return -1;
    }
    dray_error_wrap(&blamed, err->code, "%s", endpoint_at(route, (size_t)place)->origin);
    give_up(route, (size_t)place, &blamed);
    return place;
}

int dray_route_error(const struct dray_route *route, struct dray_error *err)
{
    return dray_endpoint_errors_join(&route->errors, err);
}
