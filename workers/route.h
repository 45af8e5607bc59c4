/* A route: which endpoint the next part of a blob comes from.
 *
 * Mirrors come before the upstream; of several mirrors, the one whose connections were fastest so
 * far. The upstream is asked when no mirror can serve, or has a slot free, or when it is known to
 * be several times faster. Who was left because of slowness comes last. Plain http to a host is a
 * way only after https was given up, or while it cannot be reached.
 *
 * Belongs to one download and is guarded by that one's lock; what it knows of hosts is shared by
 * all (workers/host.h). */
#ifndef DRAY_WORKERS_ROUTE_H
#define DRAY_WORKERS_ROUTE_H

#include "workers/endpoint_errors.h"
#include "workers/host.h"
#include "workers/retry.h"
#include "workers/source.h"

/** One endpoint, with regard to this blob. */
struct dray_route_place {
    struct dray_host *host; /* borrowed */
    struct dray_retry retry;
    int64_t not_before_ms; /* a failure is being waited out */
    int64_t failed_ms;     /* when the last failure that counted was */
    bool given_up;
    bool answered;     /* it has delivered some of the blob */
    bool left_silent;  /* it was left once because nothing came; reset when something does */
    bool in_one_piece; /* its answers may not fit together: it is asked for all at once */
};

struct dray_route {
    const struct dray_source *source;
    struct dray_route_place *places; /* one an endpoint of the source; owned */
    struct dray_endpoint_errors errors;
    bool one_only; /* bytes of several endpoints made a wrong whole: ... */
    size_t only;   /* ... now it all comes from this one */
};

/** @return DRAY_OK or DRAY_ENOMEM */
int dray_route_init(struct dray_route *route, const struct dray_source *source,
                    struct dray_error *err);

void dray_route_done(struct dray_route *route);

enum dray_route_way {
    DRAY_ROUTE_GO,    /* ask the place */
    DRAY_ROUTE_LATER, /* every endpoint that would do is to be left alone for a while */
    DRAY_ROUTE_NONE,  /* every endpoint was given up: dray_route_error() tells why */
};

/** What the choice is for. */
enum dray_route_purpose {
    DRAY_ROUTE_FIRST,   /* the only request for this blob at the moment: no experiments */
    DRAY_ROUTE_BESIDE,  /* one more, for a part: a mirror of unknown speed is worth trying */
    DRAY_ROUTE_INSTEAD, /* in place of a slow one, for a part: another endpoint, unless it is known
                         * to be much slower than a new request there may be */
};

/**
 * Choose an endpoint.
 *
 * @param slow_place    for INSTEAD: the endpoint that is slow
 * @param ret_place     for GO: its place in the source's list
 * @param ret_wait_ms   for LATER: how long
 */
enum dray_route_way dray_route_choose(const struct dray_route *route,
                                      enum dray_route_purpose purpose, size_t slow_place,
                                      size_t *ret_place, int64_t *ret_wait_ms);

/**
 * A request to the place goes on, but slowly: is another endpoint known to be, or likely, several
 * times faster? Then the others are asked first for a while, for every blob. One that has brought
 * nothing at all is left once; after that the rules for stalls decide, so that silence counts as a
 * failure.
 */
bool dray_route_leave_slow(struct dray_route *route, size_t place, uint64_t rate_bytes_per_s);

/** A request to the place succeeded. */
void dray_route_succeeded(struct dray_route *route, size_t place);

/**
 * A request to the place failed with what another endpoint, or another try, may do better. Requests
 * that failed together are one failure.
 *
 * @param begun_ms        when it was sent, on the clock of dray_now_ms()
 * @param progress_bytes  what it brought all the same
 * @param bears           another request there goes on well: an overload is no failure then
 * @param ret_delay_ms    set when the result is true
 * @return true: the place is left alone for a while; false: it was given up
 */
bool dray_route_failed(struct dray_route *route, size_t place, const struct dray_error *err,
                       int64_t begun_ms, uint64_t progress_bytes, bool bears,
                       int64_t *ret_delay_ms);

/**
 * The digest of the whole is wrong. One endpoint alone is given up for that, after it has had the
 * chance to deliver the blob in one piece: its content may have changed between two answers. Of
 * several endpoints it is unknown whose fault it is, as it is of bytes an earlier run left: from
 * now on one endpoint brings it all.
 *
 * @param origins          bit i: place i delivered bytes; bit DRAY_ORIGIN_RESUMED: an earlier run
 * @param several_answers  they came in more than one
 * @return the place to blame, or -1
 */
int dray_route_wrong_bytes(struct dray_route *route, uint64_t origins, bool several_answers,
                           const struct dray_error *err);

/** Is the place the only one that may be asked? */
bool dray_route_is_only(const struct dray_route *route, size_t place);

/** Why no endpoint is left: every endpoint's own text. @return the code */
int dray_route_error(const struct dray_route *route, struct dray_error *err);

#endif
