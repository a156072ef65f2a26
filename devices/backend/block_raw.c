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
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512 };

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

static void raw_submit(struct block *block, struct block_req *req)
{
	struct block_raw *b = container_of(block, struct block_raw, block);

	req->done(req, block_raw_execute(b, req));
}

static void raw_destroy(struct block *block)
{
	struct block_raw *b = container_of(block, struct block_raw, block);

	fd_close(&b->fd);
	free(b);
}

static const struct block_ops raw_ops = {.submit = raw_submit, .destroy = raw_destroy};

int block_raw_open_sys(struct block **out, const char *path, bool read_only,
		       const struct block_raw_sys *sys, struct err *e)
{
	struct block_raw *b = calloc(1, sizeof(*b));
	struct stat st;
	int ret;

	if (!b)
		return err_host(e, -ENOMEM, "--disk %s: out of memory", path);
	b->block.ops = &raw_ops;
	b->block.read_only = read_only;
	b->block.can_write_zeroes = !read_only;
	b->sys = sys;
	ret = b->fd = open_checked(path, read_only, &st, e);
	if (ret < 0)
		goto fail;
	ret = measure(b, &st, path, e);
	if (ret)
		goto fail;
	ret = lock_disk(b->fd, path, read_only, e);
	if (ret)
		goto fail;
	if (read_only)
		b->block.discard_align = 0;
	*out = &b->block;
	return 0;
fail:
	raw_destroy(&b->block);
	return ret;
}

int block_raw_open(struct block **out, const char *path, bool read_only, struct err *e)
{
	return block_raw_open_sys(out, path, read_only, &host_sys, e);
}
