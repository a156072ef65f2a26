/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening a raw disk: a file or a block device whose bytes are the guest's
 * sectors. All that can be wrong with the path is found out here, before the
 * machine exists, and said in one line.
 *
 * Two writers on one image destroy it, so the disk is locked for as long as it
 * is open. The lock belongs to the open file description (F_OFD_SETLK), which
 * also catches the same file given twice on one command line.
 */
#include "devices/backend/block_raw.h"
#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, DIRECT_ALIGN_MAX = 4096 };

static int host_discard(int fd, uint64_t off, uint64_t len)
{
	uint64_t range[2] = {off, len};

	return ioctl(fd, BLKDISCARD, range);
}

static const struct block_raw_sys host_sys = {
	.preadv = preadv,
	.pwritev2 = pwritev2,
	.fdatasync = fdatasync,
	.fallocate = fallocate,
	.discard = host_discard,
	.ring = true,
};

static int check_kind(const char *path, mode_t mode, struct err *e)
{
	if (S_ISREG(mode) || S_ISBLK(mode))
		return 0;
	if (S_ISDIR(mode))
		return err_usage(
			e, -EISDIR,
			"--disk %s: is a directory; give a raw disk image or a block device", path);
	return err_usage(e, -EINVAL, "--disk %s: is a %s; give a raw disk image or a block device",
			 path,
			 S_ISFIFO(mode)   ? "FIFO"
			 : S_ISCHR(mode)  ? "character device"
			 : S_ISSOCK(mode) ? "socket"
					  : "special file");
}

/* `code` is what open for reading and writing, or only reading, came to. */
static int explain_open(const char *path, bool read_only, int code, struct err *e)
{
	bool refused = code == -EACCES || code == -EPERM || code == -EROFS || code == -ETXTBSY;

	if (code == -ENOENT)
		return err_usage(e, code,
				 "--disk %s: does not exist; correct the path, or make an image "
				 "with 'truncate -s 1G'",
				 path);
	if (refused && !read_only && !eaccess(path, R_OK))
		return err_usage(e, code,
				 "--disk %s: cannot be written (%s); give readonly=on, or make it "
				 "writable",
				 path, strerror(-code));
	if (refused)
		return err_usage(e, code, "--disk %s: no permission to read it; see 'ls -l'", path);
	return err_usage(e, code, "--disk %s: cannot be opened: %s", path, strerror(-code));
}

/* Look at what it is before opening: opening a FIFO or a terminal has effects. */
static int open_checked(const char *path, bool read_only, struct stat *st, struct err *e)
{
	int flags = (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int ret;

	if (stat(path, st))
		return explain_open(path, true, -errno, e);
	ret = check_kind(path, st->st_mode, e);
	if (ret)
		return ret;
	_cleanup_fd_ int fd = open(path, flags);

	if (fd < 0)
		return explain_open(path, read_only, -errno, e);
	/* The name may stand for another thing by now. */
	if (fstat(fd, st))
		return err_host(e, -errno, "--disk %s: %s", path, strerror(errno));
	ret = check_kind(path, st->st_mode, e);
	return ret ? ret : fd_take(&fd);
}

static int lock_disk(int fd, const char *path, bool read_only, struct err *e)
{
	struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(fd, F_OFD_SETLK, &lock))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_usage(
			e, -EBUSY,
			read_only ? "--disk %s: is open for writing elsewhere; stop that "
				    "VM, or use a copy"
				  : "--disk %s: is in use by another VM or given twice; "
				    "stop the other, use a copy, or give readonly=on to both",
			path);
	log_warn("--disk %s: the file system has no locks (%s): take care that nobody else "
		 "writes to it",
		 path, strerror(errno));
	return 0;
}

static int measure_device(struct block_raw *b, const char *path, struct err *e)
{
	uint64_t size;
	int block_size;

	if (ioctl(b->fd, BLKGETSIZE64, &size) || ioctl(b->fd, BLKSSZGET, &block_size))
		return err_host(e, -errno, "--disk %s: cannot ask the device for its size: %s",
				path, strerror(errno));
	b->device = true;
	b->block.size = size;
	b->block.block_size = (uint32_t)block_size;
	b->block.discard_align = (uint32_t)block_size;
	return 0;
}

