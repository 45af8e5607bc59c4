#include "registry/auth.h"

#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/sync.h"
#include "registry/challenge.h"
#include "registry/failure.h"
#include "registry/shared.h"
#include "registry/token.h"

/* Entries kept; the one longest unused makes room. A token is some KiB, and a pull of thousands of
 * images uses each repository's for a short time only. */
#define ENTRIES_MAX 256

/* How often a thread that waits for another's token request looks at its cancel token. */
#define CANCEL_LOOK_MS 100

/* What one repository at one endpoint wants. */
struct entry {
    struct entry *next; /* the one used before */
    char *origin;
    char *repository;
    bool mirror;

    bool bearer;                /* else Basic */
    enum dray_reach peer_reach; /* of the one who sent the challenge */
    char *realm;
    char *service; /* "" if none */
    char *scope;

    struct dray_token token; /* empty until there is one */
    uint64_t generation;     /* changes with the challenge and with the token */

    unsigned int users; /* threads that hold a pointer to this entry without the lock */
    bool fetching;      /* one of them asks the token server */
    uint64_t fetches;   /* finished ones */
    int fetch_rc;       /* of the last one */
    struct dray_error fetch_error;
};

struct dray_auth {
    struct dray_mutex mu;                       /* guards everything below, and in the entries */
    struct dray_cond fetched;                   /* some entry's fetches has grown */
    struct entry *entries DRAY_GUARDED_BY(&mu); /* the last used first */
    size_t count DRAY_GUARDED_BY(&mu);
    uint64_t generations DRAY_GUARDED_BY(&mu); /* given out so far; 0 is nobody's */
};

int dray_auth_new(struct dray_auth **ret_auth, struct dray_error *err)
{
    struct dray_auth *auth = calloc(1, sizeof(*auth));

    if (!auth)
        return dray_error_nomem(err);
    dray_mutex_init(&auth->mu);
    dray_cond_init(&auth->fetched);
    *ret_auth = auth;
    return DRAY_OK;
}

static void entry_free(struct entry *entry)
{
    if (!entry)
        return;
    free(entry->origin);
    free(entry->repository);
    free(entry->realm);
    free(entry->service);
    free(entry->scope);
    dray_secret_done(&entry->token.value);
    free(entry);
}

DRAY_DEFINE_CLEANUP(struct entry, entry_free);

void dray_auth_free(struct dray_auth *auth)
{
    if (!auth)
        return;
    while (auth->entries) {
        struct entry *entry = auth->entries;

        auth->entries = entry->next;
        entry_free(entry);
    }
    dray_cond_done(&auth->fetched);
    dray_mutex_done(&auth->mu);
    free(auth);
}

void dray_auth_grant_done(struct dray_auth_grant *grant)
{
    dray_secret_done(&grant->value);
    grant->generation = 0;
}

static struct entry *find_entry(struct dray_auth *auth, const struct dray_endpoint *endpoint,
                                const char *repository) DRAY_REQUIRES(&auth->mu);
static void add_entry(struct dray_auth *auth, struct entry *entry) DRAY_REQUIRES(&auth->mu);

/* Find an entry and make it the first. */
static struct entry *find_entry(struct dray_auth *auth, const struct dray_endpoint *endpoint,
                                const char *repository)
{
    for (struct entry **link = &auth->entries; *link; link = &(*link)->next) {
        struct entry *entry = *link;

        if (entry->mirror != endpoint->mirror || strcmp(entry->repository, repository) != 0 ||
            strcmp(entry->origin, endpoint->origin) != 0)
            continue;
        *link = entry->next;
        entry->next = auth->entries;
        auth->entries = entry;
        return entry;
    }
    return NULL;
}

static void add_entry(struct dray_auth *auth, struct entry *entry)
{
    struct entry **oldest = NULL;

    for (struct entry **link = &auth->entries; *link; link = &(*link)->next)
        if ((*link)->users == 0)
            oldest = link;
    if (auth->count >= ENTRIES_MAX && oldest) {
        struct entry *gone = *oldest;

        *oldest = gone->next;
        auth->count--;
        entry_free(gone);
    }
    entry->next = auth->entries;
    auth->entries = entry;
    auth->count++;
}

