#include "cmd/console.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <dray/error.h>

#include "cmd/text.h"

struct dray_console {
    int fd;
    bool is_tty;

    /* Guards frame and the order of bytes on the terminal, so it is held while writing: a line
     * between the rows of a frame would tear both. Nothing else is waited for under it. */
    pthread_mutex_t mu;
    char *frame; /* what stands on the screen above the cursor, NULL if nothing */
};

int dray_console_new(int fd, struct dray_console **ret_console)
{
    struct dray_console *console = calloc(1, sizeof(*console));
    const char *term = getenv("TERM");

    if (!console)
        return DRAY_ENOMEM;
    console->fd = fd;
    console->is_tty = isatty(fd) && term && *term && strcmp(term, "dumb") != 0;
    pthread_mutex_init(&console->mu, NULL); /* default attributes: cannot fail */
    *ret_console = console;
    return DRAY_OK;
}

void dray_console_free(struct dray_console *console)
{
    if (!console)
        return;
    pthread_mutex_destroy(&console->mu);
    free(console->frame);
    free(console);
}

bool dray_console_is_tty(const struct dray_console *console)
{
    return console->is_tty;
}

void dray_console_size(const struct dray_console *console, size_t *ret_columns, size_t *ret_rows)
{
    struct winsize size = { 0 };

    if (ioctl(console->fd, TIOCGWINSZ, &size) != 0)
        size.ws_col = size.ws_row = 0;
    *ret_columns = size.ws_col ? size.ws_col : 80;
    *ret_rows = size.ws_row ? size.ws_row : 24;
}

/* Write all, in one piece as far as the kernel allows. An error is not reported: this is where
 * errors would be reported. */
static void write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n >= 0) {
            data += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) { /* someone we share the terminal with made it non-blocking */
            struct pollfd writable = { .fd = fd, .events = POLLOUT };

            if (poll(&writable, 1, 1000) <= 0)
                return;
        } else if (errno != EINTR) {
            return;
        }
    }
}

/* Rows that the frame takes on the screen now. Terminals wrap lines anew when they get narrower,
 * so a line drawn for a wider one may fill several rows. */
static size_t count_rows(const struct dray_console *console, const char *frame)
{
    size_t columns;
    size_t screen_rows;
    size_t rows = 0;
    size_t width = 0;

    dray_console_size(console, &columns, &screen_rows);
    for (const char *p = frame; *p; p++) {
        if (*p == '\n') {
            rows += width > columns ? (width + columns - 1) / columns : 1;
            width = 0;
        } else if (*p == '\033') {
            p += strcspn(p, "m");
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            width++;
        }
    }
    return rows;
}

/* Go back to the frame's first row. */
static void rewind_frame(const struct dray_console *console, FILE *out)
{
    size_t rows = console->frame ? count_rows(console, console->frame) : 0;

    if (rows > 0)
        fprintf(out, "\r\033[%zuA", rows);
}

/* Every line is cleared to its end rather than the screen before it: nothing flickers. */
static void put_frame(const char *frame, FILE *out)
{
    while (*frame) {
        size_t len = strcspn(frame, "\n");

        fprintf(out, "%.*s\033[K\n", (int)len, frame);
        frame += len + (frame[len] == '\n');
    }
}

static void lock(struct dray_console *console)
{
    pthread_mutex_lock(&console->mu);
}

static void unlock(struct dray_console *console)
{
    pthread_mutex_unlock(&console->mu);
}

void dray_console_line(struct dray_console *console, const char *text)
{
    char *clean = strdup(text);
    char *bytes = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&bytes, &len);

    if (clean && out) {
        dray_text_clean(clean);
        lock(console);
        rewind_frame(console, out);
        if (console->frame)
            fputs("\033[J", out);
        fprintf(out, "%s\n", clean);
        if (console->frame)
            put_frame(console->frame, out);
        if (fflush(out) == 0)
            write_all(console->fd, bytes, len);
        unlock(console);
    }
    if (out)
        fclose(out);
    free(bytes);
    free(clean);
}

void dray_console_frame(struct dray_console *console, const char *frame)
{
    char *copy = strdup(frame);
    char *bytes = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&bytes, &len);

    if (copy && out) {
        lock(console);
        rewind_frame(console, out);
        put_frame(frame, out);
        fputs("\033[J", out);
        if (fflush(out) == 0) {
            write_all(console->fd, bytes, len);
            free(console->frame);
            console->frame = copy;
            copy = NULL;
        }
        unlock(console);
    }
    if (out)
        fclose(out);
    free(bytes);
    free(copy);
}

void dray_console_leave_frame(struct dray_console *console)
{
    lock(console);
    free(console->frame);
    console->frame = NULL;
    unlock(console);
}

const char *dray_console_level_text(enum dray_log_level level)
{
    static const char *const texts[] = { "error", "warning", "info", "debug" };

    return texts[level];
}

static void write_log(void *ctx, enum dray_log_level level, const char *text)
{
    char *line = NULL;

    if (asprintf(&line, "dray: %s: %s", dray_console_level_text(level), text) < 0)
        return;
    dray_console_line(ctx, line);
    free(line);
}

struct dray_log dray_console_log(struct dray_console *console, enum dray_log_level level)
{
    return (struct dray_log){ .write = write_log, .ctx = console, .level = level };
}
