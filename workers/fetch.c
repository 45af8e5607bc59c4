/* One request for a part of a blob: the sink of its bytes, and what its end means. */
#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"
#include "workers/download_state.h"

/* How long a worker waits for one of the host's slots before it looks for other work, and how often
 * one that is throttled looks whether it was stopped. */
#define SLOT_WAIT_MS 100

/* How long the end of an answer is waited for once its last byte is here. */
#define END_WAIT_MS 1000

/* No rate is measured over less. */
#define RATE_MIN_MS 100

uint64_t dray_fetch_speed(const struct dray_fetch *fetch)
{
    int64_t elapsed_ms =
        dray_now_ms() - (fetch->served_ms > 0 ? fetch->served_ms : fetch->begun_ms);

    if (elapsed_ms < RATE_MIN_MS)
        return 0;
    return atomic_load(&fetch->received_bytes) * 1000 / (uint64_t)elapsed_ms;
}

bool dray_fetch_is_silent(struct dray_fetch *fetch)
{
    uint64_t received_bytes = atomic_load(&fetch->received_bytes);
    int64_t now_ms = dray_now_ms();

    if (received_bytes != fetch->seen_bytes || fetch->seen_ms == 0) {
        fetch->seen_bytes = received_bytes;
        fetch->seen_ms = now_ms;
    }
    return now_ms - fetch->seen_ms >= DRAY_SLOW_MS;
}

static int not_wanted(struct dray_error *err)
{
    return dray_error_set(err, DRAY_ECANCELED, "no longer wanted");
}

/* The answer is good. Where the endpoint sent us is where the others go straight away. */
static int note_answer(struct dray_fetch *fetch)
{
    struct dray_download *download = fetch->download;
    struct dray_blob_target *known = &download->targets[fetch->place];
    bool first;
    int rc = DRAY_OK;

    dray_mutex_lock(&download->mu);
    fetch->served_ms = dray_now_ms();
    first = !download->answered;
    download->answered = true;
    if (first)
        download->figures.first_byte_ms = fetch->served_ms - fetch->begun_ms;
    if (!dray_blob_target_equal(&fetch->target, known))
        rc = dray_blob_target_copy(&fetch->target, known);
    dray_mutex_unlock(&download->mu);
    if (first)
        dray_pool_nudge(download->source->engine->pool);
    return rc;
}

/* Is all of it here, or all that another has left to it? */
static bool is_complete(const struct dray_fetch *fetch)
{
    return fetch->segment.at >= fetch->segment.end;
}

/* It ended otherwise than it should have, but after its last byte. */
static bool is_good_enough(const struct dray_fetch *fetch, int rc)
{
    return is_complete(fetch) && (rc == DRAY_ECANCELED || rc == DRAY_ETRANSIENT);
}

/* Does another endpoint bring parts of it? */
static bool is_shared_with_others(struct dray_fetch *fetch)
{
    struct dray_download *download = fetch->download;
    bool shared = false;

    dray_mutex_lock(&download->mu);
    for (const struct dray_fetch *other = download->fetches; other; other = other->next)
        shared = shared || other->place != fetch->place;
    dray_mutex_unlock(&download->mu);
    return shared;
}

/* All comes where a part was asked for. */
static int take_all(struct dray_fetch *fetch, struct dray_error *err)
{
    struct dray_download *download = fetch->download;

    if (!fetch->whole && !dray_host_bad_range(download->route.places[fetch->place].host))
        return dray_error_set(err, DRAY_ETRANSIENT, "%s: a part was asked for, and all came",
                              dray_download_endpoint(download, fetch->place)->origin);
    /* One such answer is enough, and it displaces nobody who serves parts. */
    if (is_shared_with_others(fetch) ||
        !dray_staging_claim_all(download->staging, &fetch->segment) ||
        !dray_staging_needs(download->staging, &fetch->segment))
        return not_wanted(err);
    return DRAY_OK;
}

static int fetch_start(void *ctx, uint64_t begin, uint64_t end, struct dray_error *err)
{
    struct dray_fetch *fetch = ctx;
    int rc = DRAY_OK;

    /* First: who is let in by the answer shall know whether parts are served. */
    if (begin != fetch->segment.at || end != fetch->asked_end)
        rc = take_all(fetch, err);
    else if (!fetch->whole)
        dray_host_good_range(fetch->download->route.places[fetch->place].host, false);
    if (rc == DRAY_OK && note_answer(fetch) < 0)
        return dray_error_nomem(err);
    return rc;
}

