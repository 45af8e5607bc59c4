#include "registry/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/json.h"
#include "core/limits.h"
#include "core/log.h"
#include "core/sync.h"
#include "registry/credential_helper.h"

/* Docker's key for Docker Hub, from the time of protocol v1. */
#define HUB_KEY  "https://index.docker.io/v1/"
#define HUB_HOST "docker.io"

/* How often a thread that waits for another's helper looks at its cancel token. */
#define CANCEL_LOOK_MS 100

struct entry {
    char *key; /* as it stands in the file */
    struct dray_credential credential;
};

/* What a helper has said of a host. */
struct answer {
    struct answer *next;
    char *host;
    bool asking; /* a thread has been sent to ask */
    bool known;
    struct dray_credential credential; /* fixed once known */
};

struct dray_credentials {
    struct dray_log log;
    struct dray_credential override;
    struct entry *entries;
    size_t count;
    json_t
        *helpers; /* "credHelpers": host -> name; NULL: none. Never changed, so all may read it */
    char *store;  /* "credsStore": the helper of all other hosts; NULL: none */

    struct dray_mutex mu;     /* guards the list, and in it all that is not known */
    struct dray_cond changed; /* an answer is known, or given up */
    struct answer *answers DRAY_GUARDED_BY(&mu);
};

static struct dray_credentials *make(const struct dray_log *log)
{
    struct dray_credentials *credentials = calloc(1, sizeof(*credentials));

    if (!credentials)
        return NULL;
    if (log)
        credentials->log = *log;
    dray_mutex_init(&credentials->mu);
    dray_cond_init(&credentials->changed);
    return credentials;
}

void dray_credentials_free(struct dray_credentials *credentials)
{
    if (!credentials)
        return;
    dray_credential_done(&credentials->override);
    for (size_t i = 0; i < credentials->count; i++) {
        free(credentials->entries[i].key);
        dray_credential_done(&credentials->entries[i].credential);
    }
    free(credentials->entries);
    while (credentials->answers) {
        struct answer *answer = credentials->answers;

        credentials->answers = answer->next;
        dray_credential_done(&answer->credential);
        free(answer->host);
        free(answer);
    }
    json_decref(credentials->helpers);
    free(credentials->store);
    dray_cond_done(&credentials->changed);
    dray_mutex_done(&credentials->mu);
    free(credentials);
}

/* Is it "USER:PASSWORD" with a user? The password may be empty, as beside an identity token. */
static bool is_user_password(const char *text, size_t len)
{
    const char *colon = memchr(text, ':', len);

    return colon && colon > text;
}

/* Decode the "auth" member. */
static int decode_auth(const char *base64, struct dray_secret *ret_basic)
{
    DRAY_AUTO_SECRET struct dray_secret decoded = { 0 };
    size_t len = strlen(base64);
    size_t used = 0;
    const char *end;

    while (len > 0 && base64[len - 1] == '=')
        len--; /* some tools leave the padding out */
    if (dray_secret_resize(&decoded, len / 4 * 3 + 3) < 0)
        return DRAY_ENOMEM;
    if (sodium_base642bin((unsigned char *)decoded.text, decoded.len, base64, len, NULL, &used,
                          &end, sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0 ||
        end != base64 + len)
        return DRAY_EINVAL;
    while (used > 0 && decoded.text[used - 1] == '\0')
        used--; /* old Docker padded with NULs */
    if (!is_user_password(decoded.text, used) || memchr(decoded.text, '\0', used))
        return DRAY_EINVAL;
    return dray_secret_set(ret_basic, decoded.text, used);
}

/* The text of a member, NULL when it is absent or "". */
static const char *text_member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text && text[0] ? text : NULL;
}

