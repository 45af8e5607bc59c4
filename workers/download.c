/* Coming and going: who works on a download, and how it ends. */
#include "workers/download.h"

#include <assert.h>
#include <stdlib.h>

#include "core/error.h"
#include "core/log.h"
#include "workers/download_state.h"

int dray_download_new(struct dray_source *source, const struct dray_descriptor *blob,
                      struct dray_staging *staging, const _Atomic uint32_t *wanted,
                      struct dray_download **ret_download, struct dray_error *err)
{
    struct dray_download *download = calloc(1, sizeof(*download));
    const size_t count = source->endpoints.count;
    int rc;

    if (!download) {
        dray_staging_close(staging);
        return dray_error_nomem(err);
    }
    dray_mutex_init(&download->mu);
    download->source = source;
    download->blob = *blob;
    download->blob.data = NULL;
    download->staging = staging;
    download->wanted = wanted;
    download->figures.resumed_bytes = dray_staging_held(staging);
    download->figures.first_byte_ms = -1;
    download->targets = calloc(count, sizeof(download->targets[0]));
    download->origins = calloc(count, sizeof(download->origins[0]));
    rc = download->targets && download->origins ? dray_route_init(&download->route, source, err)
                                                : dray_error_nomem(err);
    if (rc < 0) {
        dray_download_free(download);
        return rc;
    }
    for (size_t i = 0; i < count; i++)
        download->origins[i].endpoint = dray_download_endpoint(download, i)->origin;
    *ret_download = download;
    return DRAY_OK;
}

void dray_download_free(struct dray_download *download)
{
    if (!download)
        return;
    for (size_t i = 0; download->targets && i < download->source->endpoints.count; i++)
        dray_blob_target_done(&download->targets[i]);
    free(download->targets);
    free(download->origins);
    dray_route_done(&download->route);
    dray_staging_close(download->staging);
    dray_mutex_done(&download->mu);
    free(download);
}

void dray_download_fail(struct dray_download *download, int rc, const struct dray_error *err)
{
    if (download->rc == DRAY_OK) {
        download->rc = rc;
        download->error = *err;
    }
    atomic_store(&download->stop, true);
}

/* When one whose host had no slot free comes again; it has waited for one already. */
#define SLOT_RETRY_MS 100

static void blame(struct dray_download *download, size_t place)
{
    download->origins[place].wrong_bytes = true;
    dray_host_wrong_bytes(download->route.places[place].host);
}

/* The blob is whole now, fetched anew: who had delivered what is not in it? */
static void blame_liars(struct dray_download *download)
{
    const struct dray_log *log = &download->source->engine->log;
    uint64_t liars = dray_staging_liars(download->staging);

    for (size_t i = 0; i < download->source->endpoints.count && i <= DRAY_ORIGIN_MAX_PLACE; i++) {
        if (!(liars >> i & 1) || download->origins[i].wrong_bytes)
            continue;
        blame(download, i);
        dray_log(log, DRAY_LOG_WARNING, "%s: %s delivered wrong bytes; they were fetched anew",
                 download->blob.digest.text, dray_download_endpoint(download, i)->origin);
    }
    if (liars >> DRAY_ORIGIN_RESUMED & 1)
        dray_log(log, DRAY_LOG_WARNING,
                 "%s: what an earlier run had left was damaged; it was fetched anew",
                 download->blob.digest.text);
}

/* Every byte is here and nobody else. @return whether the download goes on: the digest is wrong,
 * and there is somebody else to ask */
