#include "workers/resolve.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/limits.h"
#include "core/log.h"
#include "registry/v2.h"
#include "storage/blob_store.h"
#include "storage/image_store.h"
#include "workers/endpoint_errors.h"
#include "workers/host.h"
#include "workers/retry.h"

/* How often one who waits for one of a host's slots looks whether it was canceled. */
#define SLOT_WAIT_MS 100

/* What one walk carries from function to function. */
struct walk {
    const struct dray_resolve_request *request;
    const struct dray_tag *tag;           /* what the store has under this name, or NULL */
    const struct dray_endpoint *endpoint; /* the one being asked */
    struct dray_resolution *resolution;

    struct dray_digest seen[DRAY_PLAN_DOCUMENTS_MAX]; /* documents taken: each is followed once */
    size_t seen_count;
    size_t blob_count; /* of all images taken */
};

void dray_resolution_done(struct dray_resolution *resolution)
{
    for (size_t i = 0; i < resolution->image_count; i++)
        dray_manifest_free(resolution->images[i]);
    free(resolution->images);
    dray_descriptor_done(&resolution->root);
    *resolution = (struct dray_resolution){ 0 };
}

static bool is_last(const struct walk *walk)
{
    const struct dray_endpoint_list *endpoints = walk->request->endpoints;

    return walk->endpoint + 1 == endpoints->items + endpoints->count;
}

/* Is there somebody better to ask than this host, if anybody else? */
static bool is_passed_by(struct dray_host *host, enum dray_host_gate gate, int64_t wait_ms)
{
    struct dray_host_view view;

    dray_host_look(host, &view);
    return gate == DRAY_HOST_BROKEN || view.slow ||
           (gate == DRAY_HOST_LATER && wait_ms > DRAY_RETRY_PATIENCE_MS);
}

/* Wait until the host may be asked, and take one of its slots; or pass it by. */
static int enter(const struct walk *walk, struct dray_host *host, struct dray_error *err)
{
    const struct dray_engine *engine = walk->request->engine;

    for (;;) {
        int64_t wait_ms;
        enum dray_host_gate gate = dray_host_gate(host, &wait_ms);

        if (!is_last(walk) && is_passed_by(host, gate, wait_ms))
            return dray_error_set(err, DRAY_EUNREACHABLE, "%s: passed by: a moment ago it was %s",
                                  walk->endpoint->origin,
                                  gate == DRAY_HOST_LATER    ? "overloaded"
                                  : gate == DRAY_HOST_BROKEN ? "out of reach"
                                                             : "too slow");
        if (gate == DRAY_HOST_LATER) {
            dray_log(&engine->log, DRAY_LOG_INFO, "%s: asked us to wait: %lld ms",
                     walk->endpoint->origin, (long long)wait_ms);
            if (dray_cancel_sleep(engine->cancel, wait_ms) < 0)
                return dray_error_set(err, DRAY_ECANCELED, "canceled");
            continue;
        }
        if (dray_host_enter(host, SLOT_WAIT_MS, is_last(walk)))
            return DRAY_OK;
        if (dray_cancel_fired(engine->cancel))
            return dray_error_set(err, DRAY_ECANCELED, "canceled");
    }
}

/* The request failed: what is the host to be known for, and is it asked again? */
static void judge(const struct walk *walk, struct dray_retry *retry, const struct dray_error *err,
                  struct dray_host_outcome *outcome, int64_t *ret_delay_ms)
{
    bool is_silent = outcome->stalled && outcome->first_byte_ms < 0;

    outcome->http_status = err->http_status;
    outcome->sys_errno = err->sys_errno;
    /* A host that takes connections and says nothing is as good as one that takes none. */
    if (is_silent)
        outcome->code = DRAY_EUNREACHABLE;
    if ((is_silent && !is_last(walk)) || !dray_retry_decide(retry, err, 0, ret_delay_ms))
        *ret_delay_ms = -1;
    outcome->pause_ms = dray_retry_pause_ms(err, *ret_delay_ms);
}

/* Ask the endpoint once. *ret_delay_ms: how long to wait before the next try; -1: it failed for
 * good. */
static int ask_once(const struct walk *walk, struct dray_host *host, struct dray_retry *retry,
                    const char *tag, const struct dray_digest *digest, bool head,
                    struct dray_v2_manifest *ret_reply, int64_t *ret_delay_ms,
                    struct dray_error *err)
{
    const struct dray_resolve_request *request = walk->request;
    struct dray_host_outcome outcome = { .first_byte_ms = -1 };
    struct dray_v2_manifest reply = { .first_byte_ms = -1 };
    int rc = enter(walk, host, err);