static const struct dray_credential *credential_of(const struct dray_client *client,
                                                   const struct dray_endpoint *endpoint,
                                                   const char *repository)
{
    return dray_credentials_find(dray_client_registry(client)->credentials, endpoint->host,
                                 repository, !endpoint->mirror, dray_client_cancel(client));
}

static int fetch_for(struct dray_client *client, struct dray_auth *auth, struct entry *entry,
                     const struct dray_endpoint *endpoint, const char *repository)
    DRAY_REQUIRES(&auth->mu);
static int wait_for(const struct dray_cancel *cancel, struct dray_auth *auth, struct entry *entry)
    DRAY_REQUIRES(&auth->mu);

/* Fetch the entry's token; the lock is released meanwhile. The outcome stands in the entry. */
static int fetch_for(struct dray_client *client, struct dray_auth *auth, struct entry *entry,
                     const struct dray_endpoint *endpoint, const char *repository)
{
    DRAY_AUTO_FREE char *realm = strdup(entry->realm);
    DRAY_AUTO_FREE char *service = strdup(entry->service);
    DRAY_AUTO_FREE char *scope = strdup(entry->scope);
    struct dray_token_request request = {
        .endpoint = endpoint,
        .realm = realm,
        .service = service,
        .scope = scope,
        .peer_reach = entry->peer_reach,
    };
    struct dray_token token = { 0 };
    struct dray_error error = { 0 };
    int rc;

    entry->users++;
    entry->fetching = true;
    dray_mutex_unlock(&auth->mu);
    request.credential = credential_of(client, endpoint, repository);
    if (realm && service && scope)
        rc = dray_token_fetch(client, &request, &token, &error);
    else
        rc = dray_error_nomem(&error);
    /* The registry itself has answered: what fails is the way from there. */
    if (rc < 0 && error.http_status == 0)
        error.http_status = 401;
    dray_mutex_lock(&auth->mu);

    if (rc == DRAY_OK) {
        dray_secret_done(&entry->token.value);
        entry->token = token;
        entry->generation = ++auth->generations;
    }
    entry->fetch_rc = rc;
    entry->fetch_error = error;
    entry->fetches++;
    entry->fetching = false;
    entry->users--;
    dray_cond_broadcast(&auth->fetched);
    return rc;
}

/* Wait for the thread that fetches. @return its outcome; but that it was canceled is its own
 * affair, and DRAY_OK here: the caller looks again */
static int wait_for(const struct dray_cancel *cancel, struct dray_auth *auth, struct entry *entry)
{
    uint64_t fetches = entry->fetches;
    int rc = DRAY_OK;

    entry->users++;
    while (entry->fetches == fetches && rc == DRAY_OK) {
        dray_cond_wait_until(&auth->fetched, &auth->mu, dray_now_ms() + CANCEL_LOOK_MS);
        if (dray_cancel_fired(cancel))
            rc = DRAY_ECANCELED;
    }
    entry->users--;
    if (rc == DRAY_OK && entry->fetch_rc != DRAY_ECANCELED)
        rc = entry->fetch_rc;
    return rc;
}

/* Take a fresh token out of the cache, fetching it or waiting for it first where needed. */
static int take_token(struct dray_client *client, struct dray_auth *auth, struct entry *entry,
                      const struct dray_endpoint *endpoint, const char *repository,
                      struct dray_auth_grant *grant, struct dray_error *err)
    DRAY_REQUIRES(&auth->mu);

