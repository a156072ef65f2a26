/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/ram.h"

#include "vmm/base/fd.h"
#include "vmm/snapshot/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK_PAGES = RAM_CHUNK / PAGE, FEW = 64 };

/* [Documentation/admin-guide/mm/pagemap.rst] */
#define PAGEMAP_SWAPPED (1ull << 62)
#define PAGEMAP_PRESENT (1ull << 63)

static bool is_zero(const char *p, size_t len)
{
	static const char zeroes[FEW];

	/* Equal to itself, a bit further on: then it is all as its beginning. */
	return !memcmp(p, zeroes, FEW) && !memcmp(p, p + FEW, len - FEW);
}

/* Has the process pages of its own there? Yes, if the kernel does not tell. */
static bool is_touched(int pagemap, const char *p, uint64_t len)
{
	uint64_t entries[CHUNK_PAGES];
	size_t n = (size_t)(len / PAGE);

	if (pagemap < 0 || fd_pread_full(pagemap, entries, n * sizeof(*entries),
					 (uintptr_t)p / PAGE * sizeof(*entries)))
		return true;
	for (size_t i = 0; i < n; i++)
		if (entries[i] & (PAGEMAP_PRESENT | PAGEMAP_SWAPPED))
			return true;
	return false;
}

static bool file_has(int fd, uint64_t off, uint64_t len)
{
	off_t data = lseek(fd, (off_t)off, SEEK_DATA);

	return data < 0 ? errno != ENXIO : (uint64_t)data < off + len;
}

/* Could there be anything but zeroes? To look would take a page from the host for each that
 * nobody has touched. */
static bool may_hold(const struct guest_mem *gm, const struct guest_mem_region *r, int pagemap,
		     uint64_t off, uint64_t len)
{
	if (r->fd >= 0 && file_has(r->fd, r->fd_offset + off, len))
		return true;
	return gm->kind != GUEST_MEM_SHARED && is_touched(pagemap, (char *)r->hva + off, len);
}

/* The pages of [p, p+len) that are not zeroes, a run of them at a time, to byte `at` of the file.
 */
static int write_pages(const char *p, uint64_t len, int fd, uint64_t at)
{
	uint64_t begin = 0, end = 0;

	while (begin < len) {
		while (begin < len && is_zero(p + begin, PAGE))
			begin += PAGE;
		for (end = begin; end < len && !is_zero(p + end, PAGE);)
			end += PAGE;
		int ret = end > begin ? fd_pwrite_full(fd, p + begin, end - begin, at + begin) : 0;

		if (ret)
			return ret;
		begin = end;
	}
	return 0;
}

int ram_write(const struct guest_mem *gm, int fd)
{
	_cleanup_fd_ int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t at = 0;

	if (ftruncate(fd, (off_t)guest_mem_size(gm)))
		return -errno;
	for (unsigned i = 0; i < gm->n_regions; i++) {
		const struct guest_mem_region *r = &gm->regions[i];

		for (uint64_t off = 0; off < r->len; off += RAM_CHUNK) {
			uint64_t len = r->len - off < RAM_CHUNK ? r->len - off : RAM_CHUNK;
			int ret = may_hold(gm, r, pagemap, off, len)
					  ? write_pages((char *)r->hva + off, len, fd, at + off)
					  : 0;

			if (ret)
				return ret;
		}
		at += r->len;
	}
	return 0;
}

/* A run of pages over what the file has there. */
static int overwrite(const char *p, uint64_t len, int fd, uint64_t at)
{
	int punch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

	/* Where there can be no holes, zeroes are written. */
	if (fallocate(fd, punch, (off_t)at, (off_t)len))
		return fd_pwrite_full(fd, p, len, at);
	return write_pages(p, len, fd, at);
}

static bool has_bit(const uint64_t *bits, uint64_t page)
{
	return bits[page / 64] >> page % 64 & 1;
}

int ram_write_dirty(const struct guest_mem *gm, int fd, uint64_t *const *dirty)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < gm->n_regions; i++) {
		const struct guest_mem_region *r = &gm->regions[i];
		uint64_t page = 0, end = 0, pages = r->len / PAGE;

		while (page < pages) {
			if (page % 64 == 0 && !dirty[i][page / 64]) {
				page += 64;
				continue;
			}
			for (end = page; end < pages && has_bit(dirty[i], end);)
				end++;
			int ret = end > page ? overwrite((char *)r->hva + page * PAGE,
							 (end - page) * PAGE, fd, at + page * PAGE)
					     : 0;

			if (ret)
				return ret;
			page = end > page ? end : page + 1;
		}
		at += r->len;
	}
	return 0;
}

/* An extent that both files are to have, by the kernel; or by hand, between file systems that it
 * does not copy between. */
