/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/snapshot/uffd.h"

#include "vmm/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux 6.1; older headers lack it. */
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

enum { PAGE = 4096 };

/* By the system call, which vm.unprivileged_userfaultfd and CAP_SYS_PTRACE allow; or by the device,
 * for whom it is given to. (UFFD_USER_MODE_ONLY, which is for all, leaves KVM with an error.) */
static int make(void)
{
	int flags = O_CLOEXEC | O_NONBLOCK;
	int fd = (int)syscall(SYS_userfaultfd, flags);
	int why = errno;

	if (fd >= 0)
		return fd;
	_cleanup_fd_ int dev = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);

	if (dev >= 0)
		fd = ioctl(dev, USERFAULTFD_IOC_NEW, flags);
	return fd >= 0 ? fd : -why;
}

static int explain(int ret, struct err *e)
{
	if (ret == -EPERM)
		return err_host(e, ret,
				"--restore: memory=lazy: this host does not permit userfaultfd: "
				"give access to /dev/userfaultfd, or write 1 to "
				"/proc/sys/vm/unprivileged_userfaultfd, or leave memory=lazy away");
	if (ret == -ENOSYS)
		return err_host(e, ret,
				"--restore: memory=lazy: this host's kernel has no userfaultfd, or "
				"a filter hides it; leave memory=lazy away");
	return err_host(e, ret, "--restore: memory=lazy: userfaultfd: %s", strerror(-ret));
}

int uffd_open(struct err *e)
{
	_cleanup_fd_ int fd = make();
	struct uffdio_api api = {.api = UFFD_API};

	if (fd < 0)
		return explain(fd, e);
	if (ioctl(fd, UFFDIO_API, &api))
		return explain(-errno, e);
	return fd_take(&fd);
}

int uffd_register(int fd, void *p, uint64_t len)
{
	struct uffdio_register r = {.range = {(uintptr_t)p, len},
				    .mode = UFFDIO_REGISTER_MODE_MISSING};

	return ioctl(fd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

int uffd_unregister(int fd, void *p, uint64_t len)
{
	struct uffdio_range r = {(uintptr_t)p, len};

	return ioctl(fd, UFFDIO_UNREGISTER, &r) ? -errno : 0;
}

int uffd_next(int fd, uintptr_t *p)
{
	struct uffd_msg msg;
	ssize_t n;

	/* Nothing but page faults was asked for. */
	do
		n = read(fd, &msg, sizeof(msg));
	while (n == sizeof(msg) && msg.event != UFFD_EVENT_PAGEFAULT);
	if (n != sizeof(msg))
		return n >= 0 ? -EIO : errno == EAGAIN || errno == EINTR ? 0 : -errno;
	*p = (uintptr_t)msg.arg.pagefault.address;
	return 1;
}

int uffd_wake(int fd, void *p, uint64_t len)
{
	struct uffdio_range r = {(uintptr_t)p, len};

	return ioctl(fd, UFFDIO_WAKE, &r) ? -errno : 0;
}

/* How much of it went in, or a negative errno: of a copy or, without `from`, of zeroes. */
static int64_t put(int fd, char *to, const char *from, uint64_t len)
{
	struct uffdio_copy c = {
		.dst = (uintptr_t)to, .src = (uintptr_t)from, .len = len, .mode = 0};
	struct uffdio_zeropage z = {.range = {(uintptr_t)to, len}};
	int ret = from ? ioctl(fd, UFFDIO_COPY, &c) : ioctl(fd, UFFDIO_ZEROPAGE, &z);
	int64_t done = from ? c.copy : z.zeropage;

	if (!ret)
		return (int64_t)len;
	/* Some of it, or why none of it; nothing at all if the call itself was wrong. */
	return done ? done : -errno;
}

static int put_all(int fd, char *to, const char *from, uint64_t len)
{
	while (len) {
		int64_t n = put(fd, to, from, len);

		if (n == -EAGAIN)
			continue;
		if (n == -EEXIST) {
			uffd_wake(fd, to, PAGE);
			n = PAGE;
		}
		if (n < 0)
			return (int)n;
		to += n;
		from = from ? from + n : NULL;
		len -= (uint64_t)n;
	}
	return 0;
}

int uffd_copy(int fd, void *to, const void *from, uint64_t len)
{
	return put_all(fd, to, from, len);
}

int uffd_zero(int fd, void *to, uint64_t len)
{
	return put_all(fd, to, NULL, len);
}