    *ret_delay_ms = -1;
    if (rc < 0)
        return rc;
    rc = dray_v2_get_manifest(request->client, walk->endpoint, request->reference->path, tag,
                              digest, head, &reply, err);
    outcome.code = rc;
    outcome.first_byte_ms = reply.first_byte_ms;
    outcome.duration_ms = reply.first_byte_ms; /* so small a body tells nothing of speed */
    outcome.stalled = reply.stalled;
    if (rc == DRAY_OK)
        *ret_reply = reply;
    else
        judge(walk, retry, err, &outcome, ret_delay_ms);
    dray_host_leave(host, &outcome);
    dray_host_quota(host, &reply.quota);
    return rc;
}

/* Ask the endpoint, with retries. */
static int ask(const struct walk *walk, const char *tag, const struct dray_digest *digest,
               bool head, struct dray_v2_manifest *ret_reply, struct dray_error *err)
{
    const struct dray_engine *engine = walk->request->engine;
    struct dray_retry retry = { .limit = engine->retries, .elsewhere = !is_last(walk) };
    struct dray_error failure = { 0 };
    struct dray_host *host;
    int rc = dray_hosts_get(engine->hosts, walk->endpoint->origin, &host, err);

    if (rc < 0)
        return rc;
    for (;;) {
        int64_t delay_ms;

        rc = ask_once(walk, host, &retry, tag, digest, head, ret_reply, &delay_ms, &failure);
        if (rc == DRAY_OK)
            return DRAY_OK;
        if (delay_ms < 0) {
            if (err)
                *err = failure;
            return rc;
        }
        dray_retry_tell_cut(&engine->log, &failure, delay_ms);
        dray_log(&engine->log, DRAY_LOG_INFO, "trying again in %lld ms: %s", (long long)delay_ms,
                 failure.text);
        if (dray_cancel_sleep(engine->cancel, delay_ms) < 0)
            return dray_error_set(err, DRAY_ECANCELED, "canceled");
    }
}

/* Is the tag's image what this source leads to, for the platform that is wanted? */
static int tag_matches(const struct walk *walk, const struct dray_digest *source, bool *ret_matches,
                       struct dray_error *err)
{
    const struct dray_resolve_request *request = walk->request;
    DRAY_AUTO_BUF struct dray_buf body = DRAY_BUF_INIT;
    DRAY_AUTO_MANIFEST struct dray_manifest *index = NULL;
    const struct dray_descriptor *choice;

    *ret_matches = false;
    if (!walk->tag)
        return DRAY_OK;

    if (dray_digest_equal(&walk->tag->descriptor.digest, source)) {
        /* A whole index serves only who wants the whole; a lone image that was asked for by
         * platform has to be of that platform. */
        if (dray_media_type_is_index(walk->tag->descriptor.media_type))
            *ret_matches = request->all_platforms;
        else
            *ret_matches =
                !request->platform_asked || !walk->tag->descriptor.has_platform ||
                dray_platform_rank(request->platform, &walk->tag->descriptor.platform) > 0;
    } else if (!request->all_platforms && dray_digest_equal(&walk->tag->source_digest, source) &&
               dray_blob_read(request->engine->store, source, DRAY_MANIFEST_MAX_BYTES, &body,
                              NULL) == DRAY_OK &&
               dray_manifest_parse(body.data, body.len, "", &index, NULL) == DRAY_OK &&
               index->kind == DRAY_MANIFEST_INDEX) {
        choice = dray_manifest_select(index, request->platform, NULL);
        *ret_matches = choice && dray_digest_equal(&choice->digest, &walk->tag->descriptor.digest);
    }
    if (!*ret_matches)
        return DRAY_OK;
    return dray_image_complete(request->engine->store, &walk->tag->descriptor, ret_matches, err);
}

static int keep_unchanged(struct walk *walk, const struct dray_digest *source)
{
    assert(walk->tag); /* it matched */
    walk->resolution->unchanged = true;
    walk->resolution->source_digest = *source;
    walk->resolution->root = walk->tag->descriptor;
    walk->resolution->root.data = NULL;
    return DRAY_OK;
}

/* What the local tag shall point at. */
static void set_root(struct walk *walk, const struct dray_descriptor *descriptor,
                     const struct dray_manifest *manifest)
{
    struct dray_descriptor *root = &walk->resolution->root;

    *root = *descriptor;
    root->data = NULL;
    memcpy(root->media_type, manifest->media_type, sizeof(root->media_type));
}

static int add_image(struct dray_resolution *resolution, struct dray_manifest **manifest,
                     struct dray_error *err)
{
    struct dray_manifest **images =
        realloc(resolution->images, (resolution->image_count + 1) * sizeof(resolution->images[0]));

