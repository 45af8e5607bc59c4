#include "registry/credential_helper.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>

#include "core/cancel.h"
#include "core/error.h"
#include "core/json.h"
#include "core/sync.h"

#define ANSWER_MAX_BYTES (64u << 10)

/* How often one that has said all is looked at whether it has ended. */
#define END_LOOK_MS 10

/* What a helper says, and fails, where it has no credentials for the server. */
#define NOT_FOUND "credentials not found in native keychain"

struct helper {
    const char *name;
    const char *server;
    int64_t deadline_ms;
    int64_t timeout_ms;
    const struct dray_cancel *cancel;
    pid_t pid;
    int out; /* what it writes is read here */
};

static bool is_name(const char *name)
{
    return name[0] && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                   "._-") == strlen(name);
}

/* It inherits no signal that is blocked or ignored here, and no descriptor. */
static int spawn(struct helper *helper, int in, int out, struct dray_error *err)
{
    char program[NAME_MAX + 1];
    char verb[] = "get";
    char *argv[] = { program, verb, NULL };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    int sys_errno;

    if ((size_t)snprintf(program, sizeof(program), "docker-credential-%s", helper->name) >=
        sizeof(program))
        return dray_error_errno(err, ENAMETOOLONG, "credential helper %s", helper->name);
    if (posix_spawn_file_actions_init(&actions) != 0)
        return dray_error_nomem(err);
    if (posix_spawnattr_init(&attributes) != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return dray_error_nomem(err);
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    sys_errno = posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    if (sys_errno == 0)
        sys_errno = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (sys_errno == 0)
        sys_errno = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (sys_errno == 0)
        sys_errno = posix_spawnp(&helper->pid, program, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (sys_errno != 0)
        return dray_error_errno(err, sys_errno, "credential helper %s", program);
    return DRAY_OK;
}

static int start(struct helper *helper, struct dray_error *err)
{
    DRAY_AUTO_FD int in_read = -1;
    DRAY_AUTO_FD int in_write = -1;
    DRAY_AUTO_FD int out_read = -1;
    DRAY_AUTO_FD int out_write = -1;
    size_t len = strlen(helper->server);
    int ends[2];
    int rc;

    if (len > PIPE_BUF) /* more than surely fits in a pipe */
        return dray_error_errno(err, ENAMETOOLONG, "credential helper %s", helper->name);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return dray_error_errno(err, errno, "credential helper %s", helper->name);
    in_read = ends[0];
    in_write = ends[1];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return dray_error_errno(err, errno, "credential helper %s", helper->name);
    out_read = ends[0];
    out_write = ends[1];

    /* Before it runs: it need not read, and we are still there to read, so no SIGPIPE comes. */
    if (write(in_write, helper->server, len) != (ssize_t)len)
        return dray_error_errno(err, errno, "credential helper %s", helper->name);
    rc = spawn(helper, in_read, out_write, err);
    if (rc == DRAY_OK)
        helper->out = DRAY_TAKE_FD(out_read);
    return rc;
}

static int too_late(const struct helper *helper, struct dray_error *err)
{
    return dray_error_set(err, DRAY_ETRANSIENT,
                          "credential helper %s: no answer within %" PRId64 " ms", helper->name,
                          helper->timeout_ms);
}

/* All that it writes, until it closes. */
static int read_answer(const struct helper *helper, struct dray_secret *answer,
                       struct dray_error *err)
{
    size_t room = ANSWER_MAX_BYTES;

    if (dray_secret_resize(answer, room) < 0)
        return dray_error_nomem(err);
    answer->len = 0;
    for (;;) {
        struct pollfd fds[] = { { .fd = helper->out, .events = POLLIN },
                                { .fd = dray_cancel_fd(helper->cancel), .events = POLLIN } };
        int64_t left_ms = helper->deadline_ms - dray_now_ms();
        ssize_t got;

        if (dray_cancel_fired(helper->cancel))
            return dray_error_set(err, DRAY_ECANCELED, "canceled");
        if (left_ms <= 0)
            return too_late(helper, err);
        if (poll(fds, 2, left_ms < INT_MAX ? (int)left_ms : INT_MAX) <= 0 || fds[0].revents == 0)
            continue;
        got = read(helper->out, answer->text + answer->len, room - answer->len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return dray_error_errno(err, errno, "credential helper %s", helper->name);
        if (got == 0)
            break;
        answer->len += (size_t)got;
        if (answer->len == room)
            return dray_error_set(err, DRAY_EPROTO,
                                  "credential helper %s: an answer of %u bytes or more",
                                  helper->name, ANSWER_MAX_BYTES);
    }
    answer->text[answer->len] = '\0';
    return DRAY_OK;
}

/* It has closed its output, so it is about to end. */
static int await_end(struct helper *helper, int *ret_status, struct dray_error *err)
{
    for (;;) {
        pid_t pid = waitpid(helper->pid, ret_status, WNOHANG);

        if (pid < 0 && errno == EINTR)
            continue;
        if (pid < 0) /* the caller's process does not keep the ended: believe the answer alone */
            *ret_status = 0;
        if (pid != 0) {
            helper->pid = -1;
            return DRAY_OK;
        }
        if (dray_now_ms() >= helper->deadline_ms)
            return too_late(helper, err);
        if (dray_cancel_sleep(helper->cancel, END_LOOK_MS) < 0)
            return dray_error_set(err, DRAY_ECANCELED, "canceled");
    }
}

static void stop(struct helper *helper)
{
    if (helper->pid > 0) {
        kill(helper->pid, SIGKILL);
        while (waitpid(helper->pid, NULL, 0) < 0 && errno == EINTR)
            continue;
    }
    if (helper->out >= 0)
        close(helper->out);
}

static int nonsense(const struct helper *helper, struct dray_error *err)
{
    return dray_error_set(
        err, DRAY_EPROTO,
        "credential helper %s: its answer is no JSON object with Username and Secret",
        helper->name);
}

static int parse(const struct helper *helper, const struct dray_secret *answer,
                 struct dray_credential *credential, struct dray_error *err)
{
    DRAY_AUTO_JSON json_t *json = NULL;
    int rc = dray_json_parse(answer->text, answer->len, ANSWER_MAX_BYTES, &json, NULL);
    const char *user = json_string_value(json_object_get(json, "Username"));
    const char *secret = json_string_value(json_object_get(json, "Secret"));

    if (rc == DRAY_ENOMEM)
        return dray_error_nomem(err);
    if (rc < 0 || !user || !secret)
        rc = DRAY_EINVAL;
    else if (strcmp(user, "<token>") == 0)
        rc = dray_secret_set(&credential->identity_token, secret, strlen(secret));
    else if (user[0] || secret[0]) /* nobody is a way to say that there is none */
        rc = dray_credential_set_user(credential, user, secret);
    dray_secret_wipe(secret);
    if (rc == DRAY_ENOMEM)
        return dray_error_nomem(err);
    return rc < 0 ? nonsense(helper, err) : DRAY_OK;
}

static int ask(struct helper *helper, struct dray_credential *credential, struct dray_error *err)
{
    DRAY_AUTO_SECRET struct dray_secret answer = { 0 };
    int status = 0;
    int rc = start(helper, err);

    if (rc == DRAY_OK)
        rc = read_answer(helper, &answer, err);
    if (rc == DRAY_OK)
        rc = await_end(helper, &status, err);
    if (rc < 0)
        return rc;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return parse(helper, &answer, credential, err);
    if (WIFEXITED(status) && strncmp(answer.text, NOT_FOUND, sizeof(NOT_FOUND) - 1) == 0)
        return DRAY_OK;
    if (WIFSIGNALED(status))
        return dray_error_set(err, DRAY_EPROTO, "credential helper %s: ended by signal %d",
                              helper->name, WTERMSIG(status));
    return dray_error_set(err, DRAY_EPROTO, "credential helper %s: exit status %d", helper->name,
                          WEXITSTATUS(status));
}

int dray_credential_helper_get(const char *name, const char *server, int64_t timeout_ms,
                               const struct dray_cancel *cancel,
                               struct dray_credential *ret_credential, struct dray_error *err)
{
    struct helper helper = {
        .name = name,
        .server = server,
        .deadline_ms = dray_now_ms() + timeout_ms,
        .timeout_ms = timeout_ms,
        .cancel = cancel,
        .pid = -1,
        .out = -1,
    };
    int rc;

    assert(dray_credential_is_empty(ret_credential));
    if (!is_name(name))
        return dray_error_set(err, DRAY_EINVAL, "no name of a credential helper");
    rc = ask(&helper, ret_credential, err);
    stop(&helper);
    return rc;
}
