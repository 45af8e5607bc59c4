#include "registry/redirect.h"

#include "core/error.h"
#include "core/limits.h"

static bool is_redirect(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* May the answer of the hop at from send us to this URL? */
static int check_hop(const struct dray_http_request *request, const struct dray_url *from,
                     const struct dray_url *to, enum dray_reach from_reach, struct dray_error *err)
{
    if (from->https && !to->https)
        return dray_error_set(err, DRAY_EPROTO, "%s: redirect from https to http refused (%s)",
                              from->shown, to->origin);
    if (!dray_reach_allows(from_reach, dray_reach_of_host(to->host)) &&
        !dray_url_same_origin(request->url, to))
        return dray_error_set(err, DRAY_EPROTO, "%s: redirect to a local address refused (%s)",
                              from->shown, to->origin);
    return DRAY_OK;
}

/* Replace the response's URL by the one its Location names. */
static int next_hop(const struct dray_http_request *request, struct dray_http_response *response,
                    struct dray_error *err)
{
    const char *location = dray_http_response_header(response, "Location", 0);
    struct dray_url next = { 0 };
    int rc;

    if (!location)
        return dray_error_set(err, DRAY_EPROTO, "%s: HTTP %d without Location", response->url.shown,
                              response->status);
    rc = dray_url_resolve(&response->url, location, &next, err);
    if (rc == DRAY_EINVAL) {
        if (err)
            err->code = DRAY_EPROTO;
        rc = DRAY_EPROTO;
    }
    if (rc < 0)
        return dray_error_wrap(err, rc, "%s: redirect refused", response->url.shown);
    rc = check_hop(request, &response->url, &next, response->reach, err);
    if (rc < 0) {
        dray_url_done(&next);
        return rc;
    }
    dray_url_done(&response->url);
    response->url = next;
    return DRAY_OK;
}

int dray_redirect_follow(struct dray_client *client, const struct dray_http_request *request,
                         struct dray_http_response *response, struct dray_error *err)
{
    struct dray_http_request hop = *request;
    int first_status = 0;
    int rc;

    dray_url_done(&response->url);
    rc = dray_url_parse(request->url->text, &response->url, err);
    if (rc < 0)
        return rc;
    hop.url = &response->url;
    for (unsigned int hops = 0;; hops++) {
        rc = dray_http_exchange(client, &hop, response, err);
        if (rc < 0) {
            if (rc == DRAY_EUNREACHABLE && err && err->http_status == 0)
                err->http_status = first_status;
            return rc;
        }
        if (!is_redirect(response->status) || request->method == DRAY_HTTP_POST)
            return DRAY_OK;
        if (hops == DRAY_REDIRECTS_MAX)
            return dray_error_set(err, DRAY_EPROTO, "%s: more than %d redirects",
                                  request->url->shown, DRAY_REDIRECTS_MAX);
        first_status = response->status;
        rc = next_hop(request, response, err);
        if (rc < 0)
            return rc;
        if (dray_url_same_origin(request->url, &response->url)) {
            hop.authorization = request->authorization;
            hop.named_by_peer = request->named_by_peer;
            hop.peer_reach = request->peer_reach;
        } else {
            hop.authorization = NULL;
            hop.named_by_peer = true;
            hop.peer_reach = response->reach;
        }
    }
}
