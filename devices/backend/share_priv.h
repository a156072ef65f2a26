/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share, for its own files:
 *
 *	share.c         opening the directory, the session with libfuse, one request's way
 *	share_check.c   is a request one at all? Before libfuse sees it
 *	share_nodes.c   node ids <-> files of the host: confinement is here
 *	share_handles.c open files and directories <-> handles
 *	share_owner.c   whose a file is
 *	share_ops.c     the table; attributes, links, file system
 *	share_names.c   what makes, removes and moves names
 *	share_files.c   open, read, write and what else concerns contents
 *	share_dirs.c    reading directories
 *	share_xattr.c   extended attributes
 */
#ifndef DEVICES_BACKEND_SHARE_PRIV_H
#define DEVICES_BACKEND_SHARE_PRIV_H

#define FUSE_USE_VERSION 314

#include "devices/backend/share.h"
#include "vmm/base/log.h"

#include <fuse3/fuse_lowlevel.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* --- share_check.c ------------------------------------------------------------------- */

enum {
	SHARE_HEADER_LEN = 40,         /* struct fuse_in_header */
	SHARE_ANSWER_LEN = 16,         /* struct fuse_out_header */
	SHARE_WRITE_LEN = 40,          /* struct fuse_write_in */
	SHARE_DATA_MAX = 1 << 20,      /* of one read or write */
	SHARE_REQUEST_MAX = 128 << 10, /* without a write's data: header, arguments, an xattr */
};

enum {
	SHARE_CHANGES = 1,   /* has no place on a read-only share */
	SHARE_NO_ANSWER = 2, /* gets none */
	SHARE_DATA = 4,      /* its end is data that is not copied: FUSE_WRITE */
};

/* What kind of request opcode `op` is, as bits from above; 0 for one that is unknown. */
unsigned share_opcode(uint32_t op);

/* Is the request, of which `copy` holds `len` bytes (all but SHARE_DATA's end, of which
 * there are `data` bytes), well-formed: as long as its header and its arguments say, its
 * names names? Gives 0 or the positive errno to answer. */
int share_check(const uint8_t *copy, size_t len, uint64_t data);

/* Could `name` be one step of a path: no "", ".", "..", no '/'? */
bool share_is_name(const char *name);

/* --- share_nodes.c ------------------------------------------------------------------- */

/* struct stat, and when the file was made: an inode's number may be used again. */
struct share_stat {
	struct stat st;
	int64_t born_s;
	uint32_t born_ns;
};

struct share_node {
	uint64_t id;
	dev_t dev;
	ino_t ino;
	int64_t born_s;
	uint32_t born_ns;
	mode_t type;      /* S_IFMT part */
	bool opaque;      /* the kernel's own files (/proc) begin here: it appears empty */
	int fd;           /* O_PATH; -1 while it is put away */
	uint64_t lookups; /* that the guest has not forgotten; the root: 1 for ever */
	unsigned children, handles; /* nodes below, open files of it */
	struct share_node *parent;  /* where it was seen last, and NULL if that is not known */
	char *name;                 /* its name there */
	struct share_node *below;   /* while a way down is walked: the next step of it */
	struct share_node *same_hash;
	struct share_node *newer, *older; /* those with descriptors, by use */

	/* What the guest was told last, while it may still believe it. */
	bool told;
	off_t told_size;
	struct timespec told_mtime;
	/* The file as it was when the guest last opened it, if that tells it apart. */
	bool seen;
	off_t seen_size;
	struct timespec seen_mtime, seen_ctime;
	/* A directory: when the guest last began to be told of all in it, clock_host; 0: never. */
	uint64_t listed_ns;
};

struct share_nodes {
	struct share_node **slots; /* by the lower half of the id; slot 0 is not used */
	uint32_t *generations;     /* the upper half: of the slot's next node */
	uint32_t n_slots, free_hint;
	struct share_node **hash;
	uint32_t n_hash;
	unsigned n, n_max, n_fds, fds_max;
	struct share_node *newest, *oldest;
	struct share_node *root;
};

/* Takes `fd` over, also on failure. 0 or -ENOMEM. */
int share_nodes_init(struct share_nodes *t, int fd, const struct share_stat *st, unsigned fds_max,
		     unsigned n_max);
void share_nodes_fini(struct share_nodes *t);

/* The node that the guest means, or NULL: it never had that id, or forgot it. */
struct share_node *share_node_get(struct share_nodes *t, uint64_t id);
/* Its descriptor, opened again if need be. Borrowed, until share_nodes_trim(). A negative
 * errno otherwise: -ESTALE when it is no longer where it was. */
