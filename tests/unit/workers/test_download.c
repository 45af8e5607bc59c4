/* The download: one blob by one or many workers, from one or two endpoints, into a real store.
 *
 * A site is what one endpoint serves, and how: it can die, lie, refuse and wait, and calls a hook
 * at each step of its work. A rig is the engine with its sites. Its helpers are the spare workers
 * of a real pool; the test's own thread runs the download as a job would, until it has ended. */
#include "tests/unit/workers/download_rig.h"

/* ---- one and many workers ---- */

static void one_worker_fetches_a_blob_into_the_store(void **state)
{
    static const uint64_t sizes[] = { 1, 100 * KIB, 512 * KIB, 3 * MIB + 17 };

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct rig rig = { .size_bytes = sizes[i] };
        const struct dray_blob_figures *figures = &rig.result.figures;

        rig_start(&rig, *state);
        fetch_well(&rig);
        assert_int_equal(figures->requests, 1);
        assert_int_equal(figures->received_bytes, sizes[i]);
        assert_int_equal(figures->resumed_bytes, 0);
        assert_int_equal(figures->retries, 0);
        assert_int_equal(figures->connections, 1);
        assert_true(figures->first_byte_ms >= 0);
        assert_true(figures->duration_ms >= figures->first_byte_ms);
        assert_int_equal(figures->origin_count, 1);
        assert_string_equal(rig.result.origins[0].endpoint, rig.endpoints[0].origin);
        assert_int_equal(rig.result.origins[0].failures, 0);
        assert_false(rig.result.origins[0].wrong_bytes);
        assert_int_equal(whole_requests(&rig.sites[0]), 1);
        rig_stop(&rig);
    }
}

static void nothing_is_asked_for_to_fetch_nothing(void **state)
{
    struct rig rig = { .helpers = 1 };

    rig_start(&rig, *state);
    fetch_well(&rig);
    assert_int_equal(rig.result.figures.requests, 0);
    assert_int_equal(rig.result.figures.duration_ms, -1);
    assert_int_equal(rig.result.figures.first_byte_ms, -1);
    assert_int_equal(rig.sites[0].requests, 0);
    rig_stop(&rig);
}

static void helpers_bring_a_large_blob_together_and_each_byte_once(void **state)
{
    static const uint32_t helpers[] = { 1, 2, 16, 64 };

    for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
        struct rig rig = { .sites = { { .gathers = helpers[i] + 1 } }, /* waits for all of them */
                           .helpers = helpers[i],
                           .size_bytes = (helpers[i] + 1) * PART_BYTES + 17 };

        rig_start(&rig, *state);
        know_hosts(&rig);
        fetch_well(&rig);
        assert_int_equal(rig.result.figures.received_bytes, rig.size_bytes);
        assert_int_equal(rig.result.figures.requests, helpers[i] + 1);
        assert_int_equal(rig.result.figures.connections, helpers[i] + 1);
        assert_int_equal(rig.result.figures.retries, 0);
        assert_true(was_asked_for_once(&rig.sites[0]));
        rig_stop(&rig);
    }
}

static void a_crowd_at_full_speed_brings_each_byte_once(void **state)
{
    struct rig rig = { .helpers = 64, .size_bytes = 20 * MIB + 1 + seed % MIB };

    rig_start(&rig, *state);
    fetch_well(&rig);
    assert_int_equal(rig.result.figures.received_bytes, rig.size_bytes);
    assert_true(was_asked_for_once(&rig.sites[0]));
    rig_stop(&rig);
}

