/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which file of the host a node id stands for; and that it is one of the directory's.
 *
 * A file comes in by one way only: share_node_lookup() opens one name in a directory that
 * is a node already, and follows nothing. The name has no '/' and is not "..",
 * the kernel is asked to step below the directory only (RESOLVE_BENEATH), a symbolic link is a
 * node like any other, and where it leads is the guest's business. From then on the
 * file is what its O_PATH descriptor refers to, whatever is renamed meanwhile. So all
 * nodes were below the shared directory when they came in, and the guest has no way
 * up from any.
 *
 * An id is a slot of the table and the slot's generation. An id that the guest makes up,
 * or has given back, names no node.
 *
 * A guest remembers as many files as it has memory for, and a process may not have that
 * many descriptors. Those that were not used for longest are put away, and opened again by
 * where they were seen last: the parent's descriptor and a name. What is found there has to
 * be the same file (device, inode and time of birth), or the node is stale, and the
 * guest looks its path up again. What the guest has only read about, in a directory, has
 * no descriptor before it is used: most of it never is.
 *
 * A node lives while the guest knows it, has it open, or knows one below it.
 */
#include "devices/backend/share_priv.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { SLOTS_MIN = 64, DEPTH_MAX = 4096 };

/* With a name of 255 bytes, what malloc() adds to both, and three places in each table. */
static_assert(sizeof(struct share_node) + 256 + 2 * 16 + 3 * (8 + 4 + 8) <= SHARE_NODE_BYTES,
	      "share.h says how much a guest can make of it");

/* --- files of the host ---------------------------------------------------------------- */

int share_stat(int dir, const char *name, struct share_stat *out)
{
	struct statx x;

	if (statx(dir, name, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT,
		  STATX_BASIC_STATS | STATX_BTIME, &x))
		return -errno;
	memset(out, 0, sizeof(*out));
	out->st = (struct stat){
		.st_dev = makedev(x.stx_dev_major, x.stx_dev_minor),
		.st_ino = x.stx_ino,
		.st_mode = x.stx_mode,
		.st_nlink = x.stx_nlink,
		.st_uid = x.stx_uid,
		.st_gid = x.stx_gid,
		.st_rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor),
		.st_size = (off_t)x.stx_size,
		.st_blksize = (blksize_t)x.stx_blksize,
		.st_blocks = (blkcnt_t)x.stx_blocks,
		.st_atim = {x.stx_atime.tv_sec, x.stx_atime.tv_nsec},
		.st_mtim = {x.stx_mtime.tv_sec, x.stx_mtime.tv_nsec},
		.st_ctim = {x.stx_ctime.tv_sec, x.stx_ctime.tv_nsec},
	};
	if (x.stx_mask & STATX_BTIME) {
		out->born_s = x.stx_btime.tv_sec;
		out->born_ns = x.stx_btime.tv_nsec;
	}
	return 0;
}

