#include "registry/credentials.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/log.h"
#include "core/sync.h"
#include "registry/authfile.h"
#include "registry/credential_helper.h"

/* One in the environment, a service's, docker's, podman's two. */
#define FILES_MAX 5

/* How often a thread that waits for another's helper looks at its cancel token. */
#define CANCEL_LOOK_MS 100

/* What a helper has said of a host. */
struct answer {
    struct answer *next;
    char *helper;
    char *host;
    bool asking; /* a thread has been sent to ask */
    bool known;
    struct dray_credential credential; /* fixed once known */
};

struct dray_credentials {
    struct dray_log log;
    struct dray_credential override;
    struct dray_authfile *files[FILES_MAX]; /* the one that counts most first */
    size_t count;

    struct dray_mutex mu;     /* guards the list, and in it all that is not known */
    struct dray_cond changed; /* an answer is known, or given up */
    struct answer *answers DRAY_GUARDED_BY(&mu);
};

static void answer_free(struct answer *answer)
{
    if (!answer)
        return;
    dray_credential_done(&answer->credential);
    free(answer->helper);
    free(answer->host);
    free(answer);
}

void dray_credentials_free(struct dray_credentials *credentials)
{
    if (!credentials)
        return;
    while (credentials->answers) {
        struct answer *answer = credentials->answers;

        credentials->answers = answer->next;
        answer_free(answer);
    }
    for (size_t i = 0; i < credentials->count; i++)
        dray_authfile_free(credentials->files[i]);
    dray_credential_done(&credentials->override);
    dray_cond_done(&credentials->changed);
    dray_mutex_done(&credentials->mu);
    free(credentials);
}

static int make(const struct dray_log *log, struct dray_credentials **ret_credentials,
                struct dray_error *err)
{
    struct dray_credentials *credentials = calloc(1, sizeof(*credentials));

    if (!credentials)
        return dray_error_nomem(err);
    if (log)
        credentials->log = *log;
    dray_mutex_init(&credentials->mu);
    dray_cond_init(&credentials->changed);
    *ret_credentials = credentials;
    return DRAY_OK;
}

static int add_content(struct dray_credentials *credentials, const char *data, size_t len,
                       struct dray_error *err)
{
    int rc = dray_authfile_parse(data, len, &credentials->files[credentials->count], err);

    credentials->count += rc == DRAY_OK;
    return rc;
}

static int add_file(struct dray_credentials *credentials, const char *path, struct dray_error *err)
{
    int rc = dray_authfile_read(path, &credentials->files[credentials->count], err);

    credentials->count += rc == DRAY_OK;
    return rc;
}

/* A file that need not be there, in a directory that need not be known. */
static int add_if_there(struct dray_credentials *credentials, const char *directory,
                        const char *name, struct dray_error *err)
{
    DRAY_AUTO_FREE char *path = NULL;

    if (!directory || !directory[0])
        return DRAY_OK;
    if (asprintf(&path, "%s/%s", directory, name) < 0) {
        path = NULL;
        return dray_error_nomem(err);
    }
    if (access(path, R_OK) == 0)
        return add_file(credentials, path, err);
    if (errno != ENOENT && errno != ENOTDIR)
        dray_log(&credentials->log, DRAY_LOG_WARNING, "auth file %s is ignored: %s", path,
                 strerror(errno));
    return DRAY_OK;
}

/* A file in the directory that a variable names, else in one below the user's home. */
static int add_of_user(struct dray_credentials *credentials, const char *variable, const char *name,
                       const char *name_at_home, struct dray_error *err)
{
    const char *directory = getenv(variable);

    if (directory && directory[0])
        return add_if_there(credentials, directory, name, err);
    return add_if_there(credentials, getenv("HOME"), name_at_home, err);
}

static int add_usual(struct dray_credentials *credentials, struct dray_error *err)
{
    const char *content = getenv("DOCKER_AUTH_CONFIG");
    int rc = DRAY_OK;

    if (content && content[0])
        rc = add_content(credentials, content, strlen(content), err);
    if (rc < 0)
        return dray_error_wrap(err, rc, "DOCKER_AUTH_CONFIG");
    rc = add_if_there(credentials, getenv("CREDENTIALS_DIRECTORY"), "auth.json", err);
    if (rc == DRAY_OK)
        rc = add_of_user(credentials, "DOCKER_CONFIG", "config.json", ".docker/config.json", err);
    if (rc == DRAY_OK)
        rc = add_if_there(credentials, getenv("XDG_RUNTIME_DIR"), "containers/auth.json", err);
    if (rc == DRAY_OK)
        rc = add_of_user(credentials, "XDG_CONFIG_HOME", "containers/auth.json",
                         ".config/containers/auth.json", err);
    return rc;
}