static void half_of_what_one_worker_has_left_is_taken_off_it(void **state)
{
    /* Of an unknown host so much is asked for at once; here it takes two seconds. */
    struct rig rig = { .sites = { { .piece_bytes = 128 * KIB, .pause_us = 40000 } },
                       .helpers = 1,
                       .size_bytes = 13 * MIB / 2,
                       .judges_speed = true };

    rig_start(&rig, *state);
    fetch_well(&rig);
    assert_int_equal(whole_requests(&rig.sites[0]), 1);
    assert_int_equal(rig.result.figures.requests, 2);
    assert_int_equal(rig.result.figures.connections, 2);
    assert_int_equal(rig.result.figures.retries, 0);
    assert_int_equal(rig.result.origins[0].failures, 0);
    /* What had been sent beyond the cut is passed over: at most what libcurl hands on at once. */
    assert_in_range(rig.result.figures.received_bytes, rig.size_bytes, rig.size_bytes + 64 * KIB);
    rig_stop(&rig);
}

static void without_a_slot_of_the_host_it_is_left_for_later(void **state)
{
    const struct dray_host_outcome nothing = { .code = DRAY_ECANCELED, .first_byte_ms = -1 };
    struct rig rig = { .size_bytes = 1000 };
    struct dray_download_outcome outcome;
    struct dray_download *download;

    rig_start(&rig, *state);
    download = begin(&rig);
    assert_true(dray_host_enter(rig.host[0], 0, false)); /* the only one */
    dray_download_run(download, rig.client, &outcome);
    assert_int_equal(outcome.end, DRAY_DOWNLOAD_LATER);
    assert_false(outcome.worked);
    assert_true(outcome.due_ms - dray_now_ms() <= 1000);
    assert_int_equal(rig.sites[0].requests, 0);
    dray_host_leave(rig.host[0], &nothing);
    check_empty(&rig, download);

    dray_download_run(download, rig.client, &outcome);
    assert_int_equal(outcome.end, DRAY_DOWNLOAD_ENDED);
    assert_int_equal(outcome.rc, DRAY_OK);
    assert_true(outcome.worked);
    assert_int_equal(dray_download_figures(download)->requests, 1);
    dray_download_free(download);
    rig_stop(&rig);
}

/* ---- stopping ---- */

enum stop_by {
    STOP_UNWANTED, /* nobody wants it any more */
    STOP_CANCELED, /* the token fires */
};

/* Stops the download at a step of the server's work: it counts answers and pieces. */
struct fuse {
    struct rig *rig;
    enum stop_by by;
    uint32_t at;
    bool stalls; /* and the server says nothing more */
    _Atomic uint32_t steps;
    _Atomic int64_t burnt_ms;
};

static void burn(void *ctx)
{
    struct fuse *fuse = ctx;

    if (atomic_fetch_add(&fuse->steps, 1) != fuse->at)
        return;
    atomic_store(&fuse->rig->sites[0].stalls, fuse->stalls);
    atomic_store(&fuse->burnt_ms, dray_now_ms());
    if (fuse->by == STOP_UNWANTED)
        atomic_store(&fuse->rig->wanted, 0);
    else
        dray_cancel_fire(fuse->rig->cancel);
}

#define STEP_BYTES (256 * KIB)

/* What is stopped. */
struct stop_plan {
    const char *root;
    uint32_t helpers;
    uint64_t size_bytes;
    uint64_t rate_bytes_per_s; /* as the rig's */
    bool stalls;
};

/* Fetch it and stop that. @return whether it was stopped in time */
static bool is_stopped(const struct stop_plan *plan, enum stop_by by, uint32_t at)
{
    struct fuse fuse = { .by = by, .at = at, .stalls = plan->stalls };
    struct rig rig = {
        .sites = { { .piece_bytes = STEP_BYTES, .pause_us = 200, .on_step = burn, .ctx = &fuse } },
        .helpers = plan->helpers,
        .size_bytes = plan->size_bytes
    };
    bool stopped;

    fuse.rig = &rig;
    rig_start(&rig, plan->root);
    know_hosts(&rig);
    fetch(&rig);
    stopped = rig.result.rc != DRAY_OK;
    if (stopped) {
        if (rig.result.rc != DRAY_ECANCELED)
            fail_msg("step %u: %s", at, rig.result.error.text);
        /* Long before the server would be left for its silence. */
        assert_true(dray_now_ms() - atomic_load(&fuse.burnt_ms) < 15000);
    } else {
        assert_true(atomic_load(&fuse.steps) <= at);
    }
    rig_stop(&rig);
    return stopped;
}

