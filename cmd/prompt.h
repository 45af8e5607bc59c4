/* Asking the user at the terminal. */
#ifndef DRAY_CMD_PROMPT_H
#define DRAY_CMD_PROMPT_H

#include <dray/error.h>

struct dray_cancel;

/**
 * Ask for a password on the controlling terminal, without showing it.
 *
 * @param cancel        ends the wait
 * @param ret_password  malloc'ed; wipe it before free()
 * @return DRAY_OK; DRAY_EINVAL: there is no terminal, or the password is empty or too long;
 *         DRAY_ECANCELED; DRAY_ENOMEM
 */
int dray_prompt_password(const char *user, const struct dray_cancel *cancel, char **ret_password,
                         struct dray_error *err);

#endif