static int take_token(struct dray_client *client, struct dray_auth *auth, struct entry *entry,
                      const struct dray_endpoint *endpoint, const char *repository,
                      struct dray_auth_grant *grant, struct dray_error *err)
{
    while (dray_secret_empty(&entry->token.value) || dray_now_ms() >= entry->token.fresh_until_ms) {
        int rc = entry->fetching ? wait_for(dray_client_cancel(client), auth, entry)
                                 : fetch_for(client, auth, entry, endpoint, repository);

        if (rc == DRAY_ECANCELED)
            return dray_error_set(err, rc, "canceled");
        if (rc < 0) {
            if (err)
                *err = entry->fetch_error;
            return rc;
        }
    }
    grant->generation = entry->generation;
    if (dray_secret_set(&grant->value, entry->token.value.text, entry->token.value.len) < 0)
        return dray_error_nomem(err);
    return DRAY_OK;
}

int dray_auth_grant_get(struct dray_client *client, const struct dray_endpoint *endpoint,
                        const char *repository, struct dray_auth_grant *grant,
                        struct dray_error *err)
{
    struct dray_auth *auth = dray_client_registry(client)->auth;
    const struct dray_credential *credential;
    struct entry *entry;
    bool basic = false;
    int rc = DRAY_OK;

    dray_auth_grant_done(grant);
    dray_mutex_lock(&auth->mu);
    entry = find_entry(auth, endpoint, repository);
    if (entry && entry->bearer) {
        rc = take_token(client, auth, entry, endpoint, repository, grant, err);
    } else if (entry) {
        basic = true;
        grant->generation = entry->generation;
    }
    dray_mutex_unlock(&auth->mu);
    if (!basic)
        return rc;

    credential = credential_of(client, endpoint, repository);
    if (credential && dray_credential_basic(credential, &grant->value) < 0)
        return dray_error_nomem(err);
    return DRAY_OK;
}

/* Would following this challenge's realm betray anything? */
static int check_realm(const struct dray_endpoint *endpoint, const char *realm,
                       enum dray_reach peer_reach, struct dray_error *err)
{
    DRAY_AUTO_URL struct dray_url url = { 0 };
    int rc = dray_url_parse(realm, &url, err);

    if (rc == DRAY_ENOMEM)
        return rc;
    if (rc < 0) {
        if (err)
            err->code = DRAY_EPROTO;
        return dray_error_wrap(err, DRAY_EPROTO, "%s: token server refused", endpoint->origin);
    }
    if (!url.https && strncmp(endpoint->origin, "https:", 6) == 0)
        return dray_error_set(err, DRAY_EPROTO, "%s: token server by http refused (%s)",
                              endpoint->origin, url.origin);
    if (!dray_reach_allows(peer_reach, dray_reach_of_host(url.host)) &&
        strcmp(url.origin, endpoint->origin) != 0)
        return dray_error_set(err, DRAY_EPROTO, "%s: token server at a local address refused (%s)",
                              endpoint->origin, url.origin);
    return DRAY_OK;
}

/* Find what to answer with among all challenges of all lines; Bearer before Basic. */
static bool choose_challenge(const struct dray_http_response *response,
                             struct dray_challenge *ret_challenge)
{
    struct dray_challenge challenge;
    bool found = false;
    const char *line;

    for (size_t i = 0; (line = dray_http_response_header(response, "WWW-Authenticate", i)); i++) {
        while (dray_challenge_next(&line, &challenge)) {
            if (challenge.overlong)
                continue;
            if (challenge.scheme == DRAY_CHALLENGE_BEARER && challenge.realm[0]) {
                *ret_challenge = challenge;
                return true;
            }
            if (challenge.scheme == DRAY_CHALLENGE_BASIC && !found) {
                *ret_challenge = challenge;
                found = true;
            }
        }
    }
    return found;
}

/* Printable ASCII throughout, so that it may be sent on. */
static bool is_sane(const char *text)
{
    for (; *text; text++)
        if (*text < 0x20 || *text >= 0x7f)
            return false;
    return true;
}

