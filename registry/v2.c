#include "registry/v2.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/digest.h"
#include "core/error.h"
#include "core/limits.h"
#include "registry/auth.h"
#include "registry/failure.h"
#include "registry/http.h"
#include "registry/range.h"
#include "registry/redirect.h"

/* Every type that may be understood; a registry converts or answers 404 to a type not listed. */
#define ACCEPT_MANIFESTS                                                                           \
    DRAY_MT_OCI_INDEX ", " DRAY_MT_OCI_MANIFEST ", " DRAY_MT_DOCKER_LIST                           \
                      ", " DRAY_MT_DOCKER_MANIFEST ", " DRAY_MT_DOCKER_SCHEMA1_SIGNED              \
                      ", " DRAY_MT_DOCKER_SCHEMA1 ", */*;q=0.1"

static int make_url(const struct dray_endpoint *endpoint, const char *repository, const char *kind,
                    const char *name, struct dray_url *ret_url, struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf text = DRAY_BUF_INIT;
    int rc;

    if (dray_buf_appendf(&text, "%s/v2/%s/%s/%s", endpoint->url, repository, kind, name) < 0)
        return dray_error_nomem(err);
    rc = dray_url_parse(dray_buf_text(&text), ret_url, err);
    if (rc == DRAY_OK && endpoint->upstream &&
        dray_url_add_query(ret_url, "ns", endpoint->upstream) < 0) {
        dray_url_done(ret_url);
        rc = dray_error_nomem(err);
    }
    return rc;
}

/* Is this answer about our authorization? Some registries say 400 to an expired token. Elsewhere
 * than at the endpoint itself nothing was sent, so nothing was refused. */
static bool is_refusal(const struct dray_http_response *response,
                       const struct dray_auth_grant *grant)
{
    if (response->foreign)
        return false;
    return response->status == 401 ||
           (response->status == 400 && !dray_secret_empty(&grant->value));
}

/* Send a request, answering a challenge once. The last answer is judged by the caller. */
static int send_authorized(struct dray_client *client, const char *repository,
                           const struct dray_http_request *request,
                           struct dray_http_response *response, struct dray_error *err)
{
    DRAY_AUTO_AUTH_GRANT struct dray_auth_grant grant = { 0 };
    const struct dray_endpoint *endpoint = request->endpoint;
    struct dray_http_request authorized = *request;
    int rc;

    authorized.authorization = &grant.value;
    for (bool repeated = false;; repeated = true) {
        rc = dray_auth_grant_get(client, endpoint, repository, &grant, err);
        if (rc == DRAY_OK)
            rc = dray_redirect_follow(client, &authorized, response, err);
        if (rc < 0 || repeated || !is_refusal(response, &grant))
            return rc;
        rc = dray_auth_refused(client, endpoint, repository, response, &grant, err);
        if (rc < 0)
            return rc;
    }
}

static int judge(const struct dray_endpoint *endpoint, const struct dray_http_response *response,
                 struct dray_error *err)
{
    int rc = dray_failure_from_status(response, err);

    if (rc == DRAY_EAUTH)
        dray_error_hint(err, "it may not exist; or log in to %s, or ask for the right to pull",
                        endpoint->host);
    return rc;
}

/* The bytes are held to a digest, so whatever changed them on the way cannot be undone here. */
static int check_encoding(const struct dray_http_response *response, struct dray_error *err)
{
    const char *encoding = dray_http_response_header(response, "Content-Encoding", 0);

    if (encoding && encoding[0] && strcasecmp(encoding, "identity") != 0)
        return dray_error_set(err, DRAY_EPROTO, "%s: the answer has a Content-Encoding",
                              response->url.shown);
    return DRAY_OK;
}

static int start_manifest(void *ctx, const struct dray_http_response *response,
                          struct dray_error *err)
{
    const char *type = dray_http_response_header(response, "Content-Type", 0);

    (void)ctx;
    if (type && strlen(type) > DRAY_MEDIA_TYPE_MAX)
        return dray_error_set(err, DRAY_EPROTO, "%s: Content-Type too long", response->url.shown);
    return check_encoding(response, err);
}

/* Docker-Content-Digest: none, one of a known algorithm, or a broken rule. */
static int claimed_digest(const struct dray_http_response *response, struct dray_digest *ret_digest,
                          struct dray_error *err)
{
    const char *value = dray_http_response_header(response, "Docker-Content-Digest", 0);
    int rc;

