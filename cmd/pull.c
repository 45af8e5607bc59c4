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
#include "cmd/pull_options.h"
#include "cmd/report.h"
#include "cmd/result_file.h"
#include "cmd/summary.h"
#include "cmd/tally.h"

static const char *hint_for(const struct dray_error *err)
{
    switch (err->code) {
    case DRAY_EAUTH:
        return "give credentials with --creds USER, or a file that has them with --authfile FILE";
    case DRAY_ENOTFOUND:
        return "check the spelling of name and tag; some registries say so of private images, too: "
               "try --creds USER";
    case DRAY_EUNREACHABLE:
        if (err->http_status != 0) /* where a registry that answered sent us to */
            return "try again later: what was fetched is kept";
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

/* Who listens to a pull. */
struct audience {
    struct dray_progress *progress;
    struct dray_tally tally;
    struct dray_log log;
};

static void tell_audience(void *ctx, const struct dray_event *event)
{
    struct audience *audience = ctx;

    dray_progress_event(audience->progress, event);
    dray_tally_event(&audience->tally, event);
}

static int start_puller(const struct dray_call *call, const char *credentials,
                        struct dray_store *store, struct audience *audience,
                        struct dray_puller **ret_puller, struct dray_error *err)
{
    const struct dray_pull_options *options = call->values;
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
        .connections_per_blob = (uint32_t)options->connections_per_blob,
        .connections_per_host = (uint32_t)options->connections_per_host,
        .limit_rate_bytes_per_s = (uint64_t)options->limit_rate_bytes_per_s,
        .retries = (uint32_t)options->retries,
        .no_retries = options->retries == 0,
        .all_platforms = options->all_platforms,
        .cancel = call->cancel,
        .log = audience->log,
        .on_event = tell_audience,
        .event_ctx = audience,
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
    const struct dray_pull_options *options = call->values;
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

/* Put the report in its place. @return DRAY_OK, or why there is none */
static int write_report(const struct dray_tally *tally, const struct dray_pull_result *results,
                        struct dray_result_file *file, struct dray_error *err)
{
    char *text = tally->lost ? NULL : dray_report_text(tally, results);
    int rc;

    if (!text)
        return dray_fault_set(err, DRAY_ENOMEM, "cannot write %s: out of memory", file->path);
    rc = dray_result_file_commit(file, text, strlen(text), err);
    free(text);
    return rc;
}

/* @param report  not opened: none was asked for */
static enum dray_exit pull(const struct dray_call *call, struct dray_puller *puller,
                           const struct dray_reference *references, struct audience *audience,
                           struct dray_result_file *report)
{
    struct dray_pull_result *results = calloc(call->operand_count, sizeof(*results));
    struct dray_error err = { 0 };
    enum dray_exit exit_status;

    if (!results)
        return dray_fault_nomem(call->console, "pull");
    dray_puller_run(puller, references, call->operand_count, results);
    dray_tally_finish(&audience->tally);
    dray_puller_endpoints(puller, dray_tally_endpoint, &audience->tally);
    dray_progress_finish(audience->progress);
    dray_summary_tell(&audience->tally, &audience->log);
    exit_status = tell_results(call, results, audience->progress);
    if (report->path && write_report(&audience->tally, results, report, &err) < 0) {
        if (dray_progress_is_json(audience->progress))
            audience->log.write(audience->log.ctx, DRAY_LOG_ERROR, err.text);
        else
            dray_fault_report(call->console, "pull", NULL, &err, NULL);
        if (exit_status == DRAY_EXIT_DONE)
            exit_status = DRAY_EXIT_FAILED;
    }
    free(results);
    return exit_status;
}

/* Whether the report can be written is seen before anything is pulled. */
static int open_report(const char *path, struct dray_result_file *ret_file, struct dray_error *err)
{
    if (!path)
        return DRAY_OK;
    if (strcmp(path, "-") == 0)
        return dray_fault_set(err, DRAY_EINVAL,
                              "--report takes a file: standard output has the results");
    return dray_result_file_open(path, ret_file, err);
}

static int make_audience(const struct dray_call *call, struct audience *audience,
                         struct dray_error *err)
{
    const struct dray_pull_options *options = call->values;
    enum dray_progress_style style =
        options->quiet ? DRAY_PROGRESS_NONE : (enum dray_progress_style)options->progress;

    if (dray_tally_init(&audience->tally, call->operand_count) < 0 ||
        dray_progress_new(style, call->console, call->operand_count, &audience->progress) < 0)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    audience->log =
        dray_progress_log(audience->progress, dray_store_options_level(&options->common));
    return DRAY_OK;
}

static enum dray_exit run(const struct dray_call *call)
{
    const struct dray_pull_options *options = call->values;
    struct audience audience = { 0 };
    struct dray_result_file report = DRAY_RESULT_FILE_NONE;
    struct dray_store *store = NULL;
    struct dray_puller *puller = NULL;
    char *credentials = NULL;
    struct dray_error err = { 0 };
    enum dray_exit exit_status;
    struct dray_reference *references = parse_names(call, &exit_status);
    int rc;

    if (!references)
        return exit_status;
    rc = make_audience(call, &audience, &err);
    if (rc == DRAY_OK)
        rc = open_report(options->report, &report, &err);
    if (rc == DRAY_OK && options->credentials)
        rc = complete_credentials(call, options->credentials, &credentials, &err);
    if (rc == DRAY_OK)
        rc = dray_store_options_open(&options->common, DRAY_STORE_WRITE, &audience.log, &store,
                                     &err);
    if (rc == DRAY_OK)
        rc = start_puller(call, credentials, store, &audience, &puller, &err);
    if (rc == DRAY_OK) {
        exit_status = pull(call, puller, references, &audience, &report);
    } else {
        dray_fault_report(call->console, "pull", NULL, &err, hint_for(&err));
        exit_status = dray_fault_exit(&err);
    }
    dray_puller_free(puller);
    dray_store_close(store);
    dray_result_file_done(&report);
    dray_progress_free(audience.progress);
    dray_tally_done(&audience.tally);
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
    { "Leave half of the line to others, and see where the bytes came from",
      "dray pull --limit-rate 6M --report r.json nginx; jq .totals r.json" },
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
        "--report writes a JSON object when the pull has ended, also one that failed or was "
        "interrupted. FILE appears at once and whole; a pull that could not begin leaves it alone. "
        "Bytes are whole numbers, times are seconds, rates are bytes a second, what is not known "
        "is null. On top stand \"schema\" (dray.report), \"version\" (1), \"command\", \"dray\" "
        "(its version), \"started\", \"seconds\", and:\n"
        "\n"
        "\"images\", in the order of the command line: \"reference\", \"digest\", \"status\" (new, "
        "unchanged, failed), \"bytes\", \"fetched_bytes\", and \"error\" of one that failed.\n"
        "\n"
        "\"blobs\", of images that were not unchanged: \"digest\", \"image\", \"role\", \"bytes\", "
        "\"status\" (fetched; present: it was in the store; shared: it came with another image or "
        "by another process; failed; unfinished: its image ended before it did), \"endpoint\" that "
        "brought most of it, \"seconds\", \"first_byte_seconds\", \"rate\", \"received\" (what "
        "came "
        "twice counts twice), \"resumed\" (left by an earlier pull), \"requests\", \"retries\", "
        "\"connections\" at most at once, and \"endpoints\", each with \"endpoint\", \"bytes\", "
        "\"requests\", \"failures\" and \"wrong_bytes\".\n"
        "\n"
        "\"endpoints\": \"endpoint\", \"requests\", \"bytes\", \"failures\", \"connect_failures\", "
        "\"stalls\", \"overloads\" (429 and 503), \"wrong_blobs\", \"rate\" of one connection, "
        "\"first_byte_seconds\", \"connections\" that it is given at once, \"ranges\" (whether it "
        "serves parts), \"reachable\", and \"quota\" as it told: \"remaining\" and \"limit\".\n"
        "\n"
        "\"totals\": \"images\" and \"blobs\" counted by status, \"received_bytes\", "
        "\"resumed_bytes\", \"present_bytes\", \"seconds\", \"rate\", \"requests\", \"retries\".\n"
        "\n"
        "The first interrupt (Ctrl-C) stops the pull in good order, a second one at once; either "
        "way the next pull resumes it.",
    .shared = dray_store_option_table,
    .options = dray_pull_option_table,
    .values_size = sizeof(struct dray_pull_options),
    .examples = examples,
    .run = run,
};
