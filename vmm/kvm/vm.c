/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/vm.h"

#include "vmm/base/fd.h"
#include "vmm/kvm/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int ret;

	do
		ret = ioctl(fd, request, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : ret;
}

int kvm_vm_capability(const struct kvm_vm *vm, int capability)
{
	int ret = kvm_ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)capability);

	return ret < 0 ? 0 : ret;
}

static int open_device(struct kvm_vm *vm, struct err *e)
{
	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd >= 0)
		return 0;
	switch (errno) {
	case ENOENT:
		return err_host(e, -ENOENT,
				"/dev/kvm: there is none; load kvm-intel or kvm-amd, turn "
				"virtualisation on in the firmware, or allow nesting on the host");
	case EACCES:
	case EPERM:
		return err_host(
			e, -EACCES,
			"/dev/kvm: no permission; join its group (usually 'kvm'), or run as "
			"root");
	default:
		return err_host(e, -errno, "/dev/kvm: %s; is it KVM's device?", strerror(errno));
	}
}

static int check_device(struct kvm_vm *vm, struct err *e)
{
	int version = kvm_ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);

	if (version != KVM_API_VERSION)
		return err_host(e, -ENOTSUP,
				"/dev/kvm: does not answer as KVM does (API version %d)", version);
	for (const struct kvm_capability *c = kvm_capabilities; c->name && c->needed; c++)
		if (!kvm_vm_capability(vm, c->number))
			return err_host(e, -ENOTSUP, "/dev/kvm: this host's KVM lacks %s: %s",
					c->name, c->use);
	int size = kvm_ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);

	if (size < (int)sizeof(struct kvm_run))
		return err_host(e, -ENOTSUP, "/dev/kvm: no room for a vCPU's run area (%d)", size);
	vm->run_size = (size_t)size;
	vm->tsc_deadline = kvm_vm_capability(vm, KVM_CAP_TSC_DEADLINE_TIMER);
	vm->ioeventfd_any_length = kvm_vm_capability(vm, KVM_CAP_IOEVENTFD_ANY_LENGTH);
	vm->cpus_max = (unsigned)kvm_vm_capability(vm, KVM_CAP_MAX_VCPUS);
	return 0;
}

int kvm_vm_open(struct kvm_vm *vm, struct err *e)
{
	*vm = (struct kvm_vm){.kvm_fd = -1, .vm_fd = -1};
	int ret = open_device(vm, e);

	if (ret)
		return ret;
	vm->vm_fd = kvm_ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return err_host(e, vm->vm_fd, "/dev/kvm: cannot create a VM: %s",
				strerror(-vm->vm_fd));
	return check_device(vm, e);
}

void kvm_vm_ends(struct kvm_vm *vm)
{
	vm->ending = true;
}

void kvm_vm_close(struct kvm_vm *vm)
{
	fd_close(&vm->vm_fd);
	fd_close(&vm->kvm_fd);
}

static int set_slot(const struct kvm_vm *vm, unsigned slot, const struct guest_mem_region *r,
		    uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.flags = flags,
		.guest_phys_addr = r->gpa,
		.memory_size = r->len,
		.userspace_addr = (uintptr_t)r->hva,
	};

	return kvm_ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static int ram_added(void *ctx, unsigned slot, const struct guest_mem_region *r)
{
	return set_slot(ctx, slot, r, 0);
}

int kvm_vm_log(const struct kvm_vm *vm, const struct guest_mem *gm, bool on)
{
	int ret = 0;

	for (unsigned i = 0; i < gm->n_regions && !ret; i++)
		ret = set_slot(vm, i, &gm->regions[i], on ? KVM_MEM_LOG_DIRTY_PAGES : 0);
	return ret;
}

int kvm_vm_log_fetch(const struct kvm_vm *vm, unsigned slot, uint64_t *bits)
{
	struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = bits};

	return kvm_ioctl(vm->vm_fd, KVM_GET_DIRTY_LOG, &log);
}

int kvm_vm_attach_ram(struct kvm_vm *vm, struct guest_mem *gm, struct err *e)
{
	vm->ram = (struct guest_mem_listener){.added = ram_added, .ctx = vm};
	int ret = guest_mem_listen(gm, &vm->ram);

	if (ret)
		return err_host(e, ret, "--memory: KVM does not take the guest's RAM: %s",
				strerror(-ret));
	return 0;
}

int kvm_vm_get_clock(const struct kvm_vm *vm, uint64_t *ns)
{
	struct kvm_clock_data clock = {0};
	int ret = kvm_ioctl(vm->vm_fd, KVM_GET_CLOCK, &clock);

	*ns = clock.clock;
	return ret;
}

int kvm_vm_set_clock(const struct kvm_vm *vm, uint64_t ns)
{
	struct kvm_clock_data clock = {.clock = ns};

	return kvm_ioctl(vm->vm_fd, KVM_SET_CLOCK, &clock);
}