static int read_credential(const json_t *object, struct dray_credential *credential)
{
    const char *auth = text_member(object, "auth");
    const char *user = text_member(object, "username");
    const char *password = text_member(object, "password");
    const char *identity = text_member(object, "identitytoken");
    const char *bearer = text_member(object, "registrytoken");
    int rc = DRAY_OK;

    if (auth)
        rc = decode_auth(auth, &credential->basic);
    else if (user)
        rc = dray_credential_set_user(credential, user, password ? password : "");
    if (rc == DRAY_OK && identity)
        rc = dray_secret_set(&credential->identity_token, identity, strlen(identity));
    if (rc == DRAY_OK && bearer)
        rc = dray_secret_set(&credential->registry_token, bearer, strlen(bearer));

    dray_secret_wipe(auth);
    dray_secret_wipe(password);
    dray_secret_wipe(identity);
    dray_secret_wipe(bearer);
    return rc;
}

static int read_entries(json_t *auths, struct dray_credentials *credentials, struct dray_error *err)
{
    const char *key;
    json_t *value;
    size_t number = 0;

    if (json_object_size(auths) == 0)
        return DRAY_OK;
    credentials->entries = calloc(json_object_size(auths), sizeof(*credentials->entries));
    if (!credentials->entries)
        return dray_error_nomem(err);
    json_object_foreach(auths, key, value)
    {
        struct entry *entry = &credentials->entries[credentials->count];
        int rc = read_credential(value, &entry->credential);

        number++;
        if (rc == DRAY_OK && dray_credential_is_empty(&entry->credential))
            continue; /* {}: a credential helper has it */
        credentials->count++;
        if (rc == DRAY_EINVAL)
            return dray_error_set(err, rc, "entry %zu of \"auths\" names no user and password",
                                  number);
        entry->key = rc == DRAY_OK ? strdup(key) : NULL;
        if (!entry->key)
            return dray_error_nomem(err);
    }
    return DRAY_OK;
}

/* The names of helpers. What is no name is said when it is looked for, not here: it may never be.
 */
static int read_helpers(const json_t *json, struct dray_credentials *credentials,
                        struct dray_error *err)
{
    const char *store = text_member(json, "credsStore");

    if (json_is_object(json_object_get(json, "credHelpers")))
        credentials->helpers = json_incref(json_object_get(json, "credHelpers"));
    if (store)
        credentials->store = strdup(store);
    return store && !credentials->store ? dray_error_nomem(err) : DRAY_OK;
}

int dray_credentials_parse(const char *data, size_t len, const struct dray_log *log,
                           struct dray_credentials **ret_credentials, struct dray_error *err)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;
    DRAY_AUTO_JSON json_t *json = NULL;
    json_t *auths;
    int rc;

    credentials = make(log);
    if (!credentials)
        return dray_error_nomem(err);
    rc = dray_json_parse(data, len, DRAY_AUTHFILE_MAX_BYTES, &json, err);
    if (rc == DRAY_ENOMEM)
        return rc;
    auths = json_object_get(json, "auths");
    /* The parser's own text may quote what it stumbled on. */
    if (rc < 0 || !json_is_object(json) || (auths && !json_is_object(auths)))
        return dray_error_set(err, DRAY_EINVAL, "not a JSON object with \"auths\"");
    rc = read_entries(auths, credentials, err);
    if (rc == DRAY_OK)
        rc = read_helpers(json, credentials, err);
    if (rc < 0)
        return rc;
    *ret_credentials = DRAY_TAKE(credentials);
    return DRAY_OK;
}

/* Docker's own place for the file; NULL when the environment names none. */
static char *default_path(void)
{
    const char *directory = getenv("DOCKER_CONFIG");
    const char *home = getenv("HOME");
    char *path = NULL;

    if (directory && directory[0]) {
        if (asprintf(&path, "%s/config.json", directory) < 0)
            path = NULL;
    } else if (home && home[0]) {
        if (asprintf(&path, "%s/.docker/config.json", home) < 0)
            path = NULL;
    }
    return path;
}

