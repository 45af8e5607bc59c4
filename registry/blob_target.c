#include "registry/blob_target.h"

#include <string.h>

#include <dray/error.h>

int dray_blob_target_remember(struct dray_blob_target *target, const char *url,
                              enum dray_reach sender_reach)
{
    target->sender_reach = sender_reach;
    return dray_secret_set(&target->url, url, strlen(url));
}

bool dray_blob_target_equal(const struct dray_blob_target *a, const struct dray_blob_target *b)
{
    if (!dray_blob_target_set(a) || !dray_blob_target_set(b))
        return dray_blob_target_set(a) == dray_blob_target_set(b);
    return a->sender_reach == b->sender_reach && strcmp(a->url.text, b->url.text) == 0;
}

int dray_blob_target_copy(const struct dray_blob_target *from, struct dray_blob_target *to)
{
    if (!dray_blob_target_set(from)) {
        dray_blob_target_done(to);
        return DRAY_OK;
    }
    return dray_blob_target_remember(to, from->url.text, from->sender_reach);
}

void dray_blob_target_done(struct dray_blob_target *target)
{
    dray_secret_done(&target->url);
    *target = (struct dray_blob_target){ 0 };
}
