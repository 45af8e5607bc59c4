#include "cmd/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd/text.h"

enum source {
    SOURCE_DEFAULT,
    SOURCE_LINE,
    SOURCE_ENVIRONMENT,
    SOURCE_FILE, /* the first config file; those read after it count on from here */
};

/* Whether a value from source may be set: nothing that stands higher has set one. The default goes
 * when the first value comes, so that the items of a list replace it. */
static bool claim(struct dray_settings *settings, size_t i, enum source source)
{
    if (settings->sources[i] == SOURCE_DEFAULT) {
        dray_option_clear(dray_command_option(settings->command, i), settings->values);
        settings->sources[i] = (uint8_t)source;
    }
    return settings->sources[i] == source;
}

/* The place of the option with this name, or letter if name is NULL; SIZE_MAX if there is none. */
static size_t find_option(const struct dray_command *command, const char *name, size_t name_len,
                          char letter)
{
    const struct dray_option *option;

    for (size_t i = 0; (option = dray_command_option(command, i)); i++) {
        if (name ? strlen(option->name) == name_len && memcmp(option->name, name, name_len) == 0
                 : option->letter == letter)
            return i;
    }
    return SIZE_MAX;
}

static int refuse_name(const struct dray_command *command, const char *name, size_t len,
                       struct dray_error *err)
{
    const struct dray_option *option;
    const struct dray_option *nearest = NULL;
    unsigned least = DRAY_TEXT_NEAR + 1;
    char given[64];

    dray_fault_set(err, DRAY_EINVAL, "unknown option --%.*s", (int)len, name);
    if (len >= sizeof(given))
        return err->code;
    memcpy(given, name, len);
    given[len] = '\0';
    for (size_t i = 0; (option = dray_command_option(command, i)); i++) {
        unsigned distance = dray_text_distance(option->name, given);

        if (distance < least || (!nearest && len >= 3 && strncmp(option->name, given, len) == 0)) {
            nearest = option;
            least = distance;
        }
    }
    if (nearest)
        return dray_fault_set(err, DRAY_EINVAL, "unknown option --%s; did you mean --%s?", given,
                              nearest->name);
    return err->code;
}

/* Set option i from the line. argument: what follows "=", or the letter; next: the argument after
 * it, taken if it is needed; *took says whether it was. */
static int set_from_line(struct dray_settings *settings, size_t i, char *argument, char *next,
                         bool *took, struct dray_error *err)
{
    const struct dray_option *option = dray_command_option(settings->command, i);
    int rc;

    *took = false;
    if (option->kind != DRAY_OPTION_FLAG && !argument) {
        if (!next)
            return dray_fault_set(err, DRAY_EINVAL, "--%s needs a value: --%s %s", option->name,
                                  option->name, option->argument);
        argument = next;
        *took = true;
    }
    claim(settings, i, SOURCE_LINE);
    rc = dray_option_set(option, settings->values, argument ? argument : "true", err);
    if (option->secret && argument)
        memset(argument, 'x', strlen(argument));
    return rc;
}

static int read_long(struct dray_settings *settings, char *argument, char *next, bool *took,
                     struct dray_error *err)
{
    char *name = argument + 2;
    size_t len = strcspn(name, "=");
    size_t i = find_option(settings->command, name, len, 0);

    *took = false;
    if (strcmp(argument, "--help") == 0) {
        settings->help = true;
        return DRAY_OK;
    }
    if (i == SIZE_MAX)
        return refuse_name(settings->command, name, len, err);
    return set_from_line(settings, i, name[len] ? name + len + 1 : NULL, next, took, err);
}

