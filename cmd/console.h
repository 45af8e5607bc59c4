/* Standard error: permanent lines and, on a terminal, one frame below them that is redrawn in
 * place. Lines may be written from any thread; frames come from one. */
#ifndef DRAY_CMD_CONSOLE_H
#define DRAY_CMD_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

#include <dray/log.h>

struct dray_console;

/**
 * @param fd  borrowed; nothing is written to it before the first line or frame
 * @return DRAY_OK or DRAY_ENOMEM
 */
int dray_console_new(int fd, struct dray_console **ret_console);

/** Free; NULL is allowed. A frame on the screen stays. */
void dray_console_free(struct dray_console *console);

/** May frames be drawn here: is it a terminal, and not a dumb one? */
bool dray_console_is_tty(const struct dray_console *console);

/** The size of the terminal now; 80 x 24 if it does not tell. */
void dray_console_size(const struct dray_console *console, size_t *ret_columns, size_t *ret_rows);

/** Write text as one or more permanent lines, a newline added, cleaned (cmd/text.h), above the
 *  frame if there is one. */
void dray_console_line(struct dray_console *console, const char *text);

/**
 * Replace the frame.
 *
 * @param frame  lines, each ended by a newline, no wider and fewer than the terminal; of escape
 *               sequences only colours (ESC [ ... m). Not cleaned: its maker does that
 */
void dray_console_frame(struct dray_console *console, const char *frame);

/** Leave the frame as it is on the screen; what follows goes below it. */
void dray_console_leave_frame(struct dray_console *console);

/** A sink for the library's diagnostics: "dray: warning: text". */
struct dray_log dray_console_log(struct dray_console *console, enum dray_log_level level);

/** "warning". */
const char *dray_console_level_text(enum dray_log_level level);

#endif
