#include "registry/token.h"

#include <curl/curl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/json.h"
#include "core/limits.h"
#include "core/sync.h"
#include "registry/failure.h"
#include "registry/redirect.h"

#define LIFETIME_MIN_S 60
#define LIFETIME_MAX_S 86400

/* Make "Bearer TEXT". A token is visible ASCII (RFC 6750); anything else could end the header. */
static int make_value(const char *text, struct dray_secret *ret_value)
{
    static const char scheme[] = "Bearer ";
    size_t len = strlen(text);

    if (len == 0)
        return DRAY_EPROTO;
    for (size_t i = 0; i < len; i++)
        if (text[i] <= 0x20 || text[i] >= 0x7f)
            return DRAY_EPROTO;
    if (dray_secret_resize(ret_value, sizeof(scheme) - 1 + len) < 0)
        return DRAY_ENOMEM;
    memcpy(ret_value->text, scheme, sizeof(scheme) - 1);
    memcpy(ret_value->text + sizeof(scheme) - 1, text, len);
    return DRAY_OK;
}

static int read_json(const json_t *json, struct dray_secret *ret_value)
{
    const char *token = json_string_value(json_object_get(json, "token"));
    const char *access_token = json_string_value(json_object_get(json, "access_token"));
    const char *chosen = access_token && access_token[0] ? access_token : token;
    int rc = chosen ? make_value(chosen, ret_value) : DRAY_EPROTO;

    dray_secret_wipe(token);
    dray_secret_wipe(access_token);
    return rc;
}

/* Read the token server's answer, which it took from asked_ms on to give. */
static int read_answer(const struct dray_http_response *response, int64_t asked_ms,
                       struct dray_token *token, struct dray_error *err)
{
    DRAY_AUTO_JSON json_t *json = NULL;
    json_int_t lifetime_s;
    int64_t margin_s;
    int rc;

    /* The parser's own text could quote the token. */
    rc = dray_json_parse(response->body.data, response->body.len, DRAY_TOKEN_BODY_MAX_BYTES, &json,
                         NULL);
    if (rc == DRAY_OK)
        rc = read_json(json, &token->value);
    if (rc == DRAY_ENOMEM)
        return dray_error_nomem(err);
    if (rc < 0)
        return dray_error_set(err, rc, "%s: no usable token in the token server's answer",
                              response->url.shown);

    lifetime_s = json_integer_value(json_object_get(json, "expires_in"));
    if (lifetime_s < LIFETIME_MIN_S)
        lifetime_s = LIFETIME_MIN_S; /* also when there is none */
    if (lifetime_s > LIFETIME_MAX_S)
        lifetime_s = LIFETIME_MAX_S;
    /* Requests that are sent with it take their time, and clocks differ in speed. */
    margin_s = lifetime_s / 10 > 10 ? lifetime_s / 10 : 10;
    token->fresh_until_ms = asked_ms + (lifetime_s - margin_s) * 1000;
    return DRAY_OK;
}

/* Append name=value, percent-encoded, to a form. */
static int add_field(struct dray_secret *form, const char *name, const char *value)
{
    struct dray_secret longer = { 0 };
    char *escaped = curl_easy_escape(NULL, value, 0);
    int rc = DRAY_ENOMEM;

    if (escaped) {
        size_t room = form->len + 1 + strlen(name) + 1 + strlen(escaped);

        rc = dray_secret_resize(&longer, room);
        if (rc == DRAY_OK) {
            int len = snprintf(longer.text, room + 1, "%s%s%s=%s", form->len ? form->text : "",
                               form->len ? "&" : "", name, escaped);

            longer.len = (size_t)len;
            dray_secret_done(form);
            *form = longer;
        }
        dray_secret_wipe(escaped);
        curl_free(escaped);
    }
    return rc;
}

/* OAuth 2: an identity token is a refresh token that buys a bearer token. */
static int make_form(const struct dray_token_request *request, struct dray_secret *ret_form)
{
    if (add_field(ret_form, "grant_type", "refresh_token") < 0 ||
        add_field(ret_form, "client_id", "dray") < 0 ||
        (request->service[0] && add_field(ret_form, "service", request->service) < 0) ||
        add_field(ret_form, "scope", request->scope) < 0 ||
        add_field(ret_form, "refresh_token", request->credential->identity_token.text) < 0)
        return DRAY_ENOMEM;
    return DRAY_OK;
}

