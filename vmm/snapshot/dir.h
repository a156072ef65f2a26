/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir: a snapshot's directory, which is there whole or not at all.
 *
 *	begin -> files, each written and synced -> commit
 *	                                       \-> abandon
 *
 * All is written below .NAME.partial, beside the directory's place; commit gives it that place
 * in one step. What was there before stays until then, and is gone afterwards. Who dies in
 * between leaves a .NAME.partial that the next one takes over: a lock on it tells a live one.
 *
 * The directory above is opened once, here or by somebody else, and all names are looked up in it:
 *no link is followed there, nothing is written to that was there before, and it may be moved
 * meanwhile.
 */
#ifndef VMM_SNAPSHOT_DIR_H
#define VMM_SNAPSHOT_DIR_H

#include "vmm/base/err.h"

/* What is in it; see README.md. */
#define SNAPSHOT_STATE   "state"
#define SNAPSHOT_MEMORY  "memory"
#define SNAPSHOT_PACKED  "memory.zst" /* instead of that */
#define SNAPSHOT_CONFIG  "machine.ini"
#define SNAPSHOT_CMDLINE "cmdline"

/* Not of its making, and gone with it. */
#define SNAPSHOT_WORKING_SET         "working-set"
#define SNAPSHOT_WORKING_SET_PARTIAL ".working-set.partial"

struct snapshot_dir {
	char *path;    /* owned: where it is to be, as it was given, for errors */
	char *name;    /* within the directory above */
	char *partial; /* owned: its name until it is whole */
	int above;     /* that directory, owned */
	int fd;        /* the partial one, owned and locked */
};

/* Begin a snapshot at `path`, where there is nothing, an empty directory or an older snapshot; or,
 * unless `at` is -1, in the directory that is open for reading as `at`, the caller's, of which
 * `path` is then a name. 0, or a negative errno with *e filled and nothing left. Any thread, one at
 * a time; so is all else. */
int snapshot_dir_begin(struct snapshot_dir *d, int at, const char *path, struct err *e);

/* A new file in it, open for reading and writing; the caller's to close. Or a negative errno with
 * *e filled. */
int snapshot_dir_file(const struct snapshot_dir *d, const char *name, struct err *e);

/* Without that file again. */
void snapshot_dir_remove(const struct snapshot_dir *d, const char *name);

/* On disk with `fd`, which is one of its files: 0, or a negative errno with *e filled. */
int snapshot_dir_sync(const struct snapshot_dir *d, int fd, const char *name, struct err *e);

/* Give it its place. 0, or a negative errno with *e filled: then it is abandoned, or if only the
 * disk failed to confirm it, there. */
int snapshot_dir_commit(struct snapshot_dir *d, struct err *e);

/* Leave no trace of it. Fine after a failed begin, and on zeroes whose descriptors are -1. */
void snapshot_dir_abandon(struct snapshot_dir *d);

/* Open an existing one: a descriptor, or a negative errno with *e filled. */
int snapshot_dir_open(const char *path, struct err *e);
/* The same by `at` and `path`, as above; a name in `at` is not that of a link. */
int snapshot_dir_open_at(int at, const char *path);

#endif
