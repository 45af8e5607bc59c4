/* The cancel token (public face: dray/cancel.h) as the rest of the library uses it. */
#ifndef DRAY_CORE_CANCEL_H
#define DRAY_CORE_CANCEL_H

#include <dray/cancel.h>

#include <stdint.h>

#include "core/cleanup.h"

/**
 * Sleep, unless and until the token fires.
 *
 * @return DRAY_OK when the time has passed, DRAY_ECANCELED when the token is or was fired
 */
int dray_cancel_sleep(const struct dray_cancel *cancel, int64_t delay_ms);

DRAY_DEFINE_CLEANUP(struct dray_cancel, dray_cancel_free);
#define DRAY_AUTO_CANCEL DRAY_CLEANUP(dray_cancel_freep)

#endif
