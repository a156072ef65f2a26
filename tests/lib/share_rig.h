/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share_rig: a share over a directory of the test's own, and a guest that speaks FUSE
 * [linux/fuse.h] to it, without virtio. Requests and answers lie in memory in pieces
 * of odd sizes, as a guest may lay them out.
 */
#ifndef TESTS_LIB_SHARE_RIG_H
#define TESTS_LIB_SHARE_RIG_H

#include "devices/backend/share.h"
#include "tests/lib/scratch.h"

#include <linux/fuse.h>
#include <stddef.h>
#include <stdint.h>

enum { SHARE_RIG_ROOM = 160 << 10 };

struct share_rig {
	struct scratch s; /* the shared directory is "dir" in it */
	char dir[160];
	struct share *share;
	uint64_t unique;
	uint32_t uid, gid, pid; /* of the caller in the guest */
	unsigned pieces;        /* how many bytes to a piece; 0: all in one */
	uint32_t room;          /* for the answer */
	_Alignas(8) uint8_t in[SHARE_RIG_ROOM];
	_Alignas(8) uint8_t out[SHARE_RIG_ROOM + 64];
	int64_t served;   /* what share_serve() gave */
	size_t len;       /* of the answer behind its header */
	const void *data; /* it */
};

/* Opened, and FUSE_INIT is through. `fds_max` 0: plenty. */
void share_rig_init(struct share_rig *r, bool writable, enum share_cache cache, unsigned fds_max);
void share_rig_fini(struct share_rig *r);
/* "dir/NAME" for scratch_*(). */
const char *share_rig_name(const char *name);
/* Its path, in a buffer as scratch_path()'s. */
const char *share_rig_path(struct share_rig *r, const char *name);

/* The host writes a file in it; and reads one, up to 255 bytes. */
void share_rig_put(struct share_rig *r, const char *name, const char *text);
const char *share_rig_get(struct share_rig *r, const char *name);
/* For cmocka: *state is a rig of its own. */
int share_rig_setup(void **state, bool writable, enum share_cache cache, unsigned fds_max);
int share_rig_teardown(void **state);
/* The same with files in the directory and others beside it, which are a secret: that nobody has
 * changed them is checked at the end. */
int share_rig_setup_beside_secret(void **state);
int share_rig_teardown_beside_secret(void **state);

/* FUSE_INIT, with these flags; gives the answer's error. */
int share_rig_mount(struct share_rig *r, uint32_t flags);

/* `len` bytes as they are. Gives what share_serve() gives, as r->served; the buffer for the
 * answer is checked not to be written beyond that. */
int64_t share_rig_raw(struct share_rig *r, const void *request, size_t len);
/* One request with `args` and then `tail`: 0 or the negative errno of the answer. */
int share_rig_call(struct share_rig *r, uint32_t op, uint64_t node, const void *args,
		   size_t args_len, const void *tail, size_t tail_len);

/* Shorthands; 0 or a negative errno. */
int share_rig_lookup(struct share_rig *r, uint64_t parent, const char *name,
		     struct fuse_entry_out *out);
int share_rig_name_op(struct share_rig *r, uint32_t op, uint64_t parent, const char *name);
int share_rig_open(struct share_rig *r, uint32_t op, uint64_t node, int flags,
		   struct fuse_open_out *out);
/* Opened for sure: the handle. */
uint64_t share_rig_opened(struct share_rig *r, uint64_t node, int flags);
int share_rig_create(struct share_rig *r, uint64_t parent, const char *name, int flags, int mode,
		     struct fuse_entry_out *entry, struct fuse_open_out *out);
int share_rig_read(struct share_rig *r, uint32_t op, uint64_t node, uint64_t fh, uint64_t off,
		   uint32_t size);
int share_rig_write(struct share_rig *r, uint64_t node, uint64_t fh, uint64_t off, const void *data,
		    uint32_t len);
int share_rig_release(struct share_rig *r, uint32_t op, uint64_t node, uint64_t fh);
void share_rig_forget(struct share_rig *r, uint64_t node, uint64_t n);
/* By name below the root, each step looked up: the last's entry. */
uint64_t share_rig_node(struct share_rig *r, const char *path);

#endif
