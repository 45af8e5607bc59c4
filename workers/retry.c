#include "workers/retry.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>

#include "core/log.h"

static bool may_pass(const struct dray_retry *retry, const struct dray_error *err)
{
    return err->code == DRAY_ETRANSIENT ||
           (retry->known_good && err->code == DRAY_EUNREACHABLE && err->sys_errno != EKEYREJECTED);
}

bool dray_retry_decide(struct dray_retry *retry, const struct dray_error *err,
                       uint64_t progress_bytes, int64_t *ret_delay_ms)
{
    int64_t ceiling_ms = DRAY_RETRY_BASE_MS;
    int64_t delay_ms;

    if (!may_pass(retry, err))
        return false;
    if (progress_bytes >= DRAY_RETRY_PROGRESS_BYTES)
        retry->failures = 0;
    if (retry->failures >= retry->limit)
        return false;

    for (uint32_t i = 0; i < retry->failures && ceiling_ms < DRAY_RETRY_CAP_MS; i++)
        ceiling_ms *= 2;
    if (ceiling_ms > DRAY_RETRY_CAP_MS)
        ceiling_ms = DRAY_RETRY_CAP_MS;
    retry->failures++;

    delay_ms = randombytes_uniform((uint32_t)ceiling_ms + 1);
    if (err->retry_after_ms > 0) {
        int64_t asked_ms = err->retry_after_ms;

        /* The jitter comes on top: a herd that was told one second must not come as a herd. */
        if (asked_ms > DRAY_RETRY_AFTER_CAP_MS)
            asked_ms = DRAY_RETRY_AFTER_CAP_MS;
        delay_ms += asked_ms;
    }
    if (retry->elsewhere && delay_ms > DRAY_RETRY_PATIENCE_MS)
        return false;
    *ret_delay_ms = delay_ms;
    return true;
}

void dray_retry_tell_cut(const struct dray_log *log, const struct dray_error *err, int64_t delay_ms)
{
    if (err->retry_after_ms > delay_ms)
        dray_log(log, DRAY_LOG_WARNING,
                 "told to wait %" PRId64 " s, which is too long: trying again in %" PRId64 " s: %s",
                 err->retry_after_ms / 1000, delay_ms / 1000, err->text);
}

bool dray_retry_is_overload(const struct dray_error *err)
{
    return err->http_status == 429 || err->http_status == 503;
}

int64_t dray_retry_pause_ms(const struct dray_error *err, int64_t delay_ms)
{
    int64_t pause_ms = err->retry_after_ms < DRAY_RETRY_AFTER_CAP_MS ? err->retry_after_ms
                                                                     : DRAY_RETRY_AFTER_CAP_MS;

    if (!dray_retry_is_overload(err))
        return 0;
    return pause_ms > delay_ms ? pause_ms : delay_ms;
}

bool dray_retry_elsewhere(int code)
{
    switch ((enum dray_code)code) {
    case DRAY_ETRANSIENT:
    case DRAY_EUNREACHABLE:
    case DRAY_ENOTFOUND:
    case DRAY_EAUTH:
    case DRAY_EDIGEST:
    case DRAY_EPROTO:
    case DRAY_EUNSUPPORTED:
        return true;
    case DRAY_OK:
    case DRAY_ENOMEM:
    case DRAY_EINVAL:
    case DRAY_ECANCELED:
    case DRAY_ENOSPC:
    case DRAY_ESTORE:
    case DRAY_EIO:
        return false;
    }
    return false;
}
