/* SPDX-License-Identifier: Apache-2.0 */
/*
 * uffd: memory whose missing pages the process puts in itself [userfaultfd(2),
 * ioctl_userfaultfd(2)].
 *
 * Whoever touches a missing page of a registered range stands still until it is there: our
 * threads, and KVM or vhost in the kernel.
 */
#ifndef VMM_SNAPSHOT_UFFD_H
#define VMM_SNAPSHOT_UFFD_H

#include "vmm/base/err.h"

#include <stdint.h>

/* One that also hears of the kernel's own accesses, which is a privilege. A non-blocking
 * descriptor; or a negative errno with *e filled, that says what to do. Any thread, as all of
 * these. */
int uffd_open(struct err *e);

/* Whole pages of private anonymous memory. 0 or a negative errno. */
int uffd_register(int fd, void *p, uint64_t len);
int uffd_unregister(int fd, void *p, uint64_t len);

/* The next access that waits: 1 with *p, 0 if there is none, or a negative errno. */
int uffd_next(int fd, uintptr_t *p);

/* Put whole pages in and let go on who waits for them: a copy of `from`, or zeroes. A page that is
 * there already stays as it is. 0 or a negative errno. */
int uffd_copy(int fd, void *to, const void *from, uint64_t len);
int uffd_zero(int fd, void *to, uint64_t len);

/* Whoever waits for one of those is to look again. 0 or a negative errno. */
int uffd_wake(int fd, void *p, uint64_t len);

#endif