static bool commit(struct dray_download *download)
{
    const struct dray_engine *engine = download->source->engine;
    uint64_t origins = dray_staging_origins(download->staging);
    struct dray_error err = { 0 };
    int place;
    int rc;

    rc = dray_staging_commit(download->staging, engine->cancel, &err);
    if (rc == DRAY_OK) {
        blame_liars(download);
        return false;
    }
    dray_mutex_lock(&download->mu);
    if (rc != DRAY_EDIGEST || origins == 0) { /* of no bytes there are no others to fetch */
        dray_download_fail(download, rc, &err);
        dray_mutex_unlock(&download->mu);
        return false;
    }
    place = dray_route_wrong_bytes(&download->route, origins, download->answers > 1, &err);
    download->answers = 0;
    download->figures.resumed_bytes = 0; /* that is fetched again, too */
    if (place >= 0) {
        blame(download, (size_t)place);
        download->error = err;
    }
    dray_mutex_unlock(&download->mu);
    dray_log(&engine->log, DRAY_LOG_WARNING, "%s%sthe bytes that came are wrong: %s",
             place >= 0 ? dray_download_endpoint(download, (size_t)place)->origin : "",
             place >= 0 ? ": " : "", err.text);
    return true;
}

/* The lock is held. */
static void close_books(struct dray_download *download)
{
    struct dray_blob_figures *figures = &download->figures;

    if (download->ended)
        return;
    download->ended = true;
    download->last_held_bytes = dray_staging_held(download->staging);
    for (size_t i = 0; i < download->source->endpoints.count; i++)
        if (download->origins[i].requests > 0)
            download->origins[figures->origin_count++] = download->origins[i];
    figures->origins = download->origins;
    figures->received_bytes = atomic_load(&download->received_bytes);
    figures->duration_ms = download->begun_ms > 0 ? dray_now_ms() - download->begun_ms : -1;
}

void dray_download_end(struct dray_download *download)
{
    dray_mutex_lock(&download->mu);
    close_books(download);
    dray_mutex_unlock(&download->mu);
}

/* The last one closes the door. */
static void make_end(struct dray_download *download, struct dray_download_outcome *outcome)
{
    struct dray_staging *staging;

    dray_mutex_lock(&download->mu);
    close_books(download);
    staging = DRAY_TAKE(download->staging);
    outcome->end = DRAY_DOWNLOAD_ENDED;
    outcome->rc = download->rc;
    outcome->error = download->error;
    dray_mutex_unlock(&download->mu);
    dray_staging_close(staging);
}

/* Leave while nobody else is here: somebody has to come back in wait_ms. */
static void leave_for_later(struct dray_download *download, int64_t wait_ms,
                            struct dray_download_outcome *outcome)
{
    download->open = false;
    download->active--;
    outcome->end = DRAY_DOWNLOAD_LATER;
    outcome->due_ms = dray_now_ms() + wait_ms;
}

/* Work, beginning with the step that was planned, until nothing is left for this worker. It is
 * counted in active; the lock is held, and is released. */
static void work(struct dray_download *download, struct dray_client *client, bool helper,
                 enum dray_download_step step, struct dray_fetch *fetch, int64_t wait_ms,
                 struct dray_download_outcome *outcome) DRAY_RELEASE(&download->mu);

static void work(struct dray_download *download, struct dray_client *client, bool helper,
                 enum dray_download_step step, struct dray_fetch *fetch, int64_t wait_ms,
                 struct dray_download_outcome *outcome)
{
    for (;;) {
        bool go_on = step == DRAY_STEP_FETCH;

        if (step == DRAY_STEP_FETCH) {
            dray_mutex_unlock(&download->mu);
            go_on = dray_fetch_carry_out(fetch, client, helper);
            outcome->worked = outcome->worked || go_on;
            dray_mutex_lock(&download->mu);
        }
        if (download->active > 1 && (!go_on || helper)) {
            download->active--;
            outcome->end = DRAY_DOWNLOAD_LEFT;
            break;
        }
        /* From here on it is the last one, or goes on fetching. What is missing is brought by
         * somebody, or free. */
        assert(step != DRAY_STEP_NOTHING);
        if (step == DRAY_STEP_WAIT || (step == DRAY_STEP_FETCH && !go_on)) {
            leave_for_later(download, step == DRAY_STEP_WAIT ? wait_ms : SLOT_RETRY_MS, outcome);
            break;
        }
        if (step == DRAY_STEP_COMPLETE || step == DRAY_STEP_STOP) {
            bool again;

            download->open = false;
            dray_mutex_unlock(&download->mu);
            again = step == DRAY_STEP_COMPLETE && commit(download);
            if (!again) {
                make_end(download, outcome);
                return;
            }
            dray_mutex_lock(&download->mu);
            download->open = true;
        }
        *fetch = (struct dray_fetch){ .download = download };
        step = dray_download_plan(download, helper && download->active > 1, fetch, &wait_ms);
    }
    dray_mutex_unlock(&download->mu);
}

