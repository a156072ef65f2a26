/* SPDX-License-Identifier: Apache-2.0 */
/* fd: descriptors that close themselves, and reads and writes that finish. */
#ifndef VMM_BASE_FD_H
#define VMM_BASE_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Close *fd if it is >= 0 and set it to -1; errno is kept. */
void fd_close(int *fd);

/* `_cleanup_fd_ int fd = open(...)`: closed when the scope ends. */
#define _cleanup_fd_ __attribute__((cleanup(fd_close)))

/* Hand a descriptor out of a scope that would close it. */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Read or write exactly `len` bytes at `off`, through EINTR and short counts.
 * Give 0, a negative errno, or -ENODATA when a read meets the end of file. */
int fd_pread_full(int fd, void *buf, size_t len, uint64_t off);
int fd_pwrite_full(int fd, const void *buf, size_t len, uint64_t off);
int fd_write_full(int fd, const void *buf, size_t len);
/* The last, of a descriptor that others share and may have made non-blocking: then it waits.
 * *moved counts the bytes, for whoever wants to know whether it is stuck. */
int fd_write_moving(int fd, const void *buf, size_t len, _Atomic uint64_t *moved);

/* Close `first` and all above it, in a child before it becomes somebody else. */
void fd_close_from(unsigned first);

/* Raise the process's limit of descriptors as far as it goes. Gives one of `parts` equal parts
 * of them, without those that everything else may need: `least` to `most`. */
unsigned fd_part_of_limit(unsigned parts, unsigned least, unsigned most);

#endif
