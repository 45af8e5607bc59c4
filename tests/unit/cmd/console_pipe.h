/* A console whose output a test can read: it writes into a pipe. */
#ifndef TESTS_UNIT_CMD_CONSOLE_PIPE_H
#define TESTS_UNIT_CMD_CONSOLE_PIPE_H

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cmd/console.h"

struct console_pipe {
    int fds[2];
    struct dray_console *console;
    char text[65536]; /* what console_pipe_read() has found */
};

static inline void console_pipe_open(struct console_pipe *self)
{
    assert_int_equal(pipe2(self->fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(dray_console_new(self->fds[1], &self->console), 0);
}

/* What was written since the last look. */
static inline const char *console_pipe_read(struct console_pipe *self)
{
    ssize_t n = read(self->fds[0], self->text, sizeof(self->text) - 1);

    self->text[n > 0 ? n : 0] = '\0';
    return self->text;
}

static inline void console_pipe_close(struct console_pipe *self)
{
    dray_console_free(self->console);
    close(self->fds[0]);
    close(self->fds[1]);
}

#endif
