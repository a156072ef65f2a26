/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm: one KVM virtual machine: /dev/kvm, the VM's descriptor, guest RAM as
 * memory slots.
 *
 * Only vmm/kvm and the KVM half of vmm/arch include <linux/kvm.h>. We ask KVM
 * what it can do and never the processor's flags: nested, para-virtual and bare
 * hosts all answer the same questions [KVM api 4.4 KVM_CHECK_EXTENSION].
 *
 * All functions here are for the main thread, before vCPUs run.
 */
#ifndef VMM_KVM_VM_H
#define VMM_KVM_VM_H

#include "vmm/base/err.h"
#include "vmm/core/guest_mem.h"

#include <stdbool.h>
#include <stddef.h>

struct kvm_vm {
	int kvm_fd; /* /dev/kvm */
	int vm_fd;
	size_t run_size;   /* bytes of each vCPU's shared struct kvm_run */
	bool tsc_deadline; /* KVM_CAP_TSC_DEADLINE_TIMER */
	bool ioeventfd_any_length;
	bool ending;
	unsigned cpus_max;
	struct guest_mem_listener ram;
};

/* Open /dev/kvm and make a VM. ERR_HOST with one line that says what to do when
 * it is missing, not permitted or lacks something minivmm needs. */
int kvm_vm_open(struct kvm_vm *vm, struct err *e);
/* Close both; fine on a half-built object that kvm_vm_open() has seen. */
void kvm_vm_close(struct kvm_vm *vm);

/* The vCPUs have run for the last time: what hangs on the VM (doorbells) goes with it, at once, and
 * is not taken off one by one, as each would wait for a grace period of the host's kernel. */
void kvm_vm_ends(struct kvm_vm *vm);

/* Make RAM the guest's: a memory slot for each region, now and later. */
int kvm_vm_attach_ram(struct kvm_vm *vm, struct guest_mem *gm, struct err *e);

/* Have KVM note which pages of *gm the guest writes to [KVM api 4.35, KVM_MEM_LOG_DIRTY_PAGES], or
 * not any more; while the vCPUs stand. 0 or a negative errno. */
int kvm_vm_log(const struct kvm_vm *vm, const struct guest_mem *gm, bool on);
/* Those of region `slot` since the last call, a bit for each, into guest_mem_log_words() words
 * [KVM api 4.8 KVM_GET_DIRTY_LOG]. 0 or a negative errno. */
int kvm_vm_log_fetch(const struct kvm_vm *vm, unsigned slot, uint64_t *bits);

/* KVM_CHECK_EXTENSION on the VM: 0 when absent. */
int kvm_vm_capability(const struct kvm_vm *vm, int capability);

/* KVM's clock, which the guest may read [KVM api 4.29 KVM_GET_CLOCK], in nanoseconds; the vCPUs
 * stand. 0 or a negative errno. */
int kvm_vm_get_clock(const struct kvm_vm *vm, uint64_t *ns);
int kvm_vm_set_clock(const struct kvm_vm *vm, uint64_t ns);

/* ioctl that restarts after EINTR: the result >= 0, or a negative errno. */
int kvm_ioctl(int fd, unsigned long request, void *arg);

#endif