int share_node_fd(struct share_nodes *t, struct share_node *n);
/* Look `name` up in `parent`: 0 with *out, counted as looked up, and *st filled; or a
 * negative errno. `open`: a new node has its descriptor at once, since it is used next. */
int share_node_lookup(struct share_nodes *t, struct share_node *parent, const char *name, bool open,
		      struct share_node **out, struct share_stat *st);
/* The guest forgets `n` of its lookups. */
void share_node_forget(struct share_nodes *t, struct share_node *node, uint64_t n);
/* An open file of it comes or goes; what goes last takes a forgotten node along. */
void share_node_hold(struct share_node *n);
void share_node_release(struct share_nodes *t, struct share_node *n);
/* Is it still found where it was seen last, and so all above it? */
bool share_node_in_place(struct share_nodes *t, struct share_node *n);
/* It was moved by the guest: if `name` of `parent` is a node of ours, it is there now. */
void share_node_moved(struct share_nodes *t, struct share_node *parent, const char *name);
/* Between requests: put away the descriptors that are too many. */
void share_nodes_trim(struct share_nodes *t);

/* Of `name` in the directory `dir`, or of `dir` itself (""). 0 or a negative errno. */
int share_stat(int dir, const char *name, struct share_stat *st);

/* --- share_handles.c ----------------------------------------------------------------- */

struct share_handle {
	uint64_t id;
	int fd; /* -1: a directory that appears empty */
	bool dir;
	struct share_node *node;
	/* A directory: what was read ahead of the guest, if it has room for that. */
	uint8_t *entries;
	unsigned at, end;
	off_t pos; /* of the entry at `at` */
};

enum { SHARE_AHEAD = 32 << 10 };

struct share_handles {
	struct share_handle **slots;
	uint32_t *generations;
	uint32_t n_slots, n, max, free_hint; /* no slot below the hint is free */
	/* Those that have `entries`, one at each place in use. */
	struct share_handle *ahead[SHARE_AHEAD_MAX];
	unsigned n_ahead, next_ahead;
};

/* Is there room for one more? To be asked before a file is made or cut for it. */
bool share_handles_room(const struct share_handles *t);
/* Takes `fd` over, also on failure. NULL: no memory, or there are too many. */
struct share_handle *share_handle_add(struct share_handles *t, struct share_node *node, int fd,
				      bool dir);
/* NULL unless there is one of this kind for this node. */
struct share_handle *share_handle_get(struct share_handles *t, uint64_t id, uint64_t node,
				      bool dir);
void share_handle_remove(struct share_handles *t, struct share_nodes *nodes,
			 struct share_handle *h);
/* See that h->entries has room for SHARE_AHEAD bytes; another directory may lose its own for that,
 * and is read again where its guest is. False: no memory. */
bool share_handle_read_ahead(struct share_handles *t, struct share_handle *h);
void share_handles_fini(struct share_handles *t, struct share_nodes *nodes);

/* --- share.c ------------------------------------------------------------------------- */

enum {
	SHARE_INTERRUPTS = 16,
	SHARE_RETRIES = 8,
	SHARE_IOV_MAX = 256, /* of a request's memory, either way */
};

struct share {
	const char *name;
	bool writable;
	enum share_cache cache;
	int dir;  /* the shared directory, O_PATH */
	int proc; /* /proc/self/fd: the way from an O_PATH descriptor to the file */
	struct share_stat root;
	unsigned fds_max, nodes_max;
	bool owners_real;
	bool shown_as_root; /* what is ours */
	uid_t uid;
	gid_t gid;

	struct fuse_session *session; /* from FUSE_INIT on */
	struct share_nodes nodes;
	struct share_handles handles;
	uint64_t interrupts[SHARE_INTERRUPTS]; /* 0: free */
	unsigned next_interrupt;
	/* The guest's threads that were told ESTALE, and will be back: their numbers and 1, for 0
	 * is one as well. */
	uint64_t retries[SHARE_RETRIES];
	unsigned next_retry;

	/* The request that is being carried out. */
	const struct share_request *request;
	uint64_t answered; /* bytes */
	bool has_answer;
	uint64_t in_place; /* bytes of data that lie in the guest's buffers already */
	_Alignas(8) uint8_t copy[SHARE_REQUEST_MAX + 64];

	struct log_budget complaints;
};

static inline struct share *share_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Bytes [off, off+len) of iov as another iovec of at most `max` entries; gives how many.
 * The caller knows that they are there. */