static int measure(struct block_raw *b, const struct stat *st, const char *path, struct err *e)
{
	if (S_ISBLK(st->st_mode)) {
		int ret = measure_device(b, path, e);

		if (ret)
			return ret;
	} else {
		b->block.size = (uint64_t)st->st_size;
		b->block.block_size = SECTOR;
		/* A hole smaller than the file system's block frees nothing. */
		b->block.discard_align = st->st_blksize >= SECTOR && st->st_blksize <= (long)MiB &&
							 is_power_of_2((uint64_t)st->st_blksize)
						 ? (uint32_t)st->st_blksize
						 : 4096;
	}
	if (!b->block.size)
		return err_usage(e, -EINVAL,
				 "--disk %s: is empty; give a raw disk image, or make one with "
				 "'truncate -s 1G'",
				 path);
	if (b->block.size % SECTOR)
		return err_usage(e, -EINVAL,
				 "--disk %s: its size, %lu bytes, is not a multiple of %d; give a "
				 "raw disk image",
				 path, b->block.size, SECTOR);
	return 0;
}

/* --- the way of a request --------------------------------------------------------------- */

/* A range by the ring is one fallocate, which a worker thread of the kernel waits for. What takes
 * more than one call is done by plain ones: zeroes that are to be durable, and what only
 * a device's own call discards. */
static bool range_for_ring(const struct block_raw *b, const struct block_req *req)
{
	return !b->block.read_only && !req->stable && !(b->device && req->op == BLOCK_DISCARD) &&
	       block_raw_range_mode(b, req);
}

/* Does it wait for the end of its batch, to go through the ring with the others? A write into
 * the page cache is a copy, which is done sooner than handed over. */
static bool for_ring(const struct block_raw *b, const struct block_req *req)
{
	if (!b->loop || b->no_ring)
		return false;
	switch (req->op) {
	case BLOCK_READ:
		return block_raw_aligned(b, req->iov, req->n_iov);
	case BLOCK_WRITE:
		return b->direct_align && !b->block.read_only &&
		       block_raw_aligned(b, req->iov, req->n_iov);
	case BLOCK_FLUSH:
		return !b->block.read_only;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		return range_for_ring(b, req);
	}
	return false;
}

static void raw_submit(struct block *block, struct block_req *req)
{
	struct block_raw *b = container_of(block, struct block_raw, block);

	if (!for_ring(b, req)) {
		req->done(req, block_raw_execute(b, req));
		return;
	}
	req->next = NULL;
	*b->last = req;
	b->last = &req->next;
}

static struct block_req *take_batch(struct block_raw *b)
{
	struct block_req *batch = b->first;

	b->first = NULL;
	b->last = &b->first;
	return batch;
}

static struct block_ring *take_ring(struct block_raw *b)
{
	struct block_ring *r = b->confined ? b->ready : block_ring_create(b, false);

	b->ready = NULL;
	if (!r || block_ring_attach(r))
		return r;
	block_ring_destroy(r);
	return NULL;
}

/* A ring costs a little to make, so a disk of which never more than one thing is wanted at a
 * time has none: there is nothing to gain but for what waits for the disk in any case, direct
 * I/O and ranges. */
static bool wants_ring(struct block_raw *b)
{
	bool waits = b->direct_align || b->first->op == BLOCK_DISCARD ||
		     b->first->op == BLOCK_WRITE_ZEROES;

	if (!b->ring && !b->no_ring && (b->first->next || waits)) {
		b->ring = take_ring(b);
		b->no_ring = !b->ring;
	}
	return b->ring;
}

static void raw_kick(struct block *block)
{
	struct block_raw *b = container_of(block, struct block_raw, block);
	bool ring = b->first && wants_ring(b);
	struct block_req *batch = take_batch(b), *next;

	if (ring && !block_ring_begin(b->ring, batch, &batch)) {
		block_ring_destroy(b->ring);
		b->ring = NULL;
		b->no_ring = true;
		ring = false;
	}
	for (; batch && !ring; batch = next) {
		next = batch->next;
		batch->done(batch, block_raw_execute(b, batch));
	}
}

static int raw_attach(struct block *block, struct loop *loop)
{
	struct block_raw *b = container_of(block, struct block_raw, block);

	b->loop = loop;
	b->no_ring = !b->sys->ring || (b->confined && !b->ready);
	take_batch(b);
	return 0;
}

static void raw_detach(struct block *block)
{
	struct block_raw *b = container_of(block, struct block_raw, block);

	if (b->confined && b->ring) {
		block_ring_detach(b->ring);
		b->ready = b->ring;
	} else {
		block_ring_destroy(b->ring);
	}
	b->ring = NULL;
	b->loop = NULL;
}

