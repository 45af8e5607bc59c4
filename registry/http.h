/* One exchange: a request is sent and its answer received; cancel, stall detection.
 *
 * Whatever goes over the wire goes through here, one exchange of a client at a time: TLS is
 * verified unless the endpoint says otherwise, and libcurl follows no redirect. registry/redirect.c
 * goes from hop to hop and decides which secrets may travel. */
#ifndef DRAY_REGISTRY_HTTP_H
#define DRAY_REGISTRY_HTTP_H

#include "registry/client.h"
#include "registry/request.h"
#include "registry/response.h"

/**
 * Send one request and receive its answer. There is no limit on the whole time, but while waiting
 * for bytes at least 100 a second must come on average in each stall_timeout_ms: a server that
 * sends nothing, or one byte now and then for ever, is left. Connecting, with name lookup and TLS
 * handshake, has connect_timeout_ms.
 *
 * @return DRAY_OK when a whole answer came, whatever its status; DRAY_EUNREACHABLE;
 *         DRAY_ETRANSIENT (reset, cut short, stalled); DRAY_EPROTO (not HTTP, header or body beyond
 *         its limit); DRAY_ECANCELED; DRAY_ENOMEM; or what a callback returned
 */
int dray_http_exchange(struct dray_client *client, const struct dray_http_request *request,
                       struct dray_http_response *response, struct dray_error *err);

#endif
