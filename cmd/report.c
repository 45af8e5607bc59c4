#include "cmd/report.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include <dray/dray.h>

#include "cmd/clock.h"
#include "cmd/fault.h"
#include "cmd/tally.h"
#include "cmd/text.h"

static json_t *seconds_json(int64_t duration_ms)
{
    return duration_ms < 0 ? json_null() : json_real((double)duration_ms / 1000);
}

static json_t *rate_json(uint64_t rate)
{
    return rate == 0 ? json_null() : json_integer((json_int_t)rate);
}

/* Append to a list and give it back, NULL without memory: then the whole report is lost. */
static json_t *append(json_t *list, json_t *item)
{
    if (!list) {
        json_decref(item);
        return NULL;
    }
    if (json_array_append_new(list, item) < 0) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *reference_json(const struct dray_pull_result *result)
{
    char name[DRAY_REFERENCE_TEXT_MAX];

    dray_reference_canonical(&result->reference, name);
    return dray_text_json(name);
}

static json_t *image_json(const struct dray_pull_result *result)
{
    static const char *const statuses[] = {
        [DRAY_PULL_FAILED] = "failed",
        [DRAY_PULL_UNCHANGED] = "unchanged",
        [DRAY_PULL_NEW] = "new",
    };
    json_t *json = json_pack("{s:o, s:s?, s:s, s:I, s:I}", "reference", reference_json(result),
                             "digest", result->digest.alg ? result->digest.text : NULL, "status",
                             statuses[result->status], "bytes", (json_int_t)result->total_bytes,
                             "fetched_bytes", (json_int_t)result->fetched_bytes);

    if (json && result->status == DRAY_PULL_FAILED &&
        json_object_set_new(json, "error", dray_fault_json(&result->error)) < 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *origins_json(const struct dray_blob_figures *figures)
{
    json_t *list = json_array();

    for (size_t i = 0; i < figures->origin_count; i++) {
        const struct dray_blob_origin *origin = &figures->origins[i];

        list = append(
            list, json_pack("{s:o, s:I, s:I, s:I, s:b}", "endpoint",
                            dray_text_json(origin->endpoint), "bytes", (json_int_t)origin->bytes,
                            "requests", (json_int_t)origin->requests, "failures",
                            (json_int_t)origin->failures, "wrong_bytes", (int)origin->wrong_bytes));
    }
    return list;
}

/* Who brought most of it; null if nobody did. */
static json_t *main_endpoint_json(const struct dray_blob_figures *figures)
{
    const struct dray_blob_origin *most = NULL;

    for (size_t i = 0; i < figures->origin_count; i++)
        if (figures->origins[i].bytes > (most ? most->bytes : 0))
            most = &figures->origins[i];
    return most ? dray_text_json(most->endpoint) : json_null();
}

static json_t *blob_json(const struct dray_tally_blob *blob, const struct dray_pull_result *result)
{
    static const char *const statuses[DRAY_TALLY_STATUS_COUNT] = {
        [DRAY_TALLY_UNNAMED] = "",        [DRAY_TALLY_UNFINISHED] = "unfinished",
        [DRAY_TALLY_FETCHED] = "fetched", [DRAY_TALLY_PRESENT] = "present",
        [DRAY_TALLY_SHARED] = "shared",   [DRAY_TALLY_FAILED] = "failed",
    };
    const struct dray_blob_figures *figures = &blob->figures;
    json_t *json = json_pack(
        "{s:s, s:o, s:s, s:I, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "digest",
        blob->digest.text, "image", reference_json(result), "role",
        blob->role == DRAY_ROLE_CONFIG ? "config" : "layer", "bytes", (json_int_t)blob->size_bytes,
        "status", statuses[blob->status], "endpoint", main_endpoint_json(figures), "seconds",
        seconds_json(figures->duration_ms), "first_byte_seconds",
        seconds_json(figures->first_byte_ms), "rate",
        rate_json(dray_tally_rate(figures->received_bytes, figures->duration_ms)), "received",
        (json_int_t)figures->received_bytes, "resumed", (json_int_t)figures->resumed_bytes,
        "requests", (json_int_t)figures->requests, "retries", (json_int_t)figures->retries,
        "connections", (json_int_t)figures->connections, "endpoints", origins_json(figures));

    if (json && blob->error &&
        json_object_set_new(json, "error", dray_fault_json(blob->error)) < 0) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static json_t *quota_json(const struct dray_endpoint_figures *figures)
{
    json_t *limit;

    if (!figures->has_quota)
        return json_null();
    limit = figures->quota_limit > 0 ? json_integer((json_int_t)figures->quota_limit) : json_null();
    return json_pack("{s:I, s:o}", "remaining", (json_int_t)figures->quota_remaining, "limit",
                     limit);
}

static json_t *endpoint_json(const struct dray_endpoint_figures *figures)
{
    return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:b, s:b, s:o}",
                     "endpoint", dray_text_json(figures->endpoint), "requests",
                     (json_int_t)figures->requests, "bytes", (json_int_t)figures->bytes, "failures",
                     (json_int_t)figures->failures, "connect_failures",
                     (json_int_t)figures->connect_failures, "stalls", (json_int_t)figures->stalls,
                     "overloads", (json_int_t)figures->overloads, "wrong_blobs",
                     (json_int_t)figures->wrong_blobs, "rate", rate_json(figures->rate_bytes_per_s),
                     "first_byte_seconds", seconds_json(figures->first_byte_ms), "connections",
                     (json_int_t)figures->connections, "ranges", (int)figures->ranges, "reachable",
                     (int)figures->reachable, "quota", quota_json(figures));
}

static json_t *totals_json(const struct dray_tally *tally, const struct dray_pull_result *results)
{
    struct dray_tally_totals totals;
    size_t images[] = { [DRAY_PULL_FAILED] = 0, [DRAY_PULL_UNCHANGED] = 0, [DRAY_PULL_NEW] = 0 };

    dray_tally_sum(tally, &totals);
    for (size_t i = 0; i < tally->image_count; i++)
        images[results[i].status]++;
    return json_pack(
        "{s:{s:I, s:I, s:I}, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:I, s:I, s:o, s:o, s:I, s:I}",
        "images", "new", (json_int_t)images[DRAY_PULL_NEW], "unchanged",
        (json_int_t)images[DRAY_PULL_UNCHANGED], "failed", (json_int_t)images[DRAY_PULL_FAILED],
        "blobs", "fetched", (json_int_t)totals.blobs[DRAY_TALLY_FETCHED], "present",
        (json_int_t)totals.blobs[DRAY_TALLY_PRESENT], "shared",
        (json_int_t)totals.blobs[DRAY_TALLY_SHARED], "failed",
        (json_int_t)totals.blobs[DRAY_TALLY_FAILED], "unfinished",
        (json_int_t)totals.blobs[DRAY_TALLY_UNFINISHED], "received_bytes",
        (json_int_t)totals.received_bytes, "resumed_bytes", (json_int_t)totals.resumed_bytes,
        "present_bytes", (json_int_t)totals.present_bytes, "seconds",
        seconds_json(tally->duration_ms), "rate",
        rate_json(dray_tally_rate(totals.received_bytes, tally->duration_ms)), "requests",
        (json_int_t)totals.requests, "retries", (json_int_t)totals.retries);
}

static json_t *blobs_json(const struct dray_tally *tally, const struct dray_pull_result *results)
{
    json_t *list = json_array();

    for (size_t i = 0; i < tally->image_count; i++) {
        const struct dray_tally_image *image = &tally->images[i];

        for (size_t j = 0; j < image->blob_count; j++) {
            if (image->blobs[j].status != DRAY_TALLY_UNNAMED)
                list = append(list, blob_json(&image->blobs[j], &results[i]));
        }
    }
    return list;
}

static json_t *report_json(const struct dray_tally *tally, const struct dray_pull_result *results)
{
    json_t *images = json_array();
    json_t *endpoints = json_array();

    for (size_t i = 0; i < tally->image_count; i++)
        images = append(images, image_json(&results[i]));
    for (size_t i = 0; i < tally->endpoint_count; i++)
        endpoints = append(endpoints, endpoint_json(&tally->endpoints[i]));
    return json_pack("{s:s, s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", "dray.report",
                     "version", DRAY_REPORT_VERSION, "command", "pull", "dray", dray_version(),
                     "started", dray_clock_json(tally->started_ms), "seconds",
                     seconds_json(tally->duration_ms), "images", images, "blobs",
                     blobs_json(tally, results), "endpoints", endpoints, "totals",
                     totals_json(tally, results));
}

char *dray_report_text(const struct dray_tally *tally, const struct dray_pull_result *results)
{
    /* With 15 digits milliseconds look as they should: 2.131 and not 2.1309999999999998. */
    size_t flags = JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15);
    json_t *json = report_json(tally, results);
    char *dumped = json ? json_dumps(json, flags) : NULL;
    char *text = NULL;

    if (dumped && asprintf(&text, "%s\n", dumped) < 0)
        text = NULL;
    free(dumped);
    json_decref(json);
    return text;
}
