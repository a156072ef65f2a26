/* SPDX-License-Identifier: Apache-2.0 */
/*
 * line_out: whole lines for a reader that may be slow, or gone.
 *
 * Who has a line hands it over and goes on; a thread writes. A few lines may wait. Unlike a
 * console's output (devices/backend/char_out.h), where the newest counts, each line here is
 * a fact of its own: what finds no room is refused, and its owner counts it. One place is
 * kept for the last line, which tells how it all ended.
 */
#ifndef VMM_CORE_LINE_OUT_H
#define VMM_CORE_LINE_OUT_H

#include <stdbool.h>

struct line_out;

enum { LINE_OUT_MAX = 64 }; /* lines that may wait */

/* `fd` is taken over, and never made non-blocking. Lines may be put, but wait for
 * line_out_start(). NULL for want of memory; `fd` is the caller's still. */
struct line_out *line_out_create(int fd);

/* Start the thread. 0 or a negative errno. Once. */
int line_out_start(struct line_out *o);

/* Take over `line`, a string of malloc() that ends in a newline. Never waits. False: there
 * was no room for it, or nobody reads any more; it is freed all the same. Any thread. */
bool line_out_put(struct line_out *o, char *line);

/* The last line, or NULL for none; then wait until all are written, and give up when the
 * reader takes nothing for `patience_ms`: what waits then is lost, and a thread that is
 * stuck in write(2) is left to itself. Frees all. With no other user left. */
void line_out_close(struct line_out *o, char *last, unsigned patience_ms);

#endif