/* "-q", "-j8", "-j 8", "-vj8": letters of flags, the last one may take an argument. */
static int read_letters(struct dray_settings *settings, char *argument, char *next, bool *took,
                        struct dray_error *err)
{
    *took = false;
    for (char *p = argument + 1; *p; p++) {
        size_t i = find_option(settings->command, NULL, 0, *p);
        bool is_flag;
        int rc;

        if (*p == 'h') {
            settings->help = true;
            return DRAY_OK;
        }
        if (i == SIZE_MAX)
            return dray_fault_set(err, DRAY_EINVAL, "unknown option -%c", *p);
        is_flag = dray_command_option(settings->command, i)->kind == DRAY_OPTION_FLAG;
        rc = set_from_line(settings, i, !is_flag && p[1] ? p + 1 : NULL, next, took, err);
        if (rc < 0 || !is_flag)
            return rc;
    }
    return DRAY_OK;
}

static int check_operands(const struct dray_settings *settings, struct dray_error *err)
{
    const struct dray_command *command = settings->command;

    if (settings->operand_count < command->operands_min)
        return dray_fault_set(err, DRAY_EINVAL, "%s is missing", command->operands);
    if (settings->operand_count > command->operands_max)
        return dray_fault_set(err, DRAY_EINVAL, "unexpected operand '%s'",
                              settings->operands[command->operands_max]);
    return DRAY_OK;
}

static int set_defaults(struct dray_settings *settings, struct dray_error *err)
{
    const struct dray_option *option;

    for (size_t i = 0; (option = dray_command_option(settings->command, i)); i++) {
        int rc = option->initial ? dray_option_set(option, settings->values, option->initial, err)
                                 : DRAY_OK;

        if (rc < 0)
            return rc;
    }
    return DRAY_OK;
}

int dray_settings_parse(const struct dray_command *command, int argc, char **argv,
                        struct dray_settings *ret_settings, struct dray_error *err)
{
    struct dray_settings *settings = ret_settings;
    bool options_ended = false;
    size_t option_count = 0;
    int rc;

    while (dray_command_option(command, option_count))
        option_count++;
    memset(settings, 0, sizeof(*settings));
    settings->command = command;
    settings->values = calloc(1, command->values_size + 1); /* never nothing */
    settings->sources = calloc(option_count + 1, sizeof(*settings->sources));
    settings->operands = calloc((size_t)argc + 1, sizeof(*settings->operands));
    if (!settings->values || !settings->sources || !settings->operands)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");

    rc = set_defaults(settings, err);
    for (int i = 0; rc == DRAY_OK && i < argc && !settings->help; i++) {
        char *next = i + 1 < argc ? argv[i + 1] : NULL;
        bool took_next = false;

        if (options_ended || argv[i][0] != '-' || argv[i][1] == '\0')
            settings->operands[settings->operand_count++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            options_ended = true;
        else if (argv[i][1] == '-')
            rc = read_long(settings, argv[i], next, &took_next, err);
        else
            rc = read_letters(settings, argv[i], next, &took_next, err);
        i += took_next;
    }
    if (rc == DRAY_OK && !settings->help)
        rc = check_operands(settings, err);
    return rc;
}

/* Every line of text is an item. */
static int set_lines(const struct dray_option *option, void *values, const char *text,
                     struct dray_error *err)
{
    char *copy = strdup(text);
    char *rest = copy;
    char *line;
    int rc = DRAY_OK;

