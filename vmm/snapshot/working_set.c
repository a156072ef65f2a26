/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/working_set.h"

#include "vmm/base/fd.h"
#include "vmm/base/le.h"
#include "vmm/snapshot/checksum.h"
#include "vmm/snapshot/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT_AT = 8, COUNT_AT = 12, STATE_AT = 16, SUM_AT = 24, HEADER_LEN = 32 };

static const char magic[] = {'M', 'I', 'N', 'I', 'V', 'M', 'W', '\n'};

int working_set_init(struct working_set *w, uint64_t len)
{
	uint64_t most = (len + WORKING_SET_BLOCK - 1) / WORKING_SET_BLOCK;

	*w = (struct working_set){0};
	if (most > UINT32_MAX)
		return -E2BIG;
	w->most = (uint32_t)most;
	w->blocks = calloc(most, sizeof(*w->blocks));
	w->has = calloc((most + 63) / 64, sizeof(*w->has));
	if (w->blocks && w->has)
		return 0;
	working_set_fini(w);
	return -ENOMEM;
}

void working_set_fini(struct working_set *w)
{
	free(w->blocks);
	free(w->has);
	*w = (struct working_set){0};
}

void working_set_add(struct working_set *w, uint32_t block)
{
	uint64_t bit = 1ull << block % 64;

	if (block >= w->most || w->has[block / 64] & bit)
		return;
	w->has[block / 64] |= bit;
	w->blocks[w->n++] = block;
}

static uint64_t sum_of(const uint8_t header[HEADER_LEN], const void *blocks, uint32_t n)
{
	return checksum_of(blocks, (size_t)n * 4,
			   checksum_of(header + FORMAT_AT, SUM_AT - FORMAT_AT, 0));
}

/* The numbers of a file that is right so far. */
static int take(struct working_set *w, int fd, const uint8_t header[HEADER_LEN], uint32_t n)
{
	uint8_t *bytes = malloc((size_t)n * 4 + 1);
	int ret = bytes ? fd_pread_full(fd, bytes, (size_t)n * 4, HEADER_LEN) : -ENOMEM;

	if (!ret && sum_of(header, bytes, n) != le64_get(header + SUM_AT))
		ret = -EBADMSG;
	for (uint32_t i = 0; i < n && !ret; i++)
		working_set_add(w, le32_get(bytes + (size_t)i * 4));
	free(bytes);
	return ret;
}

int working_set_read(struct working_set *w, int fd, uint64_t state_sum)
{
	uint8_t header[HEADER_LEN];
	struct stat st;
	int ret = fstat(fd, &st) ? -errno : fd_pread_full(fd, header, sizeof(header), 0);

	if (ret)
		return ret == -ENODATA ? -EBADMSG : ret;
	uint32_t n = le32_get(header + COUNT_AT);

	if (memcmp(header, magic, sizeof(magic)) != 0 ||
	    le32_get(header + FORMAT_AT) != WORKING_SET_FORMAT || n > w->most ||
	    (uint64_t)st.st_size != HEADER_LEN + (uint64_t)n * 4 ||
	    le64_get(header + STATE_AT) != state_sum)
		return -EBADMSG;
	return take(w, fd, header, n);
}

int working_set_load(struct working_set *w, int dir, uint64_t state_sum)
{
	_cleanup_fd_ int fd =
		openat(dir, SNAPSHOT_WORKING_SET, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	return fd < 0 ? -errno : working_set_read(w, fd, state_sum);
}

static int write_all(const struct working_set *w, int fd, uint64_t state_sum)
{
	uint8_t header[HEADER_LEN] = {0}, *bytes = malloc((size_t)w->n * 4 + 1);

	if (!bytes)
		return -ENOMEM;
	for (uint32_t i = 0; i < w->n; i++)
		le32_put(bytes + (size_t)i * 4, w->blocks[i]);
	memcpy(header, magic, sizeof(magic));
	le32_put(header + FORMAT_AT, WORKING_SET_FORMAT);
	le32_put(header + COUNT_AT, w->n);
	le64_put(header + STATE_AT, state_sum);
	le64_put(header + SUM_AT, sum_of(header, bytes, w->n));
	int ret = ftruncate(fd, 0) ? -errno : fd_pwrite_full(fd, header, sizeof(header), 0);

	if (!ret)
		ret = fd_pwrite_full(fd, bytes, (size_t)w->n * 4, HEADER_LEN);
	free(bytes);
	return ret;
}

/* Does that name still mean what is open, and no other name? */
static bool is_there(int dir, int fd)
{
	struct stat a, b;

	return !fstat(fd, &a) && S_ISREG(a.st_mode) && a.st_nlink == 1 &&
	       !fstatat(dir, SNAPSHOT_WORKING_SET_PARTIAL, &b, AT_SYMLINK_NOFOLLOW) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* Not synced: one that a crash of the host damages shows it, and is only a matter of time. */
int working_set_save(const struct working_set *w, int dir, uint64_t state_sum)
{
	const char *partial = SNAPSHOT_WORKING_SET_PARTIAL;
	_cleanup_fd_ int fd =
		openat(dir, partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return -errno;
	/* Many may go on from one snapshot at once. Who dies meanwhile leaves it to the next. */
	if (flock(fd, LOCK_EX | LOCK_NB) || !is_there(dir, fd))
		return -EBUSY;
	int ret = write_all(w, fd, state_sum);

	if (!ret && renameat(dir, partial, dir, SNAPSHOT_WORKING_SET))
		ret = -errno;
	if (ret)
		unlinkat(dir, partial, 0);
	return ret;
}
