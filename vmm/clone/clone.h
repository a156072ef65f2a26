/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clone: several machines that go on from one snapshot.
 *
 * Each is a process of its own, a child of this one: they share the snapshot's pages, as all map
 * one file, and nothing else. Either it is a `minivmm --restore`, or with --template it is forked
 * from a process that has opened the snapshot already (template.h).
 */
#ifndef VMM_CLONE_CLONE_H
#define VMM_CLONE_CLONE_H

#include "vmm/base/err.h"

/* How machines are made, which is main's to know. All on the main thread, while there is no other.
 */
struct clone_maker {
	/* Open and check the snapshot that `word` names, for all machines to come, and the options
	 * of the first of them, from argv[1] on. 0, or a negative errno with *e filled. */
	int (*prepare)(const char *word, int argc, char **argv, struct err *e);
	/* In a child: be clone `number` of that snapshot with these options, to its end. `runs` is
	 * called when its guest is let go; *e is filled if that never was. Gives the exit status.
	 */
	int (*become)(unsigned number, int argc, char **argv, void (*runs)(void *ctx), void *ctx,
		      struct err *e);
};

/* `minivmm clone ...`; argv[0] is "clone". Starts them, waits for all, and gives the exit status:
 * 0, that of the first of them to fail, 1 or 2 (usage), or 128+N after signal N. In a child of a
 * template, that of its machine. Main thread, before there are others. */
int clone_main(int argc, char **argv, const struct clone_maker *maker);

#endif
