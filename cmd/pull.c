/* The command "pull". */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dray/pull.h>

#include "cmd/commands.h"
#include "cmd/console.h"
#include "cmd/progress.h"
#include "cmd/prompt.h"
#include "cmd/store_options.h"

struct pull_options {
    struct dray_store_options common;
    char *platform;
    bool all_platforms;
    char **mirrors;
    bool plain_http;
    bool insecure;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *auth_file;
    char *credentials;
    char **headers;
    int64_t jobs;
    int64_t parallel_images;
    int64_t retries;
    int64_t stall_timeout_ms;
    int64_t connect_timeout_ms;
    int progress; /* enum dray_progress_style */
    bool quiet;
};

static const char *const progress_styles[] = { "auto", "tty", "plain", "json", "none", NULL };

#define VALUE(member) .offset = offsetof(struct pull_options, member)

static const struct dray_option pull_options[] = {
    { .name = "platform",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_IMAGE,
      VALUE(platform),
      .argument = "OS/ARCH[/VARIANT]",
      .help = "which of an image's platforms to pull (default: this machine's)" },
    { .name = "all-platforms",
      .kind = DRAY_OPTION_FLAG,
      .group = DRAY_GROUP_IMAGE,
      VALUE(all_platforms),
      .help = "pull the images of all platforms; --platform does not count then" },

    { .name = "mirror",
      .kind = DRAY_OPTION_LIST,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(mirrors),
      .argument = "[HOST=]URL",
      .help = "ask the registry at URL first for images of HOST (default: docker.io, Docker Hub); "
              "may be repeated, the first one is asked first" },
    { .name = "plain-http",
      .kind = DRAY_OPTION_FLAG,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(plain_http),
      .help = "speak http, not https, to every registry" },
    { .name = "insecure",
      .kind = DRAY_OPTION_FLAG,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(insecure),
      .help = "accept any certificate, and http where https does not answer" },
    { .name = "cacert",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(ca_file),
      .argument = "FILE",
      .help = "trust the authorities in this PEM file, too" },
    { .name = "cert",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(cert_file),
      .argument = "FILE",
      .help = "client certificate, PEM; shown only to the registries that images name" },
    { .name = "key",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(key_file),
      .argument = "FILE",
      .help = "private key of the client certificate, PEM" },
    { .name = "authfile",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(auth_file),
      .argument = "FILE",
      .help = "credentials as docker and podman keep them (default: "
              "$DOCKER_CONFIG/config.json, ~/.docker/config.json)" },
    { .name = "creds",
      .kind = DRAY_OPTION_TEXT,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(credentials),
      .argument = "USER[:PASSWORD]",
      .secret = true,
      .help = "credentials for the registries that images name; a missing password is asked for "
              "at the terminal" },
    { .name = "header",
      .kind = DRAY_OPTION_LIST,
      .group = DRAY_GROUP_REGISTRY,
      VALUE(headers),
      .argument = "'NAME: VALUE'",
      .secret = true,
      .help = "send this header to the registries that images name; may be repeated" },

    { .name = "jobs",
      .letter = 'j',
      .kind = DRAY_OPTION_NUMBER,
      .group = DRAY_GROUP_ENGINE,
      VALUE(jobs),
      .argument = "N",
      .min = 1,
      .max = 256,
      .initial = "8",
      .help = "blobs fetched at once" },
    { .name = "parallel-images",
      .kind = DRAY_OPTION_NUMBER,
      .group = DRAY_GROUP_ENGINE,
      VALUE(parallel_images),
      .argument = "N",
      .min = 1,
      .max = 256,
      .initial = "4",
      .help = "images worked on at once" },
    { .name = "retries",
      .kind = DRAY_OPTION_NUMBER,
      .group = DRAY_GROUP_ENGINE,
      VALUE(retries),
      .argument = "N",
      .min = 0,
      .max = 100,
      .initial = "5",
      .help = "how often one blob is tried again at one registry" },
    { .name = "timeout",
      .kind = DRAY_OPTION_DURATION,
      .group = DRAY_GROUP_ENGINE,
      VALUE(stall_timeout_ms),
      .argument = "TIME",
      .min = 1,
      .max = INT64_C(24) * 3600 * 1000,
      .initial = "30s",
      .help = "give up a connection on which nothing has moved for so long; seconds, or with a "
              "unit of ms, s, m or h" },
    { .name = "connect-timeout",
      .kind = DRAY_OPTION_DURATION,
      .group = DRAY_GROUP_ENGINE,
      VALUE(connect_timeout_ms),
      .argument = "TIME",
      .min = 1,
      .max = INT64_C(3600) * 1000,
      .initial = "10s",
      .help = "give up connecting after so long" },

    { .name = "progress",
      .kind = DRAY_OPTION_CHOICE,
      .group = DRAY_GROUP_OUTPUT,
      VALUE(progress),
      .argument = "STYLE",
      .choices = progress_styles,
      .initial = "auto",
      .help = "how to show what goes on" },
    { .name = "quiet",
      .letter = 'q',
      .kind = DRAY_OPTION_FLAG,
      .group = DRAY_GROUP_OUTPUT,
      VALUE(quiet),
      .help = "print nothing but the digests of the images" },
    { .name = NULL },
};