/* An entry that holds a challenge and no value yet. */
static struct entry *make_entry(const struct dray_endpoint *endpoint, const char *repository,
                                const struct dray_challenge *challenge, enum dray_reach peer_reach)
{
    __attribute__((cleanup(entry_freep))) struct entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return NULL;
    entry->bearer = challenge->scheme == DRAY_CHALLENGE_BEARER;
    entry->peer_reach = peer_reach;
    entry->mirror = endpoint->mirror;
    entry->origin = strdup(endpoint->origin);
    entry->repository = strdup(repository);
    entry->realm = strdup(challenge->realm);
    entry->service = strdup(is_sane(challenge->service) ? challenge->service : "");
    if (challenge->scope[0] && is_sane(challenge->scope))
        entry->scope = strdup(challenge->scope);
    else if (asprintf(&entry->scope, "repository:%s:pull", repository) < 0)
        entry->scope = NULL;
    if (!entry->origin || !entry->repository || !entry->realm || !entry->service || !entry->scope)
        return NULL;
    return DRAY_TAKE(entry);
}

/* Put the challenge of fresh, which is used up, in place of what the entry knew. */
static void learn(struct entry *entry, struct entry *fresh)
{
    free(entry->realm);
    free(entry->service);
    free(entry->scope);
    entry->realm = DRAY_TAKE(fresh->realm);
    entry->service = DRAY_TAKE(fresh->service);
    entry->scope = DRAY_TAKE(fresh->scope);
    entry->bearer = fresh->bearer;
    entry->peer_reach = fresh->peer_reach;
    dray_secret_done(&entry->token.value);
    entry_free(fresh);
}

static int not_logged_in(const struct dray_endpoint *endpoint,
                         const struct dray_http_response *response, struct dray_error *err)
{
    int rc = dray_failure_from_status(response, err);

    dray_error_hint(err, "give --creds USER:PASSWORD, or log in to %s", endpoint->host);
    return rc;
}

/* The answer names no challenge: all there is to try is a new token for the same one. */
static int drop_token(struct dray_auth *auth, const struct dray_endpoint *endpoint,
                      const char *repository, const struct dray_auth_grant *used)
{
    struct entry *entry;
    int rc = DRAY_EAUTH;

    dray_mutex_lock(&auth->mu);
    entry = find_entry(auth, endpoint, repository);
    if (entry && entry->bearer && used->generation != 0) {
        if (entry->generation == used->generation)
            dray_secret_done(&entry->token.value);
        rc = DRAY_OK;
    }
    dray_mutex_unlock(&auth->mu);
    return rc;
}

int dray_auth_refused(struct dray_client *client, const struct dray_endpoint *endpoint,
                      const char *repository, const struct dray_http_response *response,
                      const struct dray_auth_grant *used, struct dray_error *err)
{
    struct dray_auth *auth = dray_client_registry(client)->auth;
    struct dray_challenge challenge;
    struct entry *fresh;
    struct entry *entry;
    int rc;

    if (!choose_challenge(response, &challenge)) {
        rc = drop_token(auth, endpoint, repository, used);
        return rc < 0 ? not_logged_in(endpoint, response, err) : rc;
    }
    if (challenge.scheme == DRAY_CHALLENGE_BEARER) {
        rc = check_realm(endpoint, challenge.realm, response->reach, err);
        if (rc < 0)
            return rc;
    } else {
        const struct dray_credential *credential = credential_of(client, endpoint, repository);

        /* Who stopped waiting for a credential helper is not anonymous. */
        if (dray_cancel_fired(dray_client_cancel(client)))
            return dray_error_set(err, DRAY_ECANCELED, "canceled");
        if (!credential || dray_secret_empty(&credential->basic) || used->generation != 0)
            return not_logged_in(endpoint, response, err);
    }

    fresh = make_entry(endpoint, repository, &challenge, response->reach);
    if (!fresh)
        return dray_error_nomem(err);
    dray_mutex_lock(&auth->mu);
    entry = find_entry(auth, endpoint, repository);
    if (!entry) {
        entry = fresh;
        add_entry(auth, fresh);
        entry->generation = ++auth->generations;
    } else if (entry->generation == used->generation && !entry->fetching) {
        learn(entry, fresh);
        entry->generation = ++auth->generations;
    } else {
        entry_free(fresh); /* another thread has been here since */
    }
    dray_mutex_unlock(&auth->mu);
    return DRAY_OK;
}