/* Whoever wants it after that gets it. @return how many bytes were there, or came */
static uint64_t fetch_from_a_good_one(const struct stop_plan *plan)
{
    struct rig rig = { .helpers = plan->helpers, .size_bytes = plan->size_bytes };

    rig_start(&rig, plan->root);
    know_hosts(&rig);
    fetch_well(&rig);
    rig_stop(&rig);
    return rig.result.figures.resumed_bytes + rig.result.figures.received_bytes;
}

/* And what is missing is fetched, only. */
static void go_on(const struct stop_plan *plan)
{
    assert_int_equal(fetch_from_a_good_one(plan), plan->size_bytes);
}

static void stop_at_every_step(const struct stop_plan *plan)
{
    for (enum stop_by by = STOP_UNWANTED; by <= STOP_CANCELED; by++) {
        uint32_t at;

        for (at = 0; is_stopped(plan, by, at); at++)
            go_on(plan);
        assert_true(at > plan->size_bytes / STEP_BYTES); /* each piece, and an answer */
    }
}

static void one_worker_stopped_at_any_step_leaves_nothing_behind(void **state)
{
    const struct stop_plan plan = { .root = *state, .size_bytes = PART_BYTES + 1 };

    stop_at_every_step(&plan);
}

static void many_workers_stopped_at_any_step_leave_nothing_behind(void **state)
{
    const struct stop_plan plan = { .root = *state,
                                    .helpers = 2,
                                    .size_bytes = 2 * PART_BYTES + 1 };

    stop_at_every_step(&plan);
}

static void stopped_while_the_server_is_silent_it_ends_at_once(void **state)
{
    const struct stop_plan plan = {
        .root = *state, .helpers = 3, .size_bytes = 3 * PART_BYTES, .stalls = true
    };

    for (uint32_t at = 0; at < 12; at += 6) {
        assert_true(is_stopped(&plan, STOP_UNWANTED, at));
        go_on(&plan);
        assert_true(is_stopped(&plan, STOP_CANCELED, at));
        go_on(&plan);
    }
}

static void stopped_while_it_is_throttled_it_ends_at_once(void **state)
{
    const struct stop_plan plan = {
        .root = *state, .helpers = 1, .size_bytes = 4 * MIB, .rate_bytes_per_s = 64 * KIB
    }; /* a minute */

    assert_true(is_stopped(&plan, STOP_UNWANTED, 3));
    go_on(&plan);
    assert_true(is_stopped(&plan, STOP_CANCELED, 3));
    go_on(&plan);
}

/* An endpoint that wants to be left alone for half a minute. */
#define OVERLOADED                                                                                 \
    {                                                                                              \
        .manners = ANSWERS_STATUS, .status = 429, .fields = "Retry-After: 30\r\n"                  \
    }

static void stopped_while_it_waits_it_asks_for_nothing_more(void **state)
{
    struct rig rig = { .sites = { OVERLOADED }, .size_bytes = 1000 };
    struct dray_download_outcome outcome;
    struct dray_download *download;

    rig_start(&rig, *state);
    download = begin(&rig);
    dray_download_run(download, rig.client, &outcome);
    assert_int_equal(outcome.end, DRAY_DOWNLOAD_LATER);
    check_empty(&rig, download);
    atomic_store(&rig.wanted, 0);
    dray_download_run(download, rig.client, &outcome);
    assert_int_equal(outcome.end, DRAY_DOWNLOAD_ENDED);
    assert_int_equal(outcome.rc, DRAY_ECANCELED);
    assert_int_equal(rig.sites[0].requests, 1);
    dray_download_free(download);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
    rig.result.rc = outcome.rc;
    rig_stop(&rig);
}