/* Is it so slow that the rest had better come from elsewhere? */
static bool is_left_for_another(struct dray_fetch *fetch)
{
    struct dray_download *download = fetch->download;
    uint64_t speed;
    bool leaves;

    if (dray_throttle_is_on(download->source->engine->throttle) ||
        dray_now_ms() - fetch->begun_ms < DRAY_SLOW_MS || atomic_load(&fetch->repeated))
        return false;
    dray_mutex_lock(&download->mu);
    speed = dray_fetch_is_silent(fetch) ? 0 : dray_fetch_speed(fetch);
    leaves = (fetch->segment.end - fetch->segment.at) / (speed + 1) >= DRAY_SLOW_MS / 1000 &&
             dray_route_leave_slow(&download->route, fetch->place, speed);
    dray_mutex_unlock(&download->mu);
    return leaves;
}

static bool fetch_wanted(void *ctx)
{
    struct dray_fetch *fetch = ctx;
    struct dray_download *download = fetch->download;

    if (atomic_load(&download->stop) || atomic_load(download->wanted) == 0)
        return false;
    /* Once it is at its end the answer may end properly, which keeps the connection. */
    if (is_complete(fetch)) {
        if (fetch->complete_ms == 0)
            fetch->complete_ms = dray_now_ms();
        return dray_now_ms() - fetch->complete_ms < END_WAIT_MS;
    }
    return dray_staging_needs(download->staging, &fetch->segment) && !is_left_for_another(fetch);
}

static int fetch_write(void *ctx, const uint8_t *data, size_t len, struct dray_error *err)
{
    struct dray_fetch *fetch = ctx;
    struct dray_download *download = fetch->download;
    const struct dray_engine *engine = download->source->engine;
    int64_t wait_ms;
    int rc;

    if (atomic_load(&download->stop) || atomic_load(download->wanted) == 0)
        return not_wanted(err);
    rc = dray_staging_write(download->staging, &fetch->segment, data, len, err);
    if (rc < 0)
        return rc;
    atomic_fetch_add(&fetch->received_bytes, len);
    atomic_fetch_add(&download->received_bytes, len);
    if (fetch->segment.cut && is_complete(fetch))
        return not_wanted(err); /* the rest comes by another connection */
    if ((fetch->is_repeat || atomic_load(&fetch->repeated)) &&
        fetch->segment.at < fetch->segment.end &&
        !dray_staging_needs(download->staging, &fetch->segment))
        return not_wanted(err);

    for (wait_ms = dray_throttle_take(engine->throttle, len); wait_ms > 0;
         wait_ms -= SLOT_WAIT_MS) {
        if (dray_cancel_sleep(engine->cancel, wait_ms < SLOT_WAIT_MS ? wait_ms : SLOT_WAIT_MS) < 0)
            return dray_error_set(err, DRAY_ECANCELED, "canceled");
        if (atomic_load(&download->stop) || atomic_load(download->wanted) == 0)
            return not_wanted(err);
    }
    return DRAY_OK;
}

static int request(struct dray_fetch *fetch, struct dray_client *client,
                   struct dray_blob_answer *ret_answer, struct dray_error *err)
{
    struct dray_download *download = fetch->download;
    const struct dray_blob_request request = {
        .endpoint = dray_download_endpoint(download, fetch->place),
        .repository = download->source->repository,
        .blob = &download->blob,
        .begin = fetch->whole ? 0 : fetch->segment.at,
        .end = fetch->whole ? download->blob.size_bytes : fetch->asked_end,
        .sink = { .start = fetch_start,
                  .write = fetch_write,
                  .wanted = fetch_wanted,
                  .ctx = fetch },
    };

    return dray_v2_get_blob_unverified(client, &request, &fetch->target, ret_answer, err);
}

/* What follows from the end of a request: for its host, and for the log, which is written once no
 * lock is held. */
struct verdict {
    bool failed;
    bool parts_refused; /* the whole will do, perhaps */
    bool given_up;
    int64_t delay_ms; /* until the next try */
    int64_t pause_ms; /* for which all leave the host alone */
};

