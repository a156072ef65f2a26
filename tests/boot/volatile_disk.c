/* SPDX-License-Identifier: Apache-2.0 */
/*
 * volatile_disk [--lie] DIR PLACE REQUESTS SEED: the files of DIR as disks with a volatile cache,
 * in a file system mounted at PLACE, until the power is cut.
 *
 * What is written is kept in memory; a flush of a file (fsync, fdatasync) carries it to DIR. After
 * REQUESTS writes the power fails: of each write that was not flushed, DIR gets all of it, or
 * some of its sectors, or nothing, as SEED has it. A later write never gives way to an earlier
 * one of the same sector, as in a cache that holds each sector once; but for that any order is
 *among what can come of it. From then on every request fails, and a moment later the parent, which
 *uses the disks, is killed.
 *
 *	--lie   a flush carries nothing: what a VMM without one would leave
 *
 * One line at the end: how much there was and what became of it. Status 0 if the power was cut, 1
 * if the user went before.
 */
#define FUSE_USE_VERSION 312
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <limits.h>
#include <linux/falloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DISKS = 8, SECTOR = 512, FIRST_INO = 2, LAST_BREATH_US = 300000 };

struct write {
	struct write *next;
	size_t off, len;
	uint8_t data[];
};

struct disk {
	char name[NAME_MAX + 1];
	int fd; /* what survives */
	size_t size;
	uint8_t *now; /* what is read */
	struct write *first, **last;
};

static struct disk disks[DISKS];
static unsigned n_disks;
static uint64_t seed;
static unsigned long requests, left, flushes;
static bool lie, dark;
static struct fuse_session *session;

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "volatile_disk: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* xorshift64: the same cuts each time. */
static uint64_t chance(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static void carry(const struct disk *d, size_t off, const uint8_t *data, size_t len)
{
	if (pwrite(d->fd, data, len, (off_t)off) != (ssize_t)len)
		die(d->name);
}

static void flushed(struct disk *d)
{
	struct write *w;

	while ((w = d->first)) {
		if (!lie)
			carry(d, w->off, w->data, w->len);
		d->first = w->next;
		free(w);
	}
	d->last = &d->first;
}

/* A sector is written whole or not at all. */
static void tear(const struct disk *d, const struct write *w)
{
	for (size_t at = 0; at < w->len;) {
		size_t len = SECTOR - (w->off + at) % SECTOR;

		if (len > w->len - at)
			len = w->len - at;
		if (chance(2))
			carry(d, w->off + at, w->data + at, len);
		at += len;
	}
}

static void cut(void)
{
	unsigned long kept = 0, torn = 0, lost = 0;

	dark = true;
	for (unsigned i = 0; i < n_disks; i++)
		for (const struct write *w = disks[i].first; w; w = w->next) {
			uint64_t fate = chance(5);

			if (fate < 2) {
				carry(&disks[i], w->off, w->data, w->len);
				kept++;
			} else if (fate == 2) {
				tear(&disks[i], w);
				torn++;
			} else {
				lost++;
			}
		}
	printf("cut after %lu writes and %lu flushes; of those not flushed %lu kept, %lu torn, %lu "
	       "lost\n",
	       requests, flushes, kept, torn, lost);
	fflush(stdout);
	/* Whoever is told of an error now must not take it for success. */
	if (!fork()) {
		usleep(LAST_BREATH_US);
		kill(getppid(), SIGTERM);
		_exit(0);
	}
}

static void on_term(int signum)
{
	(void)signum;
	fuse_session_exit(session);
}

/* --- the file system ------------------------------------------------------------------------ */

static struct disk *of(fuse_ino_t ino)
{
	return ino >= FIRST_INO && ino - FIRST_INO < n_disks ? &disks[ino - FIRST_INO] : NULL;
}

static struct stat stat_of(fuse_ino_t ino)
{
	const struct disk *d = of(ino);

	return (struct stat){
		.st_ino = ino,
		.st_mode = d ? S_IFREG | 0600 : S_IFDIR | 0700,
		.st_nlink = 1,
		.st_size = d ? (off_t)d->size : 0,
		.st_blocks = d ? (blkcnt_t)(d->size / SECTOR) : 0,
		.st_blksize = 4096,
	};
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	for (unsigned i = 0; i < n_disks; i++)
		if (!strcmp(disks[i].name, name)) {
			struct fuse_entry_param e = {.ino = FIRST_INO + i,
						     .attr = stat_of(FIRST_INO + i),
						     .attr_timeout = 3600,
						     .entry_timeout = 3600};

			fuse_reply_entry(req, &e);
			return;
		}
	fuse_reply_err(req, ENOENT);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st = stat_of(ino);

	(void)fi;
	fuse_reply_attr(req, &st, 3600);
}

/* Past the page cache, so that a write is here when its writer is told so. */
static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (!of(ino)) {
		fuse_reply_err(req, EISDIR);
		return;
	}
	fi->direct_io = 1;
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	const struct disk *d = of(ino);

	(void)fi;
	if (dark) {
		fuse_reply_err(req, EIO);
	} else if (!d || (size_t)off >= d->size) {
		fuse_reply_buf(req, NULL, 0);
	} else {
		size_t rest = d->size - (size_t)off;

		fuse_reply_buf(req, (const char *)d->now + off, size < rest ? size : rest);
	}
}