static int open_step(int dir, const char *name)
{
	struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	/* A name is the caller's to check; this is the second lock on the same door. */
	if (!share_is_name(name))
		return -EINVAL;
	fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

static bool is_same(const struct share_node *n, const struct share_stat *st)
{
	return n->dev == st->st.st_dev && n->ino == st->st.st_ino && n->born_s == st->born_s &&
	       n->born_ns == st->born_ns && n->type == (st->st.st_mode & S_IFMT);
}

/* --- the hash: files by device and inode ------------------------------------------------ */

static uint32_t hash_of(const struct share_nodes *t, dev_t dev, ino_t ino)
{
	uint64_t h = (ino ^ (uint64_t)dev << 40) * 0x9e3779b97f4a7c15;

	return (uint32_t)(h >> 32) & (t->n_hash - 1);
}

static struct share_node *find(const struct share_nodes *t, const struct share_stat *st)
{
	struct share_node *n = t->hash[hash_of(t, st->st.st_dev, st->st.st_ino)];

	while (n && !is_same(n, st))
		n = n->same_hash;
	return n;
}

static void hash_add(struct share_nodes *t, struct share_node *n)
{
	struct share_node **head = &t->hash[hash_of(t, n->dev, n->ino)];

	n->same_hash = *head;
	*head = n;
}

static void hash_remove(struct share_nodes *t, struct share_node *n)
{
	struct share_node **at = &t->hash[hash_of(t, n->dev, n->ino)];

	while (*at != n)
		at = &(*at)->same_hash;
	*at = n->same_hash;
}

/* --- the descriptors, by use -------------------------------------------------------------- */

static void use_remove(struct share_nodes *t, struct share_node *n)
{
	*(n->newer ? &n->newer->older : &t->newest) = n->older;
	*(n->older ? &n->older->newer : &t->oldest) = n->newer;
	n->newer = n->older = NULL;
}

static void use_add(struct share_nodes *t, struct share_node *n)
{
	n->older = t->newest;
	n->newer = NULL;
	*(t->newest ? &t->newest->newer : &t->oldest) = n;
	t->newest = n;
}

static void put_away(struct share_nodes *t, struct share_node *n)
{
	if (n->fd < 0)
		return;
	use_remove(t, n);
	fd_close(&n->fd);
	t->n_fds--;
}

static void take_out(struct share_nodes *t, struct share_node *n, int fd)
{
	n->fd = fd;
	use_add(t, n);
	t->n_fds++;
}

void share_nodes_trim(struct share_nodes *t)
{
	struct share_node *n = t->oldest, *next;

	for (; n && t->n_fds > t->fds_max; n = next) {
		next = n->newer;
		/* The root is where all begin, and an open file may have no name any more. One
		 * whose place is not known is stale from then on, until the guest has looked it up.
		 */
		if (n != t->root && !n->handles)
			put_away(t, n);
	}
}

/* Open again what is one step below `n`, on the way that was marked. */
static int open_below(struct share_nodes *t, struct share_node *n)
{
	struct share_stat st;
	int fd = open_step(n->fd, n->below->name);

	if (fd == -ENOENT || fd == -ENOTDIR)
		return -ESTALE;
	if (fd < 0)
		return fd;
	if (share_stat(fd, "", &st) || !is_same(n->below, &st)) {
		close(fd);
		return -ESTALE;
	}
	take_out(t, n->below, fd);
	return 0;
}

int share_node_fd(struct share_nodes *t, struct share_node *n)
{
	struct share_node *first = n, *at;

	/* Up to the first that has one, and down again. */
	for (unsigned depth = 0; first->fd < 0; first = first->parent) {
		if (!first->parent || depth++ == DEPTH_MAX)
			return -ESTALE;
		first->parent->below = first;
	}
	for (at = first; at != n; at = at->below) {
		int ret = open_below(t, at);

		if (ret)
			return ret;
		/* Only what this very walk has opened: others may be in use. */
		if (at != first && t->n_fds > t->fds_max)
			put_away(t, at);
	}
	if (t->newest != n) {
		use_remove(t, n);
		use_add(t, n);
	}
	return n->fd;
}

/* --- where a node is ------------------------------------------------------------------------ */

static void drop_if_forgotten(struct share_nodes *t, struct share_node *n);

/* The host may have turned the tree around: nobody is below himself. Nor deeper than one goes to
 * look for him. */
static bool may_be_below(const struct share_node *n, const struct share_node *parent)
{
	for (unsigned depth = 0; parent && depth < DEPTH_MAX; parent = parent->parent, depth++)
		if (parent == n)
			return false;
	return !parent;
}

static void set_place(struct share_nodes *t, struct share_node *n, struct share_node *parent,
		      const char *name)
{
	struct share_node *before = n->parent;
	char *copy;

	if (n == t->root || (before == parent && strcmp(n->name, name) == 0))
		return;
	copy = parent && may_be_below(n, parent) ? strdup(name) : NULL;
	free(n->name);
	n->name = copy;
	n->parent = copy ? parent : NULL;
	if (n->parent)
		n->parent->children++;
	if (before) {
		before->children--;
		drop_if_forgotten(t, before);
	}
}

bool share_node_in_place(struct share_nodes *t, struct share_node *n)
{
	struct share_node *at = n, *opened = NULL;

	for (unsigned depth = 0; at != t->root; at = at->parent) {
		if (!at->parent || depth++ == DEPTH_MAX)
			return false;
		at->parent->below = at;
	}
	for (; at != n; at = at->below) {
		bool ours = at->fd < 0;
		int dir = share_node_fd(t, at);
		struct share_stat st;

		/* One step above is where this one was opened from, and is not wanted any more. */
		if (opened && t->n_fds > t->fds_max)
			put_away(t, opened);
		opened = ours && dir >= 0 ? at : NULL;
		if (dir < 0 || share_stat(dir, at->below->name, &st) || !is_same(at->below, &st))
			return false;
	}
	return true;
}

void share_node_moved(struct share_nodes *t, struct share_node *parent, const char *name)
{
	int dir = share_node_fd(t, parent);
	struct share_stat st;
	struct share_node *n;

	if (dir < 0 || share_stat(dir, name, &st))
		return;
	n = find(t, &st);
	if (n)
		set_place(t, n, parent, name);
}

/* --- nodes ------------------------------------------------------------------------------ */

static int grow(struct share_nodes *t)
{
	uint32_t n = t->n_slots ? t->n_slots * 2 : SLOTS_MIN;
	struct share_node **slots, **hash;
	uint32_t *generations;

	slots = reallocarray(t->slots, n, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	t->slots = slots;
	generations = reallocarray(t->generations, n, sizeof(*generations));
	if (!generations)
		return -ENOMEM;
	t->generations = generations;
	hash = calloc(n, sizeof(*hash));
	if (!hash)
		return -ENOMEM;
	memset(slots + t->n_slots, 0, (n - t->n_slots) * sizeof(*slots));
	memset(generations + t->n_slots, 0, (n - t->n_slots) * sizeof(*generations));
	t->free_hint = t->n_slots ? t->n_slots : 1; /* 0 is in no id, and 1 is the root's */
	free(t->hash);
	t->hash = hash;
	t->n_slots = t->n_hash = n;
	for (uint32_t i = 0; i < n; i++)
		if (slots[i])
			hash_add(t, slots[i]);
	return 0;
}

/* A slot that is free: gives its number, or a negative errno. */
static int64_t find_slot(struct share_nodes *t)
{
	int ret;

	if (t->n >= t->n_max)
		return -ENFILE;
	/* A quarter stays free, so that none is looked for for long. */
	if (t->n >= t->n_slots - t->n_slots / 4) {
		ret = grow(t);
		if (ret)
			return ret;
	}
	for (;; t->free_hint++) {
		if (t->free_hint >= t->n_slots)
			t->free_hint = 1;
		if (!t->slots[t->free_hint])
			return t->free_hint;
	}
}

/* Takes `fd` over, also on failure; -1: it is put away from the start. */
static int add(struct share_nodes *t, int fd, const struct share_stat *st, struct share_node **out)
{
	int64_t slot = find_slot(t);
	struct share_node *n = slot < 0 ? NULL : calloc(1, sizeof(*n));

	if (!n) {
		fd_close(&fd);
		return slot < 0 ? (int)slot : -ENOMEM;
	}
	n->id = (uint64_t)t->generations[slot] << 32 | (uint64_t)slot;
	n->fd = -1;
	n->dev = st->st.st_dev;
	n->ino = st->st.st_ino;
	n->born_s = st->born_s;
	n->born_ns = st->born_ns;
	n->type = st->st.st_mode & S_IFMT;
	t->slots[slot] = n;
	t->n++;
	hash_add(t, n);
	if (fd >= 0)
		take_out(t, n, fd);
	*out = n;
	return 0;
}

static void drop_if_forgotten(struct share_nodes *t, struct share_node *n)
{
	while (n && !n->lookups && !n->children && !n->handles) {
		struct share_node *parent = n->parent;
		uint32_t slot = (uint32_t)n->id;

		put_away(t, n);
		hash_remove(t, n);
		t->slots[slot] = NULL;
		t->generations[slot] = (t->generations[slot] + 1) & INT32_MAX;
		t->n--;
		free(n->name);
		free(n);
		if (parent)
			parent->children--;
		n = parent;
	}
}

struct share_node *share_node_get(struct share_nodes *t, uint64_t id)
{
	uint32_t slot = (uint32_t)id;
	struct share_node *n = slot < t->n_slots ? t->slots[slot] : NULL;

	return n && n->id == id && n->lookups ? n : NULL;
}

/* Another file system may begin where `st` is. */
static bool is_mount_point(const struct share_node *parent, const struct share_stat *st)
{
	return st->st.st_dev != parent->dev && S_ISDIR(st->st.st_mode);
}

/* A file system of the kernel's own is no part of what was shared: through it one sees,
 * and changes, processes. */
static bool is_opaque(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == PROC_SUPER_MAGIC;
}

/* A node for `name` of `parent`, which none was found for; *st as it was seen just now. */
static int add_new(struct share_nodes *t, struct share_node *parent, const char *name, bool open,
		   struct share_node **out, struct share_stat *st)
{
	_cleanup_fd_ int fd = -1;
	bool opaque;
	int ret;

	if (!open && !is_mount_point(parent, st))
		return add(t, -1, st, out);
	fd = open_step(parent->fd, name);
	if (fd < 0)
		return fd;
	/* What was opened may be another than was looked at. */
	ret = share_stat(fd, "", st);
	if (ret)
		return ret;
	opaque = is_mount_point(parent, st) && is_opaque(fd);
	*out = find(t, st);
	if (!*out)
		ret = add(t, fd_take(&fd), st, out);
	if (!ret)
		(*out)->opaque |= opaque;
	return ret;
}

int share_node_lookup(struct share_nodes *t, struct share_node *parent, const char *name, bool open,
		      struct share_node **out, struct share_stat *st)
{
	int dir = share_node_fd(t, parent), ret;
	struct share_node *n;

	if (dir < 0)
		return dir;
	if (parent->type != S_IFDIR)
		return -ENOTDIR;
	if (parent->opaque)
		return -ENOENT;
	if (!share_is_name(name))
		return -EINVAL;
	ret = share_stat(dir, name, st);
	if (ret)
		return ret;
	n = find(t, st);
	if (!n) {
		ret = add_new(t, parent, name, open, &n, st);
		if (ret)
			return ret;
	}
	n->lookups++;
	set_place(t, n, parent, name);
	*out = n;
	return 0;
}

void share_node_forget(struct share_nodes *t, struct share_node *node, uint64_t n)
{
	if (node == t->root)
		return;
	node->lookups -= n < node->lookups ? n : node->lookups;
	drop_if_forgotten(t, node);
}

void share_node_hold(struct share_node *n)
{
	n->handles++;
}

void share_node_release(struct share_nodes *t, struct share_node *n)
{
	n->handles--;
	drop_if_forgotten(t, n);
}

int share_nodes_init(struct share_nodes *t, int fd, const struct share_stat *st, unsigned fds_max,
		     unsigned n_max)
{
	int ret;

	*t = (struct share_nodes){.fds_max = fds_max, .n_max = n_max};
	ret = add(t, fd, st, &t->root);
	if (ret) {
		share_nodes_fini(t);
		return ret;
	}
	t->root->lookups = 1;
	return 0;
}

void share_nodes_fini(struct share_nodes *t)
{
	for (uint32_t i = 0; i < t->n_slots; i++) {
		if (!t->slots[i])
			continue;
		fd_close(&t->slots[i]->fd);
		free(t->slots[i]->name);
		free(t->slots[i]);
	}
	free(t->slots);
	free(t->generations);
	free(t->hash);
	*t = (struct share_nodes){0};
}