/* Does another request to the same endpoint bring something? */
static bool has_company(const struct dray_download *download, const struct dray_fetch *fetch)
{
    for (struct dray_fetch *other = download->fetches; other; other = other->next)
        if (other != fetch && other->place == fetch->place &&
            atomic_load(&other->received_bytes) > 0)
            return true;
    return false;
}

/* The request failed, and not because somebody stopped it. */
static struct verdict judge(struct dray_download *download, const struct dray_fetch *fetch,
                            const struct dray_blob_answer *answer, int rc,
                            const struct dray_error *err)
{
    struct dray_route_place *place = &download->route.places[fetch->place];
    uint64_t progress_bytes = fetch->segment.written_bytes;
    struct verdict verdict = { .failed = true };
    struct dray_error odd;

    /* Perhaps the range is to blame: servers may refuse any. One that has served some is asked
     * again. */
    if (!fetch->whole &&
        (answer->bad_range || err->http_status == 400 || err->http_status == 501)) {
        if (dray_host_bad_range(place->host)) {
            verdict.parts_refused = true;
            return verdict;
        }
        odd = *err;
        odd.code = DRAY_ETRANSIENT;
        err = &odd;
        rc = odd.code;
    }
    if (!dray_retry_elsewhere(rc)) {
        dray_download_fail(download, rc, err);
        return verdict;
    }
    if (download->rc == DRAY_OK)
        download->error = *err;
    download->origins[fetch->place].failures++;
    /* A server that begins anew each time and breaks off a little later would never end. */
    if (progress_bytes < atomic_load(&fetch->received_bytes) / 8)
        progress_bytes = 0;
    if (dray_route_failed(&download->route, fetch->place, err, fetch->begun_ms, progress_bytes,
                          has_company(download, fetch), &verdict.delay_ms)) {
        download->figures.retries++;
        download->retry_delay_ms = verdict.delay_ms;
    } else {
        verdict.given_up = true;
    }
    verdict.pause_ms = dray_retry_pause_ms(err, verdict.delay_ms);
    return verdict;
}

static void tell(const struct dray_fetch *fetch, const struct verdict *verdict,
                 const struct dray_error *err)
{
    const struct dray_download *download = fetch->download;
    const struct dray_log *log = &download->source->engine->log;
    const char *digest = download->blob.digest.text;

    if (verdict->parts_refused)
        dray_log(log, DRAY_LOG_WARNING, "%s: asking for the whole blob: %s", digest, err->text);
    else if (verdict->given_up)
        dray_log(log, DRAY_LOG_INFO, "%s: given up on %s: %s", digest,
                 dray_download_endpoint(download, fetch->place)->origin, err->text);
    else if (verdict->failed)
        dray_retry_tell_cut(log, err, verdict->delay_ms);
}

static void unlist(struct dray_download *download, const struct dray_fetch *fetch)
{
    struct dray_fetch **link = &download->fetches;

    while (*link != fetch)
        link = &(*link)->next;
    *link = fetch->next;
    /* Whom it repeats may be repeated once more; who repeats it, goes on alone. */
    if (fetch->repeats)
        atomic_store(&fetch->repeats->repeated, false);
    for (struct dray_fetch *other = download->fetches; other; other = other->next)
        if (other->repeats == fetch)
            other->repeats = NULL;
}

/* After a failure the way is asked for anew; what one did not know does not count. */
static void keep_target(struct dray_download *download, struct dray_fetch *fetch, int rc)
{
    struct dray_blob_target *target = &download->targets[fetch->place];

    if (dray_blob_target_equal(&fetch->target, target) ||
        (!dray_blob_target_set(&fetch->target) &&
         (!fetch->had_target || rc == DRAY_OK || rc == DRAY_ECANCELED)))
        return;
    dray_blob_target_done(target);
    *target = DRAY_MOVE(fetch->target);
}