static int read_file(const char *path, struct dray_secret *ret_content, struct dray_error *err)
{
    DRAY_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    size_t have = 0;

    if (fd < 0 || fstat(fd, &status) < 0)
        return dray_error_errno(err, errno, "auth file %s", path);
    if (!S_ISREG(status.st_mode) || status.st_size > DRAY_AUTHFILE_MAX_BYTES)
        return dray_error_set(err, DRAY_EINVAL, "auth file %s: not a file of at most %u bytes",
                              path, DRAY_AUTHFILE_MAX_BYTES);
    if (dray_secret_resize(ret_content, (size_t)status.st_size) < 0)
        return dray_error_nomem(err);
    while (have < ret_content->len) {
        ssize_t got = read(fd, ret_content->text + have, ret_content->len - have);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return dray_error_errno(err, errno, "auth file %s", path);
        if (got == 0)
            break; /* it has shrunk since */
        have += (size_t)got;
    }
    ret_content->len = have;
    return DRAY_OK;
}

static int load_file(const char *path, const struct dray_log *log,
                     struct dray_credentials **ret_credentials, struct dray_error *err)
{
    DRAY_AUTO_SECRET struct dray_secret content = { 0 };
    int rc = read_file(path, &content, err);

    if (rc < 0)
        return rc;
    rc = dray_credentials_parse(content.text, content.len, log, ret_credentials, err);
    return rc < 0 ? dray_error_wrap(err, rc, "auth file %s", path) : rc;
}

static int load(const char *path, const struct dray_log *log,
                struct dray_credentials **ret_credentials, struct dray_error *err)
{
    DRAY_AUTO_FREE char *place = path ? strdup(path) : default_path();
    int rc = DRAY_OK;

    if (path && !place)
        return dray_error_nomem(err);
    if (place && (path || access(place, R_OK) == 0))
        return load_file(place, log, ret_credentials, err);

    if (place && errno != ENOENT)
        dray_log(log, DRAY_LOG_WARNING, "auth file %s is ignored: %s", place, strerror(errno));
    *ret_credentials = make(log);
    if (!*ret_credentials)
        rc = dray_error_nomem(err);
    return rc;
}

int dray_credentials_new(const char *path, const char *user_password, const struct dray_log *log,
                         struct dray_credentials **ret_credentials, struct dray_error *err)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;
    int rc = load(path, log, &credentials, err);

    if (rc < 0)
        return rc;
    if (user_password) {
        size_t len = strlen(user_password);

        if (!is_user_password(user_password, len))
            return dray_error_set(err, DRAY_EINVAL,
                                  "credentials are not of the form USER:PASSWORD");
        if (dray_secret_set(&credentials->override.basic, user_password, len) < 0)
            return dray_error_nomem(err);
    }
    *ret_credentials = DRAY_TAKE(credentials);
    return DRAY_OK;
}

static bool is_hub(const char *host, size_t len)
{
    static const char *const names[] = { HUB_HOST, "index.docker.io", "registry-1.docker.io" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strlen(names[i]) == len && strncmp(host, names[i], len) == 0)
            return true;
    return false;
}

static bool same_host(const char *key, size_t len, const char *host)
{
    if (is_hub(key, len))
        return strcmp(host, HUB_HOST) == 0;
    return strlen(host) == len && strncmp(key, host, len) == 0;
}

/* How well a key fits; 0: not at all. A namespace beats everything, the longer the better. */
static size_t rank(const char *key, const char *host, const char *repository)
{
    const char *separator = strstr(key, "://");
    const char *bare = separator ? separator + 3 : key;
    size_t host_len = strcspn(bare, "/");
    const char *path = bare + host_len;
    size_t path_len;

    if (!same_host(bare, host_len, host))
        return 0;
    if (strcmp(key, HUB_KEY) == 0)
        return 3;
    if (separator)
        return 1;
    if (*path == '\0')
        return 2;
    path++;
    path_len = strlen(path);
    if (path_len == 0 || strcmp(path, "v1/") == 0 || strcmp(path, "v2/") == 0)
        return 1;
    if (strncmp(repository, path, path_len) == 0 &&
        (repository[path_len] == '\0' || repository[path_len] == '/'))
        return 3 + path_len;
    return 0;
}

