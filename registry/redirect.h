/* Following redirects hop by hop, with every secret kept at the origin it belongs to. */
#ifndef DRAY_REGISTRY_REDIRECT_H
#define DRAY_REGISTRY_REDIRECT_H

#include "registry/http.h"

/**
 * dray_http_exchange(), following at most DRAY_REDIRECTS_MAX redirects of GET and HEAD.
 *
 * Authorization goes to the origin of request->url only; so it is there again when a redirect comes
 * back to it. A hop from https to http, to a URL with a user name or of another scheme, and to a
 * loopback or link-local address from a peer that has no such address itself, is DRAY_EPROTO.
 * Names that lead there count too, but with a proxy in the environment only addresses in URLs do.
 *
 * @return as dray_http_exchange(); the response is that of the last hop. After a first answer,
 *         DRAY_EUNREACHABLE carries that answer's status in http_status
 */
int dray_redirect_follow(struct dray_client *client, const struct dray_http_request *request,
                         struct dray_http_response *response, struct dray_error *err);

#endif
