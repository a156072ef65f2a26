/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err: why a set-up step failed, in one line for a person.
 *
 * Functions return 0 or a negative errno. Those that a user can make fail (a
 * wrong option, a missing file) also fill a struct err; only main prints it.
 * The line names the option or file, the cause and the remedy:
 *
 *	--disk a.img: is empty; give a raw disk image
 *
 * Whose fault it was decides the exit status, so the two setters keep apart
 * what the user can mend on the command line and what the host refused.
 */
#ifndef VMM_BASE_ERR_H
#define VMM_BASE_ERR_H

enum err_kind {
	ERR_NONE = 0,
	ERR_HOST,  /* the host failed at run time: exit status 1 */
	ERR_USAGE, /* usage or configuration: exit status 2 */
};

struct err {
	enum err_kind kind;
	int code; /* negative errno */
	char text[512];
};

/* Fill *e (which may be NULL) and give back `code`, a negative errno, so that
 * `return err_usage(e, -EINVAL, ...)` is one statement. The first error wins:
 * an err that is already set stays as it is. Text beyond the buffer is cut. */
int err_usage(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_host(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