int share_iov_cut(const struct iovec *iov, int n, uint64_t off, uint64_t len, struct iovec *out,
		  int max);

/* /proc/self/fd/N as a name in s->proc. */
enum { SHARE_FD_NAME = 12 };
const char *share_fd_name(int fd, char name[SHARE_FD_NAME]);

/* --- the operations ------------------------------------------------------------------- */

/* Answers with the negative errno `ret`, or with success. */
static inline void share_reply(fuse_req_t req, int ret)
{
	fuse_reply_err(req, -ret);
}

/* The node `id` and its descriptor; or a negative errno, which is yet to be answered. */
int share_want(struct share *s, fuse_ino_t id, struct share_node **out);
/* The same for a directory in which `name` is made or removed, as share_check_place(); -EINVAL
 * if that is no name. */
int share_want_dir(fuse_req_t req, fuse_ino_t id, const char *name, struct share_node **out);
/* With SHARE_CACHE_AUTO: is what the guest remembers of the way to `n` still so? If not,
 * -ESTALE, for which Linux looks the whole path up again and comes back; the same thread
 * is not sent away a second time. `changed`: it is known not to be. */
int share_check_place(fuse_req_t req, struct share_node *n, bool changed);

/* How long the guest may believe attributes and names. */
double share_timeout(const struct share *s);
bool share_same_time(const struct timespec *a, const struct timespec *b);
/* The guest opens `n`, which is as *st says: may it keep the pages that it has of it? */
bool share_pages_good(struct share_node *n, const struct stat *st);
/* What it is told of `n` now. */
void share_tell(struct share_node *n, const struct share_stat *st);
/* Looks up, `open` as in share_node_lookup(), and fills *entry; 0 or a negative errno. */
int share_enter(struct share *s, struct share_node *parent, const char *name, bool open,
		struct fuse_entry_param *entry);
void share_reply_entry(fuse_req_t req, struct share_node *parent, const char *name);

extern const struct fuse_lowlevel_ops share_ops;

/* share_names.c */
void share_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void share_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void share_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void share_link(fuse_req_t req, fuse_ino_t id, fuse_ino_t parent, const char *name);
void share_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void share_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void share_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		  const char *new_name, unsigned flags);

/* share_files.c */
void share_op_open(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void share_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		  struct fuse_file_info *fi);
void share_read(fuse_req_t req, fuse_ino_t id, size_t size, off_t off, struct fuse_file_info *fi);
void share_write(fuse_req_t req, fuse_ino_t id, const char *buf, size_t size, off_t off,
		 struct fuse_file_info *fi);
void share_flush(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void share_release(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void share_fsync(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi);
void share_fallocate(fuse_req_t req, fuse_ino_t id, int mode, off_t off, off_t len,
		     struct fuse_file_info *fi);
void share_lseek(fuse_req_t req, fuse_ino_t id, off_t off, int whence, struct fuse_file_info *fi);
void share_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t off_in,
			   struct fuse_file_info *fi_in, fuse_ino_t out, off_t off_out,
			   struct fuse_file_info *fi_out, size_t len, int flags);
/* Somebody who may not keep its set-user-ID and set-group-ID bits changes the open file. */
void share_drop_suid(int fd);

/* share_dirs.c */
void share_opendir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void share_readdir(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		   struct fuse_file_info *fi);
void share_readdirplus(fuse_req_t req, fuse_ino_t id, size_t size, off_t off,
		       struct fuse_file_info *fi);
void share_releasedir(fuse_req_t req, fuse_ino_t id, struct fuse_file_info *fi);
void share_fsyncdir(fuse_req_t req, fuse_ino_t id, int datasync, struct fuse_file_info *fi);

/* share_xattr.c */
void share_setxattr(fuse_req_t req, fuse_ino_t id, const char *name, const char *value, size_t size,
		    int flags);
void share_getxattr(fuse_req_t req, fuse_ino_t id, const char *name, size_t size);
void share_listxattr(fuse_req_t req, fuse_ino_t id, size_t size);
void share_removexattr(fuse_req_t req, fuse_ino_t id, const char *name);

/* --- share_owner.c -------------------------------------------------------------------- */

/* *st as the guest is to see it. */
void share_show(const struct share *s, struct stat *st);
/* The caller's user and group, and between these two the thread makes files as him. Gives
 * 0, or -EPERM if there is no such user here; then there is nothing to end. */
int share_act_as(fuse_req_t req);
void share_act_end(const struct share *s);

#endif
