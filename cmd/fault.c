#include "cmd/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/console.h"
#include "cmd/text.h"

static bool is_permission(const struct dray_error *err)
{
    return err->code == DRAY_EIO &&
           (err->sys_errno == EACCES || err->sys_errno == EPERM || err->sys_errno == EROFS);
}

enum dray_exit dray_fault_exit(const struct dray_error *err)
{
    switch (err->code) {
    case DRAY_OK:
        return DRAY_EXIT_DONE;
    case DRAY_EINVAL:
        return DRAY_EXIT_USAGE;
    case DRAY_ECANCELED:
        return DRAY_EXIT_INTERRUPTED;
    case DRAY_ENOTFOUND:
        return DRAY_EXIT_NOTFOUND;
    case DRAY_EAUTH:
        return DRAY_EXIT_AUTH;
    case DRAY_EDIGEST:
        return DRAY_EXIT_DIGEST;
    case DRAY_ENOSPC:
    case DRAY_ESTORE:
        return DRAY_EXIT_STORE;
    default:
        return is_permission(err) ? DRAY_EXIT_AUTH : DRAY_EXIT_FAILED;
    }
}

enum dray_exit dray_fault_exit_all(const enum dray_exit *exits, size_t count)
{
    enum dray_exit failure = DRAY_EXIT_DONE;
    size_t done = 0;

    for (size_t i = 0; i < count; i++) {
        if (exits[i] == DRAY_EXIT_INTERRUPTED)
            return DRAY_EXIT_INTERRUPTED;
        if (exits[i] == DRAY_EXIT_DONE)
            done++;
        else if (failure == DRAY_EXIT_DONE || failure == exits[i])
            failure = exits[i];
        else
            failure = DRAY_EXIT_FAILED;
    }
    return done > 0 && done < count ? DRAY_EXIT_PARTLY : failure;
}

/* A text of one line goes on after what stands there; several lines stand below it, indented. */
static void put_text(FILE *out, const char *text)
{
    if (!strchr(text, '\n')) {
        fprintf(out, " %s", text);
        return;
    }
    while (*text) {
        size_t len = strcspn(text, "\n");

        fprintf(out, "\n    %.*s", (int)len, text);
        text += len + (text[len] != '\0');
    }
}

void dray_fault_report(struct dray_console *console, const char *command, const char *subject,
                       const struct dray_error *err, const char *fallback_hint)
{
    const char *hint = err->hint[0] ? err->hint : fallback_hint;
    char *message = NULL;
    size_t len;
    FILE *out = open_memstream(&message, &len);

    if (!out) {
        dray_console_line(console, err->text);
        return;
    }
    fprintf(out, "dray %s:", command);
    if (subject)
        fprintf(out, " %s:", subject);
    put_text(out, err->text[0] ? err->text : dray_code_text(err->code));
    if (hint)
        fprintf(out, "\n  hint: %s", hint);
    if (fclose(out) == 0)
        dray_console_line(console, message);
    else
        dray_console_line(console, err->text);
    free(message);
}

enum dray_exit dray_fault_nomem(struct dray_console *console, const char *command)
{
    struct dray_error err;

    dray_fault_set(&err, DRAY_ENOMEM, "out of memory");
    dray_fault_report(console, command, NULL, &err, NULL);
    return DRAY_EXIT_FAILED;
}

const char *dray_fault_store_hint(const struct dray_error *err)
{
    if (is_permission(err))
        return "run it as the owner of the store, or name another store with --store DIR";
    if (err->sys_errno == EMFILE || err->sys_errno == ENFILE)
        return "allow more open files with 'ulimit -n', or pull with fewer --jobs and "
               "--parallel-images";
    switch (err->code) {
    case DRAY_ENOTFOUND:
        return "'dray images' lists what is in the store";
    case DRAY_ENOSPC:
        return "free some space, remove images with 'dray rm', or use another disk with "
               "--store DIR";
    case DRAY_ESTORE:
        return "name another store with --store DIR, or move this one away and pull again";
    default:
        return NULL;
    }
}

json_t *dray_fault_json(const struct dray_error *err)
{
    json_t *json = json_pack("{s:s, s:o}", "code", dray_code_text(err->code), "text",
                             dray_text_json(err->text));

    if (json && err->hint[0])
        json_object_set_new(json, "hint", dray_text_json(err->hint));
    return json;
}

int dray_fault_set(struct dray_error *err, int code, const char *fmt, ...)
{
    va_list args;

    memset(err, 0, sizeof(*err));
    err->code = code;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    return code;
}