int dray_credentials_new(const char *path, const char *user_password, const struct dray_log *log,
                         struct dray_credentials **ret_credentials, struct dray_error *err)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;
    int rc = make(log, &credentials, err);

    if (rc < 0)
        return rc;
    if (!path)
        path = getenv("REGISTRY_AUTH_FILE");
    rc = path && path[0] ? add_file(credentials, path, err) : add_usual(credentials, err);
    if (rc < 0)
        return rc;
    if (user_password)
        rc = dray_credential_set_pair(&credentials->override, user_password, strlen(user_password));
    if (rc == DRAY_EINVAL)
        return dray_error_set(err, rc, "credentials are not of the form USER:PASSWORD");
    if (rc < 0)
        return dray_error_nomem(err);
    *ret_credentials = DRAY_TAKE(credentials);
    return DRAY_OK;
}

int dray_credentials_parse(const char *data, size_t len, const struct dray_log *log,
                           struct dray_credentials **ret_credentials, struct dray_error *err)
{
    DRAY_AUTO_CREDENTIALS struct dray_credentials *credentials = NULL;
    int rc = make(log, &credentials, err);

    if (rc == DRAY_OK)
        rc = add_content(credentials, data, len, err);
    if (rc == DRAY_OK)
        *ret_credentials = DRAY_TAKE(credentials);
    return rc;
}

static struct answer *make_answer(const char *helper, const char *host)
{
    struct answer *answer = calloc(1, sizeof(*answer));

    if (!answer)
        return NULL;
    answer->helper = strdup(helper);
    answer->host = strdup(host);
    if (answer->helper && answer->host)
        return answer;
    answer_free(answer);
    return NULL;
}

static struct answer *find_answer(struct dray_credentials *credentials, const char *helper,
                                  const char *host) DRAY_REQUIRES(&credentials->mu);
static void ask(struct dray_credentials *credentials, struct answer *answer,
                const struct dray_cancel *cancel) DRAY_REQUIRES(&credentials->mu);

static struct answer *find_answer(struct dray_credentials *credentials, const char *helper,
                                  const char *host)
{
    struct answer *answer = credentials->answers;

    while (answer && (strcmp(answer->helper, helper) != 0 || strcmp(answer->host, host) != 0))
        answer = answer->next;
    if (answer)
        return answer;
    answer = make_answer(helper, host);
    if (answer) {
        answer->next = credentials->answers;
        credentials->answers = answer;
    }
    return answer;
}

/* Ask the helper; the lock is released meanwhile. */
static void ask(struct dray_credentials *credentials, struct answer *answer,
                const struct dray_cancel *cancel)
{
    struct dray_error error = { 0 };
    int rc;

    answer->asking = true;
    dray_mutex_unlock(&credentials->mu);
    rc = dray_credential_helper_get(answer->helper, dray_authfile_server(answer->host),
                                    DRAY_CREDENTIAL_HELPER_TIMEOUT_MS, cancel, &answer->credential,
                                    &error);
    if (rc < 0 && rc != DRAY_ECANCELED)
        dray_log(&credentials->log, DRAY_LOG_WARNING, "%s; going on without it at %s", error.text,
                 answer->host);
    dray_mutex_lock(&credentials->mu);
    answer->asking = false;
    answer->known = rc != DRAY_ECANCELED;
    dray_cond_broadcast(&credentials->changed);
}

/* What a helper says of a host; NULL: nothing. */
static const struct dray_credential *ask_once(struct dray_credentials *credentials,
                                              const char *helper, const char *host,
                                              const struct dray_cancel *cancel)
{
    struct answer *answer;
    bool found = false;

    dray_mutex_lock(&credentials->mu);
    answer = find_answer(credentials, helper, host);
    while (answer && !answer->known && !dray_cancel_fired(cancel)) {
        if (answer->asking)
            dray_cond_wait_until(&credentials->changed, &credentials->mu,
                                 dray_now_ms() + CANCEL_LOOK_MS);
        else
            ask(credentials, answer, cancel);
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
    if (override && !dray_credential_is_empty(&credentials->override))
        return &credentials->override;
    for (size_t i = 0; i < credentials->count; i++) {
        const struct dray_authfile *file = credentials->files[i];
        const char *helper = dray_authfile_helper(file, host);
        const struct dray_credential *found = NULL;

        if (helper)
            found = ask_once(credentials, helper, host, cancel);
        if (!found)
            found = dray_authfile_find(file, host, repository);
        if (found)
            return found;
    }
    return NULL;
}