/* `data` NULL: zeroes. Gives 0 or what is wrong. */
static int add(struct disk *d, const void *data, size_t size, off_t off)
{
	struct write *w;

	if (dark || !d || off < 0 || (size_t)off > d->size || size > d->size - (size_t)off)
		return EIO;
	w = calloc(1, sizeof(*w) + size);
	if (!w)
		return ENOMEM;
	w->off = (size_t)off;
	w->len = size;
	if (data)
		memcpy(w->data, data, size);
	memcpy(d->now + off, w->data, size);
	*d->last = w;
	d->last = &w->next;
	requests++;
	if (!left--)
		cut();
	return dark ? EIO : 0;
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	int err = add(of(ino), data, size, off);

	(void)fi;
	if (err)
		fuse_reply_err(req, err);
	else
		fuse_reply_write(req, size);
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	(void)fi;
	if (!(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)))
		fuse_reply_err(req, EOPNOTSUPP);
	else
		fuse_reply_err(req, add(of(ino), NULL, (size_t)len, off));
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct disk *d = of(ino);

	(void)datasync;
	(void)fi;
	if (!dark && d) {
		flushed(d);
		flushes++;
	}
	fuse_reply_err(req, dark ? EIO : 0);
}

static const struct fuse_lowlevel_ops ops = {
	.lookup = on_lookup,
	.getattr = on_getattr,
	.open = on_open,
	.read = on_read,
	.write = on_write,
	.fallocate = on_fallocate,
	.fsync = on_fsync,
};

/* --- */

static void load(const char *dir)
{
	DIR *all = opendir(dir);
	struct dirent *entry;

	if (!all)
		die(dir);
	while ((entry = readdir(all))) {
		struct disk *d = &disks[n_disks];
		struct stat st;

		if (entry->d_name[0] == '.')
			continue;
		assert(n_disks < DISKS);
		strcpy(d->name, entry->d_name);
		d->fd = openat(dirfd(all), d->name, O_RDWR | O_CLOEXEC);
		if (d->fd < 0 || fstat(d->fd, &st))
			die(d->name);
		d->size = (size_t)st.st_size;
		d->last = &d->first;
		d->now = malloc(d->size);
		if (!d->now || pread(d->fd, d->now, d->size, 0) != (ssize_t)d->size)
			die(d->name);
		n_disks++;
	}
	closedir(all);
}

int main(int argc, char **argv)
{
	char *words[] = {argv[0], NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, words);
	pid_t user = getppid();

	lie = argc == 6 && !strcmp(argv[1], "--lie");
	if (argc != 5 + lie) {
		fprintf(stderr, "usage: volatile_disk [--lie] DIR PLACE REQUESTS SEED\n");
		return 2;
	}
	argv += lie;
	load(argv[1]);
	left = strtoul(argv[3], NULL, 0);
	seed = strtoul(argv[4], NULL, 0) * 0x9e3779b97f4a7c15 | 1;
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_session_mount(session, argv[2]))
		die(argv[2]);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGTERM, on_term);
	signal(SIGPIPE, SIG_IGN);
	if (getppid() == user)
		fuse_session_loop(session);
	if (dark)
		kill(user, SIGKILL);
	fuse_session_unmount(session);
	return !dark;
}