static void raw_destroy(struct block *block)
{
	struct block_raw *b = container_of(block, struct block_raw, block);

	block_ring_destroy(b->ready);
	free(b->bounce);
	fd_close(&b->fd);
	free(b);
}

void block_raw_confine(struct block *block)
{
	struct block_raw *b = container_of(block, struct block_raw, block);

	b->confined = true;
	if (b->sys->ring && !b->ready)
		b->ready = block_ring_create(b, true);
}

static int raw_sync(struct block *block)
{
	struct block_req flush = {.op = BLOCK_FLUSH};

	return block_raw_execute((struct block_raw *)block, &flush);
}

/* When it was last written to. A block device has no such time. */
static int raw_stamp(const struct block *block, uint64_t *stamp)
{
	const struct block_raw *b = (const struct block_raw *)block;
	struct stat st;

	*stamp = 0;
	if (b->device)
		return 0;
	if (fstat(b->fd, &st))
		return -errno;
	*stamp = (uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec;
	return 0;
}

/* --- growing ---------------------------------------------------------------------------- */

static int find_size(const struct block_raw *b, uint64_t *size, struct err *e)
{
	struct stat st;

	if (b->device ? ioctl(b->fd, BLKGETSIZE64, size) : fstat(b->fd, &st))
		return err_host(e, -errno, "the disk cannot be asked for its size: %s",
				strerror(errno));
	if (!b->device)
		*size = (uint64_t)st.st_size;
	return 0;
}

static int grow_file(const struct block_raw *b, uint64_t want, struct err *e)
{
	if (b->device || b->block.read_only)
		return err_usage(e, -EINVAL, "%s; make it larger elsewhere, and give no size here",
				 b->device ? "it is a block device" : "it was opened for reading");
	if (want > INT64_MAX || ftruncate(b->fd, (off_t)want))
		return err_usage(e, want > INT64_MAX ? -EFBIG : -errno,
				 "its file cannot have %lu bytes: %s", want,
				 strerror(want > INT64_MAX ? EFBIG : errno));
	return 0;
}

static int raw_resize(struct block *block, uint64_t now, uint64_t want, uint64_t *size,
		      struct err *e)
{
	struct block_raw *b = container_of(block, struct block_raw, block);
	uint64_t found;
	int ret = find_size(b, &found, e);

	if (ret)
		return ret;
	uint64_t least = found > now ? found : now, will = want ? want : found;

	if (will < (want ? least : now))
		return err_usage(e, -EINVAL, "a disk does not shrink: it has %lu bytes, and %s %lu",
				 want ? least : now, want ? "was to have" : "its file", will);
	if (will % block->block_size)
		return err_usage(e, -EINVAL, "%lu bytes are no multiple of its block, %u", will,
				 block->block_size);
	if (will > found)
		ret = grow_file(b, will, e);
	if (!ret)
		*size = will;
	return ret;
}

static const struct block_ops raw_ops = {
	.submit = raw_submit,
	.kick = raw_kick,
	.attach = raw_attach,
	.detach = raw_detach,
	.resize = raw_resize,
	.destroy = raw_destroy,
	.sync = raw_sync,
	.stamp = raw_stamp,
};

/* What does direct I/O want offsets, lengths and addresses to be multiples of? The kernel has
 * only learned to say so lately (statx, Linux 6.1); what it refuses it has always said. */
static int find_align(struct block_raw *b, const char *path, struct err *e)
{
	uint64_t align = b->block.block_size;

	for (; align <= DIRECT_ALIGN_MAX; align *= 2) {
		if (pread(b->fd, b->bounce + align, align, 0) >= 0)
			break;
		if (errno != EINVAL)
			return err_host(e, -errno, "--disk %s: cache=none: %s", path,
					strerror(errno));
	}
	if (align > DIRECT_ALIGN_MAX)
		return err_usage(e, -EINVAL, "--disk %s: no direct I/O; leave cache=none away",
				 path);
	if (b->block.size % align)
		return err_usage(e, -EINVAL,
				 "--disk %s: its size, %lu bytes, is not a multiple of %lu, as "
				 "direct I/O needs it here; leave cache=none away",
				 path, b->block.size, align);
	b->direct_align = align;
	b->block.block_size = (uint32_t)align;
	return 0;
}

static int make_direct(struct block_raw *b, const char *path, struct err *e)
{
	int flags = fcntl(b->fd, F_GETFL);

	if (posix_memalign((void **)&b->bounce, DIRECT_ALIGN_MAX, BLOCK_BOUNCE))
		return err_host(e, -ENOMEM, "--disk %s: out of memory", path);
	if (flags < 0 || fcntl(b->fd, F_SETFL, flags | O_DIRECT))
		return err_usage(e, -errno,
				 "--disk %s: its file system has no direct I/O; leave cache=none "
				 "away",
				 path);
	return find_align(b, path, e);
}

/* Of the open file `fd`, which is taken over, also on failure. */
static int make_raw(struct block **out, int fd, const struct stat *st, const char *path,
		    bool read_only, bool direct, const struct block_raw_sys *sys, struct err *e)
{
	struct block_raw *b = calloc(1, sizeof(*b));
	int ret;

	if (!b) {
		fd_close(&fd);
		return err_host(e, -ENOMEM, "--disk %s: out of memory", path);
	}
	b->block.ops = &raw_ops;
	b->block.read_only = read_only;
	b->block.can_write_zeroes = !read_only;
	b->sys = sys;
	b->fd = fd;
	take_batch(b);
	ret = measure(b, st, path, e);
	if (!ret)
		ret = lock_disk(b->fd, path, read_only, e);
	if (!ret && direct)
		ret = make_direct(b, path, e);
	if (ret) {
		raw_destroy(&b->block);
		return ret;
	}
	if (read_only)
		b->block.discard_align = 0;
	*out = &b->block;
	return 0;
}

int block_raw_open_sys(struct block **out, const char *path, bool read_only, bool direct,
		       const struct block_raw_sys *sys, struct err *e)
{
	struct stat st;
	int fd = open_checked(path, read_only, &st, e);

	return fd < 0 ? fd : make_raw(out, fd, &st, path, read_only, direct, sys, e);
}

int block_raw_adopt(struct block **out, int fd, const char *name, bool read_only, struct err *e)
{
	_cleanup_fd_ int own = fd;
	int flags = fcntl(own, F_GETFL), mode = flags & O_ACCMODE;
	struct stat st;

	if (flags < 0 || fstat(own, &st))
		return err_host(e, -errno, "--disk %s: %s", name, strerror(errno));
	int ret = check_kind(name, st.st_mode, e);

	if (ret)
		return ret;
	if (flags & O_PATH || (mode != O_RDWR && (mode != O_RDONLY || !read_only)))
		return err_usage(e, -EBADF, "--disk %s: its file was not opened for reading%s",
				 name,
				 read_only ? "" : " and writing; give readonly=on, or open it so");
	/* There pwrite(2) writes at the end, wherever it is told to. */
	if (flags & O_APPEND)
		return err_usage(e, -EINVAL, "--disk %s: its file was opened for appending", name);
	return make_raw(out, fd_take(&own), &st, name, read_only, flags & O_DIRECT, &host_sys, e);
}

/* Not dup(2): the kernel tells each open file once of a write that failed later. */
int block_raw_again(struct block **out, const struct block *disk, const char *path, struct err *e)
{
	const struct block_raw *of = container_of(disk, struct block_raw, block);
	struct block_raw *b = calloc(1, sizeof(*b));
	char link[32];
	int ret = -ENOMEM;

	if (!b)
		return err_host(e, -ENOMEM, "--disk %s: out of memory", path);
	*b = (struct block_raw){
		.block = of->block,
		.sys = of->sys,
		.direct_align = of->direct_align,
		.device = of->device,
		.fd = -1,
	};
	take_batch(b);
	if (b->direct_align && posix_memalign((void **)&b->bounce, DIRECT_ALIGN_MAX, BLOCK_BOUNCE))
		goto fail;
	int flags = fcntl(of->fd, F_GETFL);

	snprintf(link, sizeof(link), "/proc/self/fd/%d", of->fd);
	ret = b->fd = open(link, (flags & (O_ACCMODE | O_DIRECT | O_NONBLOCK)) | O_CLOEXEC);
	if (ret < 0) {
		ret = -errno;
		goto fail;
	}
	*out = &b->block;
	return 0;
fail:
	raw_destroy(&b->block);
	return err_host(e, ret, "--disk %s: cannot be opened for another thread: %s", path,
			strerror(-ret));
}

int block_raw_open(struct block **out, const char *path, bool read_only, bool direct, struct err *e)
{
	return block_raw_open_sys(out, path, read_only, direct, &host_sys, e);
}
