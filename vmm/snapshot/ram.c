/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/ram.h"

#include "vmm/base/fd.h"
#include "vmm/snapshot/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
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

/* The pages of a chunk that are not zeroes, a run of them at a time. */
static int write_chunk(const char *p, uint64_t len, int fd, uint64_t at, uint64_t *sum)
{
	uint64_t begin = 0, end = 0;

	*sum = 0;
	while (begin < len) {
		while (begin < len && is_zero(p + begin, PAGE))
			begin += PAGE;
		for (end = begin; end < len && !is_zero(p + end, PAGE);)
			end += PAGE;
		int ret = end > begin ? fd_pwrite_full(fd, p + begin, end - begin, at + begin) : 0;

		if (ret)
			return ret;
		if (end > begin)
			*sum = 1;
		begin = end;
	}
	if (*sum)
		*sum = checksum_of(p, len, 0);
	return 0;
}

int ram_write(const struct guest_mem *gm, int fd, uint64_t *sums)
{
	_cleanup_fd_ int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t at = 0;

	if (ftruncate(fd, (off_t)guest_mem_size(gm)))
		return -errno;
	for (unsigned i = 0; i < gm->n_regions; i++) {
		const struct guest_mem_region *r = &gm->regions[i];

		for (uint64_t off = 0; off < r->len; off += RAM_CHUNK) {
			uint64_t len = r->len - off < RAM_CHUNK ? r->len - off : RAM_CHUNK;
			uint64_t *sum = &sums[(at + off) / RAM_CHUNK];
			int ret = 0;

			*sum = 0;
			if (may_hold(gm, r, pagemap, off, len))
				ret = write_chunk((char *)r->hva + off, len, fd, at + off, sum);
			if (ret)
				return ret;
		}
		at += r->len;
	}
	return 0;
}

int ram_verify(int fd, uint64_t len, const uint64_t *sums, uint64_t *at)
{
	char *chunk = malloc(RAM_CHUNK);
	int ret = chunk ? 0 : -ENOMEM;

	for (uint64_t off = 0; off < len && !ret; off += RAM_CHUNK) {
		size_t n = len - off < RAM_CHUNK ? (size_t)(len - off) : RAM_CHUNK;
		uint64_t sum = sums[off / RAM_CHUNK];

		*at = off;
		if (!sum && !file_has(fd, off, n))
			continue;
		ret = fd_pread_full(fd, chunk, n, off);
		if (!ret && (sum ? checksum_of(chunk, n, 0) != sum : !is_zero(chunk, n)))
			ret = -EBADMSG;
	}
	free(chunk);
	return ret == -ENODATA ? -EBADMSG : ret;
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
