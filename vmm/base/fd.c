/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/fd.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

void fd_close(int *fd)
{
	int saved = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = saved;
}

int fd_pread_full(int fd, void *buf, size_t len, uint64_t off)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		p += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int fd_pwrite_full(int fd, const void *buf, size_t len, uint64_t off)
{
	const char *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_write_moving(int fd, const void *buf, size_t len, _Atomic uint64_t *moved)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){fd, POLLOUT, 0}, 1, -1);
		else if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		p += n;
		len -= (size_t)n;
		atomic_fetch_add(moved, (uint64_t)n);
	}
	return 0;
}

void fd_close_from(unsigned first)
{
	if (!syscall(SYS_close_range, first, ~0u, 0))
		return;
	for (unsigned fd = first; fd < (unsigned)sysconf(_SC_OPEN_MAX); fd++)
		close((int)fd);
}

unsigned fd_part_of_limit(unsigned parts, unsigned least, unsigned most)
{
	enum { OTHERS = 256 };
	struct rlimit limit;
	rlim_t part;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return least;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return least;
	part = limit.rlim_cur > OTHERS ? (limit.rlim_cur - OTHERS) / parts : 0;
	return part < least ? least : part < most ? (unsigned)part : most;
}