    if (!value || value[0] == '\0')
        return DRAY_OK;
    rc = dray_digest_parse(value, strlen(value), ret_digest, NULL);
    if (rc == DRAY_EINVAL)
        return dray_error_set(err, DRAY_EPROTO, "%s: malformed Docker-Content-Digest",
                              response->url.shown);
    return DRAY_OK; /* of an unknown algorithm: as if there were none */
}

/* After a HEAD: all there is, is the claim. */
static int finish_head(const struct dray_http_response *response,
                       const struct dray_digest *which_digest, struct dray_v2_manifest *manifest,
                       struct dray_error *err)
{
    int rc = claimed_digest(response, &manifest->digest, err);

    if (rc < 0)
        return rc;
    if (manifest->digest.alg == 0)
        return dray_error_set(err, DRAY_EUNSUPPORTED, "%s: HEAD names no digest",
                              response->url.shown);
    if (which_digest && !dray_digest_equal(which_digest, &manifest->digest))
        return dray_error_set(err, DRAY_EDIGEST, "%s: the server has %s there", response->url.shown,
                              manifest->digest.text);
    return DRAY_OK;
}

/* After a GET: hold the body to what was asked for, else to the claim. */
static int finish_get(struct dray_http_response *response, const struct dray_digest *which_digest,
                      struct dray_v2_manifest *manifest, struct dray_error *err)
{
    struct dray_digest want = { 0 };
    int rc = DRAY_OK;

    if (which_digest)
        want = *which_digest;
    else
        rc = claimed_digest(response, &want, err);
    if (rc < 0)
        return rc;
    if (want.alg != 0)
        rc = dray_digest_verify(&want, response->body.data, response->body.len, err);
    else if (dray_digest_of(DRAY_SHA256, response->body.data, response->body.len, &want) < 0)
        return dray_error_nomem(err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "%s", response->url.shown);
    manifest->digest = want;
    manifest->body = response->body;
    response->body = (struct dray_buf)DRAY_BUF_INIT;
    return DRAY_OK;
}

int dray_v2_get_manifest(struct dray_client *client, const struct dray_endpoint *endpoint,
                         const char *repository, const char *which_tag,
                         const struct dray_digest *which_digest, bool head,
                         struct dray_v2_manifest *ret_manifest, struct dray_error *err)
{
    DRAY_AUTO_HTTP_RESPONSE struct dray_http_response response = { 0 };
    DRAY_AUTO_URL struct dray_url url = { 0 };
    struct dray_v2_manifest manifest = { 0 };
    struct dray_http_request request = {
        .method = head ? DRAY_HTTP_HEAD : DRAY_HTTP_GET,
        .url = &url,
        .endpoint = endpoint,
        .accept = ACCEPT_MANIFESTS,
        .on_start = start_manifest,
        .body_max_bytes = DRAY_MANIFEST_MAX_BYTES,
    };
    const char *type;
    int rc;

    rc = make_url(endpoint, repository, "manifests", which_digest ? which_digest->text : which_tag,
                  &url, err);
    if (rc < 0)
        return rc;
    rc = send_authorized(client, repository, &request, &response, err);
    manifest.quota = response.quota;
    manifest.first_byte_ms = response.status != 0 ? response.first_byte_ms : -1;
    manifest.stalled = response.stalled;
    ret_manifest->quota = manifest.quota;
    ret_manifest->first_byte_ms = manifest.first_byte_ms;
    ret_manifest->stalled = manifest.stalled;
    if (rc < 0)
        return rc;
    if (head && (response.status == 405 || response.status == 501))
        return dray_error_set(err, DRAY_EUNSUPPORTED, "%s: HTTP %d to HEAD", url.shown,
                              response.status);
    if (response.status != 200)
        return judge(endpoint, &response, err);

    type = dray_http_response_header(&response, "Content-Type", 0);
    if (type)
        snprintf(manifest.media_type, sizeof(manifest.media_type), "%s", type);
    rc = head ? finish_head(&response, which_digest, &manifest, err)
              : finish_get(&response, which_digest, &manifest, err);
    if (rc < 0)
        return rc;
    *ret_manifest = manifest;
    return DRAY_OK;
}

void dray_v2_manifest_done(struct dray_v2_manifest *manifest)
{
    dray_buf_done(&manifest->body);
    *manifest = (struct dray_v2_manifest){ 0 };
}

