#include "cmd/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include <dray/cancel.h>

#include "cmd/fault.h"

#define PASSWORD_MAX 4096 /* what a terminal's line can hold; tokens serve as passwords, too */

/* One line from the terminal into buf, without its newline. The terminal hands out whole lines. */
static int read_line(int tty, const struct dray_cancel *cancel, char *buf, size_t size,
                     struct dray_error *err)
{
    struct pollfd waits[] = { { .fd = tty, .events = POLLIN },
                              { .fd = dray_cancel_fd(cancel), .events = POLLIN } };
    ssize_t n;

    do {
        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            return dray_fault_set(err, DRAY_EIO, "wait for the terminal: %s", strerror(errno));
        if (dray_cancel_fired(cancel))
            return dray_fault_set(err, DRAY_ECANCELED, "interrupted");
    } while (!waits[0].revents);
    n = read(tty, buf, size - 1);
    if (n < 0)
        return dray_fault_set(err, DRAY_EIO, "read from the terminal: %s", strerror(errno));
    if (n == 0 || buf[0] == '\n')
        return dray_fault_set(err, DRAY_EINVAL, "no password was given");
    if (buf[n - 1] != '\n')
        return dray_fault_set(err, DRAY_EINVAL, "the password is too long");
    buf[n - 1] = '\0';
    return DRAY_OK;
}

static int ask(int tty, const char *user, const struct dray_cancel *cancel, char *buf, size_t size,
               struct dray_error *err)
{
    struct termios before;
    struct termios silent;
    int rc;

    if (tcgetattr(tty, &before) < 0)
        return dray_fault_set(err, DRAY_EIO, "silence the terminal: %s", strerror(errno));
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    silent.c_lflag |= ICANON | ECHONL;
    if (tcsetattr(tty, TCSAFLUSH, &silent) < 0)
        return dray_fault_set(err, DRAY_EIO, "silence the terminal: %s", strerror(errno));
    dprintf(tty, "Password for %s: ", user);
    rc = read_line(tty, cancel, buf, size, err);
    if (rc == DRAY_ECANCELED)
        dprintf(tty, "\n");
    tcsetattr(tty, TCSAFLUSH, &before);
    return rc;
}

int dray_prompt_password(const char *user, const struct dray_cancel *cancel, char **ret_password,
                         struct dray_error *err)
{
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    char *password;
    int rc;

    if (tty < 0)
        return dray_fault_set(err, DRAY_EINVAL,
                              "--creds has no password, and there is no terminal to ask for it");
    password = calloc(1, PASSWORD_MAX);
    if (!password)
        rc = dray_fault_set(err, DRAY_ENOMEM, "out of memory");
    else
        rc = ask(tty, user, cancel, password, PASSWORD_MAX, err);
    close(tty);
    if (rc < 0) {
        if (password)
            explicit_bzero(password, PASSWORD_MAX);
        free(password);
        return rc;
    }
    *ret_password = password;
    return DRAY_OK;
}
