/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/facts.h"

#include "vmm/base/bytes.h"
#include "vmm/base/fd.h"
#include "vmm/kvm/vm.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>

/* clang-format off */
const struct kvm_capability kvm_capabilities[] = {
	{KVM_CAP_USER_MEMORY, "USER_MEMORY", "guest RAM", true},
	{KVM_CAP_SPLIT_IRQCHIP, "SPLIT_IRQCHIP", "local APICs in the kernel (Linux 4.5)", true},
	{KVM_CAP_IRQFD, "IRQFD", "interrupts without an exit", true},
	{KVM_CAP_SIGNAL_MSI, "SIGNAL_MSI", "messages of the I/O APIC", true},
	{KVM_CAP_IMMEDIATE_EXIT, "IMMEDIATE_EXIT", "stopping a CPU (Linux 4.13)", true},
	{KVM_CAP_EXT_CPUID, "EXT_CPUID", "what the guest's CPUs are", true},
	{KVM_CAP_IOEVENTFD, "IOEVENTFD", "doorbells without an exit", false},
	{KVM_CAP_IOEVENTFD_ANY_LENGTH, "IOEVENTFD_ANY_LENGTH", "doorbells of any width", false},
	{KVM_CAP_TSC_DEADLINE_TIMER, "TSC_DEADLINE_TIMER", "cheap timers in the guest", false},
	{KVM_CAP_GET_TSC_KHZ, "GET_TSC_KHZ", "spares the guest a calibration", false},
	{KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK", "kvm-clock", false},
	{KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR", "real mode on older Intel CPUs", false},
	{KVM_CAP_X2APIC_API, "X2APIC_API", "more than 255 CPUs", false},
	{KVM_CAP_XSAVE2, "XSAVE2", "saving wide registers", false},
	{KVM_CAP_SYNC_MMU, "SYNC_MMU", "giving memory back to the host", false},
	{0, NULL, NULL, false},
};
/* clang-format on */

static_assert(ARRAY_LEN(kvm_capabilities) <= KVM_CAPABILITIES_MAX,
	      "kvm_facts has a value for each");

static int ask(int fd, int capability)
{
	int ret = kvm_ioctl(fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)capability);

	return ret < 0 ? 0 : ret;
}

int kvm_facts_read(struct kvm_facts *f)
{
	_cleanup_fd_ int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	*f = (struct kvm_facts){0};
	if (fd < 0)
		return -errno;
	int version = kvm_ioctl(fd, KVM_GET_API_VERSION, 0);

	if (version < 0)
		return -ENOTTY;
	f->api_version = version;
	f->cpus = (unsigned)ask(fd, KVM_CAP_NR_VCPUS);
	f->cpus_max = (unsigned)ask(fd, KVM_CAP_MAX_VCPUS);
	for (unsigned i = 0; kvm_capabilities[i].name; i++)
		f->values[i] = ask(fd, kvm_capabilities[i].number);
	return 0;
}