/* A blob, or a part of it, on its way to the sink. */
struct blob_transfer {
    const struct dray_blob_request *request;
    struct dray_blob_answer *answer;
    struct dray_blob_target *target; /* to be remembered from the answer; NULL: not */
    const char *shown;
    uint64_t begin; /* of the part that was announced */
    uint64_t end;   /* behind it */
    uint64_t at;    /* place in the blob of the next byte */
};

static bool is_part(const struct dray_blob_request *request)
{
    return request->begin > 0 || request->end < request->blob->size_bytes;
}

static int check_part(const struct dray_blob_request *request,
                      const struct dray_http_response *response, struct dray_error *err)
{
    static const char several[] = "multipart/byteranges";
    const char *value = dray_http_response_header(response, "Content-Range", 0);
    const char *type = dray_http_response_header(response, "Content-Type", 0);
    uint64_t size = request->blob->size_bytes;
    struct dray_content_range range;

    if (!is_part(request))
        return dray_error_set(err, DRAY_EPROTO, "%s: a part of the blob came unasked",
                              response->url.shown);
    if (type && strncasecmp(type, several, sizeof(several) - 1) == 0)
        return dray_error_set(err, DRAY_EPROTO, "%s: several parts came, one was asked for",
                              response->url.shown);
    if (!value || dray_http_response_header(response, "Content-Range", 1) ||
        !dray_content_range_parse(value, &range))
        return dray_error_set(err, DRAY_EPROTO, "%s: no valid Content-Range", response->url.shown);
    if (range.first != request->begin || range.last != request->end - 1 ||
        (range.has_total && range.total != size))
        return dray_error_set(
            err, DRAY_EPROTO,
            "%s: bytes %" PRIu64 "-%" PRIu64 " came, %" PRIu64 "-%" PRIu64 " were asked for",
            response->url.shown, range.first, range.last, request->begin, request->end - 1);
    return DRAY_OK;
}

/* Which part of the blob is the body? */
static int place_answer(struct blob_transfer *transfer, const struct dray_http_response *response,
                        struct dray_error *err)
{
    const struct dray_blob_request *request = transfer->request;
    uint64_t len;
    int rc;

    transfer->begin = 0;
    transfer->end = request->blob->size_bytes;
    if (response->status == 206) {
        rc = check_part(request, response, err);
        if (rc < 0)
            return rc;
        transfer->begin = request->begin;
        transfer->end = request->end;
    }
    transfer->at = transfer->begin;
    len = transfer->end - transfer->begin;
    if (response->has_length && response->length_bytes != len)
        return dray_error_set(err, DRAY_EPROTO,
                              "%s: Content-Length is %" PRIu64 ", expected %" PRIu64 " bytes",
                              response->url.shown, response->length_bytes, len);
    return DRAY_OK;
}

static int start_blob(void *ctx, const struct dray_http_response *response, struct dray_error *err)
{
    struct blob_transfer *transfer = ctx;
    const struct dray_blob_sink *sink = &transfer->request->sink;
    int rc;

    if (response->status != 200 && response->status != 206)
        return dray_failure_from_status(response, err);
    rc = check_encoding(response, err);
    if (rc < 0)
        return rc;
    rc = place_answer(transfer, response, err);
    if (rc < 0) {
        transfer->answer->bad_range = is_part(transfer->request) || response->status == 206;
        return rc;
    }
    if (transfer->target && response->foreign &&
        dray_blob_target_remember(transfer->target, response->url.text, response->sender_reach) < 0)
        return dray_error_nomem(err);
    transfer->shown = response->url.shown;
    rc = sink->start(sink->ctx, transfer->begin, transfer->end, err);
    transfer->answer->started = rc == DRAY_OK;
    return rc;
}

static int write_blob(void *ctx, const uint8_t *data, size_t len, struct dray_error *err)
{
    struct blob_transfer *transfer = ctx;
    const struct dray_blob_request *request = transfer->request;
    const bool whole = transfer->end - transfer->begin == request->blob->size_bytes;
    const uint64_t left = transfer->end - transfer->at;
    const size_t fits = len < left ? len : (size_t)left;

    /* Also when more came: how much comes at once is chance, and the outcome shall not be. */
    if (fits > 0) {
        int rc = request->sink.write(request->sink.ctx, data, fits, err);

        if (rc < 0)
            return rc;
        transfer->at += fits;
    }
    if (fits < len) {
        transfer->answer->bad_range = is_part(request);
        return dray_error_set(err, DRAY_EPROTO, "%s: more than the %s %" PRIu64 " bytes came",
                              transfer->shown, whole ? "blob's" : "part's",
                              transfer->end - transfer->begin);
    }
    return DRAY_OK;
}

