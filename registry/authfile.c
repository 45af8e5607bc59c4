#include "registry/authfile.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/json.h"
#include "core/limits.h"

/* Docker's key for Docker Hub, from the time of protocol v1. */
#define HUB_KEY  "https://index.docker.io/v1/"
#define HUB_HOST "docker.io"

struct entry {
    char *key; /* as it stands in the file */
    struct dray_credential credential;
};

struct dray_authfile {
    struct entry *entries;
    size_t count;
    json_t *helpers; /* "credHelpers": server -> name; NULL: none */
    char *store;     /* "credsStore": the helper of all other servers; NULL: none */
};

void dray_authfile_free(struct dray_authfile *file)
{
    if (!file)
        return;
    for (size_t i = 0; i < file->count; i++) {
        free(file->entries[i].key);
        dray_credential_done(&file->entries[i].credential);
    }
    free(file->entries);
    json_decref(file->helpers);
    free(file->store);
    free(file);
}

/* Decode the "auth" member. */
static int decode_auth(const char *base64, struct dray_credential *credential)
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
    if (memchr(decoded.text, '\0', used))
        return DRAY_EINVAL;
    return dray_credential_set_pair(credential, decoded.text, used);
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
        rc = decode_auth(auth, credential);
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

static int read_entries(json_t *auths, struct dray_authfile *file, struct dray_error *err)
{
    const char *key;
    json_t *value;
    size_t number = 0;

    if (json_object_size(auths) == 0)
        return DRAY_OK;
    file->entries = calloc(json_object_size(auths), sizeof(*file->entries));
    if (!file->entries)
        return dray_error_nomem(err);
    json_object_foreach(auths, key, value)
    {
        struct entry *entry = &file->entries[file->count];
        int rc = read_credential(value, &entry->credential);

        number++;
        if (rc == DRAY_OK && dray_credential_is_empty(&entry->credential))
            continue; /* {}: a credential helper has it */
        file->count++;
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
static int read_helpers(const json_t *json, struct dray_authfile *file, struct dray_error *err)
{
    const char *store = text_member(json, "credsStore");

    if (json_is_object(json_object_get(json, "credHelpers")))
        file->helpers = json_incref(json_object_get(json, "credHelpers"));
    if (store)
        file->store = strdup(store);
    return store && !file->store ? dray_error_nomem(err) : DRAY_OK;
}

int dray_authfile_parse(const char *data, size_t len, struct dray_authfile **ret_file,
                        struct dray_error *err)
{
    DRAY_AUTO_AUTHFILE struct dray_authfile *file = calloc(1, sizeof(*file));
    DRAY_AUTO_JSON json_t *json = NULL;
    json_t *auths;
    int rc;

    if (!file)
        return dray_error_nomem(err);
    rc = dray_json_parse(data, len, DRAY_AUTHFILE_MAX_BYTES, &json, err);
    if (rc == DRAY_ENOMEM)
        return rc;
    auths = json_object_get(json, "auths");
    /* The parser's own text may quote what it stumbled on. */
    if (rc < 0 || !json_is_object(json) || (auths && !json_is_object(auths)))
        return dray_error_set(err, DRAY_EINVAL, "not a JSON object with \"auths\"");
    rc = read_entries(auths, file, err);
    if (rc == DRAY_OK)
        rc = read_helpers(json, file, err);
    if (rc < 0)
        return rc;
    *ret_file = DRAY_TAKE(file);
    return DRAY_OK;
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

int dray_authfile_read(const char *path, struct dray_authfile **ret_file, struct dray_error *err)
{
    DRAY_AUTO_SECRET struct dray_secret content = { 0 };
    int rc = read_file(path, &content, err);

    if (rc < 0)
        return rc;
    rc = dray_authfile_parse(content.text, content.len, ret_file, err);
    return rc < 0 ? dray_error_wrap(err, rc, "auth file %s", path) : rc;
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

const char *dray_authfile_server(const char *host)
{
    return strcmp(host, HUB_HOST) == 0 ? HUB_KEY : host;
}

const char *dray_authfile_helper(const struct dray_authfile *file, const char *host)
{
    const char *name =
        json_string_value(json_object_get(file->helpers, dray_authfile_server(host)));

    if (!name)
        name = json_string_value(json_object_get(file->helpers, host));
    return name ? name : file->store;
}

const struct dray_credential *dray_authfile_find(const struct dray_authfile *file, const char *host,
                                                 const char *repository)
{
    const struct dray_credential *best = NULL;
    size_t best_rank = 0;

    for (size_t i = 0; i < file->count; i++) {
        size_t this_rank = rank(file->entries[i].key, host, repository);

        if (this_rank > best_rank) {
            best = &file->entries[i].credential;
            best_rank = this_rank;
        }
    }
    return best;
}