static void the_books_of_one_that_waits_can_be_closed(void **state)
{
    struct rig rig = { .sites = { OVERLOADED }, .size_bytes = 1000 };
    const struct dray_blob_figures *figures;
    struct dray_download_outcome outcome;
    enum dray_staging_outcome staged;
    struct dray_staging *staging;
    struct dray_download *download;

    rig_start(&rig, *state);
    download = begin(&rig);
    dray_download_run(download, rig.client, &outcome);
    assert_int_equal(outcome.end, DRAY_DOWNLOAD_LATER);
    dray_download_end(download);
    dray_download_end(download);
    figures = dray_download_figures(download);
    assert_int_equal(figures->requests, 1);
    assert_int_equal(figures->retries, 1);
    assert_int_equal(figures->first_byte_ms, -1);
    assert_true(figures->duration_ms >= 0);
    assert_int_equal(figures->origin_count, 1);
    assert_int_equal(figures->origins[0].failures, 1);

    assert_ok(dray_staging_open(rig.store, &rig.blob, NULL, &staged, &staging, NULL));
    assert_int_equal(staged, DRAY_STAGING_BUSY);
    dray_download_free(download);
    assert_ok(dray_staging_open(rig.store, &rig.blob, NULL, &staged, &staging, NULL));
    assert_int_equal(staged, DRAY_STAGING_OPENED);
    dray_staging_close(staging);
    rig.result.rc = DRAY_ECANCELED;
    rig_stop(&rig);
}

/* ---- one endpoint and its moods ---- */

static void an_overloaded_endpoint_is_asked_again_when_it_said(void **state)
{
    struct rig rig = { .sites = { { .manners = ANSWERS_STATUS,
                                    .status = 429,
                                    .fields = "Retry-After: 1\r\n",
                                    .first_only = 1 } },
                       .helpers = 1,
                       .size_bytes = 1000 };

    rig_start(&rig, *state);
    fetch_well(&rig);
    assert_true(rig.result.laters >= 1);
    assert_in_range(rig.result.due_in_ms, 500, 1000 + DRAY_RETRY_BASE_MS);
    assert_true(rig.result.figures.duration_ms >= 1000);
    assert_int_equal(rig.result.figures.requests, 2);
    assert_int_equal(rig.result.figures.retries, 1);
    assert_int_equal(rig.result.figures.received_bytes, 1000);
    assert_int_equal(rig.result.origins[0].failures, 1);
    rig_stop(&rig);
}

static void an_endpoint_that_fails_again_and_again_is_given_up(void **state)
{
    struct rig rig = { .sites = { { .manners = ANSWERS_STATUS, .status = 500 } },
                       .helpers = 2,
                       .size_bytes = 1000 };

    rig_start(&rig, *state);
    rig.engine.retries = 1;
    fetch(&rig);
    assert_int_equal(rig.result.rc, DRAY_ETRANSIENT);
    assert_non_null(strstr(rig.result.error.text, "500"));
    assert_int_equal(rig.result.figures.requests, 2);
    assert_int_equal(rig.result.figures.retries, 1);
    assert_int_equal(rig.result.origins[0].failures, 2);
    rig_stop(&rig);
}