    if (!images)
        return dray_error_nomem(err);
    resolution->images = images;
    images[resolution->image_count++] = DRAY_TAKE(*manifest);
    return DRAY_OK;
}

/* A child manifest: from its descriptor, from the store, or from the endpoint. */
static int read_child(struct walk *walk, const struct dray_descriptor *child,
                      struct dray_buf *ret_body, struct dray_error *err)
{
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest reply = { .body = DRAY_BUF_INIT };
    int rc;

    if (child->data) {
        rc = dray_buf_append(ret_body, child->data, (size_t)child->size_bytes,
                             DRAY_MANIFEST_MAX_BYTES);
        if (rc < 0)
            return dray_error_set(err, rc, "inline manifest %s: %s", child->digest.text,
                                  dray_code_text(rc));
        return DRAY_OK;
    }
    if (dray_blob_exists(walk->request->engine->store, &child->digest, child->size_bytes) &&
        dray_blob_read(walk->request->engine->store, &child->digest, DRAY_MANIFEST_MAX_BYTES,
                       ret_body, NULL) == DRAY_OK)
        return DRAY_OK;

    dray_buf_done(ret_body);
    rc = ask(walk, NULL, &child->digest, false, &reply, err);
    if (rc < 0)
        return rc;
    if (reply.body.len != child->size_bytes)
        return dray_error_set(
            err, DRAY_EDIGEST, "manifest %s has %zu bytes where its index says %llu",
            child->digest.text, reply.body.len, (unsigned long long)child->size_bytes);
    *ret_body = DRAY_MOVE(reply.body);
    return DRAY_OK;
}

static int take_document(struct walk *walk, const struct dray_descriptor *descriptor,
                         const struct dray_buf *body, unsigned nesting, struct dray_error *err);

static bool is_seen(const struct walk *walk, const struct dray_digest *digest)
{
    for (size_t i = 0; i < walk->seen_count; i++)
        if (dray_digest_equal(&walk->seen[i], digest))
            return true;
    return false;
}

/* Count what a document adds to the plan, and refuse plans beyond all measure. */
static int count_in(struct walk *walk, const struct dray_descriptor *descriptor,
                    const struct dray_manifest *manifest, struct dray_error *err)
{
    walk->blob_count += manifest->layer_count + 1;
    if (walk->seen_count == DRAY_PLAN_DOCUMENTS_MAX || walk->blob_count > DRAY_PLAN_BLOBS_MAX)
        return dray_error_set(err, DRAY_EPROTO,
                              "the index names more than %d manifests or %d blobs",
                              DRAY_PLAN_DOCUMENTS_MAX, DRAY_PLAN_BLOBS_MAX);
    walk->seen[walk->seen_count++] = descriptor->digest;
    return DRAY_OK;
}

static int take_child(struct walk *walk, const struct dray_descriptor *child, unsigned nesting,
                      struct dray_error *err)
{
    DRAY_AUTO_BUF struct dray_buf body = DRAY_BUF_INIT;
    int rc;

    if (dray_cancel_fired(walk->request->engine->cancel))
        return dray_error_set(err, DRAY_ECANCELED, "canceled");
    if (is_seen(walk, &child->digest))
        return DRAY_OK;
    if (nesting >= DRAY_INDEX_NESTING_MAX)
        return dray_error_set(err, DRAY_EPROTO, "indexes nest more than %d deep",
                              DRAY_INDEX_NESTING_MAX);
    rc = read_child(walk, child, &body, err);
    if (rc < 0)
        return rc;
    return take_document(walk, child, &body, nesting + 1, err);
}

/* Keep a verified document in the store, and go on to what it names. */
static int take_document(struct walk *walk, const struct dray_descriptor *descriptor,
                         const struct dray_buf *body, unsigned nesting, struct dray_error *err)
{
    const struct dray_resolve_request *request = walk->request;
    DRAY_AUTO_MANIFEST struct dray_manifest *manifest = NULL;
    const struct dray_descriptor *choice;
    int rc;

    rc = dray_manifest_parse(body->data, body->len, descriptor->media_type, &manifest, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "manifest %s", descriptor->digest.text);
    rc = count_in(walk, descriptor, manifest, err);
    if (rc < 0)
        return rc;
    rc = dray_blob_put(request->engine->store, &descriptor->digest, body->data, body->len, err);
    if (rc < 0)
        return rc;

    if (manifest->kind == DRAY_MANIFEST_IMAGE) {
        if (!request->all_platforms || nesting == 0)
            set_root(walk, descriptor, manifest);
        return add_image(walk->resolution, &manifest, err);
    }

    if (request->all_platforms) {
        if (nesting == 0)
            set_root(walk, descriptor, manifest);
        for (size_t i = 0; i < manifest->manifest_count; i++) {
            const struct dray_descriptor *child = &manifest->manifests[i];

            /* OCI image-spec, "Image Index": entries of unknown types are to be ignored. */
            if (!dray_media_type_is_manifest(child->media_type))
                continue;
            rc = take_child(walk, child, nesting, err);
            if (rc < 0)
                return rc;
        }
        return DRAY_OK;
    }

    choice = dray_manifest_select(manifest, request->platform, err);
    if (!choice)
        return DRAY_EUNSUPPORTED;
    return take_child(walk, choice, nesting, err);
}

