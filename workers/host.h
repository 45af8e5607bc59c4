/* Hosts: what this process has learnt of each server, shared by all workers and pulls: whether it
 * is to be left alone for now, how many requests it takes at once, how fast it is. A host is the
 * origin of an endpoint. Nothing of it outlives the process.
 *
 * A request goes: dray_host_gate(), dray_host_enter(), the exchange, dray_host_leave().
 *
 * Any thread may call any function here, except dray_hosts_free(). */
#ifndef DRAY_WORKERS_HOST_H
#define DRAY_WORKERS_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <dray/error.h>

#include "core/cleanup.h"
#include "registry/quota.h"

struct dray_hosts;
struct dray_host;

/* A host that could not be reached is left alone for the first of these; each probe that fails too
 * doubles the time, up to the second. */
#define DRAY_HOST_BREAK_MS     5000
#define DRAY_HOST_BREAK_MAX_MS 60000

/* So is, but only while there is another, one that was left because it was slow. */
#define DRAY_HOST_SLOW_MS     5000
#define DRAY_HOST_SLOW_MAX_MS 60000

#define DRAY_HOST_BAD_RANGES 3

/** @param max_connections  requests to one host at once, at most: at least 1
 *  @return DRAY_OK or DRAY_ENOMEM */
int dray_hosts_new(uint32_t max_connections, struct dray_hosts **ret_hosts, struct dray_error *err);

/** Free the table and its hosts. NULL is allowed. No thread uses it any more, and every host that
 *  was entered was left. */
void dray_hosts_free(struct dray_hosts *hosts);

/** For tests: take the time from here, not from dray_now_ms(). Before the first dray_hosts_get().
 */
void dray_hosts_use_clock(struct dray_hosts *hosts, int64_t (*now_ms)(void));

/**
 * Find the host of an origin, or make it.
 *
 * @param origin    scheme://host[:port]; copied
 * @param ret_host  borrowed; it lives as long as the table
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_hosts_get(struct dray_hosts *hosts, const char *origin, struct dray_host **ret_host,
                   struct dray_error *err);

/** What was seen of a host. A plain value. */
struct dray_host_view {
    uint64_t requests;         /* that have ended */
    uint64_t bytes;            /* of bodies they brought */
    uint64_t failures;         /* requests that failed, and not for a reason of ours */
    uint64_t connect_failures; /* of these: it could not be reached */
    uint64_t stalls;           /* requests that stood still for too long */
    uint64_t overloads;        /* answers 429 and 503 */
    uint64_t wrong_blobs;      /* dray_host_wrong_bytes() */
    uint64_t rate_bytes_per_s; /* of one connection, smoothed; 0: not known */
    int64_t first_byte_ms;     /* smoothed; -1: not known */
    uint32_t slots;            /* requests it may have at once, now */
    uint32_t in_use;           /* and has */
    bool ranges;               /* false: dray_host_bad_range() */
    bool broken;               /* it was out of reach when last tried */
    bool slow;                 /* dray_host_slow(), not long ago */
    struct dray_quota quota;   /* as last told */
};

/** Call fn for each host, in the order in which they were first met, with no lock held. */
void dray_hosts_each(struct dray_hosts *hosts,
                     void (*fn)(void *ctx, const char *origin, const struct dray_host_view *view),
                     void *ctx);

/** May a request be sent to a host now? */
enum dray_host_gate {
    DRAY_HOST_OPEN,   /* yes */
    DRAY_HOST_LATER,  /* it wants a pause (Retry-After, back-off), and all keep it */
    DRAY_HOST_BROKEN, /* it could not be reached: ask another endpoint, if there is one */
};

/**
 * Look; nothing is changed by it.
 *
 * @param ret_wait_ms  when to ask again: 0 when open, else above 0
 */
enum dray_host_gate dray_host_gate(struct dray_host *host, int64_t *ret_wait_ms);

/**
 * Take one of the host's slots, waiting for one. Once a broken host's time is over, the first to
 * enter is its probe; the others stay out until its outcome is known. A probe whose outcome says
 * nothing, because it was stopped on the way, is forgotten after as long a time again.
 *
 * @param wait_ms        how long at most; 0: not at all
 * @param though_broken  enter a broken host, too: there is no other to ask
 * @return true: give it back with dray_host_leave(). false: no slot became free, or the host is to
 *         be left alone: look at the gate
 */
bool dray_host_enter(struct dray_host *host, int64_t wait_ms, bool though_broken);

/** How one request ended. */
struct dray_host_outcome {
    int code;            /* enum dray_code */
    int sys_errno;       /* of its dray_error: EKEYREJECTED tells TLS trouble from no connection */
    int http_status;     /* of its dray_error */
    int64_t pause_ms;    /* how long all shall leave the host alone (429, 503); 0: not at all */
    uint64_t bytes;      /* of body that came */
    int64_t duration_ms; /* from sending the request to the end, connecting not included */
    int64_t first_byte_ms; /* from sending the request to its answer; -1: none came */
    bool stalled;          /* it was given up because nothing came */
};

/**
 * Give the slot back, and learn from the outcome:
 * - 429 and 503 are overload for the limiter, DRAY_OK is good, all else says nothing about load;
 * - the host is left alone until the latest time that any outcome asked for;
 * - DRAY_EUNREACHABLE, unless something answered (registry/endpoint.h says when), breaks it; an
 *   answer of any kind mends it;
 * - 256 KiB of body, or 200 ms of it, tell how fast a connection is.
 */
void dray_host_leave(struct dray_host *host, const struct dray_host_outcome *outcome);

/** It was left in mid-request because it was slow, or said nothing: let others be asked first for
 *  DRAY_HOST_SLOW_MS, and twice as long each time that happens again, up to DRAY_HOST_SLOW_MAX_MS,
 *  until it has once brought a body at some speed. */
void dray_host_slow(struct dray_host *host);

/** It began to serve a part of a blob properly, or has done so to the end. */
void dray_host_good_range(struct dray_host *host, bool to_the_end);

/**
 * It did not. One that never served a part properly never will; from one that did, it takes
 * DRAY_HOST_BAD_RANGES in a row to believe that.
 *
 * @return true: ask it for whole blobs from now on
 */
bool dray_host_bad_range(struct dray_host *host);

/** Bytes that it brought were not those of the digest. */
void dray_host_wrong_bytes(struct dray_host *host);

/** What it said of its quota. Nothing is changed when that is not known. */
void dray_host_quota(struct dray_host *host, const struct dray_quota *quota);

void dray_host_look(struct dray_host *host, struct dray_host_view *ret_view);

DRAY_DEFINE_CLEANUP(struct dray_hosts, dray_hosts_free);
#define DRAY_AUTO_HOSTS DRAY_CLEANUP(dray_hosts_freep)

#endif