/* Enter in the books how it went. */
static struct verdict account(struct dray_fetch *fetch, const struct dray_blob_answer *answer,
                              int rc, const struct dray_error *err)
{
    struct dray_download *download = fetch->download;
    struct dray_blob_origin *origin = &download->origins[fetch->place];

    unlist(download, fetch);
    keep_target(download, fetch, rc);
    origin->requests++;
    origin->bytes += atomic_load(&fetch->received_bytes);
    if (fetch->segment.written_bytes > 0)
        download->answers++;
    if (rc == DRAY_OK && !fetch->whole)
        dray_host_good_range(download->route.places[fetch->place].host, true);
    if (rc == DRAY_OK || is_good_enough(fetch, rc))
        dray_route_succeeded(&download->route, fetch->place);
    else if (rc != DRAY_ECANCELED)
        return judge(download, fetch, answer, rc, err);
    return (struct verdict){ 0 };
}

/* What the host is to be known for. */
static struct dray_host_outcome outcome_of(const struct dray_fetch *fetch,
                                           const struct dray_blob_answer *answer, int rc,
                                           const struct dray_error *err)
{
    struct dray_host_outcome outcome = {
        .code = rc,
        .bytes = atomic_load(&fetch->received_bytes),
        .first_byte_ms = answer->first_byte_ms,
        .stalled = answer->stalled,
    };

    /* What went before the body, logging in and redirects too, says nothing of its speed. */
    outcome.duration_ms = answer->first_byte_ms;
    if (fetch->served_ms > 0)
        outcome.duration_ms += dray_now_ms() - fetch->served_ms;
    if (is_good_enough(fetch, rc))
        outcome.code = DRAY_OK;
    if (outcome.code == DRAY_OK || rc == DRAY_ECANCELED)
        return outcome;
    outcome.sys_errno = err->sys_errno;
    outcome.http_status = err->http_status;
    /* A host that takes connections and says nothing is as good as one that takes none. */
    if (answer->stalled && answer->first_byte_ms < 0)
        outcome.code = DRAY_EUNREACHABLE;
    /* But where it sent us to is another host. */
    if (answer->redirected && outcome.code == DRAY_EUNREACHABLE)
        outcome.code = DRAY_ETRANSIENT;
    return outcome;
}

/* The request is about to be sent. */
static int begin(struct dray_fetch *fetch)
{
    struct dray_download *download = fetch->download;
    struct dray_blob_figures *figures = &download->figures;
    uint32_t connections = 0;
    int rc;

    dray_mutex_lock(&download->mu);
    for (const struct dray_fetch *other = download->fetches; other; other = other->next)
        connections += other->sent;
    fetch->sent = true;
    fetch->begun_ms = dray_now_ms();
    if (download->begun_ms == 0)
        download->begun_ms = fetch->begun_ms;
    download->endpoint = dray_download_endpoint(download, fetch->place)->origin;
    figures->requests++;
    if (figures->connections < connections + 1)
        figures->connections = connections + 1;
    rc = dray_blob_target_copy(&download->targets[fetch->place], &fetch->target);
    fetch->had_target = dray_blob_target_set(&fetch->target);
    dray_mutex_unlock(&download->mu);
    return rc;
}

bool dray_fetch_carry_out(struct dray_fetch *fetch, struct dray_client *client, bool helper)
{
    struct dray_download *download = fetch->download;
    struct dray_host *host = download->route.places[fetch->place].host;
    struct dray_blob_answer answer = { .first_byte_ms = -1 };
    struct dray_host_outcome outcome;
    struct dray_error err = { 0 };
    struct verdict verdict;
    int rc;

    if (!dray_host_enter(host, helper ? 0 : SLOT_WAIT_MS, fetch->no_other)) {
        dray_mutex_lock(&download->mu);
        unlist(download, fetch);
        dray_mutex_unlock(&download->mu);
        dray_staging_release(download->staging, &fetch->segment);
        return false;
    }

    rc = begin(fetch);
    if (rc < 0)
        dray_error_nomem(&err);
    else
        rc = request(fetch, client, &answer, &err);
    outcome = outcome_of(fetch, &answer, rc, &err);

    dray_mutex_lock(&download->mu);
    verdict = account(fetch, &answer, rc, &err);
    dray_mutex_unlock(&download->mu);
    dray_staging_release(download->staging, &fetch->segment);
    outcome.pause_ms = verdict.pause_ms;
    dray_host_leave(host, &outcome);
    dray_host_quota(host, &answer.quota);
    tell(fetch, &verdict, &err);
    dray_blob_target_done(&fetch->target);
    return true;
}
