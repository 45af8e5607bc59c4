/* A cancel token: fired once, from any thread or signal handler; noticed by everything that waits.
 */
#ifndef DRAY_CANCEL_H
#define DRAY_CANCEL_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dray_cancel;
struct dray_error;

/** Make a token. @return DRAY_OK, DRAY_ENOMEM, or DRAY_EIO when no descriptor is left */
int dray_cancel_new(struct dray_cancel **ret_cancel, struct dray_error *err);

/** Fire. Async-signal-safe and idempotent; errno is kept. The token is not NULL. */
void dray_cancel_fire(struct dray_cancel *cancel);

/** Has it been fired? Cheap enough for inner loops; NULL is a token that never fires. */
bool dray_cancel_fired(const struct dray_cancel *cancel);

/** A descriptor that is readable for ever once fired: for poll(2). -1 for NULL. Do not read it. */
int dray_cancel_fd(const struct dray_cancel *cancel);

/** Free; NULL is allowed. No thread uses the token any more. */
void dray_cancel_free(struct dray_cancel *cancel);

#ifdef __cplusplus
}
#endif

#endif
