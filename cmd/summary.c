#include "cmd/summary.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd/quantity.h"
#include "cmd/tally.h"

/* "3 retries", preceded by a separator; nothing when there are none. */
static void put_count(FILE *out, const char *separator, uint64_t count, const char *one,
                      const char *many)
{
    if (count > 0)
        fprintf(out, "%s%" PRIu64 " %s", separator, count, count == 1 ? one : many);
}

/* "12.0 MB resumed", preceded by a comma; nothing when there are none. */
static void put_bytes(FILE *out, uint64_t bytes, const char *what)
{
    char text[DRAY_QUANTITY_TEXT_MAX];

    if (bytes == 0)
        return;
    dray_quantity_format_bytes(bytes, text);
    fprintf(out, ", %s %s", text, what);
}

static void put_totals(FILE *out, const struct dray_tally *tally)
{
    struct dray_tally_totals totals;
    char bytes[DRAY_QUANTITY_TEXT_MAX];
    char elapsed[DRAY_QUANTITY_TEXT_MAX];
    char rate[DRAY_QUANTITY_TEXT_MAX];

    dray_tally_sum(tally, &totals);
    dray_quantity_format_bytes(totals.received_bytes, bytes);
    dray_quantity_format_elapsed(tally->duration_ms, elapsed);
    dray_quantity_format_bytes(dray_tally_rate(totals.received_bytes, tally->duration_ms), rate);
    fprintf(out, "received %s in %s (%s/s)", bytes, elapsed, rate);
    put_bytes(out, totals.resumed_bytes, "resumed");
    put_bytes(out, totals.present_bytes, "present");
    put_count(out, ", ", totals.retries, "retry", "retries");
}

static void put_endpoint(FILE *out, const struct dray_endpoint_figures *figures)
{
    char bytes[DRAY_QUANTITY_TEXT_MAX];

    fprintf(out, "%s: ", figures->endpoint);
    put_count(out, "", figures->requests, "request", "requests");
    put_bytes(out, figures->bytes, "received");
    if (figures->rate_bytes_per_s > 0) {
        dray_quantity_format_bytes(figures->rate_bytes_per_s, bytes);
        fprintf(out, ", %s/s a connection", bytes);
    }
    if (figures->first_byte_ms >= 0)
        fprintf(out, ", first byte after %" PRId64 " ms", figures->first_byte_ms);
    put_count(out, ", ", figures->failures, "failure", "failures");
    put_count(out, ", ", figures->wrong_blobs, "wrong blob", "wrong blobs");
    if (!figures->reachable)
        fputs(", not reachable", out);
    if (!figures->ranges)
        fputs(", no ranges", out);
    if (figures->has_quota && figures->quota_limit > 0)
        fprintf(out, ", %" PRIu64 " of %" PRIu64 " requests left", figures->quota_remaining,
                figures->quota_limit);
    else if (figures->has_quota)
        fprintf(out, ", %" PRIu64 " requests left", figures->quota_remaining);
}

void dray_summary_tell(const struct dray_tally *tally, const struct dray_log *log)
{
    if (!log->write || log->level < DRAY_LOG_INFO)
        return;
    for (size_t i = 0; i <= tally->endpoint_count; i++) {
        char *line = NULL;
        size_t len;
        FILE *out = open_memstream(&line, &len);

        if (!out)
            return;
        if (i == 0)
            put_totals(out, tally);
        else
            put_endpoint(out, &tally->endpoints[i - 1]);
        if (fclose(out) == 0)
            log->write(log->ctx, DRAY_LOG_INFO, line);
        free(line);
    }
}