/* service=S&scope=A&scope=B behind what the realm has already. */
static int add_query(const struct dray_token_request *request, struct dray_url *url)
{
    DRAY_AUTO_FREE char *scopes = strdup(request->scope);
    char *rest = scopes;
    char *scope;

    if (!scopes)
        return DRAY_ENOMEM;
    if (request->service[0] && dray_url_add_query(url, "service", request->service) < 0)
        return DRAY_ENOMEM;
    while ((scope = strsep(&rest, " ")))
        if (scope[0] && dray_url_add_query(url, "scope", scope) < 0)
            return DRAY_ENOMEM;
    return DRAY_OK;
}

static int judge(const struct dray_http_response *response, bool anonymous, struct dray_error *err)
{
    int status = response->status;
    int rc;

    if (status == 200)
        return DRAY_OK;
    rc = dray_failure_from_status(response, err);
    if (status == 400 || status == 401 || status == 403)
        rc = DRAY_EAUTH;
    else if (rc == DRAY_ENOTFOUND)
        rc = DRAY_EPROTO; /* what is missing is not the image */
    if (err)
        err->code = rc;
    return dray_error_wrap(err, rc, "token server refused %s",
                           anonymous ? "an anonymous user" : "the credentials");
}

static int ask(struct dray_client *client, const struct dray_token_request *request,
               struct dray_http_response *response, struct dray_error *err)
{
    DRAY_AUTO_URL struct dray_url url = { 0 };
    DRAY_AUTO_SECRET struct dray_secret authorization = { 0 };
    DRAY_AUTO_SECRET struct dray_secret form = { 0 };
    const struct dray_credential *credential = request->credential;
    bool refresh = credential && !dray_secret_empty(&credential->identity_token);
    bool basic = credential && !refresh && !dray_secret_empty(&credential->basic);
    int rc = dray_url_parse(request->realm, &url, err);

    if (rc < 0)
        return rc;
    rc = refresh ? make_form(request, &form) : add_query(request, &url);
    if (rc == DRAY_OK && basic)
        rc = dray_credential_basic(credential, &authorization);
    if (rc < 0)
        return dray_error_nomem(err);

    rc = dray_redirect_follow(client,
                              &(struct dray_http_request){
                                  .method = refresh ? DRAY_HTTP_POST : DRAY_HTTP_GET,
                                  .url = &url,
                                  .endpoint = request->endpoint,
                                  .authorization = &authorization,
                                  .form = &form,
                                  .named_by_peer = true,
                                  .peer_reach = request->peer_reach,
                                  .body_max_bytes = DRAY_TOKEN_BODY_MAX_BYTES,
                              },
                              response, err);
    return rc < 0 ? rc : judge(response, !basic && !refresh, err);
}

int dray_token_fetch(struct dray_client *client, const struct dray_token_request *request,
                     struct dray_token *ret_token, struct dray_error *err)
{
    DRAY_AUTO_HTTP_RESPONSE struct dray_http_response response = { 0 };
    const struct dray_credential *credential = request->credential;
    struct dray_token token = { 0 };
    int64_t asked_ms = dray_now_ms();
    int rc;

    if (credential && !dray_secret_empty(&credential->registry_token)) {
        token.fresh_until_ms = INT64_MAX;
        rc = make_value(credential->registry_token.text, &token.value);
        if (rc == DRAY_EPROTO)
            return dray_error_set(err, DRAY_EAUTH, "the registry token of %s is malformed",
                                  request->endpoint->host);
        if (rc < 0)
            return dray_error_nomem(err);
    } else {
        rc = ask(client, request, &response, err);
        if (rc == DRAY_OK)
            rc = read_answer(&response, asked_ms, &token, err);
        if (response.body.data)
            sodium_memzero(response.body.data, response.body.len);
        if (rc < 0)
            return rc;
    }
    *ret_token = token;
    return DRAY_OK;
}
