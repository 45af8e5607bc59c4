#include <dray/event.h>

const char *dray_event_kind_text(enum dray_event_kind kind)
{
    switch (kind) {
    case DRAY_EVENT_RESOLVING:
        return "resolving";
    case DRAY_EVENT_RESOLVED:
        return "resolved";
    case DRAY_EVENT_BLOB_QUEUED:
        return "blob-queued";
    case DRAY_EVENT_BLOB_EXISTS:
        return "blob-exists";
    case DRAY_EVENT_BLOB_STARTED:
        return "blob-started";
    case DRAY_EVENT_BLOB_PROGRESS:
        return "blob-progress";
    case DRAY_EVENT_BLOB_RETRY:
        return "blob-retry";
    case DRAY_EVENT_BLOB_DONE:
        return "blob-done";
    case DRAY_EVENT_BLOB_FAILED:
        return "blob-failed";
    case DRAY_EVENT_BLOB_STOPPED:
        return "blob-stopped";
    case DRAY_EVENT_IMAGE_DONE:
        return "image-done";
    case DRAY_EVENT_IMAGE_FAILED:
        return "image-failed";
    }
    return "unknown";
}