    if (!copy)
        return dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    while (rc == DRAY_OK && (line = strsep(&rest, "\n"))) {
        if (*line)
            rc = dray_option_set(option, values, line, err);
    }
    free(copy);
    return rc;
}

int dray_settings_read_environment(struct dray_settings *settings, struct dray_error *err)
{
    const struct dray_option *option;

    for (size_t i = 0; (option = dray_command_option(settings->command, i)); i++) {
        char variable[64];
        const char *text;
        struct dray_error cause = { 0 };
        int rc;

        dray_option_variable(option, variable, sizeof(variable));
        text = getenv(variable);
        if (!text || !*text || !claim(settings, i, SOURCE_ENVIRONMENT))
            continue;
        rc = option->kind == DRAY_OPTION_LIST
                 ? set_lines(option, settings->values, text, &cause)
                 : dray_option_set(option, settings->values, text, &cause);
        if (rc < 0)
            return dray_fault_set(err, rc, "environment variable %s: %s", variable, cause.text);
    }
    return DRAY_OK;
}

/* Check a value against another command's option of this name, which this command lacks. */
static int check_foreign(const struct dray_command *const *commands, const char *key,
                         const json_t *json, struct dray_error *err)
{
    for (; *commands; commands++) {
        size_t i = find_option(*commands, key, strlen(key), 0);
        const struct dray_option *option = dray_command_option(*commands, i);
        struct dray_option scratch;
        union {
            bool flag;
            int choice;
            int64_t number;
            char *text;
            char **list;
        } value = { 0 };
        int rc;

        if (!option)
            continue;
        scratch = *option;
        scratch.offset = 0;
        rc = dray_option_set_json(&scratch, &value, json, err);
        dray_option_clear(&scratch, &value);
        return rc;
    }
    return dray_fault_set(err, DRAY_EINVAL, "no such setting");
}

static int read_key(struct dray_settings *settings, const struct dray_command *const *commands,
                    const char *key, const json_t *json, struct dray_error *err)
{
    size_t i = find_option(settings->command, key, strlen(key), 0);

    if (strcmp(key, "config") == 0)
        return dray_fault_set(err, DRAY_EINVAL, "a config file cannot name another one");
    /* A value that does not count is still checked: a bad file is one with every command line. */
    if (i == SIZE_MAX || !claim(settings, i, settings->file_source))
        return check_foreign(commands, key, json, err);
    return dray_option_set_json(dray_command_option(settings->command, i), settings->values, json,
                                err);
}

/* Open what can be read to its end; a pipe might never come to one. ENOENT and the like stand in
 * err->sys_errno. */
static FILE *open_regular(const char *path, struct dray_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status;
    FILE *file = NULL;

    if (fd >= 0 && fstat(fd, &status) == 0) {
        if (S_ISREG(status.st_mode))
            file = fdopen(fd, "r");
        else
            errno = S_ISDIR(status.st_mode) ? EISDIR : ESPIPE;
    }
    if (!file) {
        int sys_errno = errno;

        dray_fault_set(err, DRAY_EINVAL, "config file %s: %s", path,
                       sys_errno == ESPIPE ? "not a regular file" : strerror(sys_errno));
        err->sys_errno = sys_errno;
        if (fd >= 0)
            close(fd);
    }
    return file;
}

int dray_settings_read_file(struct dray_settings *settings,
                            const struct dray_command *const *commands, const char *path,
                            bool must_exist, struct dray_error *err)
{
    json_error_t json_error;
    struct dray_error cause = { 0 };
    FILE *file = open_regular(path, err);
    json_t *json;
    const char *key;
    json_t *value;
    int rc = DRAY_OK;

    if (!file) {
        if (must_exist || (err->sys_errno != ENOENT && err->sys_errno != ENOTDIR))
            return err->code;
        memset(err, 0, sizeof(*err));
        return DRAY_OK;
    }
    json = json_loadf(file, JSON_REJECT_DUPLICATES, &json_error);
    fclose(file);
    if (!json)
        return dray_fault_set(err, DRAY_EINVAL, "config file %s: line %d: %s", path,
                              json_error.line, json_error.text);
    if (!json_is_object(json))
        rc = dray_fault_set(err, DRAY_EINVAL, "config file %s: not a JSON object", path);
    settings->file_source =
        settings->file_source ? (uint8_t)(settings->file_source + 1) : SOURCE_FILE;
    json_object_foreach(json, key, value)
    {
        rc = read_key(settings, commands, key, value, &cause);
        if (rc < 0) {
            dray_fault_set(err, rc, "config file %s: \"%s\": %s", path, key, cause.text);
            break;
        }
    }
    json_decref(json);
    return rc;
}

void dray_settings_done(struct dray_settings *settings)
{
    const struct dray_option *option;

    for (size_t i = 0; settings->values && (option = dray_command_option(settings->command, i));
         i++)
        dray_option_clear(option, settings->values);
    free(settings->values);
    free(settings->sources);
    free(settings->operands);
}
