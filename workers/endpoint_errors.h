/* What the endpoints of one walk answered: which may still be tried, and what the user is told. */
#ifndef DRAY_WORKERS_ENDPOINT_ERRORS_H
#define DRAY_WORKERS_ENDPOINT_ERRORS_H

#include <stdbool.h>

#include "registry/endpoint.h"

/** The failures of one walk, in endpoint order. A plain value; initialise it with = { 0 }. */
struct dray_endpoint_errors {
    struct dray_error joined;             /* one line an endpoint; the last one's code */
    const struct dray_endpoint *last;     /* whose line is the last */
    size_t last_line;                     /* where it begins in joined.text */
    const struct dray_endpoint *answered; /* the last endpoint known to speak HTTP over TLS */
};

/**
 * May this endpoint be tried after those that failed? Not plain http to a host whose https
 * answered: somebody in between could otherwise choose the weaker one.
 */
bool dray_endpoint_errors_allow(const struct dray_endpoint_errors *errors,
                                const struct dray_endpoint *endpoint);

/**
 * Note an endpoint's failure. When http of a host has answered, the line that https of the same
 * host could not be reached is dropped: it tells nothing.
 */
void dray_endpoint_errors_add(struct dray_endpoint_errors *errors,
                              const struct dray_endpoint *endpoint, const struct dray_error *error);

/** The failures as one error: its code is that of the last endpoint, which knows best: mirrors come
 *  first. @return that code; DRAY_EUNREACHABLE when there was no endpoint */
int dray_endpoint_errors_join(const struct dray_endpoint_errors *errors, struct dray_error *err);

#endif