static bool wants_blob(void *ctx)
{
    const struct blob_transfer *transfer = ctx;

    return transfer->request->sink.wanted(transfer->request->sink.ctx);
}

static int judge_blob(const struct blob_transfer *transfer,
                      const struct dray_http_response *response, struct dray_error *err)
{
    if (response->status != 200 && response->status != 206) {
        transfer->answer->bad_range = response->status == 416 && is_part(transfer->request);
        return judge(transfer->request->endpoint, response, err);
    }
    if (transfer->at < transfer->end)
        return dray_error_set(
            err, DRAY_ETRANSIENT, "%s: the answer ended after %" PRIu64 " of %" PRIu64 " bytes",
            response->url.shown, transfer->at - transfer->begin, transfer->end - transfer->begin);
    return DRAY_OK;
}

static int ask_endpoint(struct dray_client *client, const struct dray_http_request *request,
                        const struct dray_blob_request *blob, struct dray_http_response *response,
                        struct dray_error *err)
{
    DRAY_AUTO_URL struct dray_url url = { 0 };
    struct dray_http_request at_endpoint = *request;
    int rc =
        make_url(blob->endpoint, blob->repository, "blobs", blob->blob->digest.text, &url, err);

    if (rc < 0)
        return rc;
    at_endpoint.url = &url;
    return send_authorized(client, blob->repository, &at_endpoint, response, err);
}

static int ask_target(struct dray_client *client, const struct dray_http_request *request,
                      const struct dray_blob_target *target, struct dray_http_response *response,
                      struct dray_error *err)
{
    struct dray_http_request at_target = *request;
    int rc = dray_url_parse(target->url.text, &response->url, err);

    if (rc < 0)
        return rc;
    at_target.url = &response->url;
    at_target.named_by_peer = true;
    at_target.peer_reach = target->sender_reach;
    return dray_http_exchange(client, &at_target, response, err);
}

/* Is the target out of date, so that the endpoint may name a better one? Once bytes have come it is
 * not: there is no way back then. */
static bool is_stale(int rc, int status)
{
    if (rc < 0)
        return rc == DRAY_EUNREACHABLE && status == 0;
    return status / 100 == 3 || status == 400 || status == 401 || status == 403 || status == 404 ||
           status == 410;
}

static void fill_answer(struct dray_blob_answer *answer, const struct dray_http_response *response)
{
    answer->first_byte_ms = response->status != 0 ? response->first_byte_ms : -1;
    answer->connect_ms = response->connect_ms;
    answer->redirected = response->foreign;
    answer->stalled = response->stalled;
    answer->quota = response->quota;
}

int dray_v2_get_blob_unverified(struct dray_client *client, const struct dray_blob_request *request,
                                struct dray_blob_target *target,
                                struct dray_blob_answer *ret_answer, struct dray_error *err)
{
    DRAY_AUTO_HTTP_RESPONSE struct dray_http_response response = { 0 };
    struct blob_transfer transfer = { .request = request, .answer = ret_answer };
    struct dray_http_request http = {
        .method = DRAY_HTTP_GET,
        .endpoint = request->endpoint,
        .on_start = start_blob,
        .on_body = write_blob,
        .wanted = request->sink.wanted ? wants_blob : NULL,
        .ctx = &transfer,
    };
    bool straight = target && dray_blob_target_set(target);
    int rc = DRAY_OK;

    assert(request->begin < request->end || request->blob->size_bytes == 0);
    assert(request->end <= request->blob->size_bytes);
    *ret_answer = (struct dray_blob_answer){ 0 };
    if (is_part(request)) {
        http.range_begin = request->begin;
        http.range_end = request->end;
    }
    if (straight) {
        rc = ask_target(client, &http, target, &response, err);
        if (is_stale(rc, response.status)) {
            dray_blob_target_done(target);
            straight = false;
        }
    }
    if (!straight) {
        transfer.target = target;
        rc = ask_endpoint(client, &http, request, &response, err);
    }
    if (rc == DRAY_OK)
        rc = judge_blob(&transfer, &response, err);
    fill_answer(ret_answer, &response);
    if (target && rc < 0 && rc != DRAY_ECANCELED)
        dray_blob_target_done(target);
    return rc;
}
