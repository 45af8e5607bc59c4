#include "workers/source.h"

#include <stdlib.h>
#include <unistd.h>

struct dray_source *dray_source_hold(struct dray_source *source)
{
    atomic_fetch_add(&source->references, 1);
    return source;
}

void dray_source_release(struct dray_source *source)
{
    if (!source || atomic_fetch_sub(&source->references, 1) > 1)
        return;
    dray_endpoint_list_done(&source->endpoints);
    if (source->lock_fd >= 0)
        close(source->lock_fd);
    free(source);
}