static int copy_extent(int from, int to, off_t off, off_t end)
{
	char *buffer = NULL;
	int ret = 0;

	while (off < end && !ret) {
		off_t in = off, out = off;
		ssize_t n = copy_file_range(from, &in, to, &out, (size_t)(end - off), 0);

		if (n <= 0) {
			size_t len = end - off < RAM_CHUNK ? (size_t)(end - off) : RAM_CHUNK;

			if (!buffer && !(buffer = malloc(RAM_CHUNK)))
				return -ENOMEM;
			ret = fd_pread_full(from, buffer, len, (uint64_t)off);
			if (!ret)
				ret = fd_pwrite_full(to, buffer, len, (uint64_t)off);
			n = (ssize_t)len;
		}
		off += n;
	}
	free(buffer);
	return ret;
}

int ram_copy(int from, int to, uint64_t len)
{
	off_t off = 0;
	int ret = 0;

	if (!ioctl(to, FICLONE, from))
		return 0;
	if (ftruncate(to, (off_t)len))
		return -errno;
	while (!ret && (off = lseek(from, off, SEEK_DATA)) >= 0 && (uint64_t)off < len) {
		off_t end = lseek(from, off, SEEK_HOLE);

		ret = end < 0 ? -errno : copy_extent(from, to, off, end);
		off = end;
	}
	return ret || off >= 0 || errno == ENXIO ? ret : -errno;
}

int ram_sum_chunk(int fd, uint64_t off, size_t n, char *chunk, uint64_t *sum)
{
	*sum = 0;
	if (!file_has(fd, off, n))
		return 0;
	int ret = fd_pread_full(fd, chunk, n, off);

	if (!ret && !is_zero(chunk, n))
		*sum = checksum_of(chunk, n, 0);
	return ret;
}

/* For each chunk, sum or compare. */
static int walk(int fd, uint64_t len, uint64_t *sums, const uint64_t *want, uint64_t *at)
{
	char *chunk = malloc(RAM_CHUNK);
	int ret = chunk ? 0 : -ENOMEM;

	for (uint64_t off = 0; off < len && !ret; off += RAM_CHUNK) {
		size_t n = len - off < RAM_CHUNK ? (size_t)(len - off) : RAM_CHUNK;
		uint64_t sum;

		ret = ram_sum_chunk(fd, off, n, chunk, &sum);
		if (at)
			*at = off;
		if (sums)
			sums[off / RAM_CHUNK] = sum;
		else if (!ret && sum != want[off / RAM_CHUNK])
			ret = -EBADMSG;
	}
	free(chunk);
	return ret == -ENODATA ? -EBADMSG : ret;
}

int ram_sum(int fd, uint64_t len, uint64_t *sums)
{
	return walk(fd, len, sums, NULL, NULL);
}

int ram_verify(int fd, uint64_t len, const uint64_t *sums, uint64_t *at)
{
	return walk(fd, len, NULL, sums, at);
}

/* The part [off, off+len) of the region that begins at byte `at` of the file. */
static int read_part(struct guest_mem *gm, const struct guest_mem_region *r, int fd, uint64_t at,
		     uint64_t off, uint64_t len)
{
	return guest_mem_pread(gm, r->gpa + off, fd, at + off, len);
}

int ram_read(struct guest_mem *gm, int fd)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < gm->n_regions; i++) {
		const struct guest_mem_region *r = &gm->regions[i];
		uint64_t off = 0;

		while (off < r->len) {
			off_t data = lseek(fd, (off_t)(at + off), SEEK_DATA);
			off_t hole = data < 0 ? data : lseek(fd, data, SEEK_HOLE);

			if (data < 0 && errno == ENXIO)
				break;
			if (hole < 0)
				return -errno;
			if ((uint64_t)data >= at + r->len)
				break;
			uint64_t end = (uint64_t)hole < at + r->len ? (uint64_t)hole - at : r->len;

			off = (uint64_t)data - at;
			int ret = read_part(gm, r, fd, at, off, end - off);

			if (ret)
				return ret;
			off = end;
		}
		at += r->len;
	}
	return 0;
}

int ram_store(struct guest_mem *gm, uint64_t at, const char *p, size_t len)
{
	uint64_t begin = 0;

	for (unsigned i = 0; i < gm->n_regions; i++) {
		const struct guest_mem_region *r = &gm->regions[i];
		uint64_t end = begin + r->len;

		for (; len && at < end; at += PAGE, p += PAGE, len -= PAGE) {
			int ret = is_zero(p, PAGE)
					  ? 0
					  : guest_mem_write(gm, r->gpa + (at - begin), p, PAGE);

			if (ret)
				return ret;
		}
		begin = end;
	}
	return len ? -EFAULT : 0;
}