/* The server's name as helpers know it. */
static const char *server_of(const char *host)
{
    return strcmp(host, HUB_HOST) == 0 ? HUB_KEY : host;
}

/* The name of the host's helper; NULL: it has none. */
static const char *helper_of(const struct dray_credentials *credentials, const char *host)
{
    const char *name = json_string_value(json_object_get(credentials->helpers, server_of(host)));

    if (!name)
        name = json_string_value(json_object_get(credentials->helpers, host));
    return name ? name : credentials->store;
}

static struct answer *find_answer(struct dray_credentials *credentials, const char *host)
    DRAY_REQUIRES(&credentials->mu);
static struct answer *find_answer(struct dray_credentials *credentials, const char *host)
{
    struct answer *answer = credentials->answers;

    while (answer && strcmp(answer->host, host) != 0)
        answer = answer->next;
    if (answer)
        return answer;
    answer = calloc(1, sizeof(*answer));
    if (!answer)
        return NULL;
    answer->host = strdup(host);
    if (!answer->host) {
        free(answer);
        return NULL;
    }
    answer->next = credentials->answers;
    credentials->answers = answer;
    return answer;
}

/* Ask the helper; the lock is released meanwhile. */
static void ask(struct dray_credentials *credentials, struct answer *answer, const char *name,
                const struct dray_cancel *cancel) DRAY_REQUIRES(&credentials->mu);
static void ask(struct dray_credentials *credentials, struct answer *answer, const char *name,
                const struct dray_cancel *cancel)
{
    struct dray_error error = { 0 };
    int rc;

    answer->asking = true;
    dray_mutex_unlock(&credentials->mu);
    rc =
        dray_credential_helper_get(name, server_of(answer->host), DRAY_CREDENTIAL_HELPER_TIMEOUT_MS,
                                   cancel, &answer->credential, &error);
    if (rc < 0 && rc != DRAY_ECANCELED)
        dray_log(&credentials->log, DRAY_LOG_WARNING, "%s; going on without it at %s", error.text,
                 answer->host);
    dray_mutex_lock(&credentials->mu);
    answer->asking = false;
    answer->known = rc != DRAY_ECANCELED;
    dray_cond_broadcast(&credentials->changed);
}

/* What the host's helper says; NULL: nothing, or there is none. */
static const struct dray_credential *ask_once(struct dray_credentials *credentials,
                                              const char *host, const struct dray_cancel *cancel)
{
    const char *name = helper_of(credentials, host);
    struct answer *answer;
    bool found = false;

    if (!name)
        return NULL;
    dray_mutex_lock(&credentials->mu);
    answer = find_answer(credentials, host);
    while (answer && !answer->known && !dray_cancel_fired(cancel)) {
        if (answer->asking)
            dray_cond_wait_until(&credentials->changed, &credentials->mu,
                                 dray_now_ms() + CANCEL_LOOK_MS);
        else
            ask(credentials, answer, name, cancel);
    }
    if (answer && answer->known)
        found = !dray_credential_is_empty(&answer->credential);
    dray_mutex_unlock(&credentials->mu);
    return found ? &answer->credential : NULL;
}

const struct dray_credential *dray_credentials_find(struct dray_credentials *credentials,
                                                    const char *host, const char *repository,
                                                    bool override, const struct dray_cancel *cancel)
{
    const struct dray_credential *best;
    size_t best_rank = 0;

    if (override && !dray_secret_empty(&credentials->override.basic))
        return &credentials->override;
    best = ask_once(credentials, host, cancel);
    if (best)
        return best;
    for (size_t i = 0; i < credentials->count; i++) {
        size_t this_rank = rank(credentials->entries[i].key, host, repository);

        if (this_rank > best_rank) {
            best = &credentials->entries[i].credential;
            best_rank = this_rank;
        }
    }
    return best;
}
