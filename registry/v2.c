#include "registry/v2.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/digest.h"
#include "core/error.h"
#include "core/limits.h"
#include "registry/auth.h"
#include "registry/failure.h"
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

/* A blob on its way to the sink. */
struct blob_transfer {
    const struct dray_descriptor *blob;
    const struct dray_blob_sink *sink;
    const char *shown;
    uint64_t asked;    /* offset asked for */
    uint64_t received; /* place in the blob of the next byte */
};

static int check_range(const struct blob_transfer *transfer,
                       const struct dray_http_response *response, struct dray_error *err)
{
    const char *value = dray_http_response_header(response, "Content-Range", 0);
    uint64_t size = transfer->blob->size_bytes;
    struct dray_content_range range;

    if (transfer->asked == 0)
        return dray_error_set(err, DRAY_EPROTO, "%s: a part of the blob came unasked",
                              response->url.shown);
    if (!value || dray_http_response_header(response, "Content-Range", 1) ||
        !dray_content_range_parse(value, &range))
        return dray_error_set(err, DRAY_EPROTO, "%s: no valid Content-Range", response->url.shown);
    if (range.first != transfer->asked || range.last != size - 1 ||
        (range.has_total && range.total != size))
        return dray_error_set(
            err, DRAY_EPROTO,
            "%s: bytes %" PRIu64 "-%" PRIu64 " came, %" PRIu64 "-%" PRIu64 " were asked for",
            response->url.shown, range.first, range.last, transfer->asked, size - 1);
    return DRAY_OK;
}

static int start_blob(void *ctx, const struct dray_http_response *response, struct dray_error *err)
{
    struct blob_transfer *transfer = ctx;
    uint64_t size = transfer->blob->size_bytes;
    uint64_t offset = 0;
    int rc;

    if (response->status != 200 && response->status != 206)
        return dray_failure_from_status(response, err);
    rc = check_encoding(response, err);
    if (rc == DRAY_OK && response->status == 206) {
        rc = check_range(transfer, response, err);
        offset = transfer->asked;
    }
    if (rc < 0)
        return rc;
    if (response->has_length && response->length_bytes != size - offset)
        return dray_error_set(err, DRAY_EPROTO,
                              "%s: Content-Length is %" PRIu64 ", expected %" PRIu64 " bytes",
                              response->url.shown, response->length_bytes, size - offset);
    transfer->received = offset;
    transfer->shown = response->url.shown;
    return transfer->sink->start(transfer->sink->ctx, offset, err);
}

static int write_blob(void *ctx, const uint8_t *data, size_t len, struct dray_error *err)
{
    struct blob_transfer *transfer = ctx;

    if (len > transfer->blob->size_bytes - transfer->received)
        return dray_error_set(err, DRAY_EPROTO, "%s: more than the blob's %" PRIu64 " bytes came",
                              transfer->shown, transfer->blob->size_bytes);
    transfer->received += len;
    return transfer->sink->write(transfer->sink->ctx, data, len, err);
}

int dray_v2_get_blob_unverified(struct dray_client *client, const struct dray_endpoint *endpoint,
                                const char *repository, const struct dray_descriptor *blob,
                                uint64_t offset, const struct dray_blob_sink *sink,
                                struct dray_error *err)
{
    DRAY_AUTO_HTTP_RESPONSE struct dray_http_response response = { 0 };
    DRAY_AUTO_URL struct dray_url url = { 0 };
    struct blob_transfer transfer = { .blob = blob, .sink = sink, .asked = offset };
    struct dray_http_request request = {
        .method = DRAY_HTTP_GET,
        .url = &url,
        .endpoint = endpoint,
        .range_from = offset,
        .on_start = start_blob,
        .on_body = write_blob,
        .ctx = &transfer,
    };
    int rc;

    rc = make_url(endpoint, repository, "blobs", blob->digest.text, &url, err);
    if (rc < 0)
        return rc;
    rc = send_authorized(client, repository, &request, &response, err);
    if (rc < 0)
        return rc;
    if (response.status != 200 && response.status != 206)
        return judge(endpoint, &response, err);
    if (transfer.received < blob->size_bytes)
        return dray_error_set(err, DRAY_ETRANSIENT,
                              "%s: the answer ended after %" PRIu64 " of %" PRIu64 " bytes",
                              response.url.shown, transfer.received, blob->size_bytes);
    return DRAY_OK;
}
