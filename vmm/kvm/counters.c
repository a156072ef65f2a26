/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptor that KVM gives reads as a file: a header, the vCPU's name, descriptors
 * of equal size, each with its counter's name behind it, and the values.
 */
#include "vmm/kvm/counters.h"

#include "vmm/base/fd.h"
#include "vmm/kvm/vm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <unistd.h>

/* Far more than any KVM has; a name is 48 bytes. */
enum { COUNTERS_MAX = 1024, NAME_MAX_BYTES = 256 };

static int read_at(int fd, void *buf, size_t len, uint64_t off)
{
	ssize_t n = pread(fd, buf, len, (off_t)off);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EBADMSG;
}

/* `d` and its name, of `header->name_size` bytes with the end of the string. */
static int tell(int fd, const struct kvm_stats_header *header, const struct kvm_stats_desc *d,
		void (*each)(void *ctx, const char *name, uint64_t value), void *ctx)
{
	uint64_t value;

	if ((d->flags & KVM_STATS_TYPE_MASK) != KVM_STATS_TYPE_CUMULATIVE || d->size != 1 ||
	    d->exponent)
		return 0;
	int ret = read_at(fd, &value, sizeof(value), header->data_offset + (uint64_t)d->offset);

	if (!ret && value)
		each(ctx, d->name, value);
	return ret;
}

int kvm_counters_read(int vcpu, void (*each)(void *ctx, const char *name, uint64_t value),
		      void *ctx)
{
	_cleanup_fd_ int fd = kvm_ioctl(vcpu, KVM_GET_STATS_FD, NULL);
	struct kvm_stats_header header;
	int ret = fd < 0 ? fd : read_at(fd, &header, sizeof(header), 0);

	if (ret)
		return ret;
	if (header.num_desc > COUNTERS_MAX || !header.name_size ||
	    header.name_size > NAME_MAX_BYTES)
		return -EBADMSG;
	size_t size = sizeof(struct kvm_stats_desc) + header.name_size;
	char *all = malloc(header.num_desc * size);

	if (!all)
		return -ENOMEM;
	ret = read_at(fd, all, header.num_desc * size, header.desc_offset);
	for (uint32_t i = 0; i < header.num_desc && !ret; i++) {
		struct kvm_stats_desc *d = (struct kvm_stats_desc *)(void *)(all + i * size);

		d->name[header.name_size - 1] = '\0';
		ret = tell(fd, &header, d, each, ctx);
	}
	free(all);
	return ret;
}