static void a_server_without_ranges_is_asked_for_all_of_it(void **state)
{
    static const struct {
        enum manners manners;
        uint32_t helpers;
        uint64_t left_bytes; /* by an earlier run */
        uint32_t requests;   /* the last of them for the whole */
    } cases[] = {
        { IGNORES_RANGES, 0, MIB + 5, 1 }, { IGNORES_RANGES, 4, 0, 1 },
        { IGNORES_RANGES, 4, MIB + 5, 1 }, { REFUSES_RANGES, 0, MIB + 5, 2 },
        { REFUSES_RANGES, 4, 0, 2 },       { REFUSES_RANGES, 4, MIB + 5, 2 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig = { .sites = { { .manners = cases[i].manners } },
                           .helpers = cases[i].helpers,
                           .size_bytes = 4 * PART_BYTES };

        rig_start(&rig, *state);
        if (cases[i].left_bytes > 0)
            leave_some(&rig, cases[i].left_bytes);
        know_hosts(&rig);
        fetch_well(&rig);
        assert_false(look_at_host(&rig, 0).ranges);
        assert_int_equal(rig.result.figures.requests, cases[i].requests);
        assert_int_equal(rig.result.figures.received_bytes, rig.size_bytes);
        assert_int_equal(rig.result.figures.resumed_bytes, cases[i].left_bytes);
        assert_int_equal(rig.result.figures.retries, 0);
        assert_int_equal(rig.result.origins[0].failures, 0);
        rig_stop(&rig);
    }
}

static void a_server_that_refuses_even_the_whole_is_given_up(void **state)
{
    struct rig rig = { .sites = { { .manners = ANSWERS_416 } },
                       .helpers = 2,
                       .size_bytes = 4 * PART_BYTES };

    rig_start(&rig, *state);
    know_hosts(&rig);
    fetch(&rig);
    assert_true(rig.result.rc < 0);
    assert_non_null(strstr(rig.result.error.text, "416"));
    assert_int_equal(rig.result.figures.requests, 2);
    rig_stop(&rig);
}

static void wrong_parts_are_fetched_again_in_one_piece(void **state)
{
    struct rig rig = { .sites = { { .lies = LIES_IN_PARTS, .wrong_at = 3 * PART_BYTES + 1 } },
                       .helpers = 3,
                       .size_bytes = 4 * PART_BYTES };

    rig_start(&rig, *state);
    know_hosts(&rig);
    fetch_well(&rig);
    assert_int_equal(whole_requests(&rig.sites[0]), 1);
    assert_int_equal(rig.result.figures.received_bytes, 2 * rig.size_bytes);
    assert_true(rig.result.origins[0].wrong_bytes);
    rig_stop(&rig);
}

static void the_only_endpoint_is_blamed_for_a_wrong_blob(void **state)
{
    struct rig rig = { .sites = { { .lies = ALWAYS_LIES, .wrong_at = 5 } },
                       .helpers = 3,
                       .size_bytes = 4 * PART_BYTES };

    rig_start(&rig, *state);
    know_hosts(&rig);
    fetch(&rig);
    assert_int_equal(rig.result.rc, DRAY_EDIGEST);
    assert_non_null(strstr(rig.result.error.text, rig.endpoints[0].origin));
    assert_true(rig.result.origins[0].wrong_bytes);
    assert_int_equal(whole_requests(&rig.sites[0]), 1); /* its last chance */
    assert_int_equal(look_at_host(&rig, 0).wrong_blobs, 1);
    assert_int_equal(count_names(below(*state, "dray/staging")), 0);
    rig_stop(&rig);
}

static void what_an_earlier_run_damaged_is_fetched_anew(void **state)
{
    struct rig rig = { .helpers = 2, .size_bytes = 2 * MIB };

    rig_start(&rig, *state);
    rig.bytes[7] ^= 1;
    leave_some(&rig, MIB);
    rig.bytes[7] ^= 1;
    fetch_well(&rig);
    assert_int_equal(rig.result.figures.resumed_bytes, 0);
    assert_int_equal(rig.result.figures.received_bytes, 3 * MIB);
    assert_false(rig.result.origins[0].wrong_bytes);
    rig_stop(&rig);
}

static void an_empty_blob_of_another_digest_fails(void **state)
{
    struct rig rig = { .helpers = 1 };

    rig_start(&rig, *state);
    assert_ok(dray_digest_of(DRAY_SHA256, "x", 1, &rig.blob.digest));
    alarm(30); /* it used to try for ever */
    fetch(&rig);
    assert_int_equal(rig.result.rc, DRAY_EDIGEST);
    assert_int_equal(rig.result.figures.requests, 0);
    rig_stop(&rig);
}

/* ---- two endpoints ---- */

static void what_the_first_endpoint_could_not_bring_comes_from_the_second(void **state)
{
    static const uint32_t helpers[] = { 0, 4 };

    for (size_t i = 0; i < 2; i++) {
        struct rig rig = { .sites = { { .dies_after_bytes = PART_BYTES + 1000 } },
                           .site_count = 2,
                           .helpers = helpers[i],
                           .size_bytes = 8 * PART_BYTES };

        rig_start(&rig, *state);
        know_hosts(&rig);
        fetch_well(&rig);
        assert_int_equal(rig.result.figures.received_bytes, rig.size_bytes);
        assert_int_equal(rig.result.figures.origin_count, 2);
        assert_in_range(rig.result.origins[0].bytes, 1, PART_BYTES + 1000);
        assert_true(rig.result.origins[0].failures >= 1);
        assert_int_equal(rig.result.origins[1].failures, 0);
        assert_true(rig.result.figures.retries >= 1);
        rig_stop(&rig);
    }
}

static void an_endpoint_out_of_reach_keeps_nobody_waiting(void **state)
{
    struct rig rig = { .sites = { { .is_away = true } },
                       .site_count = 2,
                       .helpers = 2,
                       .size_bytes = 4 * PART_BYTES };

    rig_start(&rig, *state);
    fetch_well(&rig);
    assert_int_equal(rig.result.laters, 0);
    assert_int_equal(rig.result.origins[0].requests, 1);
    assert_int_equal(rig.result.origins[1].bytes, rig.size_bytes);
    assert_true(look_at_host(&rig, 0).broken);
    rig_stop(&rig);
}

/* The site says nothing more after a few steps. */
static void fall_silent(void *ctx)
{
    struct rig *rig = ctx;

    if (atomic_fetch_add(&rig->steps, 1) == 3)
        atomic_store(&rig->sites[0].stalls, true);
}

static void what_a_silent_endpoint_still_owes_comes_from_the_second(void **state)
{
    struct rig rig = { .sites = { { .on_step = fall_silent, .ctx = &rig } },
                       .site_count = 2,
                       .helpers = 1,
                       .size_bytes = 2 * MIB,
                       .judges_speed = true };

    rig_start(&rig, *state);
    fetch_well(&rig);
    assert_int_equal(rig.result.figures.origin_count, 2);
    assert_int_equal(rig.result.figures.requests, 2);
    assert_int_equal(rig.result.figures.received_bytes, rig.size_bytes);
    assert_int_equal(rig.result.origins[0].bytes, 128 * KIB);
    assert_int_equal(rig.result.origins[1].failures, 0);
    assert_true(rig.result.figures.duration_ms >= DRAY_SLOW_MS);
    rig_stop(&rig);
}

static void who_brought_wrong_bytes_is_blamed_and_the_other_heals_them(void **state)
{
    static const struct {
        uint32_t helpers;
        uint64_t dies_after_bytes; /* then the wrong whole is of both */
    } cases[] = { { 0, 0 }, { 3, 0 }, { 0, PART_BYTES }, { 3, PART_BYTES } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rig rig = { .sites = { { .lies = ALWAYS_LIES,
                                        .wrong_at = 100,
                                        .dies_after_bytes = cases[i].dies_after_bytes } },
                           .site_count = 2,
                           .helpers = cases[i].helpers,
                           .size_bytes = 4 * PART_BYTES };

        rig_start(&rig, *state);
        know_hosts(&rig);
        fetch_well(&rig);
        assert_int_equal(rig.result.figures.origin_count, 2);
        assert_true(rig.result.origins[0].wrong_bytes);
        assert_false(rig.result.origins[1].wrong_bytes);
        assert_true(rig.result.figures.received_bytes > rig.size_bytes);
        assert_int_equal(look_at_host(&rig, 0).wrong_blobs, 1);
        assert_int_equal(look_at_host(&rig, 1).wrong_blobs, 0);
        rig_stop(&rig);
    }
}

static void when_all_fail_the_user_is_told_what_each_said(void **state)
{
    static const uint32_t helpers[] = { 0, 4 };

    for (size_t i = 0; i < 2; i++) {
        struct rig rig = { .sites = { { .manners = ANSWERS_STATUS, .status = 403 },
                                      { .manners = ANSWERS_STATUS, .status = 404 } },
                           .site_count = 2,
                           .helpers = helpers[i],
                           .size_bytes = 4 * PART_BYTES };

        rig_start(&rig, *state);
        fetch(&rig);
        assert_int_equal(rig.result.rc, DRAY_ENOTFOUND);
        assert_int_equal(rig.result.error.code, DRAY_ENOTFOUND);
        for (size_t place = 0; place < 2; place++)
            assert_non_null(strstr(rig.result.error.text, rig.endpoints[place].origin));
        assert_non_null(strstr(rig.result.error.text, "403"));
        assert_non_null(strstr(rig.result.error.text, "404"));
        assert_int_equal(rig.result.figures.requests, 2);
        assert_int_equal(rig.result.figures.retries, 0);
        assert_int_equal(rig.result.figures.received_bytes, 0);
        assert_int_equal(count_names(below(*state, "dray/staging")), 0);
        rig_stop(&rig);
    }
}

/* ---- anything ---- */

static uint64_t draw(uint64_t *random, uint64_t below_this)
{
    return next_random(random) % below_this;
}

static struct site draw_site(uint64_t *random, uint64_t size_bytes)
{
    static const int statuses[] = { 403, 404, 429, 500, 503 };
    struct site site = { .piece_bytes = 16 * KIB << draw(random, 5),
                         .pause_us = (unsigned)draw(random, 300) };

    switch (draw(random, 8)) {
    case 0:
        site.manners = IGNORES_RANGES;
        break;
    case 1:
        site.manners = REFUSES_RANGES;
        break;
    case 2:
        site.manners = ANSWERS_416;
        break;
    case 3:
        site.manners = ANSWERS_STATUS;
        site.status = statuses[draw(random, 5)];
        break;
    case 4:
        site.manners = ANSWERS_STATUS;
        site.status = statuses[draw(random, 5)];
        site.first_only = 1 + draw(random, 2);
        break;
    case 5:
        site.dies_after_bytes = 1 + draw(random, size_bytes);
        break;
    case 6:
        site.lies = draw(random, 2) ? LIES_IN_PARTS : ALWAYS_LIES;
        site.wrong_at = draw(random, size_bytes);
        break;
    default:
        break;
    }
    return site;
}

/* Can all of it be had there, come what may? */
static bool is_good(const struct site *site)
{
    return !site->is_away && site->manners <= REFUSES_RANGES && site->lies != ALWAYS_LIES &&
           site->dies_after_bytes == 0;
}

/* @return whether it succeeded */
static bool try_anything(const char *root, uint64_t *random, uint64_t size_bytes)
{
    static const uint32_t helpers[] = { 0, 1, 3, 8 };
    struct fuse fuse = { .by = (enum stop_by)draw(random, 2),
                         .at = draw(random, 4) > 0 ? UINT32_MAX : (uint32_t)draw(random, 30) };
    struct rig rig = { .sites = { draw_site(random, size_bytes), draw_site(random, size_bytes) },
                       .site_count = draw(random, 3) > 0 ? 2 : 1,
                       .helpers = helpers[draw(random, 4)],
                       .size_bytes = size_bytes,
                       .judges_speed = draw(random, 2) > 0 };
    const uint64_t left_bytes = draw(random, 2) > 0 ? draw(random, size_bytes) : 0;
    const uint8_t damage = draw(random, 3) == 0;
    bool good = false;

    fuse.rig = &rig;
    rig.sites[0].is_away = rig.site_count == 2 && draw(random, 6) == 0;
    for (size_t i = 0; i < rig.site_count; i++) {
        rig.sites[i].on_step = burn;
        rig.sites[i].ctx = &fuse;
        good = good || is_good(&rig.sites[i]);
    }
    rig_start(&rig, root);
    rig.engine.retries = 1;
    if (draw(random, 4) > 0)
        know_hosts(&rig);
    rig.bytes[left_bytes / 2] ^= damage;
    if (left_bytes > 0)
        leave_some(&rig, left_bytes);
    rig.bytes[left_bytes / 2] ^= damage;
    fetch(&rig);
    if (good && rig.result.rc != DRAY_OK && atomic_load(&fuse.burnt_ms) == 0)
        fail_msg("%s", rig.result.error.text);
    rig_stop(&rig);
    return rig.result.rc == DRAY_OK;
}

static void whatever_the_endpoints_do_it_ends(void **state)
{
    uint64_t random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

    for (unsigned i = 0; i < rounds; i++) {
        struct stop_plan again = { .root = *state, .size_bytes = 1 + draw(&random, 5 * MIB) };

        alarm(WATCHDOG_S);
        if (!try_anything(*state, &random, again.size_bytes))
            fetch_from_a_good_one(&again);
    }
}

static int set_up(void **state)
{
    alarm(WATCHDOG_S);
    return scratch_setup(state);
}

static int tear_down(void **state)
{
    alarm(0);
    return scratch_teardown(state);
}

static int set_up_libraries(void **state)
{
    static const char *const names[] = { "http_proxy", "all_proxy", "no_proxy",
                                         "HTTP_PROXY", "ALL_PROXY", "NO_PROXY" };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unsetenv(names[i]);
    setenv("DOCKER_CONFIG", "/nonexistent", 1);
    return dray_init(NULL);
}

static int tear_down_libraries(void **state)
{
    (void)state;
    dray_exit();
    return 0;
}

#define rig_test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

/* test_workers_download [SEED [ROUNDS]] */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        rig_test(one_worker_fetches_a_blob_into_the_store),
        rig_test(nothing_is_asked_for_to_fetch_nothing),
        rig_test(helpers_bring_a_large_blob_together_and_each_byte_once),
        rig_test(a_crowd_at_full_speed_brings_each_byte_once),
        rig_test(half_of_what_one_worker_has_left_is_taken_off_it),
        rig_test(without_a_slot_of_the_host_it_is_left_for_later),
        rig_test(one_worker_stopped_at_any_step_leaves_nothing_behind),
        rig_test(many_workers_stopped_at_any_step_leave_nothing_behind),
        rig_test(stopped_while_the_server_is_silent_it_ends_at_once),
        rig_test(stopped_while_it_is_throttled_it_ends_at_once),
        rig_test(stopped_while_it_waits_it_asks_for_nothing_more),
        rig_test(the_books_of_one_that_waits_can_be_closed),
        rig_test(an_overloaded_endpoint_is_asked_again_when_it_said),
        rig_test(an_endpoint_that_fails_again_and_again_is_given_up),
        rig_test(a_server_without_ranges_is_asked_for_all_of_it),
        rig_test(a_server_that_refuses_even_the_whole_is_given_up),
        rig_test(wrong_parts_are_fetched_again_in_one_piece),
        rig_test(the_only_endpoint_is_blamed_for_a_wrong_blob),
        rig_test(what_an_earlier_run_damaged_is_fetched_anew),
        rig_test(an_empty_blob_of_another_digest_fails),
        rig_test(what_the_first_endpoint_could_not_bring_comes_from_the_second),
        rig_test(an_endpoint_out_of_reach_keeps_nobody_waiting),
        rig_test(what_a_silent_endpoint_still_owes_comes_from_the_second),
        rig_test(who_brought_wrong_bytes_is_blamed_and_the_other_heals_them),
        rig_test(when_all_fail_the_user_is_told_what_each_said),
        rig_test(whatever_the_endpoints_do_it_ends),
    };

    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : ROUNDS;
    print_message("seed %" PRIu64 "\n", seed);
    return cmocka_run_group_tests(tests, set_up_libraries, tear_down_libraries);
}