/* Everything for one endpoint. */
static int resolve_at(struct walk *walk, struct dray_error *err)
{
    const struct dray_reference *reference = walk->request->reference;
    DRAY_AUTO_V2_MANIFEST struct dray_v2_manifest reply = { .body = DRAY_BUF_INIT };
    struct dray_descriptor descriptor = { 0 };
    struct dray_digest digest = reference->digest;
    bool matches;
    int rc;

    if (!digest.alg && walk->tag) {
        rc = ask(walk, reference->tag, NULL, true, &reply, err);
        if (rc == DRAY_OK) {
            rc = tag_matches(walk, &reply.digest, &matches, err);
            if (rc < 0)
                return rc;
            if (matches)
                return keep_unchanged(walk, &reply.digest);
            digest = reply.digest;
        } else if (rc != DRAY_EUNSUPPORTED) {
            return rc;
        }
    }

    rc = ask(walk, digest.alg ? NULL : reference->tag, digest.alg ? &digest : NULL, false, &reply,
             err);
    if (rc < 0)
        return rc;

    /* A server without HEAD, or one that names no digest, is no reason to rewrite the store. */
    rc = tag_matches(walk, &reply.digest, &matches, err);
    if (rc < 0)
        return rc;
    if (matches)
        return keep_unchanged(walk, &reply.digest);

    descriptor.digest = reply.digest;
    descriptor.size_bytes = reply.body.len;
    snprintf(descriptor.media_type, sizeof(descriptor.media_type), "%s", reply.media_type);
    walk->resolution->source_digest = reply.digest;
    rc = take_document(walk, &descriptor, &reply.body, 0, err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "%s", walk->endpoint->origin);
    return DRAY_OK;
}

static int walk_endpoints(struct walk *walk, struct dray_error *err)
{
    const struct dray_resolve_request *request = walk->request;
    struct dray_endpoint_errors errors = { 0 };
    struct dray_error failure = { 0 };

    for (size_t i = 0; i < request->endpoints->count; i++) {
        int rc;

        walk->endpoint = &request->endpoints->items[i];
        if (!dray_endpoint_errors_allow(&errors, walk->endpoint))
            continue;
        request->on_endpoint(request->ctx, walk->endpoint);
        rc = resolve_at(walk, &failure);
        if (rc == DRAY_OK) {
            walk->resolution->endpoint = i;
            return DRAY_OK;
        }
        dray_resolution_done(walk->resolution);
        walk->seen_count = 0;
        walk->blob_count = 0;
        if (!dray_retry_elsewhere(rc)) {
            if (err)
                *err = failure;
            return rc;
        }
        dray_log(&request->engine->log, DRAY_LOG_INFO, "%s", failure.text);
        dray_endpoint_errors_add(&errors, walk->endpoint, &failure);
    }
    return dray_endpoint_errors_join(&errors, err);
}

int dray_resolve(const struct dray_resolve_request *request, struct dray_resolution *ret_resolution,
                 struct dray_error *err)
{
    DRAY_AUTO_TAG_LIST struct dray_tag_list tags = { 0 };
    DRAY_AUTO_RESOLUTION struct dray_resolution resolution = { 0 };
    DRAY_AUTO_FREE struct walk *walk = calloc(1, sizeof(*walk)); /* too large for the stack */
    char name[DRAY_REFERENCE_TEXT_MAX];
    bool matches = false;
    int rc;

    if (!walk)
        return dray_error_nomem(err);
    walk->request = request;
    walk->resolution = &resolution;
    rc = dray_tag_list_read(request->engine->store, &tags, err);
    if (rc < 0)
        return rc;
    dray_reference_canonical(request->reference, name);
    walk->tag = dray_tag_list_find(&tags, name);

    if (request->reference->digest.alg) {
        rc = tag_matches(walk, &request->reference->digest, &matches, err);
        if (rc < 0)
            return rc;
    }
    if (matches)
        keep_unchanged(walk, &request->reference->digest);
    else
        rc = walk_endpoints(walk, err);
    if (rc < 0)
        return rc;

    *ret_resolution = DRAY_MOVE(resolution);
    return DRAY_OK;
}