static const char *hint_for(const struct dray_error *err)
{
    switch (err->code) {
    case DRAY_EAUTH:
        return "give credentials with --creds USER, or a file that has them with --authfile FILE";
    case DRAY_ENOTFOUND:
        return "check the spelling of name and tag; some registries say so of private images, too: "
               "try --creds USER";
    case DRAY_EUNREACHABLE:
        return "check the registry's name, the network and the proxy (HTTPS_PROXY, NO_PROXY); "
               "--plain-http is for registries without TLS, --cacert FILE for private authorities";
    case DRAY_ETRANSIENT:
        return "try again later: what was fetched is kept; --retries N and --timeout TIME are more "
               "patient";
    case DRAY_EDIGEST:
        return "the registry, a mirror or a proxy delivers wrong bytes; nothing of them was kept";
    default:
        return dray_fault_store_hint(err);
    }
}

/* Bad names stop here, before any traffic; all of them are told. NULL on failure. */
static struct dray_reference *parse_names(const struct dray_call *call, enum dray_exit *ret_exit)
{
    struct dray_reference *references = calloc(call->operand_count, sizeof(*references));
    bool failed = false;

    if (!references) {
        *ret_exit = dray_fault_nomem(call->console, "pull");
        return NULL;
    }
    for (size_t i = 0; i < call->operand_count; i++) {
        struct dray_error err = { 0 };

        if (dray_reference_parse(call->operands[i], &references[i], &err) < 0) {
            dray_fault_report(call->console, "pull", NULL, &err, NULL);
            *ret_exit = dray_fault_exit(&err);
            failed = true;
        }
    }
    if (failed) {
        free(references);
        return NULL;
    }
    return references;
}