void dray_download_run(struct dray_download *download, struct dray_client *client,
                       struct dray_download_outcome *ret_outcome)
{
    struct dray_fetch fetch = { .download = download };
    int64_t wait_ms = 0;
    enum dray_download_step step;

    *ret_outcome = (struct dray_download_outcome){ 0 };
    dray_mutex_lock(&download->mu);
    download->active++;
    download->open = true;
    step = dray_download_plan(download, false, &fetch, &wait_ms);
    work(download, client, false, step, &fetch, wait_ms, ret_outcome);
}

/* May one more come in? */
static bool has_room(const struct dray_download *download)
{
    return download->open && download->answered && download->rc == DRAY_OK &&
           download->active < dray_download_most_workers(download);
}

bool dray_download_help(struct dray_download *download, struct dray_client *client,
                        struct dray_download_outcome *ret_outcome)
{
    struct dray_fetch fetch = { .download = download };
    int64_t wait_ms = 0;
    bool helps = false;

    *ret_outcome = (struct dray_download_outcome){ .end = DRAY_DOWNLOAD_LEFT };
    dray_mutex_lock(&download->mu);
    if (has_room(download)) {
        download->active++;
        helps = dray_download_plan(download, true, &fetch, &wait_ms) == DRAY_STEP_FETCH;
        if (!helps)
            download->active--;
    }
    if (helps)
        work(download, client, true, DRAY_STEP_FETCH, &fetch, wait_ms, ret_outcome);
    else
        dray_mutex_unlock(&download->mu);
    return ret_outcome->worked;
}

int64_t dray_download_left_ms(struct dray_download *download)
{
    uint64_t unclaimed_bytes = 0;
    uint64_t speed = 0;
    int64_t left_ms = 0;

    dray_mutex_lock(&download->mu);
    if (has_room(download)) {
        unclaimed_bytes = dray_staging_unclaimed(download->staging);
        for (const struct dray_fetch *fetch = download->fetches; fetch; fetch = fetch->next)
            speed += dray_fetch_speed(fetch);
        if (unclaimed_bytes > 0)
            left_ms = (int64_t)(unclaimed_bytes / (speed / 1000 + 1)) + 1;
        else
            dray_download_find_longest(download, &left_ms);
    }
    dray_mutex_unlock(&download->mu);
    return left_ms;
}

void dray_download_look(struct dray_download *download, struct dray_download_view *ret_view,
                        struct dray_error *ret_error)
{
    dray_mutex_lock(&download->mu);
    *ret_view = (struct dray_download_view){
        .current_bytes =
            download->staging ? dray_staging_held(download->staging) : download->last_held_bytes,
        .resumed_bytes = download->figures.resumed_bytes,
        .received_bytes = atomic_load(&download->received_bytes),
        .retries = download->figures.retries,
        .retry_delay_ms = download->retry_delay_ms,
        .endpoint = download->endpoint,
    };
    if (ret_error && (download->figures.retries > 0 || download->rc < 0))
        *ret_error = download->error;
    dray_mutex_unlock(&download->mu);
}

const struct dray_blob_figures *dray_download_figures(const struct dray_download *download)
{
    return &download->figures;
}