static void wipe(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

/* USER:PASSWORD, the password asked for if need be; malloc'ed. */
static int complete_credentials(const struct dray_call *call, const char *given,
                                char **ret_credentials, struct dray_error *err)
{
    char *password = NULL;
    char *credentials = NULL;
    int rc;

    if (strchr(given, ':')) {
        credentials = strdup(given);
    } else {
        rc = dray_prompt_password(given, call->cancel, &password, err);
        if (rc < 0)
            return rc;
        if (asprintf(&credentials, "%s:%s", given, password) < 0)
            credentials = NULL;
        wipe(password);
    }
    if (!credentials)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    *ret_credentials = credentials;
    return DRAY_OK;
}

static int start_puller(const struct dray_call *call, const char *credentials,
                        struct dray_store *store, struct dray_progress *progress,
                        struct dray_puller **ret_puller, struct dray_error *err)
{
    const struct pull_options *options = call->values;
    struct dray_platform platform;
    struct dray_puller_options puller_options = {
        .store = store,
        .registry = {
            .plain_http = options->plain_http,
            .insecure = options->insecure,
            .ca_file = options->ca_file,
            .cert_file = options->cert_file,
            .key_file = options->key_file,
            .auth_file = options->auth_file,
            .credentials = credentials,
            .headers = (const char *const *)options->headers,
            .mirrors = (const char *const *)options->mirrors,
            .stall_timeout_ms = options->stall_timeout_ms,
            .connect_timeout_ms = options->connect_timeout_ms,
        },
        .jobs = (uint32_t)options->jobs,
        .parallel_images = (uint32_t)options->parallel_images,
        .retries = (uint32_t)options->retries,
        .no_retries = options->retries == 0,
        .all_platforms = options->all_platforms,
        .cancel = call->cancel,
        .log = dray_progress_log(progress, dray_store_options_level(&options->common)),
        .on_event = dray_progress_event,
        .event_ctx = progress,
    };

    if (options->platform && !options->all_platforms) {
        int rc = dray_platform_parse(options->platform, &platform, err);

        if (rc < 0)
            return rc;
        puller_options.platform = &platform;
    }
    if (options->key_file && !options->cert_file)
        return dray_fault_set(err, DRAY_EINVAL, "--key needs --cert");
    return dray_puller_new(&puller_options, ret_puller, err);
}

/* Results to standard output, then the errors, where the reader's eye ends up. */
static enum dray_exit tell_results(const struct dray_call *call,
                                   const struct dray_pull_result *results,
                                   const struct dray_progress *progress)
{
    const struct pull_options *options = call->values;
    enum dray_exit *exits = calloc(call->operand_count, sizeof(*exits));
    enum dray_exit exit_status;
    bool interrupted = false;

    if (!exits)
        return dray_fault_nomem(call->console, "pull");
    for (size_t i = 0; i < call->operand_count; i++) {
        const struct dray_pull_result *result = &results[i];
        char name[DRAY_REFERENCE_TEXT_MAX];

        exits[i] = dray_fault_exit(&result->error);
        if (result->status == DRAY_PULL_FAILED)
            continue;
        dray_reference_canonical(&result->reference, name);
        if (options->quiet)
            printf("%s\n", result->digest.text);
        else
            printf("%s  %s  %s\n", name, result->digest.text,
                   result->status == DRAY_PULL_NEW ? "new" : "unchanged");
    }
    fflush(stdout); /* a failure shows when the program ends */
    for (size_t i = 0; i < call->operand_count; i++) {
        char name[DRAY_REFERENCE_TEXT_MAX];

        if (exits[i] == DRAY_EXIT_INTERRUPTED)
            interrupted = true;
        else if (results[i].status == DRAY_PULL_FAILED && !dray_progress_is_json(progress)) {
            dray_reference_familiar(&results[i].reference, name);
            dray_fault_report(call->console, "pull", name, &results[i].error,
                              hint_for(&results[i].error));
        }
    }
    if (interrupted && !dray_progress_is_json(progress))
        dray_console_line(call->console, "dray pull: interrupted; what was fetched is kept and the "
                                         "next pull goes on from there");
    exit_status = dray_fault_exit_all(exits, call->operand_count);
    free(exits);
    return exit_status;
}

static enum dray_exit pull(const struct dray_call *call, struct dray_puller *puller,
                           const struct dray_reference *references, struct dray_progress *progress)
{
    struct dray_pull_result *results = calloc(call->operand_count, sizeof(*results));
    enum dray_exit exit_status;

    if (!results)
        return dray_fault_nomem(call->console, "pull");
    dray_puller_run(puller, references, call->operand_count, results);
    dray_progress_finish(progress);
    exit_status = tell_results(call, results, progress);
    free(results);
    return exit_status;
}

static enum dray_exit run(const struct dray_call *call)
{
    const struct pull_options *options = call->values;
    enum dray_progress_style style =
        options->quiet ? DRAY_PROGRESS_NONE : (enum dray_progress_style)options->progress;
    struct dray_progress *progress = NULL;
    struct dray_store *store = NULL;
    struct dray_puller *puller = NULL;
    struct dray_log log;
    char *credentials = NULL;
    struct dray_error err = { 0 };
    enum dray_exit exit_status;
    struct dray_reference *references = parse_names(call, &exit_status);
    int rc;

    if (!references)
        return exit_status;
    rc = dray_progress_new(style, call->console, call->operand_count, &progress);
    if (rc < 0)
        dray_fault_set(&err, DRAY_ENOMEM, "out of memory");
    if (rc == DRAY_OK && options->credentials)
        rc = complete_credentials(call, options->credentials, &credentials, &err);
    if (rc == DRAY_OK) {
        log = dray_progress_log(progress, dray_store_options_level(&options->common));
        rc = dray_store_options_open(&options->common, DRAY_STORE_WRITE, &log, &store, &err);
    }
    if (rc == DRAY_OK)
        rc = start_puller(call, credentials, store, progress, &puller, &err);
    if (rc == DRAY_OK) {
        exit_status = pull(call, puller, references, progress);
    } else {
        dray_fault_report(call->console, "pull", NULL, &err, hint_for(&err));
        exit_status = dray_fault_exit(&err);
    }
    dray_puller_free(puller);
    dray_store_close(store);
    dray_progress_free(progress);
    wipe(credentials);
    free(references);
    return exit_status;
}

static const struct dray_example examples[] = {
    { "Pull an image of Docker Hub", "dray pull nginx" },
    { "Pull several images at once, 16 blobs at a time",
      "dray pull -j 16 alpine:3.20 ghcr.io/acme/app:1.2 quay.io/acme/db" },
    { "Pull for another machine", "dray pull --platform linux/arm64 --store /srv/arm alpine" },
    { "Ask a local mirror first, Docker Hub if it fails",
      "dray pull --mirror https://mirror.example.net nginx" },
    { "Pull from a private registry; the password is asked for",
      "dray pull --creds alice registry.example.net/team/app:1.2" },
    { "Keep the digest for a script",
      "digest=$(dray pull --quiet registry.example.net/team/app:1.2)" },
    { "Watch how fast blobs arrive, as JSON",
      "dray pull --progress json nginx 2>&1 >/dev/null | jq -c 'select(.blob)'" },
    { NULL, NULL },
};

const struct dray_command dray_command_pull = {
    .name = "pull",
    .operands = "IMAGE...",
    .operands_min = 1,
    .operands_max = SIZE_MAX,
    .summary = "fetch images into the store",
    .description =
        "Fetch images from their registries into the store. Blobs are fetched in parallel, each "
        "one once even if several images have it; what is in the store already is not fetched "
        "again, and what was left half done by an earlier pull is resumed. Nothing becomes visible "
        "in the store before its digest has been verified.\n"
        "\n"
        "For each image that was pulled, a line goes to standard output: its full name, the digest "
        "that the registry's tag points at, and \"new\" or \"unchanged\". With --quiet it is the "
        "digest alone. Everything else goes to standard error.\n"
        "\n"
        "--progress json writes one JSON object a line: \"time\", \"event\", \"image\" and, where "
        "they apply, \"endpoint\", \"digest\" of the image, \"blob\", \"role\" (layer or config), "
        "\"index\", \"current\" and \"total\" in bytes, \"delay_ms\", \"changed\", "
        "and \"error\" with \"code\", \"text\" and \"hint\". Log lines are events named \"log\" "
        "with \"level\" and \"text\". What keeps a pull from beginning, such as a wrong option, is "
        "told in plain text.\n"
        "\n"
        "The first interrupt (Ctrl-C) stops the pull in good order, a second one at once; either "
        "way the next pull resumes it.",
    .shared = dray_store_option_table,
    .options = pull_options,
    .values_size = sizeof(struct pull_options),
    .examples = examples,
    .run = run,
};
